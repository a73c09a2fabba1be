"""State that the parts of one application share, and a route's access to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from augment.workers.pool import LocalWorkers
from service.asgi.admission import Admission
from service.client_wheel import ClientWheel
from service.datasets.mean_std import Measuring
from service.datasets.registry import Datasets
from service.home import Home
from service.jobs.jobs import Jobs
from service.observe import Metrics
from service.one_shot import OneShot
from service.pipelines import Pipelines
from service.settings import Settings
from service.streams.batch_cache import Batches, Readers
from service.streams.render_tasks import Rendering
from service.streams.streams import Streams
from service.warmup import Warming


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
    client_wheel: ClientWheel
    version: Mapping[str, Any]
    """This version, the replica's id, and the engine's digest with what it is made of, as ``/version`` tells them."""


def of(request: Request) -> State:
    """The state of the application that answers this request."""
    state: State = request.app.state.augment
    return state


async def _joined(request: Request) -> State:
    return of(request)  # FastAPI calls what is not async in a thread, and waits for it: longer than the look takes


Joined = Annotated[State, Depends(_joined)]
