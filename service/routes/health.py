"""Probes: is the service alive, is it ready, what does it count, what is it. They never queue behind work."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response

from service import observe, schemas
from service.asgi.requests import Route
from service.schemas import problem
from service.state import Joined

router = APIRouter(route_class=Route, tags=["health"])


@router.get("/health/live", summary="Whether the process answers", response_model=schemas.Health)
@router.get("/v2/health/live", include_in_schema=False)
async def live() -> dict[str, str]:
    """Answers as long as the event loop runs: restart the process where it does not."""
    return {"status": "live"}


@router.get(
    "/health/ready",
    summary="Whether requests are welcome",
    response_model=schemas.Health,
    responses={503: problem("The workers still start, or the service is about to stop.")},
)
@router.get("/v2/health/ready", include_in_schema=False)
async def ready(state: Joined) -> dict[str, str]:
    """Answers 503 until the workers can work, and once the service is about to stop: send requests elsewhere."""
    state.admission.check_open()
    state.warming.check()
    return {"status": "ready"}


@router.get("/metrics", summary="Counts, as Prometheus text", response_class=Response)
async def read_metrics(state: Joined) -> Response:
    """Requests and their time, stages, queue, batches, caches, refusals, workers, jobs."""
    return Response(state.metrics.text(), media_type=observe.CONTENT_TYPE)


@router.get("/version", summary="The engine and its versions", response_model=schemas.Version)
async def version(state: Joined) -> Mapping[str, Any]:
    """Two services with one engine give the same bytes for the same address."""
    return state.version
