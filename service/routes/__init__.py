"""Routes of the HTTP interface, one file for each kind of resource. A new one needs a file and a line here."""

from fastapi import APIRouter

from service.routes import augment, batches, client, datasets, health, jobs, pipelines, streams

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    augment.router,
    pipelines.transforms_router,
    pipelines.router,
    datasets.router,
    streams.router,
    batches.router,
    batches.samples_router,
    jobs.router,
    client.router,
)
