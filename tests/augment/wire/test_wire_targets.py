"""Targets on every wire: they come out unchanged, for any number of boxes, and bare readers understand them."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import CallError
from augment.images import masks
from augment.samples.annotations import Rle
from augment.samples.sample import Batch, Sample
from augment.samples.sample import targets as stacked
from augment.wire import arrow, npz, tar
from augment.wire.columns import RAGGED, BatchLayout
from tests.augment.wire.wire_for_tests import arrow_bytes, read_npz

HEIGHT, WIDTH = 5, 7
ALL = frozenset({"label", "labels", "mask", "boxes", "instance_masks", "keypoints", *RAGGED})
METADATA = {"epoch": 1, "batch_size": 4}


def sample(generator: np.random.Generator, num_boxes: int, num_points: int) -> Sample:
    """A sample with every target."""
    return Sample(
        image=generator.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
        label=int(generator.integers(-1, 3)),
        labels=generator.random(3, np.float32),
        mask=generator.integers(0, 256, (HEIGHT, WIDTH), np.uint8),
        boxes=generator.random((num_boxes, 4), np.float32),
        box_labels=generator.integers(0, 3, num_boxes),
        instance_masks=generator.integers(0, 2, (num_boxes, HEIGHT, WIDTH), np.uint8),
        keypoints=generator.random((num_points, 2), np.float32),
        keypoint_labels=generator.integers(0, 3, num_points),
        keypoint_visibility=generator.integers(0, 3, num_points, np.int8),
        keypoint_angles=generator.random(num_points, np.float32),
        keypoint_scales=generator.random(num_points, np.float32),
        keypoint_boxes=generator.integers(-1, max(num_boxes, 1), num_points),
    )


def batch_of(samples: list[Sample], *, fixed: bool = True, names: frozenset[str] = ALL) -> Batch:
    images = [each.image for each in samples]
    return Batch(
        epoch=1,
        index=0,
        images=np.stack(images) if fixed and images else images,
        keys=[str(row) for row in range(len(samples))],
        positions=np.arange(len(samples)),
        replaces=[None] * len(samples),
        **stacked(samples, names, fixed=fixed),
    )


def layout(*, fixed: bool = True, names: frozenset[str] = ALL) -> BatchLayout:
    shape = (HEIGHT, WIDTH, 3) if fixed else None
    return BatchLayout(shape, names, num_classes=3, metadata=METADATA)


def assert_same_targets(first: Batch, second: Batch) -> None:
    for whole in ("label_weights", "labels"):
        one, other = getattr(first, whole), getattr(second, whole)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    for name in ("masks", "instance_masks", *RAGGED):
        for one, other in zip(getattr(first, name), getattr(second, name), strict=True):
            assert one.dtype == other.dtype, name
            assert one.shape == other.shape, name
            assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name


counts = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=4)


@given(counts, st.booleans(), st.integers(0, 2**32))
@settings(max_examples=40)
def test_arrow_keeps_every_target(counts: list[tuple[int, int]], fixed: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    batch = batch_of([sample(generator, *each) for each in counts], fixed=fixed)
    (read,) = arrow.read_batches(arrow_bytes([batch], layout(fixed=fixed)))
    assert_same_targets(batch, read)


@given(counts, st.booleans(), st.integers(0, 2**32))
@settings(max_examples=20)
def test_npz_keeps_every_target(counts: list[tuple[int, int]], fixed: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    batch = batch_of([sample(generator, *each) for each in counts], fixed=fixed)
    assert_same_targets(batch, read_npz(npz.to_bytes(batch)))


def test_bare_pyarrow_reads_boxes_as_lists() -> None:
    one = sample(np.random.default_rng(1), 2, 1)
    with pa.ipc.open_stream(arrow_bytes([batch_of([one])], layout())) as reader:
        row = reader.read_all().to_pylist()[0]
    assert one.boxes is not None
    assert one.box_labels is not None
    assert np.allclose(row["boxes"], one.boxes)
    assert row["box_labels"] == one.box_labels.tolist()


def test_rows_cut_every_target() -> None:
    generator = np.random.default_rng(3)
    samples = [sample(generator, n, n) for n in range(4)]
    assert_same_targets(batch_of(samples).rows(1, 3), batch_of(samples[1:3]))


def test_tar_holds_mask_and_members() -> None:
    one = sample(np.random.default_rng(4), 2, 2)
    one.keypoints[1] = np.nan  # type: ignore[index]
    content = b"".join(tar.batch_members(batch_of([one]))) + tar.STREAM_END
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {member.name.partition(".")[2]: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    members = json.loads(files["json"])
    assert one.mask is not None
    assert one.boxes is not None
    assert np.array_equal(masks.decode_mask(files["mask.png"]), one.mask)
    assert np.allclose(members["boxes"], one.boxes)
    assert members["keypoints"][1] == [None, None]
    runs = members["instance_masks"][0]
    decoded = masks.rasterise(Rle(HEIGHT, WIDTH, runs["counts"]), HEIGHT, WIDTH)
    assert runs["size"] == [HEIGHT, WIDTH]
    assert one.instance_masks is not None
    assert np.array_equal(decoded, one.instance_masks[0])


@pytest.mark.parametrize("tail", [b"\xff\xff\xff\xff", b"\x00"])
def test_arrow_stream_that_ends_in_a_mask_of_255_is_known_as_cut(tail: bytes) -> None:
    one = Sample(np.zeros((2, 2, 3), np.uint8), mask=np.full((2, 2), tail[0], np.uint8))
    names = frozenset({"mask"})
    encoded = arrow_bytes([batch_of([one], names=names)], BatchLayout((2, 2, 3), names, metadata=METADATA))
    cut = encoded[: -len(arrow.STREAM_END)]
    with pytest.raises(CallError, match="cut between"):
        list(arrow.read_batches(cut))


def test_keypoints_of_a_dropped_box_belong_to_none() -> None:
    one = sample(np.random.default_rng(5), 2, 3)
    one.box_rows = np.array([4, 1])
    one.keypoint_boxes = np.array([1, 2, 4])
    assert batch_of([one]).keypoint_boxes[0].tolist() == [1, -1, 0]  # type: ignore[index]
