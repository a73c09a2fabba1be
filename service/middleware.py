"""Middleware of every request: an id, a key, a bound on the body, a count and a log line.

Pure ASGI, because the answers are streams: nothing here collects a body. A key comes as ``Authorization: Bearer``, or
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
"""Probes: asked by machines that hold no key, and they tell nothing that one protects."""

_OPEN_FOLDER = "/client/"
"""The wheel of the client: pip holds no key."""

VERSION_HEADER = "Augment-Version"
"""On every answer, so that a client need not ask for it."""


def is_open(path: str) -> bool:
    """True if a path is served without a key."""
    return path in OPEN_PATHS or path.startswith(_OPEN_FOLDER)


def check(authorization: str | None, api_keys: Sequence[str]) -> None:
    """Raise UnauthorizedError unless the header holds one of the keys; where there are no keys, everybody may."""
    if not api_keys:
        return
    given = _key_in(authorization)
    # All are compared, each in constant time, so that the time tells neither a key's bytes nor its place.
    matches = [hmac.compare_digest(given, key.encode()) for key in api_keys]
    if not any(matches):
        what = "no key was presented" if authorization is None else "the key is not known"
        raise UnauthorizedError(f"{what}; send it as 'Authorization: Bearer KEY' or as the password of HTTP Basic")


def _key_in(authorization: str | None) -> bytes:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")  # what ASGI decoded it by
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


_log = logging.getLogger("service.requests")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""Methods that are counted under their names; clients can invent others without end."""


class Outermost:
    """Gives each request its id, counts it and logs one line when its answer has ended.

    Each answer tells the service's version.
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
            _log.error("a defect of ours", exc_info=error, extra={"request_id": request_id})
            if status:  # the answer has begun: the server cuts the connection, so that nobody takes half of it for all
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
    """Answers HEAD as GET without the body (RFC 9110, section 9.3.2): load balancers ask so.

    What a GET would go on to render is stopped, as if the client had left.
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
    """Lets nobody without a key past, but to what is open."""

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
        f"the header Content-Encoding is {quoted(coding, 100)}, and bodies are taken as they are: leave the header out "
        "and send the body uncompressed; a compressed archive of a dataset is sent with the header Content-Type: "
        "application/gzip alone"
    )
    return MediaTypeError(message, [Problem(("header", "Content-Encoding"), message)])


class BodyLimit:
    """Refuses bodies that are compressed, too slow, or too long (as announced, or once they exceed the limit).

    Uploads of datasets have a bound of their own (AUGMENT_MAX_HOME_BYTES), which their route sees to.
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
                f"nothing of the body came for {self._timeout_s:g} seconds (AUGMENT_BODY_TIMEOUT_S); send it again"
            ) from error

    def _too_large(self, num_bytes: int) -> TooLargeError:
        return TooLargeError(
            f"the body has {num_bytes} bytes or more; the limit is {self._max_bytes} (AUGMENT_MAX_BODY_BYTES): send "
            "fewer or smaller images, or upload a dataset"
        )
