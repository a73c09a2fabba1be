"""Predictions over augmented views return to their origin, for every transform that has a matrix."""

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from augment.errors import CallError
from augment.pipelines.spec import PipelineSpec
from augment.samples.sample import Batch, Sample
from augment.transforms import catalogue
from augment.transforms.runtime.compiler import Compiled, TransformedSample
from augment.tta.merge import merge_predictions
from tests.augment.transforms.catalogue_cases import MOVING, node

HEIGHT, WIDTH = 80, 100
NUM_CLASSES = 3
BOX = np.array([[30.0, 24.0, 62.0, 58.0]], np.float32)
POINTS = np.array([[40.0, 30.0], [50.0, 41.5]], np.float32)

STRAIGHT: tuple[str, ...] = (
    "CenterCrop",
    "Crop",
    "HorizontalFlip",
    "LongestMaxSize",
    "Pad",
    "PadIfNeeded",
    "RandomCrop",
    "Resize",
)
STRAIGHT += ("RandomScale", "SmallestMaxSize", "Transpose", "VerticalFlip", "D4", "RandomRotate90", "RandomResizedCrop")
"""Upright boxes stay the boxes about what they held."""

BENT: tuple[str, ...] = (
    "ElasticTransform",
    "GridDistortion",
    "GridElasticDeform",
    "OpticalDistortion",
    "PiecewiseAffine",
)
BENT += ("RandomGridShuffle", "ThinPlateSpline")
"""No matrix says where pixels went."""

APART = {"Morphological", "AugMix", "RandAugment", "AutoAugment"}
"""The first makes shapes thicker or thinner, the second moves no box, the others may lose a place and show it again."""

KEEPING_LINES = [name for name in MOVING if name not in {*BENT, *APART} and not catalogue.is_joining(name)]

NEEDED: dict[str, dict[str, Any]] = {
    "CenterCrop": {"height": 60, "width": 70},
    "Crop": {"x_min": 8, "y_min": 6, "x_max": 92, "y_max": 78},
    "PadIfNeeded": {"min_height": 110, "min_width": 120},
    "RandomCrop": {"height": 60, "width": 70},
    "RandomResizedCrop": {"size": [64, 72], "scale": [0.4, 1.0]},
    "RandomSizedCrop": {"min_max_height": [50, 80], "size": [64, 72]},
    "Resize": {"height": 64, "width": 110},
    "SmallestMaxSize": {"max_size": 64},
    "LongestMaxSize": {"max_size": 90},
}


