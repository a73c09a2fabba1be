"""What each request carries through the service: its id, for the log and for whoever asks about it."""

import re
import uuid

from starlette.requests import Request

HEADER = "X-Request-Id"
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def new_id(given: str | None) -> str:
    """The client's own id where it is harmless in a log, else a new one."""
    return given if given is not None and _SAFE.fullmatch(given) else uuid.uuid4().hex


def id_of(request: Request) -> str:
    """The id of a request, as its response and its log lines name it."""
    return str(request.scope.get("augment.request_id", "-"))
