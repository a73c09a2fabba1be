"""Boxes and points of an image that is resampled through a field of source positions.

Albumentations draws every box into a mask of the image's size, or inverts the field in a loop over pixels: a minute
and gigabytes for a few hundred boxes. Here only the pixels near a box or a point are visited.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms.albumentations_import import cv2
from augment.transforms.matrix_geometry import areas, hull_of

_Array = NDArray[Any]
_EDGE_PX: Final = 1e-3
"""Distance up to which a point counts as on an edge: outlines pass Albumentations as float32 shares of the image."""
_PIXEL: Final = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
_BLOCK_PX: Final = 32
_NEAR_PX: Final = 2.0
"""A point is found if a pixel comes from within this distance; one stretched more than fourfold may be missed."""
_SLOPE_PX: Final = 2
"""Distance to either side over which a field's slope is measured: fields have steps of 1/32 pixel (OpenCV's remapping).
"""
_NEWTON_STEPS: Final = 5
_FLAT: Final = 1 / 64
"""Least share of the image's area on a pixel for which the slope is inverted."""


class Field:
    """Field of source positions: ``map_x`` and ``map_y`` for each pixel of the result; whole numbers are pixel middles.

    Keeps the range of both in blocks, so that a search visits only blocks that can hold a match.
    """

    def __init__(self, map_x: _Array, map_y: _Array) -> None:
        self._maps = map_x, map_y
        self._ranges = tuple((_blockwise(one, np.minimum), _blockwise(one, np.maximum)) for one in self._maps)

    def shapes(self, shapes: _Array) -> tuple[list[list[_Array]], list[int]]:
        """Return the hulls of the pixels that come from within each polygon of shapes (N, 2, K, 2), and the seen rows.

        Polygons are convex and in pixels, edges at the borders of pixels; a pixel i is within [i, i + 1) of an upright
        box. A row is seen if any pixel of its outline is. The hull of the inner polygon is drawn around the middles of
        its pixels, so that it is not larger than its visible part; it is a single point if nothing is visible.
        """
        hulls, rows = [], []
        for row, both in enumerate(shapes - 0.5):
            y, x = self._within(*both[0].min(axis=0), *both[0].max(axis=0))
            sources = np.stack([one[y, x] for one in self._maps], axis=-1)
            outline, inner = (np.stack([x, y], axis=-1)[_inside(polygon, sources)] for polygon in both)
            if len(outline):
                middles = hull_of(inner + 0.5) if len(inner) else outline[:1] + 0.5
                is_line = len(inner) and not areas(middles)
                hulls.append([_around(outline), _around(inner) if is_line else middles])
                rows.append(row)
        return hulls, rows

    def points(self, points: _Array) -> tuple[_Array, NDArray[np.int64], _Array]:
        """Return the places of points (N, 2) that are seen, their rows, and their steps (M, 2, 2).

        The nearest source pixel is found, and from it the place between pixels. A step is the inverse of the slope
        there: its columns are the images of one pixel along x and along y. It is the identity if the field folds or
        tears, so that its slope has no inverse.
        """
        places, rows, steps = [], [], []
        map_x, map_y = self._maps
        for row, (x, y) in enumerate(points):
            ys, xs = self._within(x - _NEAR_PX, y - _NEAR_PX, x + _NEAR_PX, y + _NEAR_PX)
            distances = np.hypot(map_x[ys, xs] - x, map_y[ys, xs] - y)
            if len(distances) and distances.min() <= _NEAR_PX:
                nearest = distances.argmin()
                pixel = np.array([xs[nearest], ys[nearest]], dtype=np.float64)
                step = self._steps(xs[nearest], ys[nearest])
                places.append(self._between(pixel, step, np.array([x, y])))
                rows.append(row)
                steps.append(step)
        return (
            np.array(places, dtype=np.float64).reshape(-1, 2),
            np.array(rows, dtype=np.int64),
            np.array(steps, dtype=np.float64).reshape(-1, 2, 2),
        )

    def _between(self, pixel: _Array, step: _Array, point: _Array) -> _Array:
        """Return the place around a pixel that comes from the point, by a few Newton steps, or the pixel if they fail.

        A field that folds or tears there may have no such place within a pixel.
        """
        place, missing = pixel, point - self._at(pixel)
        for _ in range(_NEWTON_STEPS):
            further = np.clip(place + step @ missing, pixel - 1.0, pixel + 1.0)
            still_missing = point - self._at(further)
            if np.hypot(*still_missing) >= np.hypot(*missing):
                break
            place, missing = further, still_missing
        return place

    def _at(self, place: _Array) -> NDArray[np.float64]:
        """Return the field at a place between pixels, bilinearly; beyond its edges it is extrapolated."""
        height, width = self._maps[0].shape
        column, row = (
            min(max(int(np.floor(one)), 0), side - 2) for one, side in zip(place, (width, height), strict=True)
        )
        if min(height, width) < 2:
            return np.array([float(one.flat[0]) for one in self._maps])
        across, down = place - (column, row)
        corners = (one[row : row + 2, column : column + 2].astype(np.float64) for one in self._maps)
        weights = np.outer((1 - down, down), (1 - across, across))
        return np.array([(four * weights).sum() for four in corners])

    def _steps(self, column: int, row: int) -> NDArray[np.float64]:
        """Return the inverse of the field's slope at a pixel, from its neighbours' differences, or the identity."""
        height, width = self._maps[0].shape
        left, right = max(column - _SLOPE_PX, 0), min(column + _SLOPE_PX, width - 1)
        above, below = max(row - _SLOPE_PX, 0), min(row + _SLOPE_PX, height - 1)
        if left == right or above == below:
            return np.eye(2)
        slope = np.array(
            [
                [
                    (float(one[row, right]) - float(one[row, left])) / (right - left),
                    (float(one[below, column]) - float(one[above, column])) / (below - above),
                ]
                for one in self._maps
            ]
        )
        determinant = slope[0, 0] * slope[1, 1] - slope[0, 1] * slope[1, 0]
        return np.linalg.inv(slope) if abs(determinant) > _FLAT else np.eye(2)

    def _within(self, x_min: float, y_min: float, x_max: float, y_max: float) -> tuple[_Array, _Array]:
        """Return rows and columns of the pixels that come from this rectangle, without its far edges."""
        (low_x, high_x), (low_y, high_y) = self._ranges
        blocks = (high_x >= x_min) & (low_x < x_max) & (high_y >= y_min) & (low_y < y_max)
        rows: list[_Array] = [np.zeros(0, np.int64)]
        columns: list[_Array] = [np.zeros(0, np.int64)]
        for block_y, block_x in _bounding(blocks):
            map_x, map_y = (one[block_y, block_x] for one in self._maps)
            y, x = np.nonzero((map_x >= x_min) & (map_x < x_max) & (map_y >= y_min) & (map_y < y_max))
            rows.append(y + block_y.start)
            columns.append(x + block_x.start)
        return np.concatenate(rows), np.concatenate(columns)


