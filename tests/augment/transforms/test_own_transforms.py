import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from augment.samples.sample import Sample
from augment.transforms.catalogue import ParamsError, fill
from augment.transforms.families.crop import RandomCropKeepSize
from augment.transforms.families.geometry import RandomShiftScale
from tests.augment.transforms.catalogue_cases import compiled, node, noise_image, sample, some

DETERMINISTIC = settings(max_examples=60, deadline=None, database=None, derandomize=True)


def rendered(name: str, given_sample: Sample, draw: int = 0, **params: Any) -> tuple[Sample, dict[str, Any]]:
    out, applied, *_ = compiled(node(name, **params))(given_sample, seed=3, draw=draw, view=0, key="k")
    return out, applied[-1].params


# ------------------------------------------------------------------------------------------------- RandomCropKeepSize


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    area=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
    ratio=st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)).map(sorted),
    draw=st.integers(0, 1_000),
)
@DETERMINISTIC
def test_crop_lies_inside_and_comes_back_in_the_size_the_image_had(
    height: int, width: int, area: list[float], ratio: list[float], draw: int
) -> None:
    image = noise_image(height, width)
    out, part = rendered("RandomCropKeepSize", Sample(image), draw, scale=area, ratio=ratio, interpolation=6)
    assert out.image.shape == image.shape
    x, y, w, h = part["x_min"], part["y_min"], part["part_width"], part["part_height"]
    assert 0 <= x < x + w <= width
    assert 0 <= y < y + h <= height
    seen = image[y : y + h, x : x + w]
    rows, row_ties = nearest(height, h)
    columns, column_ties = nearest(width, w)
    same = (out.image == seen[rows][:, columns]).all(axis=2)
    assert (same | row_ties[:, None] | column_ties[None, :]).all()


