"""The client with real servers that are killed while it reads."""

import hashlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.client import Client, ClientError, RefusedError, TooManyFailuresError, UnreachableError
from augment.samples.sample import Batch
from tests.acceptance.servers_for_tests import Server, wait_until
from tests.augment.client.base_install_for_tests import install_base, run_in_base

PIPELINE = {"transforms": [{"Resize": {"height": 32, "width": 32}}, {"HorizontalFlip": {"p": 0.5}}]}
NUM_RECORDS, BATCH_SIZE = 40, 4


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small images of noise in two classes."""
    from augment.images.encode import encode_image

    root = tmp_path_factory.mktemp("data") / "images"
    generator = np.random.default_rng(0)
    for index in range(NUM_RECORDS):
        path = root / f"class{index % 2}" / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(generator.integers(0, 256, (48, 48, 3), np.uint8), "png"))
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("service") / "home", data_roots=images.parent) as running:
        running.register(images)
        yield running


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def digest(batches: list[Batch]) -> list[tuple[int, list[str], bytes]]:
    return [(batch.index, batch.keys, np.asarray(batch.images).tobytes()) for batch in batches]


def num_prefetching() -> int:
    return sum(thread.name == "augment-prefetch" for thread in threading.enumerate())


def test_a_trainer_with_numpy_and_pyarrow_alone_reads_an_epoch_as_on_any_system(server: Server, tmp_path: Path) -> None:
    code = """
import hashlib, json
from augment.client import Client
found = hashlib.sha256()
with Client(sys.argv[1]) as client:
    stream = client.stream(**json.loads(sys.argv[2]))
    for batch in stream.epoch(1):
        found.update(stream.normalize(batch.images).tobytes())