def _inside(polygon: _Array, points: _Array) -> NDArray[np.bool_]:
    """Return True for each point (N, 2) in a convex polygon, edges included."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    lengths = np.hypot(*edges.T)
    corners, (x, y) = polygon[lengths > 0], (edges[lengths > 0] / lengths[lengths > 0, np.newaxis]).T
    distances = (points[:, 1, np.newaxis] - corners[:, 1]) * x - (points[:, 0, np.newaxis] - corners[:, 0]) * y
    return np.asarray((distances >= -_EDGE_PX).all(axis=1) | (distances <= _EDGE_PX).all(axis=1)) & (len(corners) > 2)


def _around(pixels: _Array) -> _Array:
    """Return the convex hull (K, 2) of the squares of pixels (N, 2), x and y of their upper left corners."""
    hull = cv2.convexHull(pixels.astype(np.int32))[:, 0]
    return hull_of((hull[:, np.newaxis] + _PIXEL).reshape(-1, 2))


def _blockwise(array: _Array, ufunc: np.ufunc) -> _Array:
    height, width = array.shape
    return ufunc.reduceat(
        ufunc.reduceat(array, np.arange(0, height, _BLOCK_PX)), np.arange(0, width, _BLOCK_PX), axis=1
    )


def _bounding(blocks: _Array) -> Iterator[tuple[slice, slice]]:
    """Yield, for each row of blocks with any marked, the part of the image from its first to its last."""
    for row in np.flatnonzero(blocks.any(axis=1)):
        marked = np.flatnonzero(blocks[row])
        yield (
            slice(row * _BLOCK_PX, (row + 1) * _BLOCK_PX),
            slice(marked[0] * _BLOCK_PX, (marked[-1] + 1) * _BLOCK_PX),
        )
