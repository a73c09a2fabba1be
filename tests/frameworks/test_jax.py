"""sharded_batches with the real JAX on four devices of the CPU: arrays are the batches of the plain client."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from augment.client import Client, ClientError, ClientStream
from tests.acceptance.servers_for_tests import ROOT
from tests.frameworks.service_for_tests import (
    BATCH_SIZE,
    NUM_BATCHES,
    client_of_service,
    declared,
    num_lines_of_user,
    page_blocks,
)

jax = pytest.importorskip("jax", reason="jax is not installed")
pytestmark = pytest.mark.frameworks
# Here and not in a fixture: all modules are collected before a test of any of them starts JAX.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)

NUM_WHOLE = NUM_BATCHES - 1
"""Batches of an epoch with drop_last."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client_of_service(tmp_path_factory.mktemp("service")) as client:
        yield client


@pytest.fixture(scope="module")
def stream(client: Client) -> ClientStream:
    return declared(client, drop_last=True)


def batches(stream: ClientStream, *place: int, **options: Any) -> Any:
    from augment.client.jax import sharded_batches

    return sharded_batches(stream, *place, **options)


def assert_equal(placed: Any, batch: Any) -> None:
    assert (placed["epoch"], placed["index"]) == (batch.epoch, batch.index)
    assert np.array_equal(placed["image"], batch.images)
    assert placed["image"].dtype == batch.images.dtype
    assert np.array_equal(placed["label"], batch.labels)
    assert np.array_equal(placed["position"], batch.positions)


def test_two_epochs_are_those_of_the_plain_client(stream: ClientStream) -> None:
    for epoch in range(2):
        for placed, batch in zip(batches(stream, epoch), stream.epoch(epoch), strict=True):
            assert_equal(placed, batch)
            assert {shard.data.shape for shard in placed["image"].addressable_shards} == {(2, 8, 8, 3)}
            assert len(placed["image"].sharding.device_set) == 4


@pytest.mark.parametrize("ahead", [0, 1, 9])
def test_reading_goes_on_behind_the_batch_in_hand(stream: ClientStream, ahead: int) -> None:
    reading = batches(stream, 3, ahead=ahead)
    last = [next(reading) for _ in range(2)][-1]
    reading.close()
    rest = batches(stream, last["epoch"], last["index"] + 1, ahead=ahead)
    for placed, batch in zip(rest, stream.epoch(3, 2), strict=True):
        assert_equal(placed, batch)


def test_a_sharding_may_leave_other_axes_of_the_mesh_alone(stream: ClientStream) -> None:
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = jax.make_mesh((2, 2), ("batch", "model"))
    for spec, num_rows in (("batch", 4), (("batch", "model"), 2), (None, 8)):
        sharding = NamedSharding(mesh, PartitionSpec(spec))
        for placed, batch in zip(batches(stream, 0, sharding=sharding), stream.epoch(0), strict=True):
            assert_equal(placed, batch)
            assert {shard.data.shape[0] for shard in placed["image"].addressable_shards} == {num_rows}
    alone = jax.sharding.SingleDeviceSharding(jax.devices()[1])
    assert_equal(next(batches(stream, 0, sharding=alone)), next(stream.epoch(0)))


def test_a_step_compiles_once_for_all_batches(stream: ClientStream) -> None:
    step = jax.jit(lambda total, batch: total + batch["image"].astype(int).sum())
    total = 0
    for batch in batches(stream, 0):
        total = step(total, batch)
    assert step._cache_size() <= 2  # the first total is a Python integer
    assert int(total) == sum(int(np.sum(batch.images, dtype=np.int64)) for batch in stream.epoch(0))


def test_rows_that_devices_cannot_share_are_an_error_before_the_first_batch(client: Client) -> None:
    with pytest.raises(ClientError, match=r"6 rows, which 4 shards cannot share evenly; declare .*multiple of 4"):
        batches(declared(client, batch_size=6, drop_last=True), 0)
    short_end = declared(client, batch_size=20, repeats=2)  # four times 20 rows, then 8
    assert len(list(batches(short_end, 0))) == 5
    short_end = declared(client, batch_size=6 * 7, drop_last=False)  # 42 and 2 rows
    with pytest.raises(ClientError, match="batch 1 has 2 rows"):
        batches(short_end, 0, 1)
    assert len(list(batches(declared(client), 0))) == NUM_BATCHES  # 4 rows in the last are enough for 4


def test_columns_that_are_no_arrays_come_when_they_are_named(client: Client) -> None:
    objects = client.stream(dataset="objects", pipeline={"transforms": []}, batch_size=4, shuffle=False)
    first = next(batches(objects, 0))
    assert {"position", "is_padding", "epoch", "index"} == set(first)
    first = next(batches(objects, 0, columns=["boxes", "key", "index"]))
    assert [len(boxes) for boxes in first["boxes"]] == [0, 1, 2, 0]
    assert first["key"] == ["0", "1", "2", "3"]
    with pytest.raises(ClientError, match="no column 'label'"):
        next(batches(objects, 0, columns=["label"]))
    with pytest.raises(ClientError, match="give a list of names"):
        batches(objects, 0, columns="image")


def test_examples_of_the_page_run(client: Client) -> None:
    loop, mesh = page_blocks("JAX")
    assert num_lines_of_user(loop) <= 5
    stream = client.stream(dataset="photos", pipeline="light", batch_size=BATCH_SIZE, seed=1)
    names: dict[str, Any] = {"stream": stream}
    exec(loop + mesh, names)  # noqa: S102 - our own page
    assert names["images"].shape == (BATCH_SIZE, *stream.image_shape)  # type: ignore[misc]


_PROCESS = """
import json, sys
import jax
import numpy as np

address, rank, url, stream_options = sys.argv[1], int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(address, 2, rank)
from augment.client import Client
from augment.client.jax import Placement, sharded_batches
from jax.sharding import NamedSharding, PartitionSpec

stream = Client(url).stream(**stream_options)
devices = np.array(jax.devices())
crossed = jax.sharding.Mesh(devices.reshape(2, 2).T, ("batch", "model"))  # both processes hold all rows
found = []
for sharding in (None, NamedSharding(crossed, PartitionSpec("batch"))):
    for batch in sharded_batches(stream, 1, sharding=sharding):
        shards = batch["image"].addressable_shards
        rows = [[shard.index[0].indices(batch["image"].shape[0])[:2], int(shard.data.sum())] for shard in shards]
        found.append([batch["index"], list(batch["image"].shape), rows])
print(json.dumps(found))
"""


def test_processes_hold_the_rows_of_one_global_batch(client: Client, stream: ClientStream, free_port: int) -> None:
    options = {key: stream.document[key] for key in ("dataset", "pipeline", "batch_size", "seed", "drop_last")}
    server = client._transport.current
    arguments = [f"http://{server.host}:{server.port}", json.dumps(options)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, f"127.0.0.1:{free_port}", str(rank), *arguments],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    expected = list(stream.epoch(1))
    by_rank = [json.loads(text) for text in printed]
    assert [len(found) for found in by_rank] == [2 * NUM_WHOLE] * 2
    covered: dict[tuple[int, int], set[int]] = {}
    for found in by_rank:
        for turn, (index, shape, rows) in enumerate(found):
            assert tuple(shape) == expected[index].images.shape
            for (start, stop), total in rows:
                assert total == int(expected[index].images[start:stop].sum(dtype=np.uint32))
                covered.setdefault((turn // NUM_WHOLE, index), set()).update(range(start, stop))
    assert all(rows == set(range(BATCH_SIZE)) for rows in covered.values())


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
