"""Server process: uvicorn with JSON logs and a graceful shutdown.

On SIGTERM and SIGINT readiness turns to 503 and new requests are refused. The listener stays open while anything runs,
so that clients get these answers. The process ends after at most ``AUGMENT_GRACE_S`` seconds. In the last two of them,
or the last quarter if that is less, connections are reset, the workers end and the home is unlocked.
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
"""Open files apart from answers (a connection and a file each) and bodies: manifests, pipes to workers."""

_ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})  # noqa: S104 - only compared

_log = logging.getLogger(__name__)

_END_S = 2.0
"""End of the grace period, at most a quarter of it, in which connections are cut and workers end."""
_CUT_S = 0.5
_TICK_S = 0.05


class Server(uvicorn.Server):
    """uvicorn server that still answers while it shuts down, and does not raise a handled signal again."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, grace_s: float) -> None:
        super().__init__(config)
        self._app = app
        self._grace_s = grace_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and log the URL, because with ``--port 0`` the port is chosen here."""
        await super().startup(sockets)
        for listening in (sockets or []) if self.started else []:
            host, port = listening.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            _log.info("listening on %s", url, extra={"url": url})
            if self._state is not None:
                # A service on all addresses has remote trainers, which know it by another name.
                known_as = f"http://HOST:{port}" if host in _ALL_ADDRESSES else url
                _log.info("trainers: pip install %s/client/%s", known_as, self._state.client_wheel.file_name)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signal calls it
        """Handle a signal: refuse new requests, then stop. A second Ctrl-C stops at once."""
        if self._state is not None:
            self._state.admission.draining = True
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer until no request runs or the grace period is over, then cut the remaining ones and close."""
        started = time.monotonic()
        until = started + self._grace_s - min(_END_S, self._grace_s / 4)
        if self._state is not None:
            self._state.jobs.stop()  # early, so that their workers can finish their last record
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
        state: State | None = getattr(self._app.state, "augment", None)
        return state


class _Starting:
    """Wrapper of the application that keeps tracebacks of expected start errors out of the log."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.error: AugmentError | ServiceError | None = None
        """Expected error that prevented the start, or None."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or the start and the end."""

        async def send_without_traceback(message: Message) -> None:
            error = sys.exc_info()[1]
            if message["type"] == "lifespan.startup.failed" and isinstance(error, AugmentError | ServiceError):
                self.error = error
                message = {**message, "message": ""}
            await send(message)

        await self._app(scope, receive, send_without_traceback if scope["type"] == "lifespan" else send)


def serve(settings: Settings) -> None:
    """Serve until a signal. Raises ServiceError if the settings, the address or the home do not allow it.

    Raises AugmentError if the machine does not allow it: the home is not writable, no memory for a worker.
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
    with suppress(SystemExit):  # uvicorn raises it if the start failed; the error is raised below
        asyncio.run(server.serve(sockets=[_listen(settings)]))
    if not server.started:
        raise starting.error or ServiceError("the service did not start; the log has the reason")


def _allow_open_files(num_files: int) -> None:
    """Raise the limit of open files to ``num_files`` or the hard limit; a login shell's 1,024 are too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < num_files:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (num_files if hard == resource.RLIM_INFINITY else min(num_files, hard), hard)
        )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sets TCP_NODELAY, which sends small answers at once, only if the protocol is TCP and not 0.
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
