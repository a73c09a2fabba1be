"""What the parts of one application share, and how a route gets at it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from augment.workers.pool import LocalWorkers
from service.admission import Admission
from service.batches import Batches
from service.datasets import Datasets
from service.home import Home
from service.jobs import Jobs
from service.measuring import Measuring
from service.metrics import Metrics
from service.oneshot import OneShot
from service.pipelines import Pipelines
from service.readers import Readers
from service.rendering import Rendering
from service.settings import Settings
from service.streams import Streams
from service.warming import Warming


@dataclass(slots=True)
class State:
    """The joined parts. Built by ``app.create_app``, opened and closed by its lifespan."""

    settings: Settings
    home: Home
    workers: LocalWorkers
    """Of those who wait for an answer."""
    job_workers: LocalWorkers
    """Of jobs; they stand behind the others."""
    admission: Admission
    metrics: Metrics
    pipelines: Pipelines
    datasets: Datasets
    measuring: Measuring
    streams: Streams
    jobs: Jobs
    oneshot: OneShot
    batches: Batches
    rendering: Rendering
    readers: Readers
    warming: Warming
    version: Mapping[str, Any]
    """The engine's digest and what it is made of, as ``/version`` tells it."""


def of(request: Request) -> State:
    """The state of the application that answers this request."""
    state: State = request.app.state.augment
    return state


async def _joined(request: Request) -> State:
    return of(request)  # FastAPI calls what is not async in a thread, and waits for it: longer than the look takes


Joined = Annotated[State, Depends(_joined)]