def painted() -> Sample:
    """Draw an image of two objects, one with a box."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[((x - 20) / 14) ** 2 + ((y - 55) / 17) ** 2 < 1] = 1
    x_min, y_min, x_max, y_max = BOX[0].astype(int)
    mask[y_min:y_max, x_min:x_max] = 2
    image = np.stack([mask * 100, mask, mask], axis=-1)
    return Sample(
        image,
        mask=mask,
        boxes=BOX.copy(),
        box_labels=np.array([2]),
        keypoints=POINTS.copy(),
        keypoint_labels=np.arange(2),
    )


@functools.cache
def compiled(name: str) -> Compiled:
    return Compiled(PipelineSpec((node(name, **NEEDED.get(name, {})),)), points=True)


def seen_by(transforms: list[str], draw: int) -> tuple[list[TransformedSample], Batch]:
    """Return the image transformed by each transform, and a batch of one row with it."""
    made = [compiled(name)(painted(), seed=3, draw=draw, view=view, key="a") for view, name in enumerate(transforms)]
    views = [
        Batch(
            epoch=0,
            index=0,
            images=each.sample.image[np.newaxis],
            keys=["a"],
            positions=np.array([0]),
            replaces=[None],
            inverses=inverse_of(each)[np.newaxis],
            source_sizes=np.array([[HEIGHT, WIDTH]]),
        )
        for each in made
    ]
    views[0].other_views = tuple(views[1:])
    return made, views[0]


def inverse_of(made: TransformedSample) -> NDArray[np.float64]:
    nowhere = np.full((3, 3), np.nan)
    return nowhere if made.matrix is None else np.asarray(np.linalg.inv(made.matrix), np.float64)


def scores(mask: NDArray[Any]) -> NDArray[np.float32]:
    """Return the prediction of a perfect model for a mask: (C, h, w)."""
    return np.asarray(mask == np.arange(NUM_CLASSES)[:, np.newaxis, np.newaxis], np.float32)


def inner(mask: NDArray[Any], margin: int) -> NDArray[np.bool_]:
    """Return the pixels with their own class around them, up to ``margin`` away."""
    height, width = mask.shape
    padded = np.pad(mask, margin, mode="edge")
    shifts = range(2 * margin + 1)
    around = [padded[y : y + height, x : x + width] == mask for y in shifts for x in shifts]
    return np.asarray(np.logical_and.reduce(around), np.bool_)


draws = st.integers(0, 2**20)


@pytest.mark.parametrize("name", KEEPING_LINES)
@given(draw=draws)
@settings(max_examples=8, deadline=None)
def test_masks_of_a_view_come_back_to_where_they_were(name: str, draw: int) -> None:
    (made,), batch = seen_by([name], draw)
    merged = merge_predictions([{"masks": scores(made.sample.mask)[np.newaxis]}], batch)  # type: ignore[arg-type]
    assert merged.masks is not None
    assert merged.coverage is not None
    seen = merged.coverage[0] > 0
    assert np.array_equal(np.isnan(merged.masks[0]).all(axis=0), ~seen)
    found = np.nan_to_num(merged.masks[0]).argmax(axis=0)
    mask = painted().mask
    sure = seen & inner(mask, 3)  # type: ignore[arg-type]
    assert np.array_equal(found[sure], mask[sure])  # type: ignore[index]


@pytest.mark.parametrize("name", STRAIGHT)
@given(draw=draws)
@settings(max_examples=8, deadline=None)
def test_boxes_and_points_of_a_straight_view_come_back_exactly(name: str, draw: int) -> None:
    (made,), batch = seen_by([name], draw)
    moved = made.sample
    prediction = {"boxes": [moved.boxes], "scores": [np.ones(len(moved.boxes))]}  # type: ignore[arg-type]
    merged = merge_predictions([prediction | {"keypoints": moved.keypoints[np.newaxis]}], batch)  # type: ignore[index]
    assert merged.boxes is not None
    assert merged.keypoints is not None
    assert np.allclose(merged.keypoints[0], POINTS, atol=1e-3)
    for box in merged.boxes[0]:
        shown = batch_frame(batch)
        expected = np.concatenate([np.maximum(BOX[0, :2], shown[:2]), np.minimum(BOX[0, 2:], shown[2:])])
        assert np.allclose(box, expected, atol=1e-2)


def batch_frame(batch: Batch) -> NDArray[np.float64]:
    """Return the edges, in the original, of the visible part of an upright view."""
    height, width = batch.images[0].shape[:2]
    corners = np.array([[-0.5, -0.5, 1], [width - 0.5, height - 0.5, 1]]) @ batch.inverses[0].T + [0.5, 0.5, 0]  # type: ignore[index]
    return np.concatenate([corners[:, :2].min(axis=0), corners[:, :2].max(axis=0)])


@pytest.mark.parametrize("name", ["Rotate", "SafeRotate", "Affine", "Perspective"])
@given(draw=draws)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_boxes_of_a_turned_view_hold_what_they_held(name: str, draw: int) -> None:
    (made,), batch = seen_by([name], draw)
    boxes = made.sample.boxes
    height, width = made.sample.image.shape[:2]
    assume(boxes is not None and len(boxes) == 1)
    assume((boxes[0, :2] > 0).all() and boxes[0, 2] < width and boxes[0, 3] < height)  # type: ignore[index]
    merged = merge_predictions([{"boxes": [boxes], "scores": [[0.5]]}], batch)
    assert merged.boxes is not None
    (box,) = merged.boxes[0]
    assert (box[:2] <= BOX[0, :2] + 0.1).all()
    assert (box[2:] >= BOX[0, 2:] - 0.1).all()
    assert merged.scores[0].tolist() == [0.5]  # type: ignore[index]


@given(draw=draws)
@settings(max_examples=10, deadline=None)
def test_flips_and_turns_alone_are_undone_to_the_bit(draw: int) -> None:
    made, batch = seen_by(["D4", "HorizontalFlip", "Transpose"], draw)
    predicted = [{"masks": [scores(each.sample.mask)]} for each in made]  # type: ignore[arg-type]
    merged = merge_predictions(predicted, batch)
    assert np.array_equal(merged.masks[0], scores(painted().mask))  # type: ignore[index, arg-type]
    assert (merged.coverage[0] == 3).all()  # type: ignore[index]


@given(draw=draws)
@settings(max_examples=10, deadline=None)
def test_views_are_averaged_where_they_see(draw: int) -> None:
    names = ["RandomCrop", "Affine", "HorizontalFlip"]
    made, batch = seen_by(names, draw)
    predicted = [np.full((1, *each.sample.mask.shape), view, np.float32) for view, each in enumerate(made)]  # type: ignore[union-attr]
    merged = merge_predictions([{"masks": each} for each in predicted], batch)
    alone = [
        merge_predictions([{"masks": predicted[view]}], single(each)).coverage[0]  # type: ignore[index]
        for view, each in enumerate(batch.views)
    ]
    assert np.array_equal(merged.coverage[0], np.sum(alone, axis=0))  # type: ignore[index]
    assert (alone[0].sum(), alone[2].sum()) == (60 * 70, HEIGHT * WIDTH)
    mean = sum(view * seen.astype(float) for view, seen in enumerate(alone)) / np.sum(alone, axis=0)
    assert np.allclose(merged.masks[0], mean, atol=1e-6)  # type: ignore[index]


def single(view: Batch) -> Batch:
    return Batch(0, 0, view.images, ["a"], view.positions, inverses=view.inverses, source_sizes=view.source_sizes)


@given(draw=draws, stride=st.sampled_from([2, 4]))
@settings(max_examples=10, deadline=None)
def test_coarse_maps_lie_evenly_over_their_view(draw: int, stride: int) -> None:
    made, batch = seen_by(["D4", "HorizontalFlip"], draw)
    fine = [scores(each.sample.mask) for each in made]  # type: ignore[arg-type]
    coarse = []
    for each in fine:
        height, width = each.shape[1:]
        cells = each.reshape(NUM_CLASSES, height // stride, stride, width // stride, stride)
        coarse.append(cells.mean(axis=(2, 4)))
    even = merge_predictions([{"masks": [each]} for each in coarse], batch)
    said = merge_predictions([{"masks": [each]} for each in coarse], batch, stride=stride)
    assert np.array_equal(even.masks[0], said.masks[0])  # type: ignore[index]
    mask = painted().mask
    sure = inner(mask, stride)  # type: ignore[arg-type]
    assert np.array_equal(even.masks[0].argmax(axis=0)[sure], mask[sure])  # type: ignore[index]


@pytest.mark.parametrize("name", BENT)
def test_masks_of_a_distorted_view_are_refused_and_its_labels_are_not(name: str) -> None:
    (made, _), batch = seen_by([name, "HorizontalFlip"], 1)
    assert made.matrix is None
    masks = [scores(each)[np.newaxis] for each in (made.sample.mask, painted().mask)]  # type: ignore[arg-type]
    with pytest.raises(CallError, match=r"view 0 of 'a' \(1 of 1 rows\) has no inverse map"):
        merge_predictions([{"masks": each} for each in masks], batch)
    merged = merge_predictions([{"labels": [[1.0, 0.0]]}, {"labels": [[0.0, 1.0]]}], batch)
    assert merged.labels.tolist() == [[0.5, 0.5]]  # type: ignore[union-attr]
