"""CopyPaste against drawings: pasted objects hide what is below, and targets agree."""

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.samples.sample import Sample
from augment.transforms.donors.partial_sample import Piece
from augment.transforms.entry import Unfit
from augment.transforms.runtime.trace import drawn as in_provenance
from tests.augment.transforms.catalogue_cases import some
from tests.augment.transforms.donors_cases import BACKGROUND, arrays, assert_same, colour, drawn, extent, node, shows

NEAREST_EXACT = 6
AS_IT_IS: dict[str, Any] = {"scale_range": [1, 1], "flip_p": 0, "share_range": [1, 1]}
"""The donor at its own size and place, where it is as large as the base, with all of its objects."""


def pasted(base: Piece, *donors: Piece, seed: int = 0, **params: Any) -> tuple[Piece, dict[str, Any]]:
    params = {"interpolation": NEAREST_EXACT, "area_for_downscale": None, "num_donors": len(donors)} | params
    return node("CopyPaste", **params).join(base, donors, np.random.default_rng(seed))


def assert_targets_match(piece: Piece) -> None:
    """Check that exactly the visible objects have a box, mask and class, around their pixels."""
    sample = piece.sample
    rows = some(sample.box_rows).tolist()
    assert len(set(rows)) == len(rows) == len(piece.visible)
    for number in range(20):
        there = shows(sample.image, number)
        assert np.array_equal(there, some(sample.mask) == number + 1)
        assert there.any() == (number in rows)
        if there.any():
            nth = rows.index(number)
            assert np.array_equal(there, some(sample.instance_masks)[nth])
            assert np.abs(some(sample.boxes)[nth] - extent(there)).max() <= 1.0  # a nearest pixel is half seen
            assert some(sample.box_labels)[nth] == number % 8
            assert 0 < piece.visible[nth] <= 1
    for number, (x, y), visibility in zip(
        some(sample.keypoint_rows).tolist(), some(sample.keypoints), some(sample.keypoint_visibility), strict=True
    ):
        assert (visibility == 0) == np.isnan(x)
        if visibility:
            assert shows(sample.image, number)[round(float(y)), round(float(x))]


def test_object_is_pasted_where_it_was_and_hides_what_lies_below() -> None:
    base = drawn(0, 40, 60, (0, 0, 19, 20), (30, 10, 50, 30), (52, 30, 60, 40))
    donor = drawn(3, 40, 60, (10, 10, 40, 20), (50, 28, 60, 40))
    result, said = pasted(base, donor, **AS_IT_IS)
    assert_targets_match(result)
    assert some(result.sample.box_rows).tolist() == [0, 1, 3, 4]
    # of the first a corner of 9 x 10 is hidden, of the second its upper left quarter; the third is hidden whole
    assert some(result.sample.boxes).tolist() == [[0, 0, 19, 20], [30, 10, 50, 30], [10, 10, 40, 20], [50, 28, 60, 40]]
    assert result.visible == pytest.approx([1 - 90 / 380, 0.75, 1, 1])
    assert said == {
        "image_1": {
            "factor": 1.0,
            "flipped": False,
            "part": [0, 0, 40, 60],
            "place": [0, 0, 40, 60],
            "cell": [0, 0, 40, 60],
            "objects": [0, 1],
            "seen": 2,
        }
    }
    # the keypoints of the first and second still lie on them, that of the third is lost
    assert some(result.sample.keypoint_rows).tolist() == [0, 1, 2, 3, 4]
    assert some(result.sample.keypoint_visibility).tolist() == [2, 2, 0, 2, 2]


def test_box_is_drawn_about_what_is_left() -> None:
    base = drawn(0, 40, 60, (10, 10, 50, 30))
    base.sample.boxes = np.array([[10.3, 9.5, 49.6, 30]], np.float32)
    donor = drawn(1, 40, 60, (0, 0, 31, 40))
    result, _ = pasted(base, donor, **AS_IT_IS)
    assert some(result.sample.boxes)[0] == pytest.approx([31, 10, 49.6, 30])
    assert result.visible == pytest.approx([19 / 40, 1])
    assert np.isnan(some(result.sample.keypoints)[0]).all()  # it lay at 29.5, and a half belongs to the next pixel


def test_later_donors_hide_earlier_ones() -> None:
    base = drawn(0, 40, 60, (0, 0, 60, 40))
    first, second = drawn(1, 40, 60, (10, 10, 30, 30)), drawn(2, 40, 60, (20, 10, 40, 30))
    result, _ = pasted(base, first, second, **AS_IT_IS)
    assert_targets_match(result)
    assert result.visible == pytest.approx([1 - 600 / 2400, 0.5, 1])


