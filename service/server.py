"""The process that serves: uvicorn with our logs, and an orderly end.

On SIGTERM and SIGINT readiness turns to 503 at once and nothing new is admitted; what runs has ``AUGMENT_GRACE_S``
seconds, then its connections are cut; then the workers end and the home is given back.
"""

import asyncio
import logging
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service import logs
from service.app import create_app
from service.errors import ServiceError
from service.protocol import Protocol
from service.settings import Settings, refusal_to_start

_BACKLOG = 2048

_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn, told apart only by saying first that it drains."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where: with ``--port 0`` nobody else knows."""
        await super().startup(sockets)
        for listening in (sockets or []) if self.started else []:
            host, port = listening.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            _log.info("listening on %s", url, extra={"url": url})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: stop admitting, then stop."""
        state = getattr(self._app.state, "augment", None)
        if state is not None:
            state.admission.draining = True
        super().handle_exit(sig, frame)


def serve(settings: Settings) -> None:
    """Serve until a signal; raises ServiceError where the settings or the address do not allow it."""
    refusal = refusal_to_start(settings)
    if refusal is not None:
        raise ServiceError(refusal)
    logs.configure(settings.log_level)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.grace_s)),
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=64 * 2**10,
    )
    server = Server(config, app)
    asyncio.run(server.serve(sockets=[_listen(settings)]))
    if not server.started:
        raise ServiceError("the service did not start; the log says why")


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise ServiceError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port or --host"
        ) from error
    return listening
