"""Routes of probes: liveness, readiness, metrics and version. They never queue behind work."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response

from service import observe, schemas
from service.asgi.requests import Route
from service.schemas import problem
from service.state import Joined

router = APIRouter(route_class=Route, tags=["health"])


@router.get("/health/live", summary="Liveness probe", response_model=schemas.Health)
@router.get("/v2/health/live", include_in_schema=False)
async def live() -> dict[str, str]:
    """Answer 200 while the event loop runs. Restart the process if it does not answer."""
    return {"status": "live"}


@router.get(
    "/health/ready",
    summary="Readiness probe",
    response_model=schemas.Readiness,
    responses={503: problem("The workers are starting, or the service is about to stop.")},
)
@router.get("/v2/health/ready", include_in_schema=False)
async def ready(state: Joined) -> dict[str, str]:
    """Answer 200 if the service accepts requests; 503 until the workers are ready and once the service is stopping."""
    state.admission.check_open()
    state.warming.check()
    return {"status": "ready", "replica": str(state.version["replica"])}


@router.get("/metrics", summary="Metrics as Prometheus text", response_class=Response)
async def read_metrics(state: Joined) -> Response:
    """Return the metrics of requests, stages, queue, batches, caches, refusals, workers and jobs."""
    return Response(state.metrics.text(), media_type=observe.CONTENT_TYPE)


@router.get("/version", summary="Version and engine", response_model=schemas.Version)
async def version(state: Joined) -> Mapping[str, Any]:
    """Return the version and the engine. Services with the same engine give the same bytes for the same address."""
    return state.version
