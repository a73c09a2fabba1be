"""Bodies sent from a file over real connections: correctly framed, and no faster than the client reads."""

import asyncio
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.asgi.uvicorn_protocol import ZERO_COPY, Protocol, cut

CONTENT = os.urandom(2**20) * 24  # much more than the buffers of two sockets hold
START, END = b"before", b"behind"


class FileApp:
    """Application that answers with START, a part of a file, and END, and stores its error."""

    def __init__(self, path: Path, *, count: int = len(CONTENT) - 3, headers: Any = ()) -> None:
        self.path = path
        self._count = count
        self._headers = list(headers)
        self.errors: list[BaseException] = []
        self.num_ended = 0
        self.is_sending = threading.Event()

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        assert ZERO_COPY in scope["extensions"]
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            await send({"type": "http.response.body", "body": START, "more_body": True})
            self.is_sending.set()
            await send({"type": ZERO_COPY, "file": descriptor, "offset": 3, "count": self._count, "more_body": True})
            await send({"type": ZERO_COPY, "file": descriptor, "count": 0, "more_body": True})
            await send({"type": "http.response.body", "body": END, "more_body": True})
            await send({"type": ZERO_COPY, "file": descriptor, "offset": 0, "count": 1})
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.errors.append(error)
            cut(scope)
        finally:
            os.close(descriptor)
            self.num_ended += 1


@contextmanager
def served(app: FileApp, *, send_bytes: int | None = None) -> Iterator[tuple[str, int]]:
    """Run uvicorn with the protocol in a thread; ``send_bytes`` is the send buffer of its connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if send_bytes is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        config = uvicorn.Config(app, http=Protocol, lifespan="off", log_config=None, timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def begin(address: tuple[str, int], receive_bytes: int) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(120)
    connection.connect(address)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection


def read_to_the_end(connection: socket.socket) -> None:
    while connection.recv(2**20):
        pass


def wait_until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


EXPECTED = START + CONTENT[3:] + END + CONTENT[:1]


@pytest.mark.parametrize("headers", [[], [(b"content-length", str(len(EXPECTED)).encode())]])
def test_file_is_framed_as_any_body_and_the_connection_lives_on(path: Path, headers: Any) -> None:
    app = FileApp(path, headers=headers)
    with served(app) as address:
        connection = http.client.HTTPConnection(*address, timeout=120)
        for _ in range(2):
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert answer.chunked is not bool(headers)
            assert answer.read() == EXPECTED
        connection.close()
    assert app.errors == []


def test_file_waits_for_a_slow_reader_and_may_be_removed_meanwhile(path: Path) -> None:
    app = FileApp(path)
    with served(app) as address, begin(address, 4096) as slow:
        assert app.is_sending.wait(60)
        path.unlink()
        time.sleep(0.3)
        assert app.num_ended == 0, "it is not sent before it is read"
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        pieces = []
        while piece := answer.read(300_000):
            pieces.append(piece)
            time.sleep(0.001)
        assert b"".join(pieces) == EXPECTED
    assert app.errors == []


def test_file_is_in_order_where_a_connection_holds_little(path: Path) -> None:
    app = FileApp(path)
    with served(app, send_bytes=4096) as address:
        with begin(address, 4096) as connection, http.client.HTTPResponse(connection) as answer:
            answer.begin()
            assert answer.read(2**20) == EXPECTED[: 2**20]
        wait_until(lambda: app.num_ended == 1)
    assert app.errors == []


def test_client_who_leaves_while_a_file_is_sent_ends_the_sending(path: Path) -> None:
    app = FileApp(path)
    with served(app) as address:
        for num_read in (0, 100_000):
            with begin(address, 4096) as leaving:
                assert app.is_sending.wait(60)
                if num_read:
                    leaving.recv(num_read)
        wait_until(lambda: app.num_ended == 2)
    assert app.errors == []


def test_file_that_is_shorter_than_said_resets_the_connection(path: Path) -> None:
    app = FileApp(path, count=len(CONTENT))  # three more than there are behind the offset
    with served(app) as address, begin(address, 2**20) as connection, pytest.raises(ConnectionResetError):
        read_to_the_end(connection)
    assert [str(error) for error in app.errors] == ["a file was truncated while it was sent; request it again"]


def test_file_may_be_cut_off_while_a_reader_waits(path: Path) -> None:
    class Cutting(FileApp):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            sending = asyncio.ensure_future(super().__call__(scope, receive, send))
            await asyncio.sleep(0.3)
            assert not sending.done()
            cut(scope)
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    app = Cutting(path)
    with served(app) as address, begin(address, 4096) as connection:
        wait_until(lambda: app.num_ended == 1)
        with pytest.raises(ConnectionResetError):
            read_to_the_end(connection)
    assert app.errors == []
