"""Streams of real services, read by real clients, with kills."""

import io
import json
import socket
import subprocess
import tarfile
import urllib.error
from collections.abc import Iterator
from http.client import IncompleteRead
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from augment.expansion.expand import expand_dataset
from augment.samples.sample import Batch
from augment.wire import arrow
from tests.acceptance.servers_for_tests import Server, wait_until

PIPELINE = {"transforms": [{"RandomResizedCrop": {"size": [24, 24], "scale": [0.3, 1.0]}}, {"ColorJitter": {}}]}
SLOW = {
    "transforms": [
        {"GlassBlur": {"mode": "exact", "p": 1, "sigma": 1.0, "max_delta": 4, "iterations": 2}},
        {"Resize": {"height": 16, "width": 16, "p": 1}},
    ]
}
"""About 4 microseconds a pixel: 20 ms for 70 x 70 of them."""
LARGE = {"transforms": [{"Resize": {"height": 512, "width": 512, "p": 1}}]}
"""6 MB for a batch of 8: more than sockets hold."""


def write_photos(folder: Path, num_each: int = 20, side: int = 40) -> Path:
    for kind in ("cat", "dog"):
        for i in range(num_each):
            path = folder / kind / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(i).integers(0, 256, (side // 10, side // 10, 3), dtype=np.uint8)
            Image.fromarray(np.kron(noise, np.ones((10, 10, 1), np.uint8))).save(path)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("one") / "home", data_roots=photos.parent, workers=2) as server:
        server.register(photos)
        yield server


def batches_of(data: bytes) -> list[Batch]:
    return list(arrow.read_batches(data))


def begin(server: Server, path: str, *, receive_bytes: int | None = None) -> socket.socket:
    """Return a connection with a small receive buffer that has sent a request and reads nothing."""
    host, port = urlsplit(server.url).netloc.split(":")
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.connect((host, int(port)))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    return connection


def rest_of(connection: socket.socket) -> bytes:
    with connection, connection.makefile("rb") as file:
        return file.read()


@pytest.mark.harden
def test_same_address_is_the_same_bytes_on_any_server_and_after_a_kill(
    server: Server, photos: Path, tmp_path: Path
) -> None:
    stream = server.declare(PIPELINE, batch_size=8, seed=7)
    paths = [f"/v1/streams/{stream}/batches/{epoch}/{index}" for epoch in (0, 5) for index in (0, 4)]
    paths += [
        f"/v1/streams/{stream}/batches?epoch=1",
        f"/v1/streams/{stream}/batches/3/1?format=tar&rank=1&world_size=2",
    ]
    paths += [f"/v1/streams/{stream}/batches/3/1?format=npz", f"/v1/streams/{stream}/samples/2/dog/004"]
    expected = [server.get(path) for path in paths]
    with Server(tmp_path / "home", data_roots=photos.parent, workers=3) as other:
        other.register(photos)
        assert other.declare(PIPELINE, batch_size=8, seed=7) == stream
        assert [other.get(path) for path in paths] == expected
        other.kill()
        assert other.num_files() > 1
        other.restart()
        assert other.num_files() == 1, "what the killed one left is gone, and one empty folder is there"
        assert [other.get(path) for path in reversed(paths)] == expected[::-1]
        assert other.stop() in {0, -15}
        assert other.num_files() == 0


def test_samples_are_what_expand_writes(server: Server, photos: Path, tmp_path: Path) -> None:
    stream = server.declare(PIPELINE, batch_size=8, seed=7)
    pipeline = tmp_path / "pipeline.json"
    pipeline.write_text(json.dumps(PIPELINE), encoding="utf-8")
    expand_dataset(photos, tmp_path / "out", pipeline, copies=2, seed=7, image_format="png")
    batch = batches_of(server.get(f"/v1/streams/{stream}/batches/1/0"))[0]
    for key, image in zip(batch.keys, batch.images, strict=True):
        written = (tmp_path / "out" / f"{key}__1.png").read_bytes()
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(written))), image)
        assert server.get(f"/v1/streams/{stream}/samples/1/{key}") == written


def test_bare_pyarrow_reads_an_epoch(server: Server) -> None:
    stream = server.declare(PIPELINE, batch_size=8, drop_last=False, seed=1)
    keys: list[str] = []
    with server.open(f"/v1/streams/{stream}/batches") as answer, pa.ipc.open_stream(answer) as reader:
        for record_batch in reader:
            images = record_batch["image"].to_numpy_ndarray()
            assert images.shape == (record_batch.num_rows, 24, 24, 3)
            keys += record_batch["key"].to_pylist()
    assert sorted(keys) == sorted(f"{kind}/{i:03}" for kind in ("cat", "dog") for i in range(20))


def test_webdataset_reads_an_epoch_from_the_plain_url(server: Server) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    stream = server.declare(PIPELINE, batch_size=8, seed=1)
    url = f"{server.url}/v1/streams/{stream}/batches?format=tar&epoch=1".replace("://", "://any:key@")
    dataset = webdataset.WebDataset(url, shardshuffle=False).decode("rgb8").to_tuple("png", "cls", "json")
    samples = list(dataset)
    batches = batches_of(server.get(f"/v1/streams/{stream}/batches?epoch=1"))
    assert [sample[2]["key"] for sample in samples] == [key for batch in batches for key in batch.keys]
    assert [sample[1] for sample in samples] == [int(label) for batch in batches for label in batch.labels]  # type: ignore[union-attr]
    images = [image for batch in batches for image in batch.images]
    assert all(np.array_equal(sample[0], image) for sample, image in zip(samples, images, strict=True))


