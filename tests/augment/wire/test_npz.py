"""One batch as .npz: read by NumPy without pickles, equal bytes for equal batches."""

import io

import numpy as np
import pytest

from augment.samples.sample import Batch
from augment.wire import npz
from tests.augment.wire.wire_for_tests import read_npz


def batch_of(*shapes: tuple[int, int, int], labels: bool = True) -> Batch:
    noise = np.random.default_rng(1)
    images = [noise.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    num_rows = len(shapes)
    return Batch(
        epoch=2**40,
        index=7,
        images=np.stack(images) if len(set(shapes)) == 1 else images,
        keys=[f"kätzchen/{row}" for row in range(num_rows)],
        positions=np.arange(num_rows, dtype=np.int64) + 70,
        labels=np.arange(num_rows, dtype=np.int64) if labels else None,
        replaces=[None, "broken"][:num_rows] + [None] * (num_rows - 2),
    )


@pytest.mark.parametrize(
    "batch",
    [batch_of((4, 5, 3), (4, 5, 3)), batch_of((4, 5, 3), (1, 2, 3)), batch_of((1, 1, 3), labels=False), batch_of()],
    ids=["one size", "two sizes", "no classes", "empty"],
)
def test_npz_round_trip(batch: Batch) -> None:
    data = npz.to_bytes(batch)
    assert data == npz.to_bytes(batch)
    read = read_npz(data)
    assert (read.epoch, read.index, read.keys, read.replaces) == (batch.epoch, 7, batch.keys, batch.replaces)
    assert np.array_equal(read.positions, batch.positions)
    assert (read.labels is None) == (batch.labels is None)
    assert len(read.images) == len(batch.images)
    assert all(np.array_equal(one, other) for one, other in zip(read.images, batch.images, strict=True))


def test_npz_is_read_by_bare_numpy() -> None:
    batch = batch_of((4, 5, 3), (4, 5, 3))
    with np.load(io.BytesIO(npz.to_bytes(batch)), allow_pickle=False) as arrays:
        assert arrays["image"].shape == (2, 4, 5, 3)
        assert arrays["key"].tolist() == batch.keys
        assert arrays["replaces"].tolist() == ["", "broken"]