def test_visible_goes_on_from_what_was_left() -> None:
    base = Piece(drawn(0, 40, 60, (0, 0, 20, 20)).sample, np.array([0.5]))
    result, _ = pasted(base, drawn(1, 40, 60, (0, 0, 10, 20)), **AS_IT_IS)
    assert result.visible == pytest.approx([0.25, 1])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_targets_are_where_the_pixels_are(data: st.DataObject) -> None:
    pieces = []
    for nth in range(data.draw(st.integers(2, 3))):
        height, width = data.draw(st.tuples(st.integers(8, 50), st.integers(8, 50)))
        boxes = []
        for left in range(0, width - 5, 12):  # side by side: an object that hides another has no box about its pixels
            top = data.draw(st.integers(0, height - 4))
            boxes.append((left, top, min(width, left + data.draw(st.integers(2, 11))), height))
        pieces.append(drawn(5 * nth, height, width, *boxes[:5]))
    result, said = pasted(*pieces, seed=data.draw(st.integers(0, 99)), scale_range=[0.1, 4], share_range=[0, 1])
    sample = result.sample
    base_rows = np.arange(len(some(pieces[0].sample.keypoints)))
    assert np.array_equal(some(sample.keypoint_rows)[: len(base_rows)], base_rows)
    rows = some(sample.box_rows).tolist()
    for number in range(15):
        there = shows(sample.image, number)
        assert np.array_equal(there, some(sample.mask) == number + 1)
        assert there.any() == (number in rows)
        if there.any():
            assert np.array_equal(there, some(sample.instance_masks)[rows.index(number)])
            assert np.abs(some(sample.boxes)[rows.index(number)] - extent(there)).max() <= 2.0  # of 4 pixels for one
    for about in said.values():
        assert 0 <= about["seen"] <= len(about["objects"])


def test_flipped_donor_is_mirrored_with_its_targets() -> None:
    base, donor = drawn(0, 40, 60), drawn(0, 40, 60, (5, 10, 25, 30))
    donor = Piece(replace(donor.sample, **_no_keypoints()), donor.visible)
    base = Piece(replace(base.sample, **_no_keypoints()), base.visible)
    result, said = pasted(base, donor, **AS_IT_IS | {"flip_p": 1})
    assert said["image_1"]["flipped"]
    assert some(result.sample.boxes).tolist() == [[35, 10, 55, 30]]
    assert extent(shows(result.sample.image, 0)) == [35, 10, 55, 30]
    assert np.array_equal(shows(result.sample.image, 0), some(result.sample.instance_masks)[0])
    assert np.array_equal(shows(result.sample.image, 0), some(result.sample.mask) == 1)


def _no_keypoints() -> dict[str, Any]:
    return {name: None for name in Sample.__dataclass_fields__ if name.startswith("keypoint")}


def test_donor_with_keypoints_is_never_flipped() -> None:
    for seed in range(8):
        _, said = pasted(drawn(0, 40, 60), drawn(0, 40, 60, (5, 10, 25, 30)), seed=seed, flip_p=1)
        assert not said["image_1"]["flipped"]


def test_keypoints_come_with_their_object_alone() -> None:
    donor = drawn(0, 40, 60, (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))
    for seed in range(12):
        result, said = pasted(drawn(5, 40, 60), donor, seed=seed, **AS_IT_IS | {"max_objects": 1})
        assert some(result.sample.keypoint_rows).tolist() == some(result.sample.box_rows).tolist()
        assert some(result.sample.keypoint_rows).tolist() == said["image_1"]["objects"]
    without_owner = Piece(replace(donor.sample, keypoint_boxes=None), donor.visible)
    base = Piece(replace(drawn(5, 40, 60).sample, keypoint_boxes=None), np.zeros(0))
    result, said = pasted(base, without_owner, **AS_IT_IS | {"max_objects": 2})
    assert some(result.sample.keypoint_rows).tolist() == said["image_1"]["objects"]


def test_share_and_most_of_the_objects_are_kept() -> None:
    donor = drawn(0, 40, 100, *[(10 * nth, 5, 10 * nth + 8, 30) for nth in range(10)])
    counts = {
        len(pasted(drawn(10, 40, 100), donor, seed=seed, share_range=[0, 0.5])[1]["image_1"]["objects"])
        for seed in range(60)
    }
    assert counts == {1, 2, 3, 4, 5}
    assert len(pasted(drawn(10, 40, 100), donor, **AS_IT_IS | {"max_objects": 3})[0].visible) == 3


def test_scale_is_relative_to_what_fits_the_image() -> None:
    donor = drawn(0, 100, 200, (0, 0, 200, 100))
    result, _ = pasted(drawn(1, 60, 60), donor, scale_range=[0.5, 0.5])
    left, top, right, bottom = some(result.sample.boxes)[0]
    assert (right - left, bottom - top) == (30, 15)
    larger, said = pasted(drawn(1, 60, 60), donor, scale_range=[4, 4])
    assert some(larger.sample.boxes).tolist() == [[0, 0, 60, 60]]
    assert said["image_1"]["part"][2:] == [50, 50]
    assert larger.visible == pytest.approx([50 * 50 / (100 * 200)])


