"""Shared state of one application, and its access from routes."""

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
    """The parts of the application. Built by ``app.create_app``, opened and closed by its lifespan."""

    settings: Settings
    home: Home
    workers: LocalWorkers
    """Workers of requests."""
    job_workers: LocalWorkers
    """Workers of jobs, with a lower priority."""
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
    """Answer of ``/version``: version, replica id, and the engine's digest with its parts."""


def of(request: Request) -> State:
    """Return the state of the application that answers this request."""
    state: State = request.app.state.augment
    return state


async def _joined(request: Request) -> State:
    return of(request)  # async, because FastAPI would call a plain function in a thread, which takes longer


Joined = Annotated[State, Depends(_joined)]
