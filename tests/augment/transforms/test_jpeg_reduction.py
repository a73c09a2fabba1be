"""The rule of N/8: large enough for any crop, not larger than needed, and a sample's size does not change."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from augment.pipelines.spec import PipelineSpec
from augment.transforms.albumentations_import import A
from augment.transforms.families import resize
from augment.transforms.families.crop import smallest_crop
from augment.transforms.jpeg_reduction import FULL, eighths, reduced
from augment.transforms.resolve import resolve


def spec_of(*transforms: Any) -> PipelineSpec:
    return resolve(list(transforms))


@pytest.mark.parametrize(
    ("first", "n"),
    [
        ({"Resize": {"height": 256, "width": 256}}, 1),
        ({"Resize": {"height": 376, "width": 256}}, 2),
        ({"Resize": {"height": 375, "width": 500}}, 1),
        ({"Resize": {"height": 3000, "width": 4000}}, 8),
        ({"Resize": {"height": 3001, "width": 10}}, 8),
        ({"SmallestMaxSize": {"max_size": 375}}, 1),
        ({"SmallestMaxSize": {"max_size": 376}}, 2),
        ({"SmallestMaxSize": {"max_size": [256, 512, 480]}}, 2),
        ({"SmallestMaxSize": {"max_size": 4096}}, 8),
        ({"SmallestMaxSize": {"max_size_hw": [256, 256]}}, 1),
        ({"SmallestMaxSize": {"max_size_hw": [None, 1000]}}, 2),
        ({"LongestMaxSize": {"max_size": 500}}, 1),
        ({"LongestMaxSize": {"max_size": 501}}, 2),
        ({"LongestMaxSize": {"max_size_hw": [750, 4000]}}, 2),
        ({"RandomResizedCrop": {"size": [224, 224], "scale": [0.08, 1.0]}}, 3),
        ({"RandomResizedCrop": {"size": [224, 224], "scale": [1.0, 1.0], "ratio": [1.0, 1.0]}}, 1),
        ({"RandomResizedCrop": {"size": [224, 224], "scale": [0.0001, 1.0]}}, 8),
    ],
)
def test_a_photograph_of_twelve_megapixels_is_reduced(first: Any, n: int) -> None:
    assert eighths(spec_of(first, "HorizontalFlip"), 3000, 4000) == n


@pytest.mark.parametrize(
    "transforms",
    [
        [],
        ["HorizontalFlip"],
        ["HorizontalFlip", {"Resize": {"height": 9, "width": 9}}],
        [{"Resize": {"height": 9, "width": 9, "p": 0.999}}],
        [{"Sequential": {"p": 1, "transforms": [{"Resize": {"height": 9, "width": 9}}]}}],
        [{"RandomSizedCrop": {"min_max_height": [900, 999], "size": [9, 9]}}],
        [{"RandomScale": {"scale_limit": [-0.9, -0.9], "p": 1}}],
    ],
)
def test_any_other_first_node_gets_the_full_image(transforms: Any) -> None:
    assert eighths(spec_of(*transforms), 3000, 4000) == FULL


@pytest.mark.parametrize("target", ["mask", "keypoints"])
def test_masks_and_keypoints_lie_on_the_full_image(target: str) -> None:
    spec = spec_of({"Resize": {"height": 9, "width": 9}})
    assert eighths(spec, 3000, 4000, targets=frozenset({target})) == FULL
    assert eighths(spec, 3000, 4000, targets=frozenset({"boxes"})) == 1


def test_reduced_sizes_are_rounded_up() -> None:
    assert reduced(3000, 4001, 1) == (375, 501)
    assert reduced(1, 7, 3) == (1, 3)
    for n in range(1, 9):
        assert reduced(801, 799, n) == (math.ceil(801 * n / 8), math.ceil(799 * n / 8))
    assert reduced(17, 31, 8) == (17, 31)


SIDES = st.integers(1, 3000)


@given(SIDES, SIDES, st.integers(1, 600), st.integers(1, 600))
@settings(deadline=None)
def test_resize_never_enlarges_a_reduced_image(height: int, width: int, out_height: int, out_width: int) -> None:
    n = eighths(spec_of({"Resize": {"height": out_height, "width": out_width}}), height, width)

    def enough(n: int) -> bool:
        small_height, small_width = reduced(height, width, n)
        return small_height >= out_height and small_width >= out_width

    assert n == next((n for n in range(1, 8) if enough(n)), FULL)


@given(
    st.sampled_from(["SmallestMaxSize", "LongestMaxSize"]),
    SIDES,
    SIDES,
    st.lists(st.integers(1, 600), min_size=1, max_size=3),
)
@settings(deadline=None)
@example("SmallestMaxSize", 1999, 2003, [250])
def test_max_sizes_do_not_depend_on_the_reduction(name: str, height: int, width: int, sizes: list[int]) -> None:
    """For any draw the size is that of the full image, and no side is enlarged."""
    spec = spec_of({name: {"max_size": sizes}})
    params = spec.transforms[0].params
    n = eighths(spec, height, width)
    outputs = resize.max_sizes(name, params, height, width)

    def enough(n: int) -> bool:
        small = reduced(height, width, n)
        largest = np.max(outputs, axis=0)
        return resize.max_sizes(name, params, *small) == outputs and bool((np.array(small) >= largest).all())

    assert n == next((n for n in range(1, 8) if enough(n)), FULL)


class OneDraw:
    """Replacement for a transform's ``random.Random`` that always draws the same place of each range."""

    def __init__(self, area: float, ratio: float) -> None:
        self._places = (area, ratio)
        self._count = 0

    def uniform(self, low: float, high: float) -> float:
        self._count += 1
        return low + (high - low) * self._places[(self._count - 1) % 2]

    def random(self) -> float:
        return 0.5


