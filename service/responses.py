"""Streamed answers, which may fail halfway or lose their client while they are rendered.

A failure before the first byte becomes a status; after it the connection is reset. Rendering for a client that left is
stopped at once.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from augment.errors import AugmentError
from service import state
from service.asgi import requests, uvicorn_protocol
from service.errors import ServiceError
from service.streams.batch_files import FilePart

T = TypeVar("T")
Chunk = bytes | memoryview | FilePart

LEFT = 499
"""Status in metrics and logs for a client that left before the answer began (nginx's number; never sent)."""

_log = logging.getLogger(__name__)


class ClientLeft(Exception):  # noqa: N818 - not an error
    """The client left before the answer was complete."""


async def unless_left(receive: Receive, work: Awaitable[T]) -> T:
    """Return the result of the work. If the client leaves first, cancel the work and raise ClientLeft."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(left(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeft
    finally:
        await _stop(working, watching)


async def streamed(
    request: Request, chunks: AsyncGenerator[Chunk, None], *, media_type: str, headers: Mapping[str, str]
) -> Response:
    """Return an answer that streams the chunks. Waits for the first one, and raises its error."""
    try:
        first = await unless_left(request.receive, anext(chunks))
    except BaseException as error:
        await chunks.aclose()
        if isinstance(error, ClientLeft):
            return Response(status_code=LEFT)
        if isinstance(error, asyncio.CancelledError):
            state.of(request).admission.check_open()  # the grace period is over: nothing was sent, so raise a status
        raise
    return Streamed(first, chunks, media_type=media_type, headers=headers)


class Streamed(Response):
    """Response that sends chunks as fast as the client reads them, one at a time."""

    def __init__(
        self, first: Chunk, rest: AsyncGenerator[Chunk, None], *, media_type: str, headers: Mapping[str, str]
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self._first = first
        self._rest = rest
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. A failure resets the connection."""
        try:
            with suppress(ClientLeft):
                await unless_left(receive, self._send(scope, send))
        except BaseException as error:
            expected = isinstance(error, AugmentError | ServiceError | asyncio.CancelledError)
            message = str(error) or "the service stops"
            _log.log(
                logging.WARNING if isinstance(error, asyncio.CancelledError) else logging.ERROR,
                "an answer was cut: %s", message, exc_info=None if expected else error,
                extra={"request_id": requests.id_of(scope)},
            )  # fmt: skip
            if not uvicorn_protocol.cut(scope):
                raise
            await left(receive)  # when this returns the connection is closed, so uvicorn has nothing to complete
        finally:
            await self._rest.aclose()

    async def _send(self, scope: Scope, send: Send) -> None:
        takes_files = uvicorn_protocol.ZERO_COPY in scope.get("extensions", ())
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await _send_chunk(self._first, send, takes_files=takes_files)
        async for chunk in self._rest:
            await _send_chunk(chunk, send, takes_files=takes_files)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_chunk(chunk: Chunk, send: Send, *, takes_files: bool) -> None:
    if isinstance(chunk, FilePart) and takes_files:
        await send({
            "type": uvicorn_protocol.ZERO_COPY, "file": chunk.descriptor, "count": chunk.num_bytes, "more_body": True
        })  # fmt: skip
        return
    for body in chunk.pieces() if isinstance(chunk, FilePart) else (chunk,):
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(0)  # a send that does not wait would not let other tasks run


class HeldResponse(Response):
    """Response with complete content. ``held`` is closed when the client has read it or has left.

    Nothing is rendered meanwhile and nothing can fail, so a client that leaves need not be noticed.
    """

    def __init__(self, content: bytes, held: AbstractContextManager[object], *, headers: Mapping[str, str]) -> None:
        super().__init__(content, headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        """Send the answer."""
        with self._held:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})  # waits for a slow reader


async def left(receive: Receive) -> None:
    """Wait until the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stop(*works: "asyncio.Future[Any]") -> None:
    for work in works:
        work.cancel()
    for work in works:
        with suppress(asyncio.CancelledError, Exception):
            await work
