"""Views of the same rows on every wire: separate columns for each, shared columns once."""

import io
import json
import tarfile
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import CallError
from augment.images import masks
from augment.samples.sample import Batch, Provenance
from augment.wire import arrow, npz, tar
from augment.wire.columns import RAGGED, BatchLayout
from tests.augment.wire.wire_for_tests import arrow_bytes, read_npz

TARGETS = frozenset({"label", "labels", "mask", "boxes", "instance_masks", "keypoints", *RAGGED})
METADATA = {"epoch": 2, "batch_size": 4}
DTYPES = {
    "box_labels": np.int64,
    "keypoint_labels": np.int64,
    "keypoint_visibility": np.int8,
    "keypoint_angles": np.float32,
    "keypoint_scales": np.float32,
    "keypoint_boxes": np.int64,
}


def view_of(
    generator: np.random.Generator, num_rows: int, size: tuple[int, int] | None, *, has_targets: bool = True
) -> dict[str, Any]:
    """Return the fields of a batch that are separate for a view; ``size`` is None if its images differ."""
    sizes = [size or tuple(generator.integers(1, 6, 2).tolist()) for _ in range(num_rows)]
    counts = [generator.integers(0, 3, 2).tolist() for _ in range(num_rows)]
    images = [generator.integers(0, 256, (*each, 3), np.uint8) for each in sizes]
    inverses = generator.random((num_rows, 3, 3))
    inverses[:1] = np.nan
    found: dict[str, Any] = {
        "images": np.stack(images) if size and images else images,
        "inverses": inverses,
        "provenance": [Provenance(f"{generator.integers(2**60):032x}") for _ in range(num_rows)],
    }
    if not has_targets:
        return found
    labels = [generator.integers(0, 256, each, np.uint8) for each in sizes]
    found["masks"] = np.stack(labels) if size and labels else labels
    found["instance_masks"] = [
        generator.integers(0, 2, (num_boxes, *each), np.uint8)
        for (num_boxes, _), each in zip(counts, sizes, strict=True)
    ]
    found["boxes"] = [generator.random((num_boxes, 4), np.float32) for num_boxes, _ in counts]
    found["keypoints"] = [generator.random((num_points, 2), np.float32) for _, num_points in counts]
    for name, dtype in DTYPES.items():
        found[name] = [
            generator.integers(0, 3, num_boxes if name == "box_labels" else num_points).astype(dtype)
            for num_boxes, num_points in counts
        ]
    return found


def batch_of(seed: int, sizes: list[tuple[int, int] | None], num_rows: int, *, has_targets: bool = True) -> Batch:
    generator = np.random.default_rng(seed)
    shared: dict[str, Any] = {
        "epoch": 2,
        "index": 5 if num_rows else 0,
        "keys": [f"schlüssel/{row}" for row in range(num_rows)],
        "positions": np.arange(num_rows) + 20,
        "replaces": [None, "broken", None, None][:num_rows],
        "source_sizes": generator.integers(1, 1000, (num_rows, 2)),
    }
    if has_targets:
        shared["labels"] = generator.integers(-1, 3, num_rows)
        shared["label_weights"] = generator.random((num_rows, 3), np.float32)
    first, *others = (Batch(**shared, **view_of(generator, num_rows, size, has_targets=has_targets)) for size in sizes)
    first.other_views = tuple(others)
    return first


def layout(sizes: list[tuple[int, int] | None], *, has_targets: bool = True) -> BatchLayout:
    targets = TARGETS if has_targets else frozenset()
    shapes = [None if size is None else (*size, 3) for size in sizes]
    others = tuple(BatchLayout(shape, targets) for shape in shapes[1:])
    return BatchLayout(shapes[0], targets, 3, metadata=METADATA, views=others, has_inverses=True)


def assert_same(one: Any, other: Any, name: str) -> None:
    if isinstance(one, list) and len(one) and isinstance(one[0], np.ndarray):
        assert len(one) == len(other), name
        for first, second in zip(one, other, strict=True):
            assert_same(first, second, name)
    elif isinstance(one, np.ndarray) and len(one):
        assert one.dtype == other.dtype, name
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name
    elif one is None:
        assert other is None, name
    else:
        assert list(one) == list(other), name


def assert_same_views(batch: Batch, read: Batch) -> None:
    assert len(read.views) == len(batch.views)
    for one, other in zip(batch.views, read.views, strict=True):
        assert (one.epoch, one.index) == (other.epoch, other.index)
        for name in ("images", "keys", "positions", "replaces", "labels", "label_weights", "masks", "instance_masks"):
            assert_same(getattr(one, name), getattr(other, name), name)
        for name in (*RAGGED, "inverses", "source_sizes"):
            assert_same(getattr(one, name), getattr(other, name), name)


some_sizes = st.lists(st.none() | st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3)


