"""The routes of the contract, one file a noun; adding one is its file and a line here."""

from fastapi import APIRouter

from service.routes import augment, batches, datasets, health, jobs, pipelines, samples, statistics, streams, transforms

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    augment.router,
    transforms.router,
    pipelines.router,
    datasets.router,
    statistics.router,
    streams.router,
    batches.router,
    samples.router,
    jobs.router,
)
