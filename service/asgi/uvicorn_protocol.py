"""HTTP/1.1 as uvicorn speaks it, with two words more: a connection that can be cut, and a body that comes from a file.

Closing is the polite end of an answer without a length, and a client cannot tell it from a whole one. What fails after
the first byte has to look like what it is, so the connection is reset.

What lies in a file goes from there to the socket and never through this process: ASGI's extension ZERO_COPY, which
uvicorn lacks, with h11's framing around it.
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
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all

_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A reader whose machine vanished while nothing was sent is noticed after two minutes, not two hours."""

_TURN_BYTES = 2**22
"""What is sent from a file before others have their turn: a millisecond's work, and all that a socket takes at once."""

_WAKING_BYTES = 2**14
"""What is written through the transport where the socket is full, so that it tells when there is room again."""


class Protocol(H11Protocol):
    """Lets a response reach its transport through its scope's state, and sends files."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._application: Any = self.app
        self.app = self._run

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """Remember the transport for the requests that come over it."""
        super().connection_made(transport)
        self.app_state = self.app_state | {_KEY: transport}
        transport.set_write_buffer_limits(0)  # writing is paused as long as anything waits: see _send_file
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in {socket.AF_INET, socket.AF_INET6}:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):
                    connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            if self.client is not None and ipaddress.ip_address(self.client[0]).is_loopback:
                # There is nothing to control, and BBR's pacing, where it is the default, costs a fifth of the sending.
                with suppress(OSError):
                    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with ZERO_COPY where the bytes of a file are those of the connection (not so in TLS)."""

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
        """Send these bytes of a file as a part of the body, as fast as the client reads.

        Once the client has left it does nothing, as uvicorn's own ``send``. StorageError where the file cannot be read.
        """
        await self.flow.drain()
        if self.transport.is_closing():
            return
        body: Any = range(count)  # h11 measures what has a length, and hands it back between its framing
        for part in self.conn.send_with_data_passthrough(h11.Data(data=body)) or ():
            if part is body:
                await self._send_bytes_of_file(descriptor, offset, offset + count)
            else:
                self.transport.write(part)

    async def _send_bytes_of_file(self, descriptor: int, start: int, stop: int) -> None:
        """Past the transport's buffer, which is empty whenever writing is not paused."""
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
                raise StorageError(f"a file cannot be sent: {error.strerror}; ask for it again") from error
            if not num_sent:
                raise StorageError("a file was cut while it was sent; ask for it again")
            start += num_sent
            await asyncio.sleep(0)


def num_body_bytes(message: Message) -> int:
    """How many bytes of a body a message to the client brings."""
    return int(message["count"]) if message["type"] == ZERO_COPY else len(message.get("body", b""))


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
