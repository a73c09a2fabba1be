"""Strict routes, request ids and texts, ETags, and file names of answers.

A route accepts only the parameters that it declares: a mistyped one must not silently mean its default. If the client
already holds the current answer by its ETag, it gets 304 (RFC 9110, section 13).
"""

import functools
import re
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.types import Scope

from augment import validation
from augment.errors import CallError, JSONError, Problem
from augment.validation import did_you_mean, quoted
from service.errors import MalformedError, MediaTypeError, TooLargeError

HEADER = "X-Request-Id"
_Model = TypeVar("_Model", bound=BaseModel)
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def new_id(given: str | None) -> str:
    """Return the client's request id if it is safe to log, else a new one."""
    return given if given is not None and _SAFE.fullmatch(given) else uuid.uuid4().hex


def id_of(scope: Scope) -> str:
    """Return the id of a request, as its response and its log lines name it."""
    return str(scope.get("augment.request_id", "-"))


def media_type(request: Request) -> str:
    """Return the media type of the body in lower case, without parameters; empty if none was sent."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_media_type(request: Request, allowed: Collection[str], *, example: str = "") -> str:
    """Return the media type of the body. Raises MediaTypeError, which shows the example, if it is not allowed."""
    given = media_type(request)
    if given not in allowed:
        message = f"the Content-Type is {given or 'missing'}; send {' or '.join(sorted(allowed))}"
        message += f", as in {example}" if example else ""
        raise MediaTypeError(message, [Problem(("header", "Content-Type"), message)])
    return given


async def read_text(request: Request, *, max_bytes: int, limit: str) -> str:
    """Read the body as UTF-8 text. Raises TooLargeError as soon as it exceeds ``max_bytes``; ``limit`` names it."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > max_bytes:
            raise TooLargeError(f"the body has more than {max_bytes} bytes ({limit}); shorten it")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"the body is not UTF-8 text (byte {error.start}); send it as UTF-8") from error


MAX_JSON_BYTES = 2**20
"""Largest JSON body, which holds a pipeline (64 kB) and a few names."""


class Route(APIRoute):
    """Route that refuses unknown and repeated query parameters, and reads JSON as strictly as a pipeline's document."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, preceded by the checks."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            check_query(request, self._query_names)
            if self.body_field is not None:
                check_media_type(request, {"application/json"})
                text = await read_text(request, max_bytes=MAX_JSON_BYTES, limit="of a JSON body")
                request = _Read(request, strict_json(text))
            return await handle(request)

        return checked

    @functools.cached_property
    def _query_names(self) -> frozenset[str]:
        return frozenset(_query_names(self.dependant))


def _query_names(dependant: Dependant) -> Iterator[str]:
    for param in dependant.query_params:
        annotation = param.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from (field.alias or name for name, field in annotation.model_fields.items())
        else:
            yield param.alias
    for inner in dependant.dependencies:
        yield from _query_names(inner)


class _Read(Request):
    """Request whose JSON body has been read already."""

    def __init__(self, request: Request, document: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._document = document

    async def body(self) -> bytes:
        return b"read"  # FastAPI only tests that it is not empty

    async def json(self) -> Any:
        return self._document


def check_query(request: Request, known: Collection[str]) -> None:
    """Raise CallError for a query parameter that the route does not have or that is repeated."""
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or (
                f"; it takes {', '.join(sorted(known))}" if known else "; it takes none"
            )
            raise CallError(f"{request.url.path} has no query parameter {quoted(name, 100)}{hint}")
    twice = sorted(name for name, number in Counter(given).items() if number > 1)
    if twice:
        raise CallError(f"the query has {', '.join(twice)} more than once; send each parameter once")


def strict_json(text: str) -> Any:
    """Read an unambiguous JSON body. Raises MalformedError with the place of each problem."""
    try:
        return validation.read_json("body", text)
    except JSONError as error:
        raise MalformedError(str(error), error.problems) from error


def validated(model: type[_Model], given: Any, *loc: str) -> _Model:
    """Validate what was sent as a model. Raises RequestValidationError with places below ``loc``."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise RequestValidationError([{**one, "loc": (*loc, *one["loc"])} for one in problems]) from error


NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The client's copy, named by `If-None-Match`, is current."}
}


_YEAR_S = 31_536_000


def immutable(etag: str) -> dict[str, str]:
    """Return the headers of an answer that never changes.

    ``public`` lets a shared cache keep an answer to a request with a key. ``Vary`` limits it to requests with that key.
    """
    return {
        "ETag": etag,
        "Cache-Control": f"public, max-age={_YEAR_S}, immutable",
        "Vary": "Accept, Authorization",
    }


def matches(request: Request, etag: str) -> bool:
    """True if ``If-None-Match`` is ``*`` or names this entity tag (weak comparison, RFC 9110, section 13.1.2)."""
    given = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


def answer(
    request: Request, body: bytes, *, etag: str, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response with the body, or 304 if the client has it."""
    merged = {"ETag": etag, "Cache-Control": "no-cache", **(headers or {})}
    if matches(request, etag):
        return Response(status_code=304, headers=merged)
    return Response(body, headers=merged, media_type=media_type)


_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 !#$&'()+,.;=@^_`{}~-]")
"""Characters not allowed in a plain file name: non-ASCII, quote and backslash (browsers unescape them differently),
and ``%`` (some browsers decode it; RFC 6266, appendix D)."""


def disposition(kind: str, filename: str) -> str:
    """Return a Content-Disposition for a name in any script: ASCII ``filename`` and ``filename*`` (RFC 6266)."""
    plain = _NOT_PLAIN.sub("_", filename)
    extended = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
    return f'{kind}; filename="{plain}"{extended}'
