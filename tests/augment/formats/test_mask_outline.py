"""Outlines of masks along the edges of pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from augment.formats.shared import mask_outline
from augment.formats.shared.object_rules import polygon_area
from augment.images import masks

MASKS = npst.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1))


def _drawn(polygons: list[mask_outline.Polygon], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the pixels inside an odd number of the polygons, each drawn by pycocotools."""
    drawn = np.zeros(shape, np.uint8)
    for polygon in polygons:
        drawn ^= masks.rasterise((polygon,), *shape[:2])
    return drawn


@given(MASKS)
@settings(max_examples=300, deadline=None)
def test_outline_draws_the_mask_that_it_was_traced_from(mask: NDArray[np.uint8]) -> None:
    polygons = mask_outline.trace(mask)
    assert np.array_equal(_drawn(polygons, mask.shape), mask)
    assert sum(map(polygon_area, polygons)) == mask.sum(), "parts turn one way, holes the other"


@given(MASKS)
@settings(max_examples=300, deadline=None)
def test_joined_outline_is_one_polygon_with_the_same_inside(mask: NDArray[np.uint8]) -> None:
    polygons = mask_outline.trace(mask)
    if polygons:
        assert np.array_equal(_drawn([mask_outline.joined(polygons)], mask.shape), mask)


def test_outline_runs_round_the_outer_edges_of_pixels() -> None:
    mask = np.zeros((5, 6), np.uint8)
    mask[1:3, 2:5] = 1
    assert mask_outline.trace(mask) == [(2, 1, 5, 1, 5, 3, 2, 3)]


def test_outline_has_corners_only() -> None:
    assert len(mask_outline.trace(np.ones((500, 700), np.uint8))[0]) == 8


def test_nothing_has_no_outline() -> None:
    assert mask_outline.trace(np.zeros((3, 4), np.uint8)) == []


def test_hole_is_an_outline_of_its_own_that_runs_the_other_way() -> None:
    mask = np.ones((5, 5), np.uint8)
    mask[2, 2] = 0
    outer, hole = mask_outline.trace(mask)
    assert (polygon_area(outer), polygon_area(hole)) == (25, -1)


def test_pixels_that_touch_at_a_corner_are_two_parts() -> None:
    assert [polygon_area(polygon) for polygon in mask_outline.trace(np.eye(2, dtype=np.uint8))] == [1, 1]


@pytest.mark.parametrize("number", [1, 2, 3, 40])
def test_joining_keeps_every_corner(number: int) -> None:
    squares = [tuple(map(float, (3 * i, 0, 3 * i + 2, 0, 3 * i + 2, 2, 3 * i, 2))) for i in range(number)]
    joined = mask_outline.joined(squares)
    corners = set(zip(joined[::2], joined[1::2], strict=True))
    assert corners == {point for square in squares for point in zip(square[::2], square[1::2], strict=True)}
    assert abs(polygon_area(joined)) == 4 * number
