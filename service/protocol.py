"""HTTP/1.1 as uvicorn speaks it, with one word more: a connection that can be cut.

Closing is the polite end of an answer without a length, and a client cannot tell it from a whole one. What fails after
the first byte has to look like what it is, so the connection is reset.
"""

import asyncio
import socket
import struct

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

_KEY = "augment.transport"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all

_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A reader whose machine vanished while nothing was sent is noticed after two minutes, not two hours."""


class Protocol(H11Protocol):
    """Lets a response reach its transport through its scope's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """Remember the transport for the requests that come over it."""
        super().connection_made(transport)
        self.app_state = self.app_state | {_KEY: transport}
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in {socket.AF_INET, socket.AF_INET6}:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):
                    connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def cut(scope: Scope) -> bool:
    """Reset the connection of a request, whatever was not sent yet; False where there is none that could be."""
    transport = scope.get("state", {}).get(_KEY)
    if transport is None:
        return False
    connected = transport.get_extra_info("socket")
    if connected is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
    return True