def nearest(size: int, part: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each pixel of ``size`` the nearest one of ``part``, and True if two are equally near."""
    numerator = (2 * np.arange(size) + 1) * part
    return numerator // (2 * size), (numerator % (2 * size) == 0)


@given(
    area=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted),
    ratio=st.tuples(st.floats(0.2, 1), st.floats(1, 5)),
    draw=st.integers(0, 1_000),
)
@DETERMINISTIC
def test_crop_has_an_area_and_a_ratio_of_the_ranges(area: list[float], ratio: tuple[float, float], draw: int) -> None:
    transform = RandomCropKeepSize(scale=(area[0], area[1]), ratio=ratio)
    transform.set_random_seed(draw)
    part = transform.get_params_dependent_on_data({"shape": (3_000, 4_000, 3)}, {})
    share = part["part_width"] * part["part_height"] / 12_000_000
    relative = part["part_width"] / part["part_height"] / (4 / 3)
    assert area[0] - 1e-3 <= share <= area[1] + 1e-3
    assert ratio[0] * 0.99 <= relative <= ratio[1] * 1.01


def test_crop_draws_areas_evenly_and_places_evenly() -> None:
    transform = RandomCropKeepSize(scale=(0.1, 0.9), ratio=(1.0, 1.0))
    transform.set_random_seed(0)
    parts = [transform.get_params_dependent_on_data({"shape": (3_000, 4_000, 3)}, {}) for _ in range(2_000)]
    areas = [part["part_width"] * part["part_height"] / 12_000_000 for part in parts]
    assert stats.kstest(areas, stats.uniform(0.1, 0.8).cdf).pvalue > 1e-4
    places = [part["x_min"] / (4_000 - part["part_width"]) for part in parts]
    assert stats.kstest(places, stats.uniform(0, 1).cdf).pvalue > 1e-4


@pytest.mark.parametrize(("ratio", "wanted"), [((3.0, 5.0), 3.0), ((0.1, 0.25), 0.25)])
def test_crop_of_the_whole_area_takes_the_nearest_ratio_that_fits(ratio: tuple[float, float], wanted: float) -> None:
    transform = RandomCropKeepSize(scale=(1.0, 1.0), ratio=ratio)
    part = transform.get_params_dependent_on_data({"shape": (1_200, 1_200, 3)}, {})
    assert part["part_width"] / part["part_height"] == pytest.approx(wanted)
    assert max(part["part_width"], part["part_height"]) == 1_200


def test_crop_of_everything_changes_nothing() -> None:
    before = sample()
    out, *_ = rendered("RandomCropKeepSize", before, scale=[1, 1], ratio=[1, 1])
    assert np.array_equal(out.image, before.image)
    assert before.mask is not None
    assert out.mask is not None
    assert np.array_equal(out.mask, before.mask)
    np.testing.assert_allclose(some(out.boxes), some(before.boxes), atol=1e-4)
    np.testing.assert_allclose(some(out.keypoints), some(before.keypoints), atol=1e-4)


def test_crop_keeps_a_keypoint_in_the_middle_of_its_pixel() -> None:
    """Make a ramp whose value is its x: after bilinear resampling the value at a keypoint is its original x."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (80, 200, 3))
    for draw in range(20):
        before = Sample(ramp.copy(), keypoints=np.array([[100, 40]], np.float32))
        out, *_ = rendered("RandomCropKeepSize", before, draw, scale=[0.2, 0.5])
        assert out.keypoints is not None
        x, y = out.keypoints[0]
        if 1 <= x < 198 and 0 <= y < 80:
            low = int(np.floor(x))
            value = np.interp(x, [low, low + 1], out.image[round(y), [low, low + 1], 0].astype(float))
            assert value == pytest.approx(100, abs=0.75)


# --------------------------------------------------------------------------------------------------- RandomShiftScale


def test_shift_by_whole_pixels_moves_the_image_and_fills_the_rest() -> None:
    before = sample(40, 50)
    assert before.mask is not None
    out, drawn = rendered(
        "RandomShiftScale", before, shift_limit=[0.1, 0.1], scale_limit=0, fill=[1, 2, 3], fill_mask=9
    )
    assert drawn == {"factor": 1.0, "shift_x": pytest.approx(0.1), "shift_y": pytest.approx(0.1)}
    assert np.array_equal(out.image[4:, 5:], before.image[:-4, :-5])
    assert (out.image[:4] == [1, 2, 3]).all()
    assert (out.image[:, :5] == [1, 2, 3]).all()
    assert out.mask is not None
    assert np.array_equal(out.mask[4:, 5:], before.mask[:-4, :-5])
    assert (out.mask[:4] == 9).all()
    assert before.keypoints is not None
    np.testing.assert_allclose(some(out.keypoints), some(before.keypoints) + np.array([5, 4]), atol=1e-4)


def test_scale_is_about_the_middle_of_the_frame() -> None:
    image = np.zeros((41, 61, 3), np.uint8)
    image[20, 30] = 255
    before = Sample(image, keypoints=np.array([[30, 20]], np.float32), boxes=np.array([[20, 10, 41, 31]], np.float32))
    for limit in (-0.5, 1.0):
        out, *_ = rendered("RandomShiftScale", before, shift_limit=0, scale_limit=[limit, limit], interpolation=1)
        assert out.image[20, 30, 0] == out.image[..., 0].max()
        np.testing.assert_allclose(some(out.keypoints), [[30, 20]], atol=1e-4)
        assert out.boxes is not None
        factor = 1 + limit
        expected = np.array([30.5, 20.5, 30.5, 20.5]) + factor * 10.5 * np.array([-1, -1, 1, 1])
        np.testing.assert_allclose(out.boxes[0], np.clip(expected, 0, [61, 41, 61, 41]), atol=1e-3)


def test_shift_and_scale_keep_the_frame_and_draw_evenly() -> None:
    transform = RandomShiftScale(shift_limit=(-0.5, 0.25), scale_limit=(-0.5, 1.0))
    transform.set_random_seed(0)
    drawn = [transform.get_params() for _ in range(2_000)]
    for key, low, span in (("shift_x", -0.5, 0.75), ("shift_y", -0.5, 0.75), ("factor", 0.5, 1.5)):
        assert stats.kstest([one[key] for one in drawn], stats.uniform(low, span).cdf).pvalue > 1e-4
    for first, second in itertools.combinations(("shift_x", "shift_y", "factor"), 2):
        correlation = np.corrcoef([one[first] for one in drawn], [one[second] for one in drawn])[0, 1]
        assert abs(correlation) < 5 / np.sqrt(2_000)


@pytest.mark.parametrize("border_mode", range(5))
def test_every_border_mode_keeps_the_size(border_mode: int) -> None:
    out, *_ = rendered("RandomShiftScale", sample(33, 65), shift_limit=0.5, scale_limit=0.5, border_mode=border_mode)
    assert out.image.shape == (33, 65, 3)
    assert out.mask is not None
    assert out.mask.shape == (33, 65)


# --------------------------------------------------------------------------------------------------------------- both


def test_our_transforms_answer_for_their_parameters() -> None:
    assert fill("RandomCropKeepSize", {}) == {
        "scale": [0.25, 1.0],
        "ratio": [3 / 4, 4 / 3],
        "interpolation": 1,
        "p": 1.0,
    }
    with pytest.raises(ParamsError, match=r"scale\.0 is 0; it must be more than 0"):
        fill("RandomCropKeepSize", {"scale": [0, 1]})
    with pytest.raises(ParamsError, match=r"scale_limit\.0 is -1; it must be at least -0\.99"):
        fill("RandomShiftScale", {"scale_limit": [-1, 1]})
