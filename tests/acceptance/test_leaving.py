"""A client that leaves while its images are rendered: the work stops and leaves no files."""

import io
import socket
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.servers_for_tests import Server, wait_until

SLOW = '{"transforms": [{"GlassBlur": {"mode": "exact", "p": 1, "sigma": 1.0, "max_delta": 4, "iterations": 2}}]}'
"""About 4 microseconds a pixel: 40 ms for one copy of the image, 2.5 s for all."""
COPIES = 64


def form(images: int) -> bytes:
    """A multipart form of images of noise, each to be copied."""
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    texts = {"pipeline": SLOW, "copies": str(COPIES // images)}
    parts = [f'name="{name}"\r\n\r\n{text}'.encode() for name, text in texts.items()]
    parts += [f'name="images"; filename="{i}.png"\r\n\r\n'.encode() + file.getvalue() for i in range(images)]
    return b"".join(b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--b--\r\n"


def send(server: Server, body: bytes) -> socket.socket:
    host, port = urlsplit(server.url).netloc.split(":")
    head = f"POST /v1/augment HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
    connection = socket.create_connection((host, int(port)))
    connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + body)
    return connection


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.harden
def test_one_shot_of_a_client_who_leaves_is_stopped_and_leaves_nothing(tmp_path: Path, images: int) -> None:
    with Server(tmp_path / "home", workers=2) as server:
        server.wait_ready()
        at_rest = server.num_files()
        leaving = send(server, form(images))
        wait_until(lambda: server.metric("augment_workers_busy") > 0)
        assert server.num_files() > at_rest
        begun_s = server.workers_cpu_s()
        wait_until(lambda: server.workers_cpu_s() - begun_s > 0.2)
        leaving.close()
        left_s = server.workers_cpu_s()

        def is_idle() -> bool:
            busy = server.metric("augment_workers_busy") + server.metric("augment_queue_depth")
            return not busy and not server.metric("augment_requests_admitted")

        wait_until(is_idle)
        assert server.workers_cpu_s() - left_s < 1.0, "of the two seconds that the rest would take"
        assert server.num_files() == at_rest
        assert server.metric("augment_answers_open") == 0
        assert server.metric("augment_images_total") == 0, "its result is nobody's"
        assert server.metric('augment_requests_total{method="POST",route="/v1/augment",status="499"}') == 1
        staying = send(server, form(1).replace(f"\r\n{COPIES}\r\n".encode(), b"\r\n2\r\n"))
        with staying, staying.makefile("rb") as file:
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"
        wait_until(lambda: server.num_files() == at_rest)
