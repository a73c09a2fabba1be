"""Answers that take their time: whoever asked may leave while they are made, and they may fail when half is sent.

What fails before the first byte is a status; after it the connection is cut. Either way what was being made for a
client who left is stopped at once.
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
"""What is counted and logged of a client who left before the answer began (nginx's number; no client ever sees it)."""

_log = logging.getLogger(__name__)


class ClientLeft(Exception):  # noqa: N818 - nobody's error
    """Nobody waits for the answer any more."""


async def unless_left(receive: Receive, work: Awaitable[T]) -> T:
    """What the work gives; ClientLeft, and the work cancelled, where the client leaves first."""
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
    """The answer that streams the chunks, begun when the first is there; raises what making that one raised."""
    try:
        first = await unless_left(request.receive, anext(chunks))
    except BaseException as error:
        await chunks.aclose()
        if isinstance(error, ClientLeft):
            return Response(status_code=LEFT)
        if isinstance(error, asyncio.CancelledError):
            state.of(request).admission.check_open()  # the grace period is over: a status, since nothing was sent yet
        raise
    return Streamed(first, chunks, media_type=media_type, headers=headers)


class Streamed(Response):
    """Sends chunks as the client takes them. Each is awaited, so that one client never holds up the others."""

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
        """Answer; a failure cuts the connection."""
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
            await left(receive)  # the connection is gone when this returns, and nothing is left to be completed
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
        await asyncio.sleep(0)  # a send that need not wait would not let anybody else run


class HeldResponse(Response):
    """Sends what is there already; ``held`` is given back when the client has taken it, or has left.

    Nothing can fail once it has begun and nothing is made meanwhile, so nobody need watch for the client's leaving.
    """

    def __init__(self, content: bytes, held: AbstractContextManager[object], *, headers: Mapping[str, str]) -> None:
        super().__init__(content, headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        """Answer."""
        with self._held:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})  # waits for a slow reader


async def left(receive: Receive) -> None:
    """Wait until the connection is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stop(*works: "asyncio.Future[Any]") -> None:
    for work in works:
        work.cancel()
    for work in works:
        with suppress(asyncio.CancelledError, Exception):
            await work
