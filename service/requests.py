"""What each request carries through the service: its id, for the log and for whoever asks about it; its text."""

import re
import uuid
from collections.abc import Collection

from starlette.requests import Request

from service.errors import MalformedError, MediaTypeError, TooLargeError

HEADER = "X-Request-Id"
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def new_id(given: str | None) -> str:
    """The client's own id where it is harmless in a log, else a new one."""
    return given if given is not None and _SAFE.fullmatch(given) else uuid.uuid4().hex


def id_of(request: Request) -> str:
    """The id of a request, as its response and its log lines name it."""
    return str(request.scope.get("augment.request_id", "-"))


def media_type(request: Request) -> str:
    """The media type of the body without its parameters, in lower case; empty where none was sent."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_media_type(request: Request, allowed: Collection[str]) -> str:
    """The media type of the body; MediaTypeError unless it is one of these."""
    found = media_type(request)
    if found not in allowed:
        raise MediaTypeError(
            f"the body is {found or 'of no stated type'}; send Content-Type {' or '.join(sorted(allowed))}"
        )
    return found


async def read_text(request: Request, *, max_bytes: int, limit: str) -> str:
    """The body as text; TooLargeError as soon as it exceeds a limit, which ``limit`` names."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > max_bytes:
            raise TooLargeError(f"the body has more than {max_bytes} bytes ({limit}); leave something out")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"the body is not UTF-8 text (byte {error.start}); send it as UTF-8") from error