@given(st.integers(0, 2**32), some_sizes, st.integers(0, 4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_arrow_keeps_every_view(
    seed: int, sizes: list[tuple[int, int] | None], num_rows: int, has_targets: bool
) -> None:
    batch = batch_of(seed, sizes, num_rows, has_targets=has_targets)
    encoded = arrow_bytes([batch, batch], layout(sizes, has_targets=has_targets))
    for read in arrow.read_batches(io.BytesIO(encoded)):
        assert_same_views(batch, read)
    schema = arrow.schema_of(layout(sizes, has_targets=has_targets))
    assert schema.names[-1] == "replaces"  # by which a cut stream is known
    assert_same_views(batch, arrow.from_message(b"".join(arrow.batch_message(batch, schema)), schema))


@given(st.integers(0, 2**32), some_sizes, st.integers(0, 4), st.booleans())
@settings(max_examples=30, deadline=None)
def test_npz_keeps_every_view(seed: int, sizes: list[tuple[int, int] | None], num_rows: int, has_targets: bool) -> None:
    batch = batch_of(seed, sizes, num_rows, has_targets=has_targets)
    encoded = npz.to_bytes(batch)
    assert encoded == npz.to_bytes(batch)
    assert_same_views(batch, read_npz(encoded))


@given(st.integers(0, 2**32), some_sizes, st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_rows_cut_every_view(seed: int, sizes: list[tuple[int, int] | None], start: int, stop: int) -> None:
    batch = batch_of(seed, sizes, 4)
    part = batch.rows(start, stop)
    chosen = slice(start, stop)
    for one, other in zip(batch.views, part.views, strict=True):
        for name in ("images", "keys", "masks", "boxes", "inverses", "source_sizes", "provenance"):
            assert_same(getattr(one, name)[chosen], getattr(other, name), name)


def test_arrow_names_columns_by_view_and_what_views_share_once() -> None:
    sizes: list[tuple[int, int] | None] = [(4, 4), (2, 2)]
    batch = batch_of(1, sizes, 2)
    with pa.ipc.open_stream(arrow_bytes([batch], layout(sizes))) as reader:
        schema, table = reader.schema, reader.read_all()
    assert {"image", "image_1", "mask_1", "boxes_1", "keypoint_boxes_1", "inverse", "inverse_1"} <= set(schema.names)
    assert not {"label_1", "label_weights_1", "source_size_1", "key_1", "image_2", "image_0"} & set(schema.names)
    assert json.loads(schema.metadata[arrow.METADATA_KEY])["num_views"] == 2
    assert schema.field("image_1").type == pa.fixed_shape_tensor(pa.uint8(), [2, 2, 3], dim_names=["H", "W", "C"])
    inverses = table["inverse_1"].combine_chunks().to_numpy_ndarray()
    assert np.array_equal(inverses, batch.other_views[0].inverses, equal_nan=True)  # type: ignore[arg-type]


def test_arrow_says_which_view_a_batch_lacks() -> None:
    sizes: list[tuple[int, int] | None] = [(4, 4), (2, 2)]
    with pytest.raises(CallError, match="has 1 views, but its layout has view 1"):
        arrow_bytes([batch_of(1, sizes[:1], 2)], layout(sizes))


def test_tar_members_are_numbered_by_view() -> None:
    batch = batch_of(7, [(4, 4), (2, 3), None], 2)
    content = b"".join(tar.batch_members(batch)) + tar.STREAM_END
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    kinds = [name.partition(".")[2] for name in files]
    assert kinds[:8] == ["png", "cls", "mask.png", "1.png", "1.mask.png", "2.png", "2.mask.png", "json"]
    name = "000002-000000000021"
    members = json.loads(files[f"{name}.json"])
    assert members["source_size"] == batch.source_sizes[1].tolist()  # type: ignore[index]
    assert len(members["views"]) == 3
    for number, (view, said) in enumerate(zip(batch.views, members["views"], strict=True)):
        middle = f".{number}" if number else ""
        assert np.array_equal(masks.decode_mask(files[f"{name}{middle}.mask.png"]), view.masks[1])  # type: ignore[index]
        assert said["inverse"] == view.inverses[1].tolist()  # type: ignore[index]
        assert np.allclose(np.reshape(said["boxes"], (-1, 4)), view.boxes[1])  # type: ignore[index]
        assert said["render_key"] == view.provenance[1].render_key
    first = json.loads(files["000002-000000000020.json"])
    assert first["views"][1]["inverse"] == [[None] * 3] * 3


def test_tar_of_one_view_keeps_its_members_beside_the_key() -> None:
    content = b"".join(tar.batch_members(batch_of(7, [(4, 4)], 2))) + tar.STREAM_END
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = json.loads(archive.extractfile("000002-000000000021.json").read())  # type: ignore[union-attr]
    assert "views" not in members
    assert {"boxes", "inverse", "source_size", "render_key"} <= set(members)
