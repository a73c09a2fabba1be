"""The client of this very version, as a wheel that pip installs by its URL: trainers hold no key when they install."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse

from augment.version import DISTRIBUTION
from service.asgi.requests import Route
from service.errors import NotFoundError
from service.schemas import BINARY, problem
from service.state import Joined

router = APIRouter(route_class=Route, prefix="/client", tags=["client"])

_WHEEL = "application/octet-stream"

FileName = Annotated[str, Path(description="The wheel's file name, which `GET /client/` tells.")]


@router.get(
    "/",
    summary="Page with the client's wheel",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)
async def read_index(request: Request, state: Joined) -> Response:
    """The line that installs the client, and a link to its wheel: also for `pip install --find-links URL/client/`."""
    wheel = state.client_wheel
    line = f"pip install {str(request.base_url).rstrip('/')}/client/{wheel.file_name}"
    return HTMLResponse(wheel.index(line, ""))


@router.get(f"/{DISTRIBUTION}/", include_in_schema=False)
async def read_project(state: Joined) -> Response:
    """The same as an index has it (PEP 503), for `pip install --no-deps --index-url URL/client/`."""
    return HTMLResponse(state.client_wheel.index(f"Versions of {DISTRIBUTION}", "../"))


@router.get(
    "/{file_name}",
    summary="The client's wheel",
    response_class=Response,
    responses={200: {"content": {_WHEEL: BINARY}}, 404: problem("This service has a wheel of another version.")},
)
async def read_wheel(state: Joined, file_name: FileName) -> Response:
    """The distribution of this service. Without an extra, pip installs it as the client with NumPy and pyarrow."""
    wheel = state.client_wheel
    if file_name != wheel.file_name:
        raise NotFoundError(f"there is no {file_name[:200]!r}; this service's wheel is {wheel.file_name!r}")
    return Response(wheel.content, media_type=_WHEEL)
