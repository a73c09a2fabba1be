"""Answers that a client may already hold: an ETag, and 304 where it is the client's (RFC 9110, section 13)."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The client's copy, named by `If-None-Match`, is current."}
}


_YEAR_S = 31_536_000


def immutable(etag: str) -> dict[str, str]:
    """The headers of what its address decides for ever.

    ``public`` lets a shared cache keep what was asked for with a key, ``Vary`` lets it answer only who has that key.
    """
    return {
        "ETag": etag,
        "Cache-Control": f"public, max-age={_YEAR_S}, immutable",
        "Vary": "Accept, Authorization",
    }


def matches(request: Request, etag: str) -> bool:
    """Whether ``If-None-Match`` names this entity tag (compared weakly, as its section demands) or ``*``."""
    given = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


def answer(
    request: Request, body: bytes, *, etag: str, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The body, or 304 without it."""
    several = {"ETag": etag, "Cache-Control": "no-cache", **(headers or {})}
    if matches(request, etag):
        return Response(status_code=304, headers=several)
    return Response(body, headers=several, media_type=media_type)
