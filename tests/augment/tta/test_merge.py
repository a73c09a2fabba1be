"""Joined predictions of several views: the formulas, and the refusals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import CallError
from augment.samples.sample import Batch
from augment.tta.merge import Merged, merge_predictions

IDENTITY = np.eye(3)
MIRROR = np.array([[-1.0, 0.0, 19.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
LEFT_HALF = np.eye(3)


def batch_of(*views: tuple[Any, tuple[int, int]], num_rows: int = 1, source: tuple[int, int] = (10, 20)) -> Batch:
    """Make views of images of 10 x 20 pixels: each an inverse map and a size."""
    found = [
        Batch(
            epoch=0,
            index=0,
            images=np.zeros((num_rows, *size, 3), np.uint8),
            keys=[str(row) for row in range(num_rows)],
            positions=np.arange(num_rows),
            replaces=[None] * num_rows,
            inverses=np.stack([np.asarray(inverse, np.float64)] * num_rows),
            source_sizes=np.array([source] * num_rows),
        )
        for inverse, size in views
    ]
    found[0].other_views = tuple(found[1:])
    return found[0]


WHOLE = (IDENTITY, (10, 20))
MIRRORED = (MIRROR, (10, 20))
HALF = (LEFT_HALF, (10, 10))


def boxes_of(*rows: tuple[Any, ...]) -> dict[str, Any]:
    """Make one image's boxes with scores, and classes if they are given."""
    found = {
        "boxes": [np.array([row[0] for row in rows]).reshape(-1, 4)],
        "scores": [np.array([row[1] for row in rows])],
    }
    return found | ({"box_labels": [np.array([row[2] for row in rows])]} if len(rows[0]) > 2 else {})


def test_labels_are_joined_by_the_formula_that_was_asked_for() -> None:
    one, other = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.4, 0.6], [0.0, 1.0]])
    predictions = [{"labels": one}, {"labels": other}]
    batch = batch_of(WHOLE, MIRRORED, num_rows=2)
    joined = {
        how: merge_predictions(predictions, batch, labels=how).labels for how in ("mean", "max", "geometric_mean")
    }
    assert np.allclose(joined["mean"], (one + other) / 2)  # type: ignore[arg-type]
    assert np.allclose(joined["max"], np.maximum(one, other))  # type: ignore[arg-type]
    assert np.allclose(joined["geometric_mean"], np.sqrt(one * other))  # type: ignore[arg-type]


def test_labels_need_no_inverse_maps() -> None:
    batch = batch_of(WHOLE)
    batch.inverses = batch.source_sizes = None
    assert merge_predictions([{"labels": [[0.5]]}], batch).labels.tolist() == [[0.5]]  # type: ignore[union-attr]
    with pytest.raises(CallError, match=r"view 0 of the batch has no inverse maps.*`views`"):
        merge_predictions([{"masks": np.zeros((1, 10, 20))}], batch)


def test_masks_that_no_view_shows_are_nan_and_coverage_says_so() -> None:
    merged = merge_predictions([{"masks": [np.ones((10, 10))]}], batch_of(HALF))
    assert merged.masks[0].shape == merged.coverage[0].shape == (10, 20)  # type: ignore[index]
    assert np.isnan(merged.masks[0][:, 10:]).all()  # type: ignore[index]
    assert (merged.masks[0][:, :10] == 1).all()  # type: ignore[index]
    assert merged.coverage[0].sum() == 100  # type: ignore[index]


def test_masks_are_bilinear_between_the_middles_of_cells() -> None:
    enlarged = np.diag([0.5, 0.5, 1.0]) @ np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    enlarged[:2, 2] = -0.25  # the view is twice as large: pixel u of it lies at (u + 0.5) / 2 - 0.5
    ramp = np.arange(40.0) * np.ones((20, 1))
    merged = merge_predictions([{"masks": [ramp]}], batch_of((enlarged, (20, 40))))
    assert np.allclose(merged.masks[0], 2 * np.arange(20) + 0.5)  # type: ignore[index]