print(found.hexdigest())
"""
    pipeline = {"transforms": [{"Resize": {"height": 96, "width": 96}}, {"HorizontalFlip": {"p": 0.5}}]}
    wanted: dict[str, Any] = {"dataset": "photos", "pipeline": pipeline, "batch_size": 20, "seed": 3}
    wanted["normalize"] = {"method": "standard"}
    done = run_in_base(install_base(tmp_path), code, server.url, json.dumps(wanted), elsewhere=True)
    assert done.returncode == 0, done.stderr
    expected = hashlib.sha256()
    with Client(server.url) as client:
        stream = client.stream(**wanted)
        for batch in stream.epoch(1):
            assert np.asarray(batch.images).nbytes > 1 << 18  # what Linux waits for in one read, and Windows cannot
            expected.update(stream.normalize(batch.images).tobytes())
    assert done.stdout.strip() == expected.hexdigest()


def test_an_epoch_holds_every_record_once_and_a_part_of_it_is_the_same(server: Server) -> None:
    with Client(server.url) as client:
        stream = client.stream(dataset="photos", pipeline=PIPELINE, batch_size=BATCH_SIZE, seed=3)
        assert stream.num_batches == NUM_RECORDS // BATCH_SIZE
        assert stream.image_shape == (32, 32, 3)
        whole = list(stream.epoch(1))
        assert len({key for batch in whole for key in batch.keys}) == NUM_RECORDS
        assert digest(list(stream.epoch(1, start=4, stop=7))) == digest(whole[4:7])
        ranks = [list(stream.epoch(1, rank=rank, world_size=2)) for rank in range(2)]
        joined = [np.concatenate(pair) for pair in zip(*([b.images for b in rank] for rank in ranks), strict=True)]
        assert all(np.array_equal(one, batch.images) for one, batch in zip(joined, whole, strict=True))
    assert num_prefetching() == 0


@pytest.mark.parametrize(
    ("section", "layout"),
    [
        ({"method": "standard", "statistics": "dataset"}, "NCHW"),
        ({"method": "standard", "statistics": "image"}, "NHWC"),
        ({"method": "tanh", "statistics": "imagenet"}, "NCHW"),
    ],
)
def test_floats_of_the_server_are_the_clients_bit_for_bit(server: Server, section: dict[str, str], layout: str) -> None:
    with Client(server.url) as client:
        declared: dict[str, Any] = {
            "dataset": "photos",
            "pipeline": PIPELINE,
            "batch_size": BATCH_SIZE,
            "normalize": section,
        }
        pixels = client.stream(**declared, layout=layout)
        floats = client.stream(**declared, layout=layout, dtype="float32")
        assert pixels.document["normalize"] == floats.document["normalize"]
        for one, other in zip(pixels.epoch(0, 0, 3), floats.epoch(0, 0, 3), strict=True):
            assert one.keys == other.keys
            made = pixels.normalize(one.images)
            assert made.dtype == np.float32
            assert made.shape == (BATCH_SIZE, 3, 32, 32) if layout == "NCHW" else (BATCH_SIZE, 32, 32, 3)
            assert made.tobytes() == np.asarray(other.images).tobytes()
            if section["statistics"] != "image":
                shown = pixels.denormalise(one.images)
                np.testing.assert_array_equal(floats.denormalise(other.images), shown)
        with pytest.raises(ClientError, match="normalised already"):
            floats.normalize(np.zeros((1, 2, 2, 3), np.uint8))


def test_a_reader_that_leaves_leaves_no_thread(server: Server) -> None:
    client = Client(server.url)
    stream = client.stream(dataset="photos", pipeline=PIPELINE, batch_size=BATCH_SIZE)
    batches = stream.epoch(0)
    next(batches)
    assert num_prefetching() == 1
    batches.close()
    assert num_prefetching() == 0
    others = stream.epoch(0)
    next(others)
    client.close()
    assert num_prefetching() == 0


def test_a_refusal_carries_the_problem_document(server: Server) -> None:
    with Client(server.url) as client, pytest.raises(RefusedError) as caught:
        client.stream(dataset="photos", pipeline={"transforms": [{"HorizontalFlop": {}}]}, batch_size=BATCH_SIZE)
    assert caught.value.status == 422
    assert "HorizontalFlip" in caught.value.detail
    assert caught.value.errors[0]["loc"][0] == "pipeline"


def test_a_server_that_never_answers_is_given_up_after_the_deadline() -> None:
    with pytest.raises(UnreachableError, match="deadline_s"):
        Client(f"http://127.0.0.1:{free_port()}", deadline_s=0.3).version  # noqa: B018 - asking is the point


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ClientError, match="http://host:port"):
        Client(url)


@pytest.mark.harden
def test_a_killed_and_restarted_server_costs_no_batch_and_repeats_none(tmp_path: Path, images: Path) -> None:
    with Server(tmp_path / "home", data_roots=images, port=free_port()) as killed:
        killed.register(images)
        with Client(killed.url, deadline_s=60) as client:
            stream = client.stream(dataset="photos", pipeline=PIPELINE, batch_size=BATCH_SIZE, prefetch=1)
            expected = digest(list(stream.epoch(0)))
            batches = stream.epoch(0)
            got = list(itertools.islice(batches, 3))
            killed.kill()
            restarting = threading.Thread(target=killed.restart)
            restarting.start()
            got += list(batches)
            restarting.join()
            assert digest(got) == expected
            # The restarted server knows the stream; a server that forgot it gets the declaration again.
            killed.wait_ready()
            client._transport.request("DELETE", f"/v1/streams/{stream.id}")
            assert digest(list(stream.epoch(0))) == expected


def test_a_wrong_url_fails_in_seconds_and_says_what_to_look_at() -> None:
    started = time.monotonic()
    with pytest.raises(UnreachableError, match=r"no progress for 5 s.*Is the URL right"):
        Client(f"http://127.0.0.1:{free_port()}").stream(dataset="photos", pipeline=PIPELINE)
    assert time.monotonic() - started < 60  # not the two minutes of deadline_s


@pytest.mark.filterwarnings("ignore::augment.client.ReplacedRowsWarning")  # told of by test_epochs
def test_max_failures_is_judged_over_the_run(server: Server, images: Path) -> None:
    own = images.with_name("own")
    own.mkdir()
    for path in sorted(images.rglob("*.png"))[:12]:
        (own / path.name).write_bytes(path.read_bytes())
    server.register(own, "own")
    for path in sorted(own.glob("*.png"))[:2]:
        path.unlink()
    with Client(server.url) as client:
        wanted = {"dataset": "own", "pipeline": PIPELINE, "batch_size": 4}
        for limit in (1, 0.1):
            with pytest.raises(TooManyFailuresError, match="max_failures"):
                list(client.stream(**wanted, max_failures=limit).epoch(0))  # type: ignore[arg-type]
        for allowed in (2, 0.2, None):
            stream = client.stream(**wanted, max_failures=allowed)  # type: ignore[arg-type]
            assert len(list(stream.epoch(0))) == 3
            assert stream.num_failed == 2
    wait_until(lambda: num_prefetching() == 0)
