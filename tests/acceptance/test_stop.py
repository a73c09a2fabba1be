"""Shutdown of a service: answers while it drains, duration, and log."""

import json
import signal
import socket
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.servers_for_tests import Server, wait_until
from tests.service.folders_for_tests import write_folder

_GRACE_S = 6.0


def _connect(server: Server, head: str) -> socket.socket:
    """Connect a client that does not read its answer."""
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(30)
    client.connect((host, int(port)))
    client.sendall(f"{head} HTTP/1.1\r\nHost: x\r\n".encode())
    return client


def _refusal(server: Server, path: str, document: Any = None) -> tuple[int, str]:
    try:
        server.open(path, document).close()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"]
    return 200, ""


@pytest.mark.harden
def test_a_service_answers_while_it_drains_and_ends_in_order(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", *(f"cat/{i}.png" for i in range(64)))
    with Server(tmp_path / "home", data_roots=tmp_path, grace_s=_GRACE_S) as server:
        server.wait_ready()
        server.register(tmp_path / "photos")
        stream = server.declare({"transforms": [{"Resize": {"height": 400, "width": 400}}]}, batch_size=16)
        with (
            _connect(server, f"GET /v1/streams/{stream}/batches") as stalled,
            _connect(server, "POST /v1/augment?pipeline=light") as half,
            _connect(server, "GET /health/live") as idle,
        ):
            stalled.sendall(b"\r\n")
            half.sendall(b"Content-Length: 100000\r\n\r\nx")
            wait_until(lambda: server.metric("augment_batches_sent_total") >= 0 and stalled.recv(1) != b"")
            server.process.send_signal(signal.SIGTERM)
            problem = (503, "application/problem+json")
            wait_until(lambda: _refusal(server, "/health/ready") == problem)
            assert _refusal(server, "/health/live") == (200, "")
            assert _refusal(server, f"/v1/streams/{stream}/batches/0/1") == problem
            code = server.process.wait(60)
            told = half.recv(2**16).decode()
            assert idle.recv(1) == b""
    assert code == 0
    assert told.startswith("HTTP/1.1 503")
    assert "application/problem+json" in told
    lines = [json.loads(line) for line in server.log]
    assert [line for line in lines if "traceback" in line or line["level"] == "error"] == []
    assert any("AUGMENT_GRACE_S" in line["message"] for line in lines)
    (ended,) = (line["message"] for line in lines if line["message"].startswith("ended after "))
    assert float(ended.split()[2]) < _GRACE_S + 20, "late on a busy machine, but not as late as the client"


def test_a_service_without_work_ends_at_once(tmp_path: Path) -> None:
    with Server(tmp_path / "home") as server:
        server.wait_ready()
        assert server.stop() == 0
    assert not any("AUGMENT_GRACE_S" in line for line in server.log), "nothing had to be ended"
    assert server.num_files() == 0