def test_curl_and_tar_read_a_batch(server: Server, tmp_path: Path) -> None:
    stream = server.declare(PIPELINE, batch_size=8, seed=1)
    url = f"{server.url}/v1/streams/{stream}/batches/0/0"
    subprocess.run(["curl", "-sSf", "-H", "Accept: application/x-tar", "-o", tmp_path / "a.tar", url], check=True)
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert len(archive.getnames()) == 24


def test_reader_who_stops_reading_costs_others_nothing(server: Server) -> None:
    stream = server.declare(LARGE, batch_size=8, seed=3)
    path = f"/v1/streams/{stream}/batches"
    expected = server.get(f"{path}?epoch=1")
    stalled = [begin(server, f"{path}?epoch=1", receive_bytes=4096) for _ in range(3)]
    try:
        wait_until(lambda: server.metric("augment_readers") == 3)
        for epoch in (2, 3):
            with server.open(f"{path}?epoch={epoch}") as answer:  # begun, and not read to its end
                first = answer.read(1)
                assert server.get("/health/live")
                assert len(batches_of(first + answer.read())) == 5
        assert rest_of(stalled.pop()).count(b"\r\n\r\n") >= 1
        assert server.get(f"{path}?epoch=1") == expected
    finally:
        for connection in stalled:
            connection.close()
    wait_until(lambda: server.metric("augment_readers") == 0)


def test_reader_who_leaves_stops_his_rendering_within_a_cpu_second(server: Server, photos: Path) -> None:
    server.register(write_photos(photos.parent / "larger", num_each=64, side=150), "larger")
    fast = server.declare(PIPELINE, batch_size=8)
    server.get(f"/v1/streams/{fast}/batches")  # both workers have started
    sent = server.metric("augment_batches_sent_total")
    stream = server.declare(SLOW, "larger", batch_size=64)
    for path in ("batches", "batches/0/1"):
        reader = begin(server, f"/v1/streams/{stream}/{path}")
        wait_until(lambda: server.metric("augment_workers_busy") > 0)
        begun_s = server.workers_cpu_s()
        wait_until(lambda: server.workers_cpu_s() - begun_s > 0.3)  # noqa: B023 - called at once
        reader.close()
        left_s = server.workers_cpu_s()
        wait_until(lambda: server.metric("augment_workers_busy") + server.metric("augment_queue_depth") == 0)
        assert server.workers_cpu_s() - left_s < 1.0, "of the six seconds that all would take"
        assert server.metric("augment_requests_admitted") == 0
        assert server.metric("augment_batches_sent_total") == sent


def test_failure_after_the_first_byte_cuts_the_connection(server: Server, photos: Path) -> None:
    folder = write_photos(photos.parent / "changing", num_each=8)
    server.register(folder, "changing")
    stream = server.declare(LARGE, "changing", batch_size=4, shuffle=False)
    (folder / "dog" / "007.png").write_bytes(b"no image any more")
    path = f"/v1/streams/{stream}/batches"
    with pytest.raises((ConnectionResetError, IncompleteRead)):
        server.get(f"{path}?max_failures=0")
    assert len(batches_of(server.get(f"{path}?max_failures=0&stop=3"))) == 3
    with pytest.raises(urllib.error.HTTPError, match="422") as refused:
        server.get(f"{path}?max_failures=0&start=3")
    refused.value.close()
    # HTTP/1.0 frames nothing: only a reset tells a cut answer from a whole one
    host, port = urlsplit(server.url).netloc.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {path}?max_failures=0 HTTP/1.0\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError), connection.makefile("rb") as file:
            file.read()
    assert "an answer was cut" in "".join(server.log)


@pytest.mark.harden
def test_stalled_readers_hold_no_place_and_a_stop_ends_them_within_its_grace(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", num_each=8)
    with Server(tmp_path / "home", data_roots=tmp_path, queue_limit=2, answers_limit=6, grace_s=1) as server:
        server.register(photos)
        stream = server.declare(LARGE, batch_size=4)
        path = f"/v1/streams/{stream}/batches"
        expected = server.get(path)
        stalled: list[socket.socket] = []
        while len(stalled) < 5:
            stalled.append(begin(server, f"{path}?epoch={1 + len(stalled) % 2}", receive_bytes=4096))
            wait_until(lambda: server.metric("augment_readers") == len(stalled))
            wait_until(lambda: server.metric("augment_requests_admitted") == 0)
        assert server.get(path) == expected
        assert len(batches_of(server.get(f"{path}?epoch=3"))) == 4, "what must be rendered is, at once"
        stalled.append(begin(server, f"{path}/0/0", receive_bytes=4096))
        wait_until(lambda: server.metric("augment_answers_open") == 6)
        with pytest.raises(urllib.error.HTTPError, match="429") as refused:
            server.get(path)
        assert int(refused.value.headers["Retry-After"]) >= 1
        assert "AUGMENT_ANSWERS_LIMIT" in json.load(refused.value)["detail"]
        refused.value.close()
        for leaving in stalled:
            leaving.close()
        wait_until(lambda: server.metric("augment_answers_open") == 0)
        assert server.get(path) == expected

        with begin(server, path, receive_bytes=4096) as reader:
            wait_until(lambda: server.metric("augment_readers") == 1)
            assert server.num_files() > 1
            server.stop()
            assert any("AUGMENT_GRACE_S" in line for line in server.log), "the reader was ended, not waited for"
            assert server.num_files() == 0
            with pytest.raises(ConnectionResetError), reader.makefile("rb") as file:
                file.read()