def crops(params: Any, height: int, width: int, places: list[tuple[float, float]]) -> list[tuple[int, int]]:
    """Return height and width of Albumentations' crop for each draw, or of its middle if a draw does not fit."""
    transform = A.RandomResizedCrop(size=(1, 1), scale=tuple(params["scale"]), ratio=tuple(params["ratio"]))
    found = []
    for area, ratio in places:
        transform.py_random = OneDraw(area, ratio)
        drawn = transform.get_params_dependent_on_data({"shape": (height, width, 3)}, {})
        x_min, y_min, x_max, y_max = drawn["crop_coords"]
        found.append((y_max - y_min, x_max - x_min))
    return found


def extreme_crops(params: Any, height: int, width: int) -> list[tuple[int, int]]:
    """Yield crops of the least area at both ends of the ratios, and at the ratios beyond which a draw does not fit."""
    low, high = (math.log(ratio) for ratio in params["ratio"])
    area = params["scale"][0] * height * width
    places = [0.0, 0.5, 1.0]
    for ratio in (area / (height + 0.5) ** 2, (width + 0.5) ** 2 / area):
        for nudge in (-1e-9, 1e-9):
            place = (math.log(ratio) + nudge - low) / (high - low) if high > low else 0.0
            places += [place] if 0 <= place <= 1 else []
    return crops(params, height, width, [(0.0, place) for place in places])


RANGES = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted)
RATIOS = st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)).map(sorted)
CROPS = st.fixed_dictionaries(
    {"size": st.tuples(st.integers(1, 300), st.integers(1, 300)).map(list), "scale": RANGES, "ratio": RATIOS}
)


@given(CROPS, st.integers(1, 1500), st.integers(1, 1500), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=400, deadline=None)
def test_no_draw_takes_less_than_the_smallest_crop(
    params: Any, height: int, width: int, area: float, ratio: float
) -> None:
    least_height, least_width = smallest_crop(params, height, width)
    try:
        drawn = crops(params, height, width, [(area, ratio), (0.0, ratio), (0.0, 0.0), (0.0, 1.0)])
        drawn += extreme_crops(params, height, width)
    except ValueError:
        return  # a middle without a pixel, which Albumentations refuses
    for crop_height, crop_width in drawn:
        assert crop_height >= least_height
        assert crop_width >= least_width


@given(CROPS, st.integers(8, 1500), st.integers(8, 1500))
@settings(max_examples=150, deadline=None)
def test_no_crop_is_enlarged_and_no_smaller_reduction_would_do(params: Any, height: int, width: int) -> None:
    spec = spec_of({"RandomResizedCrop": params})
    out_height, out_width = params["size"]
    n = eighths(spec, height, width)
    if n < FULL:
        for crop_height, crop_width in extreme_crops(params, *reduced(height, width, n)):
            assert crop_height >= out_height
            assert crop_width >= out_width
    for smaller in range(1, n):
        small = reduced(height, width, smaller)
        assume(is_clear(params, *small))
        try:
            drawn = extreme_crops(params, *small)
        except ValueError:
            continue
        assert any(crop_height < out_height or crop_width < out_width for crop_height, crop_width in drawn)


def is_clear(params: Any, height: int, width: int) -> bool:
    """Return True if no side of the least area vanishes, or could be rounded either way."""
    area = params["scale"][0] * height * width
    sides = [area / (height + 0.5), area / (width + 0.5)]
    sides += [math.sqrt(area * ratio) for ratio in params["ratio"]] + [
        math.sqrt(area / ratio) for ratio in params["ratio"]
    ]
    return all(side > 1 and abs(side % 1 - 0.5) > 1e-6 for side in sides)


@pytest.mark.parametrize("ratio", [[0.75, 4 / 3], [2.0, 3.0], [0.2, 0.3], [1.0, 1.0]])
@pytest.mark.parametrize("scale", [[0.08, 1.0], [0.5, 0.6], [1.0, 1.0]])
@pytest.mark.parametrize("size", [(480, 640), (300, 300), (90, 700), (700, 90)])
def test_smallest_crop_is_met(size: tuple[int, int], scale: list[float], ratio: list[float]) -> None:
    params = {"size": [1, 1], "scale": scale, "ratio": ratio}
    drawn = extreme_crops(params, *size)
    assert smallest_crop(params, *size) == (min(height for height, _ in drawn), min(width for _, width in drawn))
