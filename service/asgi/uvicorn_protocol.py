"""uvicorn's HTTP/1.1 protocol with two additions: a connection can be reset, and a body can be sent from a file.

An answer without a length ends when the connection is closed, so a client cannot tell a cut answer from a whole one.
A failure after the first byte therefore resets the connection.

The content of a file goes straight to the socket and never through this process. This is ASGI's extension ZERO_COPY,
which uvicorn lacks, with h11's framing around it.
"""

import asyncio
import ipaddress
import os
import socket
import struct
from contextlib import suppress
from typing import Any

import h11
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from augment.errors import StorageError

ZERO_COPY = "http.response.zerocopysend"
"""The extension of ASGI 3 and its message: ``file`` (a descriptor), ``offset``, ``count`` and ``more_body``."""

_KEY = "augment.transport"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with a time of 0

_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Keepalive settings that detect a vanished client after two minutes instead of two hours."""

_TURN_BYTES = 2**22
"""Bytes sent from a file before other tasks run: a millisecond's work, and all that a socket takes at once."""

_WAKING_BYTES = 2**14
"""Bytes written through the transport if the socket is full, so that it reports when there is room again."""


class Protocol(H11Protocol):
    """Protocol that exposes the transport in the scope's state, and sends files."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._application: Any = self.app
        self.app = self._run

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """Store the transport for the requests of this connection."""
        super().connection_made(transport)
        self.app_state = self.app_state | {_KEY: transport}
        transport.set_write_buffer_limits(0)  # pause writing while anything is buffered: see _send_bytes_of_file
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in {socket.AF_INET, socket.AF_INET6}:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):
                    connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            if self.client is not None and ipaddress.ip_address(self.client[0]).is_loopback:
                # Loopback needs no congestion control; BBR's pacing, if it is the default, costs a fifth of sending.
                with suppress(OSError):
                    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with ZERO_COPY unless the connection is encrypted."""

        async def send_files(message: Message) -> None:
            if message["type"] != ZERO_COPY:
                await send(message)
                return
            await self._send_file(message["file"], message.get("offset", 0), message["count"])
            if not message.get("more_body", False):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        if self.scheme == "http":
            scope.setdefault("extensions", {})[ZERO_COPY] = {}
        await self._application(scope, receive, send_files)

    async def _send_file(self, descriptor: int, offset: int, count: int) -> None:
        """Send a range of a file as a part of the body, as fast as the client reads.

        Does nothing once the client has left, like uvicorn's own ``send``. Raises StorageError if the file cannot be
        read.
        """
        await self.flow.drain()
        if self.transport.is_closing():
            return
        body: Any = range(count)  # h11 only takes its length, and returns it between its framing
        for part in self.conn.send_with_data_passthrough(h11.Data(data=body)) or ():
            if part is body:
                await self._send_bytes_of_file(descriptor, offset, offset + count)
            elif not self.transport.is_closing():  # the client may have left while its bytes were sent
                self.transport.write(part)

    async def _send_bytes_of_file(self, descriptor: int, start: int, stop: int) -> None:
        """Send directly to the socket. The transport's buffer is empty while writing is not paused."""
        connected = self.transport.get_extra_info("socket").fileno()
        while start < stop:
            await self.flow.drain()
            if self.transport.is_closing():
                return
            try:
                num_sent = os.sendfile(connected, descriptor, start, min(stop - start, _TURN_BYTES))
            except BlockingIOError:
                waking = os.pread(descriptor, min(stop - start, _WAKING_BYTES), start)
                self.transport.write(waking)
                num_sent = len(waking)
            except ConnectionError:
                self.transport.abort()
                return
            except OSError as error:
                raise StorageError(f"a file cannot be sent: {error.strerror}; request it again") from error
            if not num_sent:
                raise StorageError("a file was truncated while it was sent; request it again")
            start += num_sent
            await asyncio.sleep(0)


def num_body_bytes(message: Message) -> int:
    """Return the number of body bytes in a message to the client."""
    return int(message["count"]) if message["type"] == ZERO_COPY else len(message.get("body", b""))


def cut(scope: Scope) -> bool:
    """Reset the connection of a request and drop unsent bytes. Return False if it has no connection."""
    transport = scope.get("state", {}).get(_KEY)
    if transport is None:
        return False
    connected = transport.get_extra_info("socket")
    if connected is not None:
        with suppress(OSError):  # it is closed already
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
    return True
