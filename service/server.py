"""The process that serves: uvicorn with our logs, and an orderly end.

On SIGTERM and SIGINT readiness turns to 503 and nothing new is admitted, and both are still said, because the listener
stays open while anything runs. ``AUGMENT_GRACE_S`` seconds later at most the process has ended: what runs has all but
the last of them, then its connections are cut, the workers end and the home is given back.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from augment.errors import AugmentError
from service import observe
from service.app import create_app
from service.asgi.uvicorn_protocol import Protocol
from service.errors import ServiceError
from service.settings import Settings, refusal_to_start, unknown_variables
from service.state import State

_BACKLOG = 2048

_OTHER_FILES = 256
"""Open files beside those of answers (a connection and a file each) and of bodies: manifests, pipes to workers."""

_ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on

_log = logging.getLogger(__name__)

_END_S = 2.0
"""What is kept of the grace period, or a quarter where that is less, for cutting connections and ending workers."""
_CUT_S = 0.5
_TICK_S = 0.05


class Server(uvicorn.Server):
    """uvicorn, told apart by its end: it answers while it drains, and a signal that was obeyed is not raised again."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, grace_s: float) -> None:
        super().__init__(config)
        self._app = app
        self._grace_s = grace_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where: with ``--port 0`` nobody else knows."""
        await super().startup(sockets)
        for listening in (sockets or []) if self.started else []:
            host, port = listening.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            _log.info("listening on %s", url, extra={"url": url})
            if self._state is not None:
                # Trainers are elsewhere where the service listens on all addresses: they know it by another name.
                known_as = f"http://HOST:{port}" if host in _ALL_ADDRESSES else url
                _log.info("trainers: pip install %s/client/%s", known_as, self._state.client_wheel.file_name)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signal calls it
        """A signal: stop admitting, then stop. Ctrl-C a second time waits for nobody."""
        if self._state is not None:
            self._state.admission.draining = True
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer until nothing runs any more, or the grace period is over; then cut what is left, and close."""
        started = time.monotonic()
        until = started + self._grace_s - min(_END_S, self._grace_s / 4)
        if self._state is not None:
            self._state.jobs.stop()  # a run's last record ends meanwhile
        while (tasks := set(self.server_state.tasks)) and not self.force_exit and time.monotonic() < until:
            await asyncio.wait(tasks, timeout=_TICK_S)
        if tasks:
            _log.warning("%d requests are cut: AUGMENT_GRACE_S is %g", len(tasks), self._grace_s)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CUT_S)
        self.config.timeout_graceful_shutdown = max(1, int(until - time.monotonic()))  # for the last bytes of answers
        await super().shutdown(sockets)
        _log.info("ended after %.1f s", time.monotonic() - started)

    @property
    def _state(self) -> State | None:
        found: State | None = getattr(self._app.state, "augment", None)
        return found


class _Starting:
    """The application, told apart only by keeping what is expected to go wrong at its start out of the log."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.error: AugmentError | ServiceError | None = None
        """Why it did not start, where that is no defect of ours."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or start and end."""

        async def send_without_traceback(message: Message) -> None:
            error = sys.exc_info()[1]
            if message["type"] == "lifespan.startup.failed" and isinstance(error, AugmentError | ServiceError):
                self.error = error
                message = {**message, "message": ""}
            await send(message)

        await self._app(scope, receive, send_without_traceback if scope["type"] == "lifespan" else send)


def serve(settings: Settings) -> None:
    """Serve until a signal; raises ServiceError where the settings, the address or the home do not allow it.

    AugmentError where the machine does not: a home that cannot be written, no memory for a worker.
    """
    refusal = refusal_to_start(settings)
    if refusal is not None:
        raise ServiceError(refusal)
    observe.configure(settings.log_level)
    for unknown in unknown_variables(os.environ):
        _log.warning("%s", unknown)
    _allow_open_files(2 * settings.answers_limit + settings.bodies_limit + _OTHER_FILES)
    app = create_app(settings)
    starting = _Starting(app)
    config = uvicorn.Config(
        starting,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=64 * 2**10,
    )
    server = Server(config, app, settings.grace_s)
    with suppress(SystemExit):  # uvicorn's word for a start that failed; it is told as any command's error
        asyncio.run(server.serve(sockets=[_listen(settings)]))
    if not server.started:
        raise starting.error or ServiceError("the service did not start; the log says why")


def _allow_open_files(wanted: int) -> None:
    """As many as all answers need, or as the hard limit allows: a login shell's 1,024 would not do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named TCP, asyncio sends small answers at once (TCP_NODELAY); with protocol 0 it would not know that it may.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise ServiceError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port or --host"
        ) from error
    return listening
