"""Mosaic against drawings: objects have different colours, and pixels show where each is."""

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.samples.sample import Sample
from augment.transforms.donors.partial_sample import Piece
from augment.transforms.entry import Unfit
from augment.transforms.limits import OUTPUT_SIDE_PX
from augment.transforms.runtime.trace import drawn as in_provenance
from tests.augment.transforms.catalogue_cases import some
from tests.augment.transforms.donors_cases import BACKGROUND, arrays, assert_same, drawn, extent, node, shows

NEAREST_EXACT = 6
BOXES = ((6, 4, 26, 20), (30, 10, 52, 40), (4, 28, 24, 46))


def patterns(count: int, height: int = 50, width: int = 60, *, step: int = 0) -> list[Piece]:
    """Make images of three objects each; with ``step`` each is so many pixels larger than the one before."""
    return [drawn(3 * nth, height + nth * step, width + nth * step, *BOXES) for nth in range(count)]


def joined(pieces: list[Piece], seed: int = 0, **params: Any) -> tuple[Piece, dict[str, Any]]:
    params = {"interpolation": NEAREST_EXACT, "area_for_downscale": None, "num_images": len(pieces)} | params
    return node("Mosaic", **params).join(pieces[0], pieces[1:], np.random.default_rng(seed))


def assert_targets_match(piece: Piece, said: dict[str, Any]) -> int:
    """Check that every target is where its object is visible, and return the number of objects."""
    sample = piece.sample
    seen = set(np.unique(some(sample.mask)).tolist()) - {0}
    rows = some(sample.box_rows).tolist()
    for number in range(27):
        there = shows(sample.image, number)
        assert np.array_equal(there, some(sample.mask) == number + 1)
        if not there.any():
            assert number not in rows
            continue
        assert number + 1 in seen
        nth = rows.index(number)
        assert np.array_equal(there, some(sample.instance_masks)[nth])
        assert np.abs(some(sample.boxes)[nth] - extent(there)).max() <= 1.0  # a nearest pixel is half seen at most
        assert some(sample.box_labels)[nth] == number % 8
        cell_top, cell_left, cell_height, cell_width = said[f"image_{number // 3}"]["cell"]
        x_min, y_min, x_max, y_max = some(sample.boxes)[nth]
        assert cell_left <= x_min < x_max <= cell_left + cell_width
        assert cell_top <= y_min < y_max <= cell_top + cell_height
    for number, (x, y), visibility in zip(
        some(sample.keypoint_rows).tolist(), some(sample.keypoints), some(sample.keypoint_visibility), strict=True
    ):
        assert (visibility == 0) == np.isnan(x)
        if visibility:
            column, row = round(float(x)), round(float(y))
            around = shows(sample.image, number)[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            assert around.any()
            nth = rows.index(number)
            if piece.visible[nth] > 0.9999:  # all of it is seen, and the keypoint is its middle
                x_min, y_min, x_max, y_max = some(sample.boxes)[nth]
                assert (x, y) == pytest.approx(((x_min + x_max - 1) / 2, (y_min + y_max - 1) / 2), abs=1e-4)
    return len(rows)


@pytest.mark.parametrize("fit_mode", ["cover", "contain", "half"])
@pytest.mark.parametrize("num_images", [4, 9])
@pytest.mark.parametrize(
    ("size", "source", "step"), [((100, 120), (50, 60), 0), ((37, 53), (50, 60), 3), ((301, 207), (47, 53), 1)]
)
def test_targets_are_where_the_pixels_are(
    size: tuple[int, int], source: tuple[int, int], step: int, num_images: int, fit_mode: str
) -> None:
    for seed in range(4):
        given_images = patterns(num_images, *source, step=step)
        result, said = joined(given_images, seed, size=list(size), fit_mode=fit_mode)
        assert result.sample.image.shape == (*size, 3)
        assert assert_targets_match(result, said) >= 3
        assert len(result.visible) == len(some(result.sample.boxes))
        assert ((result.visible > 0) & (result.visible <= 1)).all()


def test_images_that_keep_their_size_are_copied_exactly() -> None:
    pieces = patterns(4)
    for nth, piece in enumerate(pieces):
        piece.sample.image[:] = np.random.default_rng(nth).integers(0, 256, piece.sample.image.shape)
    result, said = joined(pieces, size=[100, 120], center_range=[0.5, 0.5], interpolation=1)
    for nth, piece in enumerate(pieces):
        top, left, height, width = said[f"image_{nth}"]["cell"]
        assert np.array_equal(result.sample.image[top : top + height, left : left + width], piece.sample.image)
        rows = np.flatnonzero(some(result.sample.box_rows) // 3 == nth)
        moved = some(result.sample.boxes)[rows] - [left, top, left, top]
        assert np.array_equal(moved, some(piece.sample.boxes))
        points = some(result.sample.keypoints)[some(result.sample.keypoint_rows) // 3 == nth] - [left, top]
        assert np.array_equal(points, some(piece.sample.keypoints))
    assert np.array_equal(result.visible, np.ones(12))
    assert np.array_equal(some(result.sample.keypoint_angles), np.full(12, np.float32(np.pi / 2)))
    assert np.array_equal(some(result.sample.keypoint_scales), np.full(12, 4))


def test_visible_is_the_share_of_the_box_that_is_seen() -> None:
    pieces = [drawn(3 * nth, 40, 40, (0, 0, 40, 40)) for nth in range(4)]
    pieces[0] = Piece(pieces[0].sample, np.array([0.5]))
    result, said = joined(pieces, size=[40, 80], center_range=[0.25, 0.25])
    for nth, (row, visible) in enumerate(zip(some(result.sample.box_rows), result.visible, strict=True)):
        part = said[f"image_{row // 3}"]["part"]
        assert visible == pytest.approx(part[2] * part[3] / 1600 * (0.5 if nth == 0 else 1), abs=1e-6)
    assert result.visible.min() < 0.3


def test_half_scales_images_to_half_the_result_and_lets_them_touch_the_crossing() -> None:
    pieces = [drawn(3 * nth, *size, (0, 0, size[1], size[0])) for nth, size in enumerate([(30, 60), (200, 50)] * 2)]
    result, said = joined(pieces, size=[200, 240], center_range=[0.25, 0.25], fit_mode="half", fill=114, fill_mask=9)
    crossing = [60, 50, 60, 50]
    sides = {nth: tuple(said[f"image_{nth}"]["place"][2:]) for nth in range(4)}
    assert sides == {0: (60, 120), 1: (100, 25), 2: (60, 120), 3: (100, 25)}
    touching = np.isclose(some(result.sample.boxes), crossing)
    assert (touching.sum(axis=1) == 2).all()
    shown = np.any([shows(result.sample.image, 3 * nth) for nth in range(4)], axis=0)
    assert not shown.all()
    assert (result.sample.image[~shown] == 114).all()
    assert (some(result.sample.mask)[~shown] == 9).all()


def test_contain_shows_all_of_every_image() -> None:
    result, _ = joined(patterns(9, step=7), size=[200, 240], fit_mode="contain")
    assert len(result.visible) == 27
    assert np.allclose(result.visible, 1)


def test_nine_images_surround_one_that_is_half_as_large() -> None:
    _, said = joined(patterns(9), size=[100, 120], center_range=[0.5, 0.5])
    cells = sorted(tuple(said[f"image_{nth}"]["cell"]) for nth in range(9))
    rows, columns = ((0, 25), (25, 50), (75, 25)), ((0, 30), (30, 60), (90, 30))
    assert cells == sorted((y, x, height, width) for y, height in rows for x, width in columns)


def test_base_lies_in_every_cell_by_chance() -> None:
    places = {tuple(joined(patterns(4), seed, size=[20, 20])[1]["order"]) for seed in range(200)}
    assert len(places) == 24
    assert {order.index(0) for order in places} == {0, 1, 2, 3}


def test_crossing_is_drawn_from_its_range_and_may_leave_images_out() -> None:
    for seed in range(20):
        result, said = joined(patterns(9), seed, size=[9, 9], center_range=[0, 0.1])
        empty = [nth for nth in range(9) if 0 in said[f"image_{nth}"]["cell"][2:]]
        assert empty
        assert not {row // 3 for row in some(result.sample.box_rows).tolist()} & set(empty)
        assert {row // 3 for row in some(result.sample.keypoint_rows).tolist()} & set(empty) <= {0}
        assert (some(result.sample.keypoint_rows)[:3] == [0, 1, 2]).all()


@pytest.mark.parametrize("num_images", [4, 9])
@pytest.mark.parametrize("fit_mode", ["cover", "contain", "half"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_sizes_meet(num_images: int, fit_mode: str, data: st.DataObject) -> None:
    side = st.integers(1, 40)
    size = data.draw(st.tuples(side, side))
    pieces = []
    for nth in range(num_images):
        height, width = data.draw(st.tuples(side, side))
        pieces.append(drawn(nth, height, width, (0, 0, width, height)))
    center = sorted(data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    result, said = joined(pieces, data.draw(st.integers(0, 9)), size=list(size), center_range=center, fit_mode=fit_mode)
    assert result.sample.image.shape == (*size, 3)
    covered = np.zeros(size, int)
    for nth in range(num_images):
        top, left, height, width = said[f"image_{nth}"]["cell"]
        covered[top : top + height, left : left + width] += 1
        there = shows(result.sample.image, nth)
        assert there.any() == (nth in some(result.sample.box_rows))
        if there.any():
            assert extent(there) == pytest.approx(some(result.sample.boxes)[some(result.sample.box_rows) == nth][0])
    assert (covered == 1).all()
    if fit_mode == "cover":
        assert not (result.sample.image == BACKGROUND).all(axis=-1).any()


def test_donors_without_boxes_and_a_base_without_bring_none() -> None:
    pieces = [drawn(0, 40, 40), *patterns(4)[1:]]
    result, said = joined(pieces, size=[80, 80])
    assert assert_targets_match(result, said) == len(result.visible) > 0
    nothing, _ = joined([drawn(0, 40, 40)] * 4, size=[80, 80])
    assert some(nothing.sample.boxes).shape == (0, 4)
    assert some(nothing.sample.instance_masks).shape == (0, 80, 80)
    assert some(nothing.sample.keypoints).shape == (0, 2)
    assert nothing.visible.shape == (0,)


def test_images_alone_are_joined() -> None:
    pieces = [Piece(Sample(np.full((10, 10, 3), nth, np.uint8), label=nth), np.zeros(0)) for nth in range(4)]
    result, _ = joined(pieces, size=[20, 20])
    assert set(np.unique(result.sample.image)) == {0, 1, 2, 3}
    assert result.sample.label == 0
    assert result.sample.target_names() == frozenset()


def test_class_weights_are_the_largest_of_the_images_that_are_seen() -> None:
    pieces = patterns(4)
    for nth, piece in enumerate(pieces):
        piece.sample.labels = np.array([0.1 * nth, 1 - 0.1 * nth, 0], np.float32)
    result, _ = joined(pieces, size=[20, 20])
    assert some(result.sample.labels) == pytest.approx([0.3, 1, 0])


def test_masks_of_several_types_take_one_that_holds_all() -> None:
    pieces = patterns(4)
    pieces[2].sample.mask = some(pieces[2].sample.mask).astype(np.uint16) + 500
    result, _ = joined(pieces, size=[50, 60])
    assert some(result.sample.mask).dtype == np.uint16
    assert some(result.sample.mask).max() >= 500


def test_keypoints_of_a_donor_go_with_their_object_and_those_of_the_base_stay() -> None:
    for seed in range(10):
        result, _ = joined(patterns(4), seed, size=[40, 200], center_range=[0.2, 0.8])
        boxes, rows = some(result.sample.box_rows), some(result.sample.keypoint_rows)
        assert np.array_equal(rows[:3], [0, 1, 2])
        assert set(rows[3:].tolist()) <= set(boxes.tolist())


def test_angles_and_scales_follow_an_image_that_is_resized() -> None:
    pieces = [drawn(nth, 20, 40, (0, 0, 40, 20)) for nth in range(4)]
    for piece in pieces:
        piece.sample.keypoint_angles = np.array([np.pi / 4], np.float32)
    result, _ = joined(pieces, size=[80, 160], center_range=[0.5, 0.5])
    assert some(result.sample.keypoint_scales) == pytest.approx(np.full(4, 8))
    assert some(result.sample.keypoint_angles) == pytest.approx(np.full(4, np.pi / 4))


def test_same_generator_gives_the_same_mosaic_and_inputs_stay() -> None:
    pieces = patterns(9, step=2)
    before = copy.deepcopy(pieces)
    first, second = (joined(pieces, 3, size=[64, 64], fit_mode=mode)[0] for mode in ("cover", "cover"))
    assert_same(first, second)
    for piece, untouched in zip(pieces, before, strict=True):
        assert_same(piece, untouched)
    kept = [array for piece in pieces for array in arrays(piece)]
    assert not any(np.shares_memory(made, array) for made in arrays(first) for array in kept)


def test_area_filter_keeps_stripes_grey_where_bilinear_does_not() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[::2] = 255
    pieces = [Piece(Sample(stripes), np.zeros(0))] * 4
    by_area, bilinear = (
        joined(pieces, size=[86, 86], center_range=[0.5, 0.5], interpolation=1, area_for_downscale=area)[0].sample.image
        for area in ("image", None)
    )
    assert by_area.std() < 10
    assert bilinear.std() > 30


def test_parameters_fit_into_provenance() -> None:
    _, said = joined(patterns(9), size=[64, 64])
    shown = in_provenance(said)
    assert json.loads(json.dumps(shown)) == said
    assert "digest" not in json.dumps(shown)


def test_images_with_and_without_a_target_are_refused() -> None:
    pieces = patterns(4)
    pieces[1].sample.mask = None
    with pytest.raises(Unfit, match="others have none"):
        joined(pieces, size=[20, 20])
    pieces = patterns(4)
    pieces[3].sample.keypoint_scales = None
    with pytest.raises(Unfit, match="keypoint_scales"):
        joined(pieces, size=[20, 20])


def test_masks_of_objects_are_bounded() -> None:
    pieces = [drawn(20 * nth, 20, 20, *[(x, 0, x + 1, 20) for x in range(20)]) for nth in range(4)]
    with pytest.raises(Unfit, match="MAX_MASK_BYTES"):
        joined(pieces, size=[OUTPUT_SIDE_PX, OUTPUT_SIDE_PX], fit_mode="contain")
