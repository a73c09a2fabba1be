"""Where boxes and points go when a picture is resampled through a field that says where each pixel comes from.

Albumentations answers by drawing every box into a mask of the picture's size, or by inverting the field in a loop
over pixels: a minute and gigabytes for a few hundred boxes. Here only the pixels near a box or a point are looked at.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]
_BLOCK_PX: Final = 32
_NEAR_PX: Final = 2.0
"""A point is found where a pixel comes from no farther away; a field that stretches more than fourfold may miss one."""


class Field:
    """``map_x`` and ``map_y``: for each pixel of the result, where it comes from; whole numbers are middles of pixels.

    Keeps the range of both in blocks, so that a search visits only blocks that can hold what it looks for.
    """

    def __init__(self, map_x: _Array, map_y: _Array) -> None:
        self._maps = map_x, map_y
        self._ranges = tuple((_blockwise(one, np.minimum), _blockwise(one, np.maximum)) for one in self._maps)

    def boxes(self, boxes: _Array) -> tuple[_Array, NDArray[np.int64]]:
        """The boxes about all pixels that come from within each, and the rows of those of which any pixel is seen.

        Boxes are (N, 4) in pixels, edges at the borders of pixels, so that a pixel i is within [i, i + 1).
        """
        found, rows = [], []
        for row, (x_min, y_min, x_max, y_max) in enumerate(boxes - 0.5):
            y, x = self._within(x_min, y_min, x_max, y_max)
            if len(y):
                found.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
                rows.append(row)
        return np.array(found, dtype=np.float64).reshape(-1, 4), np.array(rows, dtype=np.int64)

    def points(self, points: _Array) -> tuple[_Array, NDArray[np.int64]]:
        """The pixel that comes from nearest each point (N, 2), and the rows of those that are found."""
        found, rows = [], []
        map_x, map_y = self._maps
        for row, (x, y) in enumerate(points):
            ys, xs = self._within(x - _NEAR_PX, y - _NEAR_PX, x + _NEAR_PX, y + _NEAR_PX)
            distances = np.hypot(map_x[ys, xs] - x, map_y[ys, xs] - y)
            if len(distances) and distances.min() <= _NEAR_PX:
                nearest = distances.argmin()
                found.append([xs[nearest], ys[nearest]])
                rows.append(row)
        return np.array(found, dtype=np.float64).reshape(-1, 2), np.array(rows, dtype=np.int64)

    def _within(self, x_min: float, y_min: float, x_max: float, y_max: float) -> tuple[_Array, _Array]:
        """Rows and columns of the pixels that come from this rectangle, its far edges excluded."""
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


def _blockwise(array: _Array, ufunc: np.ufunc) -> _Array:
    height, width = array.shape
    return ufunc.reduceat(
        ufunc.reduceat(array, np.arange(0, height, _BLOCK_PX)), np.arange(0, width, _BLOCK_PX), axis=1
    )


def _bounding(blocks: _Array) -> Iterator[tuple[slice, slice]]:
    """For each row of blocks with any marked, the part of the picture from its first to its last."""
    for row in np.flatnonzero(blocks.any(axis=1)):
        marked = np.flatnonzero(blocks[row])
        yield (
            slice(row * _BLOCK_PX, (row + 1) * _BLOCK_PX),
            slice(marked[0] * _BLOCK_PX, (marked[-1] + 1) * _BLOCK_PX),
        )
