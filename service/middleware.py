"""Middleware of every request: request id, key check, body limit, metrics and log line.

It is pure ASGI, because answers are streams and must not be collected. A key is sent as ``Authorization: Bearer``, or
as the password of HTTP Basic, so that it can be part of a URL.
"""

import asyncio
import base64
import binascii
import hmac
import logging
import time
from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from augment.errors import Problem
from augment.validation import quoted
from service import problems, responses
from service.asgi import requests, uvicorn_protocol
from service.errors import (
    DrainingError,
    MediaTypeError,
    ServiceError,
    SlowBodyError,
    TooLargeError,
    UnauthorizedError,
)
from service.observe import Metrics

OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/metrics", "/version"})
"""Probes, for machines without a key. They reveal nothing that a key protects."""

_OPEN_FOLDER = "/client/"
"""Folder of the client's wheel, because pip has no key."""

VERSION_HEADER = "Augment-Version"
"""Header of every answer, so that a client need not request the version."""


def is_open(path: str) -> bool:
    """True if a path is served without a key."""
    return path in OPEN_PATHS or path.startswith(_OPEN_FOLDER)


def check(authorization: str | None, api_keys: Sequence[str]) -> None:
    """Raise UnauthorizedError unless the header holds one of the keys, or no keys are set."""
    if not api_keys:
        return
    given = _key_in(authorization)
    # All are compared, each in constant time, so that the time reveals neither a key's bytes nor its position.
    matches = [hmac.compare_digest(given, key.encode()) for key in api_keys]
    if not any(matches):
        what = "no key was sent" if authorization is None else "the key is unknown"
        raise UnauthorizedError(f"{what}; send it as 'Authorization: Bearer KEY' or as the password of HTTP Basic")


def _key_in(authorization: str | None) -> bytes:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")  # ASGI decodes headers as Latin-1
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


_log = logging.getLogger("service.requests")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""Methods that metrics count by name; all others are counted together, because clients can invent any number."""


class Outermost:
    """Outermost middleware: sets the request id and the version header, counts and logs each request.

    One line is logged when the answer has ended.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, version: str) -> None:
        self._app = app
        self._metrics = metrics
        self._version = version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = requests.new_id(Headers(scope=scope).get(requests.HEADER))
        scope["augment.request_id"] = request_id
        status, num_bytes, started = 0, 0, time.perf_counter()

        async def send_counted(message: Message) -> None:
            nonlocal status, num_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[requests.HEADER] = request_id
                headers[VERSION_HEADER] = self._version
            num_bytes += uvicorn_protocol.num_body_bytes(message)
            await send(message)

        self._metrics.requests_running.inc()
        try:
            await self._app(scope, receive, send_counted)
        except ClientDisconnect:
            status = status or responses.LEFT
        except asyncio.CancelledError:  # the grace period is over
            if not status:
                refusal = problems.refusal(DrainingError(), request_id, Connection="close")
                await refusal(scope, receive, send_counted)
            elif uvicorn_protocol.cut(scope):
                await responses.left(receive)
            else:
                raise
        except Exception as error:
            _log.error("unexpected error", exc_info=error, extra={"request_id": request_id})
            if status:  # the answer has begun: the server resets the connection, so that it is not taken for whole
                raise
            await problems.response(problems.defect(request_id))(scope, receive, send_counted)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests_running.dec()
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(seconds)
            self._metrics.bytes_sent.inc(num_bytes)
            if status >= HTTPStatus.BAD_REQUEST:
                self._metrics.requests_refused.labels(str(status)).inc()
            level = logging.DEBUG if scope["path"] in OPEN_PATHS else logging.INFO
            _log.log(
                level, "%s %s %d", scope["method"], scope["path"], status,
                extra={
                    "request_id": request_id, "method": scope["method"], "path": scope["path"], "status": status,
                    "seconds": round(seconds, 6), "bytes": num_bytes, "client": (scope.get("client") or ("-",))[0],
                },
            )  # fmt: skip


class Head:
    """Middleware that answers HEAD as GET without the body (RFC 9110, section 9.3.2), for load balancers.

    Rendering that GET would continue is stopped, as if the client had left.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        ended = asyncio.Event()

        async def receive_until_answered() -> Message:
            if not ended.is_set():
                message = await receive()
                if message["type"] == "http.request" and not message.get("more_body"):
                    return message
            await ended.wait()
            return {"type": "http.disconnect"}

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                ended.set()

        await self._app({**scope, "method": "GET"}, receive_until_answered, send_head)


class Keys:
    """Middleware that refuses requests without a key, except to open paths."""

    def __init__(self, app: ASGIApp, api_keys: Sequence[str]) -> None:
        self._app = app
        self._api_keys = api_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            try:
                check(Headers(scope=scope).get("authorization"), self._api_keys)
            except ServiceError as error:
                await problems.refusal(error, requests.id_of(scope))(scope, receive, send)
                return
        await self._app(scope, receive, send)


_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def _coded(coding: str) -> MediaTypeError:
    message = (
        f"the header Content-Encoding is {quoted(coding, 100)}, but bodies are not decoded: leave the header out and "
        "send the body uncompressed; send a compressed archive of a dataset with Content-Type: application/gzip only"
    )
    return MediaTypeError(message, [Problem(("header", "Content-Encoding"), message)])


class BodyLimit:
    """Middleware that refuses bodies that are compressed, too slow, or too long (as announced or as received).

    Uploads of datasets have another limit (AUGMENT_MAX_HOME_BYTES), which their route checks.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, timeout_s: float, metrics: Metrics, unbounded: frozenset[str]
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._unbounded = unbounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        coding = ", ".join(headers.getlist("content-encoding")).strip().lower()
        if coding not in {"", "identity"} and scope["method"] in _WITH_BODY:
            accepted = {"Accept-Encoding": "identity"}  # RFC 9110, section 12.5.3
            await problems.refusal(_coded(coding), requests.id_of(scope), **accepted)(scope, receive, send)
            return
        bounded = scope["path"] not in self._unbounded
        length = headers.get("content-length", "")
        if bounded and length.isdigit() and int(length) > self._max_bytes:
            await problems.refusal(self._too_large(int(length)), requests.id_of(scope))(scope, receive, send)
            return
        num_bytes, is_whole = 0, False

        async def receive_counted() -> Message:
            nonlocal num_bytes, is_whole
            message = await (receive() if is_whole else self._next(receive))
            is_whole = is_whole or not message.get("more_body", False)
            body = message.get("body", b"")
            num_bytes += len(body)
            self._metrics.bytes_received.inc(len(body))
            if bounded and num_bytes > self._max_bytes:
                raise self._too_large(num_bytes)
            return message

        await self._app(scope, receive_counted, send)

    async def _next(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await receive()
        except TimeoutError as error:
            raise SlowBodyError(
                f"no part of the body arrived for {self._timeout_s:g} seconds (AUGMENT_BODY_TIMEOUT_S); send it again"
            ) from error

    def _too_large(self, num_bytes: int) -> TooLargeError:
        return TooLargeError(
            f"the body has at least {num_bytes} bytes; the limit is {self._max_bytes} (AUGMENT_MAX_BODY_BYTES): send "
            "fewer or smaller images, or upload a dataset"
        )
