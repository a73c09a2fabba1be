"""Routes of the client's wheel, which pip installs by its URL. They are open, because pip has no key."""

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

FileName = Annotated[str, Path(description="The wheel's file name, as `GET /client/` shows it.")]


@router.get(
    "/",
    summary="Page with the client's wheel",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)
async def read_index(request: Request, state: Joined) -> Response:
    """Return a page with the install command and a link to the wheel.

    `pip install --find-links URL/client/` reads it too.
    """
    wheel = state.client_wheel
    line = f"pip install {str(request.base_url).rstrip('/')}/client/{wheel.file_name}"
    return HTMLResponse(wheel.index(line, ""))


@router.get(f"/{DISTRIBUTION}/", include_in_schema=False)
async def read_project(state: Joined) -> Response:
    """Return the page as a package index has it (PEP 503), for `pip install --no-deps --index-url URL/client/`."""
    return HTMLResponse(state.client_wheel.index(f"Versions of {DISTRIBUTION}", "../"))


@router.get(
    "/{file_name}",
    summary="The client's wheel",
    response_class=Response,
    responses={200: {"content": {_WHEEL: BINARY}}, 404: problem("This service has a wheel of another version only.")},
)
async def read_wheel(state: Joined, file_name: FileName) -> Response:
    """Return the wheel of this distribution. Without extras, pip installs it as the client with NumPy and pyarrow."""
    wheel = state.client_wheel
    if file_name != wheel.file_name:
        raise NotFoundError(f"{file_name[:200]!r} does not exist; this service's wheel is {wheel.file_name!r}")
    return Response(wheel.content, media_type=_WHEEL)
