"""The client's reading from a socket into memory: complete for any chunks, without waiting for later bytes."""

import http.client
import itertools
import os
import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import pytest

from augment.client.stream import Received
from augment.client.transport import Answer, ServiceAddress

CONTENT = os.urandom(1_500_000)
TIMEOUT_S = 3.0


def chunked(sizes: Iterable[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        part = CONTENT[start : start + size]
        start += size
        if part:
            yield b"%x\r\n%s\r\n" % (len(part), part)
    yield b"0\r\n\r\n"


@contextmanager
def answering(head: bytes, pieces: Iterable[bytes]) -> Iterator[Answer]:
    """Yield an answer of these pieces; its connection is closed after them when the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(ConnectionError):  # the reader may leave early
                connection.recv(2**16)
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
                for piece in pieces:
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        url = "http://{}:{}".format(*listening.getsockname())
        with Answer(ServiceAddress.parse(url, None).connect(TIMEOUT_S), "GET", "/", None, {}) as answer:
            yield answer
        thread.join(10)


CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 300_000, len(CONTENT), len(CONTENT) + 5])
@pytest.mark.parametrize("num_chunks", [0, 1, 7, 200])
def test_content_is_the_same_at_any_size_of_read_and_chunk(size: int, num_chunks: int) -> None:
    cuts = sorted(random.Random(num_chunks).sample(range(1, len(CONTENT)), num_chunks))
    sizes = [stop - start for start, stop in itertools.pairwise([0, *cuts, len(CONTENT)])]
    head, pieces = (
        (CHUNKED, list(chunked(sizes))) if num_chunks else (f"Content-Length: {len(CONTENT)}".encode(), [CONTENT])
    )
    wanted = min(len(CONTENT), 500 * size)
    with answering(head, pieces) as answer:
        source, received = Received(answer), bytearray()
        while len(received) < wanted:
            part = source.read(size)
            assert 0 < len(part) <= size
            assert memoryview(part).readonly
            received += part
        answer.abort()
    assert received == CONTENT[: len(received)]


def test_much_and_little_are_waited_for_no_longer_than_they_take() -> None:
    """No read waits for later bytes: the sender is silent until it is answered."""
    answered = [threading.Event(), threading.Event()]

    def pieces() -> Iterator[bytes]:
        yield b"%x\r\n" % len(CONTENT) + CONTENT
        assert answered[0].wait(TIMEOUT_S / 2)
        yield b"\r\n6\r\nlittle\r\n"
        assert answered[1].wait(TIMEOUT_S / 2)

    with answering(CHUNKED, pieces()) as answer:
        source = Received(answer)
        assert source.read(len(CONTENT)) == CONTENT
        answered[0].set()
        assert source.read(6) == b"little"
        answered[1].set()


@pytest.mark.parametrize("sent", [100, 300_000, len(CONTENT) - 1])
def test_body_that_is_cut_is_no_whole_one(sent: int) -> None:
    pieces = [b"%x\r\n" % len(CONTENT), CONTENT[:sent]]
    with answering(CHUNKED, pieces) as answer, pytest.raises(http.client.IncompleteRead):
        Received(answer).read(len(CONTENT))
    with answering(f"Content-Length: {len(CONTENT)}".encode(), [CONTENT[:sent]]) as answer:
        assert Received(answer).read(len(CONTENT)) == CONTENT[:sent], "Arrow says what is missing"


def test_abort_ends_a_read_that_waits_for_much() -> None:
    wait = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"%x\r\n" % len(CONTENT) + CONTENT[:1000]
        wait.wait(10)

    with answering(CHUNKED, pieces()) as answer:
        aborting = threading.Timer(0.2, answer.abort)
        aborting.start()
        with pytest.raises(http.client.IncompleteRead):
            Received(answer).read(len(CONTENT))
        aborting.join()
        wait.set()


def test_link_that_drips_is_no_silence() -> None:
    """Each wait for bytes is bounded, not the total time of a large read."""

    def dripping() -> Iterator[bytes]:
        for start in range(0, 600_000, 150_000):
            yield CONTENT[start : start + 150_000]
            time.sleep(0.4 * TIMEOUT_S)

    with answering(b"Content-Length: 600000", dripping()) as answer:
        assert Received(answer).read(600_000) == CONTENT[:600_000]


def test_silence_in_the_middle_of_much_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.TIMEOUT_S", 0.3)
    wait = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"%x\r\n" % len(CONTENT) + CONTENT[:500_000]
        wait.wait(10)

    with answering(CHUNKED, pieces()) as answer:
        with pytest.raises(TimeoutError):
            Received(answer).read(len(CONTENT))
        wait.set()
