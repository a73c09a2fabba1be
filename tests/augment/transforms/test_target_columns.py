"""All annotations of an image pass a pipeline: rows, masks of objects, sides, rules, counts."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import CallError, RecordError
from augment.pipelines.document import parse
from augment.samples import annotations
from augment.samples.sample import Provenance, Sample
from augment.transforms.resolve import resolve
from augment.transforms.runtime.compiler import Compiled, TransformedSample
from tests.augment.transforms.catalogue_cases import LEAVES, MOVING_ALL, compiled, movable, node, noise_image, some

ADDRESS: dict[str, Any] = {"seed": 0, "draw": 0, "view": 0, "key": "k"}
NAMES = ("nose", "left_eye", "right_eye", "tail")


def run(text: str, given: Sample, **address: Any) -> TransformedSample:
    return Compiled(resolve(parse(text)), keypoint_names=NAMES)(given, **ADDRESS | address)


def full(height: int = 40, width: int = 50) -> Sample:
    """Make two objects with masks, one without a pixel, and five keypoints, one of them not annotated."""
    masks = np.zeros((3, height, width), np.uint8)
    masks[0, 5:15, 4:12] = 1
    masks[2, 20:30, 20:45] = 1
    return Sample(
        noise_image(height, width),
        label=1,
        labels=np.array([0, 0.25, 1], np.float32),
        mask=masks[0] * 7 + masks[2] * 9,
        boxes=np.array([[4, 5, 12, 15], [30, 2, 36, 9], [20, 20, 45, 30]], np.float32),
        box_labels=np.array([2, 0, 1]),
        instance_masks=masks,
        keypoints=np.array([[8, 8], [5, 6], [11, 6], [np.nan, np.nan], [30, 25]], np.float32),
        keypoint_labels=np.array([0, 1, 2, 3, 1]),
        keypoint_visibility=np.array([2, 1, 2, 0, 2], np.int8),
        keypoint_angles=np.array([0, np.pi / 2, 4, 0, 6], np.float32),
        keypoint_scales=np.array([1, 2, 3, 0, 5], np.float32),
        keypoint_boxes=np.array([0, 0, 0, 0, 2]),
    )


FIELDS = [name for name in Sample.__dataclass_fields__ if name not in {"image", "label"}]


# ---------------------------------------------------------------------------------------------------------- all fields


@pytest.mark.parametrize("name", LEAVES)
def test_every_transform_carries_every_target_in_arrays_of_its_own(name: str) -> None:
    given, untouched = movable(name, full()), movable(name, full())
    if given.boxes is None:
        given.instance_masks = untouched.instance_masks = None
    made = compiled(node(name))(given, **ADDRESS)
    assert made.sample.label == 1
    for field in FIELDS:
        before, after = getattr(given, field), getattr(made.sample, field)
        if field not in {"box_rows", "keypoint_rows"}:
            assert (after is None) == (before is None), field
        if before is not None:
            assert after.dtype == before.dtype, field
            assert not np.shares_memory(before, after), field
            np.testing.assert_array_equal(before, getattr(untouched, field), err_msg=field)
    height, width = made.sample.image.shape[:2]
    if given.boxes is not None:
        num_boxes = len(some(made.sample.boxes))
        assert some(made.sample.instance_masks).shape == (num_boxes, height, width)
        assert set(np.unique(some(made.sample.instance_masks))) <= {0, 1}
        assert len(some(made.sample.box_labels)) == len(some(made.sample.box_rows)) == num_boxes
        assert some(given.box_labels)[some(made.sample.box_rows)].tolist() == some(made.sample.box_labels).tolist()
    if given.keypoints is None:
        return
    assert some(made.sample.keypoint_rows).tolist() == [0, 1, 2, 3, 4]
    assert np.isnan(some(made.sample.keypoints)[3]).all()
    angles = some(made.sample.keypoint_angles)
    assert ((angles >= 0) & (angles < np.float32(2 * np.pi))).all()


def test_nothing_to_do_leaves_every_target_as_it_was() -> None:
    for text in ("[]", "[InvertImg]", "[NoOp]", "[HorizontalFlip: {p: 1}, HorizontalFlip: {p: 1}]"):
        given = full()
        out = run(text, given).sample
        for field in FIELDS:
            if field not in {"box_rows", "keypoint_rows"}:
                np.testing.assert_allclose(
                    getattr(out, field), getattr(given, field), atol=1e-4, err_msg=f"{text} {field}"
                )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"instance_masks": np.zeros((2, 40, 50), np.uint8)},
            "instance_masks has 2 rows for 3 boxes; give one for each box",
        ),
        (
            {"instance_masks": np.zeros((3, 4, 5), np.uint8)},
            r"instance_masks is \(4, 5\) high and wide, the image is \(40, 50\)",
        ),
        ({"mask": np.zeros((50, 40), np.uint8)}, r"mask is \(50, 40\) high and wide, the image is \(40, 50\)"),
        ({"keypoint_angles": np.zeros(4)}, "keypoint_angles has 4 rows for 5 keypoints; give one for each keypoint"),
        ({"keypoint_visibility": np.full(5, 0.5)}, r"keypoint_visibility is floats \(5,\); it must be integers"),
        ({"labels": np.zeros((2, 2))}, r"labels is floats \(2, 2\); it must be numbers \(C,\)"),
    ],
)
def test_targets_that_do_not_belong_together_are_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        run("[NoOp]", replace(full(), **wrong))


def test_rows_of_a_sample_that_has_passed_a_pipeline_name_the_record_s() -> None:
    given = full()
    given.box_rows, given.keypoint_rows = np.array([4, 8, 9]), np.array([3, 1, 7, 0, 2])
    out = run(
        "{transforms: [Crop: {x_min: 18, y_min: 0, x_max: 50, y_max: 40}], keypoints: {outside: drop}}", given
    ).sample
    assert some(out.box_rows).tolist() == [8, 9]
    assert some(out.keypoint_rows).tolist() == [0, 2]  # the one that never had a place, and the one that stayed


def test_sample_with_nothing_but_targets_that_are_empty_stays_empty() -> None:
    given = Sample(
        noise_image(30, 40),
        boxes=np.zeros((0, 4), np.float32),
        box_labels=np.zeros(0, np.int64),
        instance_masks=np.zeros((0, 30, 40), np.uint8),
        keypoints=np.full((2, 2), np.nan, np.float32),
        keypoint_visibility=np.zeros(2, np.int8),
    )
    for name in ("Resize", "CropNonEmptyMaskIfExists", "BBoxSafeRandomCrop", "Rotate", "ElasticTransform"):
        made = compiled(node(name))(given, **ADDRESS)
        assert some(made.sample.instance_masks).shape == (0, *made.sample.image.shape[:2])
        assert some(made.sample.boxes).shape == (0, 4)
        assert np.isnan(some(made.sample.keypoints)).all()
        assert made.dropped == {}


# ------------------------------------------------------------------------------------------------------------- objects


def test_object_whose_mask_is_gone_is_dropped_with_its_box() -> None:
    given = full()
    some(given.instance_masks)[0, :, 6:] = 0  # all of it lies in the left half of its box
    made = run("[Crop: {x_min: 8, y_min: 0, x_max: 50, y_max: 40}]", given)
    assert some(made.sample.box_rows).tolist() == [1, 2]  # 1 never had a mask
    assert made.dropped == {"boxes": 1}


def test_object_that_is_seen_twice_has_the_part_of_its_mask_in_each_box() -> None:
    given = full()
    made = run("[Pad: {padding: [20, 0, 0, 0], border_mode: 2, p: 1}]", given)
    rows = some(made.sample.box_rows)
    assert rows.tolist() == [0, 0, 1, 2]
    first, second = some(made.sample.instance_masks)[rows == 0]
    assert first.sum() == second.sum() == 80
    assert not (first & second).any()
    for box, mask in zip(some(made.sample.boxes)[rows == 0], (first, second), strict=True):
        y, x = np.nonzero(mask)
        np.testing.assert_allclose(box, [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1e-3)
    assert made.dropped == {}


@pytest.mark.parametrize("fill_mask", [0, 1, 7, 254, 255])
def test_border_filled_with_a_class_is_no_part_of_an_object(fill_mask: int) -> None:
    given = full()
    out = run(
        f"[Pad: {{padding: 9, fill_mask: {fill_mask}, p: 1}}, Rotate: {{limit: 30, p: 1, fill_mask: 3}}]", given
    ).sample
    rows = some(out.box_rows)
    for row, size in ((0, 80), (2, 250)):
        assert int(some(out.instance_masks)[rows == row].sum()) == pytest.approx(size, rel=0.1)


def test_masks_of_objects_are_those_of_their_boxes_after_any_crop() -> None:
    for draw in range(30):
        given = full()
        out = run("[RandomSizedCrop: {min_max_height: [10, 30], size: [33, 35]}]", given, draw=draw).sample
        for row, box, mask in zip(some(out.box_rows), some(out.boxes), some(out.instance_masks), strict=True):
            if row != 1:
                y, x = np.nonzero(mask)
                np.testing.assert_allclose(box, [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1.01)


# --------------------------------------------------------------------------------------------------------------- rules


def boxes_only(*boxes: tuple[float, float, float, float]) -> Sample:
    return Sample(noise_image(100, 100), boxes=np.array(boxes, np.float32))


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ("{}", [0, 1, 2]),
        ("{min_area: 0, min_width: 0, min_height: 0}", [0, 1, 2, 3]),
        ("{min_area: 50}", [0, 1]),
        ("{min_width: 6}", [0]),
        ("{min_height: 11}", [0]),
        ("{min_visibility: 0.5}", [0, 2]),
        ("{min_visibility: 0.4}", [0, 1, 2]),
    ],
)
def test_boxes_that_a_rule_refuses_are_dropped_and_counted(rules: str, kept: list[int]) -> None:
    given = boxes_only((10, 10, 30, 40), (45, 10, 60, 20), (10, 20, 14, 30), (49.5, 20, 60, 40))
    made = run(f"{{transforms: [Crop: {{x_min: 0, y_min: 0, x_max: 50, y_max: 50}}], boxes: {rules}}}", given)
    expected = [row for row in kept if not (rules == "{min_visibility: 0.4}" and row == 1)]  # a third of it is left
    assert some(made.sample.box_rows).tolist() == expected
    assert made.dropped == ({} if len(expected) == 4 else {"boxes": 4 - len(expected)})


def test_visibility_is_the_product_of_what_each_transform_leaves() -> None:
    crops = "Crop: {x_min: 0, y_min: 0, x_max: 50, y_max: 100}, Crop: {x_min: 30, y_min: 0, x_max: 50, y_max: 100}"
    given = boxes_only((20, 20, 60, 40))  # 3/4 is left, then 2/3 of that
    for least, kept in ((0.49, 1), (0.51, 0)):
        text = f"{{transforms: [{crops}, Resize: {{height: 31, width: 77}}], boxes: {{min_visibility: {least}}}}}"
        assert len(some(run(text, given).sample.boxes)) == kept


def test_rules_hold_where_no_pixel_moves() -> None:
    given = boxes_only((10, 10, 10.5, 40), (-5, -5, 5, 5))
    made = run("[InvertImg]", given)
    assert some(made.sample.boxes).tolist() == [[0, 0, 5, 5]]
    assert made.dropped == {"boxes": 1}


@pytest.mark.parametrize(
    ("outside", "rows", "lost"),
    [("keep", [0, 1, 2, 3, 4], []), ("mark", [0, 1, 2, 3, 4], [0, 1]), ("drop", [2, 3, 4], [])],
)
def test_keypoints_outside_are_kept_dropped_or_marked(outside: str, rows: list[int], lost: list[int]) -> None:
    made = run(
        f"{{transforms: [Crop: {{x_min: 10, y_min: 0, x_max: 50, y_max: 40}}], keypoints: {{outside: {outside}}}}}",
        full(),
    )
    out = made.sample
    assert some(out.keypoint_rows).tolist() == rows
    for row, point, visibility in zip(rows, some(out.keypoints), some(out.keypoint_visibility), strict=True):
        assert np.isnan(point).all() == (row in {3, *lost})
        assert visibility == (0 if row in {3, *lost} else [2, 1, 2, 0, 2][row])
    assert made.dropped == ({} if outside == "keep" else {"keypoints": 2})
    for field in ("keypoint_labels", "keypoint_angles", "keypoint_scales", "keypoint_boxes"):
        assert len(some(getattr(out, field))) == len(rows)


def test_keypoint_in_the_middle_of_the_last_pixel_is_inside() -> None:
    points = np.array([[-0.5, 0], [49.49, 39.49], [49.5, 0], [0, -0.51]], np.float32)
    given = Sample(noise_image(40, 50), keypoints=points)
    out = run("{transforms: [], keypoints: {outside: drop}}", given).sample
    assert some(out.keypoint_rows).tolist() == [0, 1]


def test_keypoint_that_is_folded_away_counts_as_dropped() -> None:
    points = np.random.default_rng(0).uniform(0, 59, (80, 2)).astype(np.float32)
    given = Sample(noise_image(60, 60), keypoints=points)
    made = compiled(node("ElasticTransform", alpha=600, sigma=8))(given, **ADDRESS)
    lost = int(np.isnan(some(made.sample.keypoints)).any(axis=1).sum())
    assert lost > 0
    assert made.dropped == {"keypoints": lost}


def test_what_was_dropped_stands_in_the_provenance() -> None:
    one = Provenance("k", (), {"boxes": 2})
    assert one.as_json()["dropped"] == {"boxes": 2}
    assert Provenance.from_json(one.as_json()) == one
    assert "dropped" not in Provenance("k").as_json()
    assert Provenance.from_json(Provenance("k").as_json()) == Provenance("k")


# --------------------------------------------------------------------------------------------------------------- sides


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("left_eye", "right_eye", "nose"), [1, 0, 2]),
        (("nose", "eye left", "Right", "Left", "eye right"), [0, 4, 3, 2, 1]),
        (("LEFT_ANKLE", "RIGHT_ANKLE"), [1, 0]),
        (("leftEye", "rightEye", "EyeLeft", "EyeRight"), [1, 0, 3, 2]),
        (("eye_l", "eye_r", "l-hip", "r-hip", "hip.L", "hip.R"), [1, 0, 3, 2, 5, 4]),
        (("LWrist", "RWrist", "Lip", "Rip"), [1, 0, 2, 3]),
        (("left_eye", "cleft", "upright", "all", "arr"), [0, 1, 2, 3, 4]),
        (("kneeL", "kneeR", "eyeR", "hand_l_tip", "eyeL", "hand_r_tip"), [1, 0, 4, 5, 2, 3]),
        (("handLTip", "knee1L", "handRTip", "knee1R", "kneeL_2", "kneeR_2"), [2, 3, 0, 1, 5, 4]),
        (("ear", "nail", "nair", "collar", "corral", "color", "coLor", "coRor", "L1", "R1"), list(range(10))),
        ((), []),
    ],
)
def test_names_that_differ_by_left_and_right_are_partners(names: tuple[str, ...], pairs: list[int]) -> None:
    assert annotations.partners(names).tolist() == pairs


WORDS = st.from_regex(r"[a-z]{2,8}", fullmatch=True).filter(lambda word: not re.search("left|right", word))
SIDED = st.sampled_from(
    (
        "{0}{S}",
        "{0}{S}{1}",
        "{0}_{s}",
        "{0}_{s}_{1}",
        "{s}_{0}",
        "{S}{1}",
        "{0}.{S}",
        "{0}{Side}",
        "{side} {0}",
        "{0}-{side}",
    )
)


def sided(form: str, first: str, second: str, side: str) -> str:
    letter = side[0]
    return form.format(first, second.capitalize(), s=letter, S=letter.upper(), side=side, Side=side.capitalize())


@given(st.lists(st.tuples(SIDED, WORDS, WORDS), min_size=1, max_size=6, unique_by=lambda each: (each[1], each[2])))
@settings(max_examples=200, deadline=None, database=None, derandomize=True)
def test_sides_are_partners_however_a_name_is_written(given_names: list[tuple[str, str, str]]) -> None:
    """Both ways, but never for the l and r of a word, even if two words differ only in them."""
    both = [(sided(*each, "left"), sided(*each, "right")) for each in given_names]
    plain = [word for _, word, _ in given_names] + [word.replace("l", "r") for _, word, _ in given_names]
    sides = [name for pair in both for name in pair]
    names = tuple(dict.fromkeys([*sides, *plain, *(word.capitalize() for word in plain)]))
    partner = annotations.partners(names)
    assert partner[partner].tolist() == list(range(len(names)))
    swapped = {name: names[place] for name, place in zip(names, partner, strict=True) if names[place] != name}
    assert swapped == {**dict(both), **{other: one for one, other in both}}


def test_names_without_a_partner_are_listed() -> None:
    assert annotations.unpaired_notice(("kneeL", "kneeR", "left eye", "right eye")) is None
    assert annotations.unpaired_notice(()) is None
    notice = some_text(annotations.unpaired_notice(("kneeL", "kneeR", "nose", "hipL")))
    assert notice.endswith(': "nose", "hipL"')
    assert some_text(annotations.unpaired_notice([str(i) for i in range(30)])).endswith('"9" and 20 more')


def some_text(text: str | None) -> str:
    assert text is not None
    return text


MIRRORS = ("HorizontalFlip", "VerticalFlip", "Transpose")
TURNS = (
    "RandomRotate90",
    "Resize",
    "Rotate",
    "Affine",
    "Perspective",
    "RandomCrop",
    "GridDistortion",
    "RandomGridShuffle",
)


@pytest.mark.parametrize("name", MIRRORS)
def test_mirrors_swap_left_and_right(name: str) -> None:
    given = full()
    plain = run(f"{{transforms: [{name}: {{p: 1}}], keypoints: {{swap_sides: false}}}}", given).sample
    out = run(f"[{name}: {{p: 1}}]", given).sample
    # the eyes of the first object change places, so that its labels keep their order; the second's only eye is renamed
    assert some(out.keypoint_labels).tolist() == [0, 1, 2, 3, 2]
    assert some(out.keypoint_rows).tolist() == [0, 2, 1, 3, 4]
    np.testing.assert_array_equal(some(out.keypoints), some(plain.keypoints)[[0, 2, 1, 3, 4]])
    np.testing.assert_array_equal(some(out.keypoint_visibility), [2, 2, 1, 0, 2])
    np.testing.assert_array_equal(some(out.keypoint_angles), some(plain.keypoint_angles)[[0, 2, 1, 3, 4]])
    assert some(out.keypoint_boxes).tolist() == [0, 0, 0, 0, 2]
    assert some(plain.keypoint_labels).tolist() == [0, 1, 2, 3, 1]


@pytest.mark.parametrize("name", TURNS)
def test_what_does_not_mirror_leaves_left_and_right(name: str) -> None:
    for draw in range(6):
        out = Compiled(
            resolve({"transforms": [node(name).canonical()]}), keypoint_names=NAMES
        )(full(), **ADDRESS | {"draw": draw}).sample  # fmt: skip
        assert some(out.keypoint_labels).tolist() == [0, 1, 2, 3, 1]


def test_two_mirrors_are_none() -> None:
    inner = "Sequential: {p: 1, transforms: [Resize: {height: 20, width: 30}, Transpose: {p: 1}]}"
    out = run(f"[HorizontalFlip: {{p: 1}}, {inner}]", full())
    assert some(out.sample.keypoint_labels).tolist() == [0, 1, 2, 3, 1]


@pytest.mark.parametrize("name", ["D4", "SquareSymmetry"])
def test_half_of_the_symmetries_of_the_square_mirror(name: str) -> None:
    transform = Compiled(resolve({"transforms": [{name: {"p": 1}}]}), keypoint_names=NAMES)
    swapped = set()
    for draw in range(60):
        out, (applied,), *_ = transform(full(), **ADDRESS | {"draw": draw})
        mirrored = applied.params["group_element"] in {"v", "h", "t", "hvt"}
        assert some(out.keypoint_labels).tolist() == ([0, 1, 2, 3, 2] if mirrored else [0, 1, 2, 3, 1])
        swapped.add(applied.params["group_element"])
    assert len(swapped) == 8


def test_shear_past_the_image_s_diagonal_mirrors_it() -> None:
    out = run("[Affine: {shear: {x: [60, 60], y: [60, 60]}, p: 1}]", full()).sample
    again = run("[Affine: {shear: {x: [30, 30], y: [30, 30]}, p: 1}]", full()).sample
    determinant = 1 - np.tan(np.radians(60)) ** 2
    assert determinant < 0
    assert some(again.keypoint_labels).tolist() == [0, 1, 2, 3, 1]
    assert some(out.keypoint_labels).tolist() == [0, 1, 2, 3, 2]


# --------------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("name", MOVING_ALL)
def test_mask_holds_its_classes_and_the_fill_value_alone(name: str) -> None:
    classes = np.array([3, 60, 201], np.uint8)
    more = {"fill_mask": 97} if "fill_mask" in node(name).params else {}
    transform = compiled(node(name, **more))
    allowed = {*classes.tolist(), 0, *more.values()}
    for draw in range(4):
        given = full(61, 47)
        given.mask = classes[np.random.default_rng(draw).integers(0, 3, (61, 47))]
        found = set(np.unique(some(transform(given, **ADDRESS | {"draw": draw}).sample.mask)).tolist())
        assert found <= allowed
        if name != "GridElasticDeform":  # its mesh leaves places that nothing covers: class 0
            assert found <= allowed - {0} | ({0} if not more else set())


def test_target_that_cannot_be_moved_refuses_the_record() -> None:
    with pytest.raises(RecordError, match=r"Morphological .* it moves pixels but cannot move boxes; leave it out"):
        compiled(node("Morphological"))(full(), **ADDRESS)


@pytest.mark.parametrize("name", ["CoarseDropout", "GridDropout", "Erasing", "XYMasking", "ConstrainedCoarseDropout"])
def test_holes_leave_boxes_as_they_are_unless_all_of_one_is_erased(name: str) -> None:
    fraction = np.array([[3.25, 4.5, 20.75, 30.5], [25, 20, 26, 21]], np.float32)
    kept = []
    for draw in range(40):
        given = Sample(noise_image(40, 50), mask=np.ones((40, 50), np.uint8), boxes=fraction)
        out = compiled(node(name, fill=0))(given, **ADDRESS | {"draw": draw}).sample
        for row, box in zip(some(out.box_rows), some(out.boxes), strict=True):
            np.testing.assert_allclose(box, fraction[row], atol=1e-4)
        kept.append(len(some(out.boxes)))
        gone = not out.image[20, 25].any()
        assert (1 in some(out.box_rows)) == (not gone)
    assert max(kept) == 2
