"""Clients that send slowly or do not read: they hold no place, and a body that stops coming is refused."""

import socket
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.servers_for_tests import Server, wait_until
from tests.service.folders_for_tests import pattern, write_folder


def _post(server: Server, query: str, length: int, data: bytes) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(60)
    client.connect((host, int(port)))
    head = f"POST /v1/augment?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    client.sendall(head.encode() + data)
    return client


@pytest.mark.harden
def test_slow_clients_lock_nobody_out(tmp_path: Path) -> None:
    assert pattern(1).shape == (24, 32, 3)
    data = (write_folder(tmp_path, "cat.png") / "cat.png").read_bytes()
    big = "pipeline={transforms: [{Resize: {height: 1500, width: 1500, p: 1}}]}&image_format=png".replace(" ", "%20")
    with Server(tmp_path / "home", queue_limit=2, bodies_limit=4, body_timeout_s=5) as server, ExitStack() as held:
        server.wait_ready()

        def augment() -> int:
            url = f"{server.url}/v1/augment?pipeline=light"
            with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:  # noqa: S310 - ours
                return int(answer.status)

        for _ in range(3):  # one after another, because they do render
            held.enter_context(_post(server, big, len(data), data))
            wait_until(lambda: server.metric("augment_requests_admitted") == 0)
        slow = [held.enter_context(_post(server, "pipeline=light", 1000, b"x")) for _ in range(3)]
        wait_until(lambda: server.metric("augment_bodies_open") == 3)
        assert augment() == 200, "three do not read, three do not send"
        told = b"".join(iter(lambda: slow[0].recv(2**16), b"")).decode()  # it says so and closes
        assert told.startswith("HTTP/1.1 408"), told
        assert "AUGMENT_BODY_TIMEOUT_S" in told
        assert slow[0].recv(1) == b"", "and the connection is closed"
        wait_until(lambda: server.metric("augment_bodies_open") == 0)
        assert [line for line in server.log if "traceback" in line] == []
