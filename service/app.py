"""Application: the one place that joins all parts."""

import functools
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from prometheus_client.core import Metric

from augment import engine
from augment.datasets import seen_files
from augment.datasets.seen_files import SeenFiles
from augment.workers.pool import LocalWorkers
from augment.workers.verdicts import FolderDocuments, Verdicts
from service import middleware, observe, openapi, problems
from service.asgi.admission import Admission
from service.client_wheel import ClientWheel
from service.datasets.mean_std import Measuring
from service.datasets.registry import Datasets
from service.home import Home, Quota
from service.jobs.jobs import Jobs
from service.observe import Metrics
from service.one_shot import OneShot
from service.openapi import Application
from service.pipelines import Pipelines
from service.routes import ROUTERS
from service.schemas import ProblemDocument
from service.settings import Settings
from service.state import State
from service.streams.batch_cache import Batches, Readers
from service.streams.batch_files import BatchFiles
from service.streams.render_tasks import Rendering
from service.streams.streams import Streams
from service.warmup import Warming

_DESCRIPTION = """
Every augmented sample has an address, and its pixels are a pure function of that address: the same URL gives the same
bytes with one worker or many, after a restart, on any replica of the same engine (`GET /version`).

Errors are problem documents (RFC 9457). If the service requires a key, send it as `Authorization: Bearer KEY` or as the
password of HTTP Basic.
"""

UPLOAD_PATHS = frozenset({"/v1/datasets"})
"""Paths whose bodies are bounded by the home's size instead of AUGMENT_MAX_BODY_BYTES."""

_RENDERING = ("augment.streams.tasks", "augment.render.one_shot", "augment.expansion.shard")
"""Modules of the render tasks, imported before workers are forked."""

_NUM_SCANNERS = 2
"""Processes that unpack and scan; two, so that a long scan does not block the next. The first dataset starts them."""


def create_app(settings: Settings) -> FastAPI:
    """Build the application. It opens its home and starts its workers when it is served."""
    counted = Metrics()
    client_wheel = ClientWheel.write()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as parts:  # closed in the opposite order
            home = parts.enter_context(closing(Home(settings.home)))
            verdicts = await to_thread.run_sync(Verdicts, FolderDocuments(home.path / "verdicts"))
            pool = functools.partial(_pool, settings, verdicts)
            seen = await to_thread.run_sync(SeenFiles, home.path / seen_files.NAME)
            workers = parts.enter_context(pool(settings.workers, *_RENDERING))
            warming = Warming()
            await parts.enter_async_context(warming.of(workers))
            # This imports the libraries that decide a pixel, which takes seconds: before the first request.
            engine_now = await to_thread.run_sync(_describe_engine)
            scanners = parts.enter_context(
                pool(_NUM_SCANNERS, "augment.scanning.scan_task", "augment.dataset_stats.pixels")
            )
            quota = Quota(home, settings.max_home_bytes)
            datasets = await parts.enter_async_context(aclosing(Datasets(home, quota, scanners, settings)))
            job_workers = parts.enter_context(
                pool(settings.jobs_workers or workers.num_workers, *_RENDERING, in_background=True)
            )
            jobs = await parts.enter_async_context(aclosing(Jobs(home, datasets, job_workers, settings)))
            measuring = await parts.enter_async_context(aclosing(Measuring(datasets, scanners, settings)))
            await datasets.open()
            files = await to_thread.run_sync(BatchFiles, home, settings.batch_folder)
            batches = parts.enter_context(closing(Batches(files, settings.batch_cache_bytes, counted)))
            pipelines = Pipelines(home)
            state = State(
                settings=settings,
                home=home,
                workers=workers,
                job_workers=job_workers,
                admission=Admission(settings.queue_limit, settings.answers_limit, settings.bodies_limit),
                metrics=counted,
                pipelines=pipelines,
                datasets=datasets,
                measuring=measuring,
                streams=await to_thread.run_sync(Streams, home, datasets, pipelines, settings),
                jobs=jobs,
                oneshot=OneShot(files, datasets, workers, counted, settings),
                batches=batches,
                rendering=Rendering(batches, datasets, workers, counted),
                readers=Readers(batches, workers.num_workers),
                warming=warming,
                client_wheel=client_wheel,
                version={"version": client_wheel.version, "replica": home.replica_id, **engine_now},
            )
            app.state.augment = state
            counted.watch(lambda: [*_watched(state), _hashed(seen)])
            jobs.open()
            yield

    app = Application(
        title="augment",
        docs_url=None,  # openapi.py has it
        redoc_url=None,
        version=client_wheel.version,
        summary="Augmented images and batches, each at an address.",
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would repeat the Host that the client sent
        responses={"default": {"model": ProblemDocument, "description": "A problem document (RFC 9457)."}},
    )
    problems.install(app, ROUTERS)
    openapi.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(
        middleware.BodyLimit,
        max_bytes=settings.max_body_bytes,
        timeout_s=settings.body_timeout_s,
        metrics=counted,
        unbounded=UPLOAD_PATHS,
    )
    app.add_middleware(middleware.Head)
    app.add_middleware(middleware.Keys, api_keys=settings.api_keys)
    app.add_middleware(middleware.Outermost, metrics=counted, version=client_wheel.version)
    return app


def _pool(
    settings: Settings, verdicts: Verdicts, num_workers: int | None, *preload: str, in_background: bool = False
) -> LocalWorkers:
    return LocalWorkers(
        num_workers,
        record_timeout_s=settings.record_timeout_s,
        memory_bytes=settings.worker_memory_bytes,
        max_tasks=settings.worker_max_tasks,
        preload=preload,
        in_background=in_background,
        verdicts=verdicts,
        environment={"AUGMENT_HOME": str(settings.home.absolute())},  # holds the table of seen files
    )


def _describe_engine() -> dict[str, Any]:
    return {"engine": engine.engine_id(), **engine.describe()}


def _hashed(seen: SeenFiles) -> Metric:
    text = "Files hashed because their size, times, inode or device differ from what this machine has seen."
    return observe.counter("augment_files_hashed", text, seen.num_hashed)


def _watched(state: State) -> Iterable[Metric]:
    workers, job_workers = state.workers, state.job_workers
    restarts = Counter(workers.restarts) + Counter(job_workers.restarts)
    yield observe.gauge("augment_readers", "Readers of streams.", state.readers.num_readers)
    yield observe.gauge("augment_queue_depth", "Tasks that wait for a worker.", workers.queue_depth)
    yield observe.gauge("augment_requests_admitted", "Requests that render or wait.", state.admission.num_admitted)
    yield observe.gauge("augment_bodies_open", "Requests whose body is being received.", state.admission.num_sending)
    yield observe.gauge("augment_answers_open", "Answers that are rendered or sent.", state.admission.num_open)
    yield observe.gauge("augment_workers", "Worker processes, without those of jobs.", workers.num_workers)
    yield observe.gauge("augment_job_workers_busy", "Worker processes that run a job's shard.", job_workers.num_busy)
    yield observe.gauge("augment_workers_busy", "Worker processes that run a task.", workers.num_busy)
    yield observe.labelled("augment_worker_restarts", "Workers replaced, by reason.", "reason", restarts, counts=True)
    yield observe.labelled("augment_jobs", "Jobs in the list, by state.", "state", state.jobs.counts())
    yield observe.gauge(
        "augment_records_poisoned", "Records refused because they killed a worker, twice.", len(workers.verdicts)
    )