@given(st.integers(0, 2**32), st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_wbf_of_one_view_or_of_equal_views_keeps_boxes_that_lie_apart(seed: int, num_boxes: int) -> None:
    generator = np.random.default_rng(seed)
    columns = generator.permutation(20)[:num_boxes]
    boxes = np.stack([columns, columns * 0, columns + 1, columns * 0 + 5], axis=1).astype(float)
    scores = generator.random(num_boxes)
    one = {"boxes": [boxes], "scores": [scores]}
    order = np.argsort(-scores, kind="stable")
    for how in ("wbf", "nms"):
        for merged in (
            merge_predictions([one], batch_of(WHOLE), boxes=how),
            merge_predictions([one] * 3, batch_of(WHOLE, WHOLE, WHOLE), boxes=how),
        ):
            assert np.allclose(merged.boxes[0], boxes[order], atol=1e-4)  # type: ignore[index]
            assert np.allclose(merged.scores[0], scores[order], atol=1e-6)  # type: ignore[index]


def test_wbf_is_the_mean_weighted_by_scores_and_scaled_by_who_agrees() -> None:
    first = boxes_of(([2, 2, 8, 8], 0.9, 1), ([12, 1, 18, 5], 0.6, 1))
    second = boxes_of(([11, 2, 17, 8], 0.3, 1), ([2, 2, 8, 8], 0.8, 0))  # mirrored: x 3 to 9, and 12 to 18
    merged = merge_predictions([first, second], batch_of(WHOLE, MIRRORED), iou_threshold=0.5)
    joined = (0.9 * np.array([2, 2, 8, 8]) + 0.3 * np.array([3, 2, 9, 8])) / 1.2
    assert np.allclose(merged.boxes[0][0], joined)  # type: ignore[index]
    assert np.allclose(merged.scores[0], [0.6, 0.4, 0.3])  # type: ignore[index] # both agree, one, one
    assert merged.box_labels[0].tolist() == [1, 0, 1]  # type: ignore[index]
    assert np.allclose(merged.boxes[0][1], [12, 2, 18, 8])  # type: ignore[index]


def test_wbf_counts_the_views_that_show_a_box() -> None:
    far = boxes_of(([12, 1, 18, 5], 0.6))
    nothing = {"boxes": [np.empty((0, 4))], "scores": [np.empty(0)]}
    merged = merge_predictions([far, nothing], batch_of(WHOLE, HALF))
    assert np.allclose(merged.scores[0], [0.6])  # type: ignore[index] # the second view ends at x = 10
    merged = merge_predictions([far, nothing], batch_of(WHOLE, MIRRORED))
    assert np.allclose(merged.scores[0], [0.3])  # type: ignore[index]


def test_nms_keeps_the_surest_of_each_class() -> None:
    first = boxes_of(([2, 2, 8, 8], 0.9, 1), ([2, 2, 8, 8], 0.2, 2))
    second = boxes_of(([11, 2, 17, 8], 0.95, 1))
    merged = merge_predictions([first, second], batch_of(WHOLE, MIRRORED), boxes="nms", iou_threshold=0.5)
    assert np.allclose(merged.boxes[0], [[3, 2, 9, 8], [2, 2, 8, 8]])  # type: ignore[index]
    assert np.allclose(merged.scores[0], [0.95, 0.2])  # type: ignore[index]
    assert merged.box_labels[0].tolist() == [1, 2]  # type: ignore[index]


def test_boxes_are_cut_at_the_original_and_left_out_beyond_it() -> None:
    wide = np.array([[1.0, 0, -5], [0, 1, 0], [0, 0, 1]])
    found = boxes_of(([2, 1, 9, 4], 0.5), ([0, 1, 4, 4], 0.4))
    merged = merge_predictions([found], batch_of((wide, (10, 30))))
    assert np.allclose(merged.boxes[0], [[0, 1, 4, 4]])  # type: ignore[index]


def test_keypoints_swap_sides_in_mirrored_views_and_weigh_by_score() -> None:
    left, right = [4.0, 5.0], [12.0, 5.0]
    mirrored = [[19 - 12.0, 5.0], [19 - 4.0, 5.0]]  # what looks like the left one there is the right one
    one = {"keypoints": [[left, right]], "keypoint_scores": [[1.0, 1.0]]}
    other = {"keypoints": [mirrored], "keypoint_scores": [[0.5, 0.5]]}
    merged = merge_predictions([one, other], batch_of(WHOLE, MIRRORED), flip_idx=[1, 0])
    assert np.allclose(merged.keypoints, [[left, right]])  # type: ignore[arg-type]
    assert np.allclose(merged.keypoint_scores, 0.75)  # type: ignore[arg-type]


def test_keypoints_are_those_of_the_views_that_have_them() -> None:
    nan = [np.nan, np.nan]
    one, other = {"keypoints": [[[1.0, 1.0], nan, nan]]}, {"keypoints": [[[3.0, 1.0], [2.0, 4.0], nan]]}
    merged = merge_predictions([one, other], batch_of(WHOLE, WHOLE))
    assert np.allclose(merged.keypoints, [[[2, 1], [2, 4], nan]], equal_nan=True)  # type: ignore[arg-type]


def test_images_may_have_their_channels_first() -> None:
    batch = batch_of(MIRRORED)
    batch.images = np.zeros((1, 3, 10, 20), np.float32)
    merged = merge_predictions([{"masks": [np.arange(20.0) * np.ones((10, 1))]}], batch)
    assert np.allclose(merged.masks[0], np.arange(20)[::-1])  # type: ignore[index]


def test_predictions_may_come_one_after_another() -> None:
    predictions: Any = ({"labels": [[share]]} for share in (0.0, 1.0))
    assert merge_predictions(predictions, batch_of(WHOLE, MIRRORED)).labels.tolist() == [[0.5]]  # type: ignore[union-attr]


def test_merged_of_no_rows_has_no_rows() -> None:
    predictions = [
        {"labels": np.zeros((0, 4)), "masks": [], "boxes": [], "scores": [], "keypoints": np.zeros((0, 5, 2))}
    ]
    batch = batch_of(WHOLE, num_rows=1).rows(0, 0)
    merged = merge_predictions(predictions, batch)
    assert isinstance(merged, Merged)
    assert merged.labels.shape == (0, 4)  # type: ignore[union-attr]
    assert merged.masks == merged.boxes == []


GOOD = {"masks": np.zeros((2, 3, 10, 20))}


@pytest.mark.parametrize(
    ("predictions", "options", "message"),
    [
        (GOOD, {}, "a list of one mapping for each view"),
        ([GOOD], {}, "predictions has 1 entries, the batch has 2 views"),
        ([GOOD, [1]], {}, "a list of one mapping for each view"),
        ([GOOD, {"labels": np.zeros((2, 3))}], {}, r"predictions\[0\] has masks, predictions\[1\] has labels"),
        ([GOOD, {}], {}, r"predictions\[1\] is empty"),
        ([GOOD, {"logits": 1}], {}, r"predictions\[1\] has 'logits'; allowed are labels, masks"),
        ([GOOD, {"masks": np.zeros((3, 3, 10, 20))}], {}, r"\['masks'\] has 3 rows, the batch has 2"),
        ([GOOD, {"masks": np.zeros((2, 4, 10, 20))}], {}, r"masks of row 0 are \(3, 10, 20\) for view 0 and \(4, 10"),
        ([GOOD, {"masks": 7}], {}, r"\['masks'\] is 7; give one entry for each of the 2 rows"),
        ([GOOD, {"masks": [["a"], ["b"]]}], {}, "it must be numbers"),
        ([{"labels": np.zeros(2)}] * 2, {}, r"\['labels'\] is \(2,\); it must be \(2, any\)"),
        ([{"labels": -np.ones((2, 3))}] * 2, {"labels": "geometric_mean"}, "labels holds -1; a geometric mean"),
        ([GOOD] * 2, {"labels": "median"}, "labels is 'median'; it is one of mean, max, geometric_mean"),
        ([GOOD] * 2, {"boxes": "soft"}, "boxes is 'soft'; it is one of wbf, nms"),
        ([GOOD] * 2, {"iou_threshold": 1.5}, "iou_threshold is 1.5; give a number from 0 to 1"),
        ([GOOD] * 2, {"stride": 0}, "stride is 0; give a number above 0"),
        ([{"boxes": [[]] * 2}] * 2, {}, "has boxes without scores"),
        ([{"scores": [[]] * 2}] * 2, {}, "has scores without boxes"),
        ([{"boxes": [[], [[1, 2, 3]]], "scores": [[], [1]]}] * 2, {}, r"\['boxes'\]\[1\] is \(1, 3\)"),
        ([{"boxes": [[], [[1, 2, 3, 4]]], "scores": [[], [1, 2]]}] * 2, {}, r"\['scores'\]\[1\] is \(2,\) for 1"),
        ([{"boxes": [[], [[1, 2, 3, np.nan]]], "scores": [[], [1]]}] * 2, {}, "not numbers, or scores below 0"),
        ([{"keypoints": np.zeros((2, 3, 2))}] * 2, {"flip_idx": [0, 0, 2]}, "name each of the 3 keypoints once"),
        ([{"keypoints": np.zeros((2, 3))}] * 2, {}, r"\['keypoints'\] is \(2, 3\); it must be \(2, any, 2\)"),
    ],
)
def test_merge_refuses_what_does_not_fit_and_says_what_would(predictions: Any, options: Any, message: str) -> None:
    with pytest.raises(CallError, match=message):
        merge_predictions(predictions, batch_of(WHOLE, MIRRORED, num_rows=2), **options)


def test_merge_refuses_what_is_no_batch() -> None:
    with pytest.raises(CallError, match="give the batch that was predicted"):
        merge_predictions([GOOD], "batch")  # type: ignore[arg-type]