def test_places_of_a_donor_reach_every_corner() -> None:
    places = [
        pasted(drawn(1, 8, 8), drawn(0, 4, 4, (0, 0, 4, 4)), seed=seed, scale_range=[0.5, 0.5])[1]["image_1"]["place"]
        for seed in range(150)
    ]
    assert {tuple(place[:2]) for place in places} == {(y, x) for y in range(5) for x in range(5)}


def test_hard_edge_takes_the_donors_pixels_and_soft_edge_mixes_them() -> None:
    base, donor = drawn(0, 60, 60), drawn(1, 60, 60, (20, 20, 40, 40))
    hard, _ = pasted(base, donor, **AS_IT_IS)
    assert set(np.unique(hard.sample.image[..., 2])) == {BACKGROUND, 255}
    donor.sample.image[:] = colour(1)
    soft, _ = pasted(base, donor, **AS_IT_IS | {"blend_sigma": 2})
    blue = soft.sample.image[30, :, 2].astype(int)
    assert blue[30] >= 254
    assert blue[5] == BACKGROUND
    assert (np.diff(blue[:30]) >= 0).all()
    assert len(np.unique(blue)) > 6
    assert np.array_equal(some(soft.sample.instance_masks), some(hard.sample.instance_masks))


def test_class_mask_and_class_weights_take_those_of_what_is_pasted() -> None:
    base, donor = drawn(0, 40, 60), drawn(1, 40, 60, (0, 0, 10, 10), (20, 0, 30, 10))
    some(base.sample.mask)[:] = 7
    donor.sample.labels = np.array([0, 0.9, 0.8, 0.7, 0, 0, 0, 0], np.float32)
    base.sample.labels = np.array([0.5, 0, 0, 0, 0, 0, 0, 0], np.float32)
    result, _ = pasted(base, donor, **AS_IT_IS)
    assert some(result.sample.mask)[5, 5] == 2
    assert some(result.sample.mask)[5, 25] == 3
    assert (some(result.sample.mask) == 7).sum() == 2400 - 200
    assert some(result.sample.labels) == pytest.approx([0.5, 0.9, 0.8, 0, 0, 0, 0, 0])
    assert result.sample.label == 0


def test_box_without_a_mask_stays_while_some_of_it_is_seen() -> None:
    base = drawn(0, 40, 60, (0, 0, 20, 20), (30, 30, 40, 40))
    some(base.sample.instance_masks)[:] = 0
    result, _ = pasted(base, drawn(2, 40, 60, (0, 0, 10, 20), (30, 30, 45, 40)), **AS_IT_IS)
    assert some(result.sample.box_rows).tolist() == [0, 2, 3]
    assert some(result.sample.boxes)[0].tolist() == [0, 0, 20, 20]
    assert result.visible == pytest.approx([0.5, 1, 1])


def test_donor_without_masks_pastes_nothing() -> None:
    base, empty, unmasked = drawn(0, 40, 60, (0, 0, 20, 20)), drawn(1, 40, 60), drawn(2, 40, 60, (0, 0, 20, 20))
    some(unmasked.sample.instance_masks)[:] = 0
    result, said = pasted(base, empty, unmasked, **AS_IT_IS)
    assert_same(result, base)
    assert [about["objects"] for about in said.values()] == [[], []]
    assert not any(np.shares_memory(made, array) for made in arrays(result) for array in arrays(base))


def test_sample_without_instance_masks_is_refused() -> None:
    base, donor = drawn(0, 40, 60), drawn(1, 40, 60, (0, 0, 9, 9))
    with pytest.raises(Unfit, match="instance masks"):
        pasted(Piece(replace(base.sample, instance_masks=None), base.visible), donor)
    with pytest.raises(Unfit, match="instance masks"):
        pasted(base, Piece(replace(donor.sample, instance_masks=None), donor.visible))


def test_same_generator_gives_the_same_image_and_inputs_stay() -> None:
    pieces = [drawn(3 * nth, 40 + nth, 60, (0, 0, 20, 20), (30, 10, 50, 30)) for nth in range(3)]
    before = copy.deepcopy(pieces)
    first, second = (pasted(*pieces, seed=2, blend_sigma=1.5)[0] for _ in range(2))
    assert_same(first, second)
    for piece, untouched in zip(pieces, before, strict=True):
        assert_same(piece, untouched)
    kept = [array for piece in pieces for array in arrays(piece)]
    assert not any(np.shares_memory(made, array) for made in arrays(first) for array in kept)


def test_parameters_fit_into_provenance() -> None:
    donor = drawn(0, 40, 100, *[(5 * nth, 5, 5 * nth + 4, 30) for nth in range(20)])
    _, said = pasted(drawn(20, 40, 100), donor, **AS_IT_IS)
    shown = in_provenance(said)
    assert json.loads(json.dumps(shown)) == shown
    assert len(json.dumps(shown)) < 400
