"""Normalisation against NumPy's own arithmetic, and the section that names it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.errors import PipelineError
from augment.normalize.min_max import MinMax
from augment.normalize.section import parse
from augment.normalize.standard import Standard

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
ALL_LEVELS = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)


@given(
    st.tuples(*[st.floats(-10, 10)] * 3),
    st.tuples(*[st.floats(0.01, 10)] * 3),
    st.floats(0.5, 65_535),
)
def test_standard_is_its_formula_rounded_once(mean: tuple[float, ...], std: tuple[float, ...], top: float) -> None:
    section = {"method": "standard", "mean": list(mean), "std": list(std), "max_pixel_value": top}
    for images in (IMAGES, ALL_LEVELS):
        expected = ((images.astype(np.float64) / top - np.array(mean)) / np.array(std)).astype(np.float32)
        result = parse(section).apply(images)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, expected)


def test_min_max_goes_from_nought_to_one() -> None:
    result = parse({"method": "min_max"}).apply(ALL_LEVELS)
    np.testing.assert_array_equal(result, (ALL_LEVELS.astype(np.float64) / 255).astype(np.float32))
    assert result.min() == 0
    assert result.max() == 1


def test_views_are_normalised_and_left_alone() -> None:
    images = IMAGES[::2, 1:, ::-1]
    before = images.copy()
    result = Standard().apply(images)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(result, Standard().apply(np.ascontiguousarray(images)))
    assert result.flags.c_contiguous
    assert result.flags.writeable


@pytest.mark.parametrize(
    "section",
    [
        {"method": "min_max"},
        {"method": "standard"},
        {"method": "standard", "mean": 0, "std": 1},
        {"method": "standard", "mean": [0.5, 0.5, 0.5], "std": [1, 2, 3], "max_pixel_value": 1},
    ],
)
def test_canonical_section_reads_back(section: dict[str, Any]) -> None:
    read = parse(section)
    assert parse(read.canonical()) == read
    assert parse(read.canonical()).canonical() == read.canonical()


def test_what_is_left_out_is_filled_in() -> None:
    assert parse({"method": "standard"}).canonical() == {
        "method": "standard",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "max_pixel_value": 255.0,
    }


@pytest.mark.parametrize(
    ("section", "place", "message"),
    [
        ({}, (), "`method` is missing; write one of `standard`, `min_max`"),
        ({"method": "standart"}, ("method",), "did you mean `standard`?"),
        ({"method": ["standard"]}, ("method",), "is not a method"),
        ({"method": "standard", "std": [0, 1, 1]}, ("std",), "is not three numbers in [1e-06, 65535]"),
        ({"method": "standard", "mean": [1, 2]}, ("mean",), "is not three numbers"),
        ({"method": "standard", "mean": [True, 0, 0]}, ("mean",), "is not three numbers"),
        ({"method": "standard", "mean": float("nan")}, ("mean",), "is not three numbers"),
        ({"method": "standard", "max_pixel_value": 0}, ("max_pixel_value",), "is not a number in (0, 65535]"),
        ({"method": "standard", "means": 0}, ("means",), "did you mean `mean`?"),
        ({"method": "min_max", "mean": 0}, ("mean",), "`mean` is unknown here"),
    ],
)
def test_wrong_sections_are_refused_at_their_place(
    section: dict[str, Any], place: tuple[str, ...], message: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        parse(section)
    (found,) = caught.value.problems
    assert found.loc == ("normalize", *place)
    assert message in found.msg


def test_all_problems_of_a_section_are_found() -> None:
    with pytest.raises(PipelineError) as caught:
        parse({"method": "standard", "mean": "a", "std": "b", "max_pixel_value": "c", "d": 1})
    assert {problem.loc[1] for problem in caught.value.problems} == {"mean", "std", "max_pixel_value", "d"}


def test_other_arrays_are_refused() -> None:
    for wrong in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1), np.uint8)):
        with pytest.raises(TypeError, match="images are uint8"):
            MinMax().apply(wrong)  # type: ignore[arg-type]  # what is tested
