"""Batch to bytes and back, at any chunk boundary, for every reader of Arrow."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import CallError
from augment.samples.sample import Batch
from augment.wire import arrow
from augment.wire.columns import BatchLayout
from tests.augment.wire.wire_for_tests import arrow_bytes

METADATA = {"batch_size": 4, "epoch": 3, "classes": ["cat", "dög"]}


@st.composite
def batches(draw: st.DrawFn, same_size: bool) -> Batch:
    num_rows = draw(st.integers(0, 4))
    one = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    shapes = [one if same_size else draw(st.tuples(st.integers(1, 5), st.integers(1, 5))) for _ in range(num_rows)]
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    images = [noise.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    index = draw(st.integers(0, 10**6))
    return Batch(
        epoch=3,
        index=index if num_rows else 0,
        images=np.stack(images) if same_size and images else images,
        keys=draw(st.lists(st.text(st.characters(codec="utf-8")), min_size=num_rows, max_size=num_rows)),
        positions=np.arange(num_rows, dtype=np.int64) + index * 4,
        labels=draw(st.none() | st.just(np.arange(num_rows, dtype=np.int64))),
        replaces=draw(
            st.lists(st.none() | st.text(st.characters(codec="utf-8")), min_size=num_rows, max_size=num_rows)
        ),
    )


def layout(batch: Batch, same_size: bool) -> BatchLayout:
    shape = None
    if same_size:
        shape = batch.images[0].shape if len(batch) else (2, 2, 3)
    return BatchLayout(shape, frozenset() if batch.labels is None else frozenset({"label"}), metadata=METADATA)


def assert_same(first: Batch, second: Batch) -> None:
    assert (first.epoch, first.index, first.keys) == (second.epoch, second.index, second.keys)
    assert first.replaces == second.replaces
    assert np.array_equal(first.positions, second.positions)
    if first.labels is None or second.labels is None:
        assert first.labels is second.labels
    else:
        assert np.array_equal(first.labels, second.labels)
    assert len(first.images) == len(second.images)
    assert all(np.array_equal(a, b) for a, b in zip(first.images, second.images, strict=True))


class Trickle(io.RawIOBase):
    """A source that gives as few bytes at a time as a slow network would."""

    def __init__(self, data: bytes, chunk: int) -> None:
        self._data, self._chunk = io.BytesIO(data), chunk

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._data.read(min(self._chunk, len(buffer)))
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("same_size", [True, False])
@given(data=st.data(), chunk=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_wire_round_trip_at_any_chunk_boundary(same_size: bool, data: st.DataObject, chunk: int) -> None:
    batch = data.draw(batches(same_size))
    encoded = arrow_bytes([batch, batch], layout(batch, same_size))
    for source in (encoded, io.BufferedReader(Trickle(encoded, chunk))):
        read = list(arrow.read_batches(source))
        assert len(read) == 2
        for other in read:
            assert_same(batch, other)


@pytest.mark.parametrize("same_size", [True, False])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_wire_messages_are_pure_functions_that_can_be_joined(same_size: bool, data: st.DataObject) -> None:
    first = data.draw(batches(same_size).filter(len))
    schema = arrow.schema_of(layout(first, same_size))
    message = b"".join(arrow.batch_message(first, schema))
    assert message == b"".join(arrow.batch_message(first, schema))
    assert len(message) % 8 == 0
    joined = arrow.stream_start(schema) + message * 3 + arrow.STREAM_END
    assert joined == arrow_bytes([first] * 3, layout(first, same_size))
    assert_same(first, arrow.from_message(message, schema))


def one_batch() -> Batch:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(1, 2, 3, 3)
    return Batch(3, 2, image, ["a"], np.array([8]), np.array([1]), replaces=[None])


def test_wire_images_are_views_not_copies() -> None:
    encoded = arrow_bytes([one_batch()], BatchLayout((2, 3, 3), frozenset({"label"}), metadata=METADATA))
    (batch,) = arrow.read_batches(encoded)
    assert np.shares_memory(batch.images, np.frombuffer(encoded, np.uint8))


def test_wire_is_read_by_bare_pyarrow() -> None:
    encoded = arrow_bytes([one_batch()], BatchLayout((2, 3, 3), frozenset({"label"}), metadata=METADATA))
    with pa.ipc.open_stream(encoded) as reader:
        table = reader.read_all()
    assert table.schema.field("image").type == pa.fixed_shape_tensor(pa.uint8(), [2, 3, 3], dim_names=["H", "W", "C"])
    assert table["image"].combine_chunks().to_numpy_ndarray().shape == (1, 2, 3, 3)
    assert table["key"].to_pylist() == ["a"]
    assert table["label"].to_pylist() == [1]


def test_wire_sizes_that_differ_are_a_canonical_variable_shape_tensor() -> None:
    batch = one_batch()
    batch.images = list(batch.images)
    with pa.ipc.open_stream(arrow_bytes([batch], BatchLayout(None, frozenset({"label"}), metadata=METADATA))) as reader:
        (row,) = reader.read_all().to_pylist()
        field = reader.schema.field("image")
    assert field.type.extension_name == "arrow.variable_shape_tensor"
    assert row["image"] == {"data": list(range(18)), "shape": [2, 3, 3]}


@pytest.mark.parametrize("as_file", [True, False])
def test_wire_cut_stream_is_an_error_never_a_short_epoch(as_file: bool) -> None:
    encoded = arrow_bytes([one_batch()] * 2, BatchLayout((2, 3, 3), frozenset({"label"}), metadata=METADATA))
    for length in range(len(encoded)):
        cut = encoded[:length]
        with pytest.raises(CallError, match="not a complete Arrow stream"):
            list(arrow.read_batches(io.BytesIO(cut) if as_file else cut))
