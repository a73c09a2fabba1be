"""Boxes, masks of objects and keypoints of mixed rows, measured in the pixels that they were drawn with.

Each object of a batch is drawn in a different colour. Its targets must be where its colour is after mixing.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.mixing import objects
from augment.pipelines.spec import BoxRules, KeypointRules
from augment.samples.sample import OF_OBJECTS, Batch
from tests.augment.mixing.mixing_for_tests import batch_of, mixed, noise

HEIGHT, WIDTH = 24, 32
ROWS = 3
CUTMIX = {"CutMix": {"per": "row"}}
ANY_SIZE = BoxRules(0, 0, 0, 0)


def drawn(rng: np.random.Generator, *, masks: bool) -> Batch:
    """Make a batch of up to four objects a row, each a rectangle or an ellipse in a quarter of the image.

    A label of a box is its colour. Each object has two keypoints, and one in each row belongs to none. Each keypoint is
    a pixel of a different blue, with the label of the row's colour.
    """
    images = np.zeros((ROWS, HEIGHT, WIDTH, 3), np.uint8)
    fields: dict[str, list[Any]] = {name: [] for name in OF_OBJECTS}
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for row in range(ROWS):
        found: dict[str, list[Any]] = {name: [] for name in OF_OBJECTS}
        for quarter in range(4):
            if rng.random() < 0.3:
                continue
            left, top = (quarter % 2) * WIDTH // 2, (quarter // 2) * HEIGHT // 2
            x_min, y_min = left + rng.integers(0, 8), top + rng.integers(0, 6)
            x_max, y_max = rng.integers(x_min + 2, left + 17), rng.integers(y_min + 2, top + 12)
            mask = (x > x_min) & (x < x_max) & (y > y_min) & (y < y_max)
            if masks:
                centre = (x_min + x_max) / 2, (y_min + y_max) / 2
                mask &= ((x - centre[0]) * 2 / (x_max - x_min)) ** 2 + (
                    (y - centre[1]) * 2 / (y_max - y_min)
                ) ** 2 <= 1.2
            colour = row * 4 + quarter + 1
            images[row, mask, 0] = colour
            found["instance_masks"].append(mask)
            found["box_labels"].append(colour)
            found["boxes"].append([x_min, y_min, x_max, y_max])
            found["keypoints"] += [[x_min, y_min], [x_max - 1, y_max - 1]]
            found["keypoint_labels"] += [colour * 2, colour * 2 + 1]
            found["keypoint_boxes"] += [len(found["boxes"]) - 1] * 2
        found["keypoints"].append([rng.integers(0, WIDTH), HEIGHT - 1])
        found["keypoint_labels"].append(200 + row)
        found["keypoint_boxes"].append(-1)
        for (column, line), label in zip(found["keypoints"], found["keypoint_labels"], strict=True):
            images[row, line, column, 2] = label
        fields["boxes"].append(np.array(found["boxes"], np.float32).reshape(-1, 4))
        fields["box_labels"].append(np.array(found["box_labels"], np.int64))
        fields["instance_masks"].append(np.array(found["instance_masks"], np.uint8).reshape(-1, HEIGHT, WIDTH))
        fields["keypoints"].append(np.array(found["keypoints"], np.float32))
        fields["keypoint_labels"].append(np.array(found["keypoint_labels"], np.int64))
        fields["keypoint_boxes"].append(np.array(found["keypoint_boxes"], np.int64))
        fields["keypoint_visibility"].append(np.full(len(found["keypoints"]), 2, np.int8))
        fields["keypoint_angles"].append(np.full(len(found["keypoints"]), 1.5, np.float32))
        fields["keypoint_scales"].append(np.full(len(found["keypoints"]), 3.0, np.float32))
    if not masks:
        del fields["instance_masks"]
    return batch_of(images, **fields)


def extent(seen: np.ndarray) -> list[int]:
    lines, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return [columns[0], lines[0], columns[-1] + 1, lines[-1] + 1]


@given(seed=st.integers(0, 2**32), masks=st.booleans())
@settings(deadline=None, max_examples=60)
def test_cutmix_leaves_boxes_where_their_pixels_are(seed: int, masks: bool) -> None:
    out = mixed(drawn(np.random.default_rng(seed), masks=masks), CUTMIX, index=seed, boxes=ANY_SIZE)
    assert out.boxes is not None
    assert out.box_labels is not None
    for row, image in enumerate(out.images):
        labels = out.box_labels[row].tolist()
        assert sorted(labels) == sorted(set(np.unique(image[..., 0]).tolist()) - {0})
        for place, (label, box) in enumerate(zip(labels, out.boxes[row], strict=True)):
            seen = image[..., 0] == label
            partly = masks and seen.sum() < _mask_of(seed, label).sum()
            if not masks or partly:
                assert box.tolist() == extent(seen)
            if masks:
                assert out.instance_masks is not None
                np.testing.assert_array_equal(out.instance_masks[row][place], seen)


def _mask_of(seed: int, label: int) -> np.ndarray:
    whole = drawn(np.random.default_rng(seed), masks=True)
    seen: np.ndarray = np.asarray(whole.images)[(label - 1) // 4, ..., 0] == label
    return seen


@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_cutmix_leaves_keypoints_where_their_pixels_are(seed: int) -> None:
    out = mixed(drawn(np.random.default_rng(seed), masks=False), CUTMIX, index=seed, boxes=ANY_SIZE)
    assert out.keypoints is not None
    assert out.keypoint_labels is not None
    assert out.keypoint_visibility is not None
    assert out.keypoint_boxes is not None
    assert out.box_labels is not None
    for row, image in enumerate(out.images):
        points, labels = out.keypoints[row], out.keypoint_labels[row]
        has_place = np.isfinite(points).all(axis=1)
        assert sorted(labels[has_place].tolist()) == sorted(set(np.unique(image[..., 2]).tolist()) - {0})
        for (x, y), label in zip(points[has_place].astype(int), labels[has_place], strict=True):
            assert image[y, x, 2] == label
        np.testing.assert_array_equal(out.keypoint_visibility[row], np.where(has_place, 2, 0))
        for name, value in (("keypoint_angles", 1.5), ("keypoint_scales", 3.0)):
            np.testing.assert_array_equal(getattr(out, name)[row], np.where(has_place, value, 0))
        for owner, label in zip(out.keypoint_boxes[row], labels, strict=True):
            assert owner == -1 or out.box_labels[row][owner] == label // 2


def test_all_keypoints_of_an_object_come_with_it_those_outside_the_box_as_lost() -> None:
    fields: dict[str, Any] = {
        "boxes": [np.array([[0, 0, 10, 10]], np.float32)] * 2,
        "box_labels": [np.array([0])] * 2,
        "keypoints": [np.array([[1, 1], [9, 9], [5, 5]], np.float32)] * 2,
        "keypoint_boxes": [np.array([0, 0, -1])] * 2,
    }
    own = objects.of_rows(batch_of(noise(2), **fields))[0]
    came = objects.cut(own, (4, 4, 12, 12), BoxRules(), KeypointRules())
    np.testing.assert_array_equal(came["keypoints"], [[np.nan, np.nan], [9, 9], [5, 5]])
    np.testing.assert_array_equal(came["keypoint_boxes"], [0, 0, -1])
    dropped = objects.cut(own, (4, 4, 12, 12), BoxRules(), KeypointRules(outside="drop"))
    np.testing.assert_array_equal(dropped["keypoints"], [[9, 9], [5, 5]])
    left = objects.cover(own, (4, 4, 12, 12), BoxRules(), KeypointRules())
    np.testing.assert_array_equal(left["keypoints"], [[1, 1], [np.nan, np.nan], [np.nan, np.nan]])
    without = objects.cover(own, (4, 4, 12, 12), BoxRules(), KeypointRules(outside="drop"))
    np.testing.assert_array_equal(without["keypoints"], [[1, 1]])
    gone = objects.cover(own, (0, 0, 12, 12), BoxRules(), KeypointRules())
    assert gone["boxes"].shape == (0, 4)
    assert gone["keypoint_boxes"].tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("pasted", "left"),
    [
        ((0, 0, 4, 20), [4, 2, 10, 8]),  # the left side, in its whole length
        ((6, 0, 20, 20), [2, 2, 6, 8]),  # the right side
        ((0, 0, 20, 5), [2, 5, 10, 8]),  # the upper side
        ((2, 6, 10, 9), [2, 2, 10, 6]),  # the lower side, exactly as wide
        ((4, 0, 6, 20), [2, 2, 10, 8]),  # the middle: two parts, one box about both
        ((6, 4, 20, 20), [2, 2, 10, 8]),  # a corner: an L
        ((10, 0, 20, 20), [2, 2, 10, 8]),  # beside it
        ((2, 2, 10, 8), None),  # all of it
    ],
)
def test_a_box_becomes_the_upright_box_about_its_visible_part(
    pasted: tuple[int, int, int, int], left: list[int] | None
) -> None:
    found = objects.cover({"boxes": np.array([[2, 2, 10, 8]], np.float32)}, pasted, BoxRules(), KeypointRules())
    assert found["boxes"].tolist() == ([] if left is None else [left])


@pytest.mark.parametrize(
    ("rules", "covered", "came"),
    [
        (BoxRules(), 1, 1),
        (BoxRules(min_width=5), 0, 1),
        (BoxRules(min_height=11), 0, 0),
        (BoxRules(min_area=50), 0, 1),
        (BoxRules(min_area=61), 0, 0),
        (BoxRules(min_visibility=0.4), 1, 1),
        (BoxRules(min_visibility=0.5), 0, 1),
        (BoxRules(min_visibility=0.7), 0, 0),
    ],
)
def test_boxes_are_judged_again_by_what_is_left_of_them(rules: BoxRules, covered: int, came: int) -> None:
    own = {"boxes": np.array([[0, 0, 10, 10], [20, 0, 23, 4]], np.float32)}
    left = objects.cover(own, (4, 0, 16, 20), rules, KeypointRules())
    assert left["boxes"].tolist() == [[0, 0, 4, 10]] * covered + [[20, 0, 23, 4]]  # what nothing covers stays
    pasted = objects.cut(own, (4, 0, 16, 20), rules, KeypointRules())
    assert pasted["boxes"].tolist() == [[4, 0, 10, 10]] * came


def test_mixup_joins_the_objects_of_both_images() -> None:
    batch = drawn(np.random.default_rng(5), masks=True)
    out = mixed(batch, {"MixUp": {"alpha": 32}})
    for row, provenance in enumerate(out.provenance):
        assert provenance.mixed is not None
        partner = batch.keys.index(provenance.mixed.partner)
        for name in OF_OBJECTS:
            if name == "keypoint_boxes":
                continue
            before, after = getattr(batch, name), getattr(out, name)
            np.testing.assert_array_equal(after[row], np.concatenate([before[row], before[partner]]))
            assert after[row].dtype == before[row].dtype
        assert out.keypoint_boxes is not None
        assert out.keypoint_labels is not None
        assert out.box_labels is not None
        for owner, label in zip(out.keypoint_boxes[row], out.keypoint_labels[row], strict=True):
            assert owner == -1 if label >= 200 else out.box_labels[row][owner] == label // 2


def test_an_image_of_which_nothing_is_seen_brings_no_objects() -> None:
    batch = drawn(np.random.default_rng(6), masks=False)
    assert batch.boxes is not None
    seen = set()
    for index in range(40):
        out = mixed(batch, {"MixUp": {"alpha": 0.001, "per": "row"}}, index=index)
        assert out.boxes is not None
        for row, provenance in enumerate(out.provenance):
            weight = 1.0 if provenance.mixed is None else provenance.mixed.weight
            source = row if provenance.mixed is None else batch.keys.index(provenance.mixed.partner)
            if weight in (0.0, 1.0):
                np.testing.assert_array_equal(out.boxes[row], batch.boxes[source])
                seen.add(weight)
    assert seen == {0.0, 1.0}


def test_masks_of_no_objects_may_have_any_size() -> None:
    masks = [np.zeros((0, 0, 0), np.uint8), np.ones((1, 12, 16), np.uint8)]
    boxes = [np.zeros((0, 4), np.float32), np.array([[0, 0, 16, 12]], np.float32)]
    batch = batch_of(noise(2), boxes=boxes, instance_masks=masks)
    out = mixed(batch, {"MixUp": {"alpha": 32}})
    assert out.instance_masks is not None
    assert [each.shape for each in out.instance_masks] == [(1, 12, 16), (1, 12, 16)]
