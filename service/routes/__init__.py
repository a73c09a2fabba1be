"""The routes of the contract, one file a noun; adding one is its file and a line here."""

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
