"""Maps of scores over views, mapped back to the original image and averaged.

Each pixel of the original takes the map's value at the place of its middle in the view, bilinear between the middles of
the map's cells. Beyond the outermost middles the outermost value counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augment.tta.frame import Frame, snapped, through, within

_CHUNK_PIXELS = 2**15
"""Number of pixels that are looked up at once, which bounds the memory for images of any size."""

_NEGLIGIBLE = 1e-9
"""Shift of the image's far side, in pixels, up to which a rotation is ignored."""

_Values = NDArray[np.float32]
_Part = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class ViewMap:
    """Prediction over one view: ``values`` float32 (C, h, w).

    ``stride`` is the side of a cell in pixels of the view; None spreads the map evenly over the view.
    """

    frame: Frame
    values: _Values
    stride: float | None = None

    def in_cells(self) -> NDArray[np.float64]:
        """Return the matrix from the original's pixels to the map's cells; whole numbers are the middles of cells."""
        (height, width), (rows, columns) = self.frame.size, self.values.shape[1:]
        across = self.stride or width / columns
        down = self.stride or height / rows
        scale = np.array([[1 / across, 0, 0.5 / across - 0.5], [0, 1 / down, 0.5 / down - 0.5], [0, 0, 1.0]])
        matrix: NDArray[np.float64] = scale @ self.frame.forward
        return matrix


def averaged(views: Sequence[ViewMap]) -> tuple[_Values, NDArray[np.uint16]]:
    """Return the mean (C, H, W) over the views that show a pixel (NaN: none) and their number (H, W), new arrays."""
    height, width = views[0].frame.source
    total = np.zeros((views[0].values.shape[0], height, width), np.float32)
    coverage = np.zeros((height, width), np.uint16)
    for view in views:
        for (rows, columns), values, seen in _brought_back(view):
            total[:, rows, columns] += values if seen is None else np.where(seen, values, 0)
            coverage[rows, columns] += 1 if seen is None else seen
    with np.errstate(divide="ignore", invalid="ignore"):
        total /= coverage
    return total, coverage


def _brought_back(view: ViewMap) -> Iterator[tuple[_Part, _Values, NDArray[np.bool_] | None]]:
    """Yield parts of the original, their values (C, h, w) and a mask (h, w) of the pixels in view (None: all)."""
    forward = view.frame.forward
    counts = np.abs(forward) * max(view.frame.source) > _NEGLIGIBLE * abs(forward[2, 2])
    straight = not counts[[0, 1, 2, 2], [1, 0, 0, 1]].any()
    turned = not counts[[0, 1, 2, 2], [0, 1, 0, 1]].any()
    if straight or turned:
        return _along_axes(view, turned=turned)
    return _anywhere(view)


def _along_axes(view: ViewMap, *, turned: bool) -> Iterator[tuple[_Part, _Values, None]]:
    """Map back a view whose rows are rows of the original (columns if ``turned``): cuts, flips, resizes."""
    values = view.values.swapaxes(1, 2) if turned else view.values
    axes = (0, 1) if turned else (1, 0)  # the view's axes (x is 0) along the original's rows and columns
    places, parts = [], []
    for axis, side, source in zip(axes, (1, 0), view.frame.source, strict=True):
        middles = np.zeros((source, 2))
        middles[:, side] = np.arange(source)
        positions = through(view.frame.forward, middles)[:, axis]
        seen = np.flatnonzero(_between(positions, view.frame.size[1 - axis]))
        if not len(seen):
            return
        parts.append(slice(int(seen[0]), int(seen[-1]) + 1))
        places.append(through(view.in_cells(), middles[seen])[:, axis])
    for dim, along in enumerate(places, start=1):
        low, high, share = _neighbours(along, values.shape[dim])
        first = values.take(low, axis=dim)
        if share.any():
            share = share[:, np.newaxis] if dim == 1 else share
            first += (values.take(high, axis=dim) - first) * share
        values = first
    yield (parts[0], parts[1]), values, None


def _anywhere(view: ViewMap) -> Iterator[tuple[_Part, _Values, NDArray[np.bool_]]]:
    rows, columns = _bounds(view.frame)
    (num_rows, num_columns), flat = view.values.shape[1:], view.values.reshape(len(view.values), -1)
    x = np.arange(columns.start, columns.stop)
    step = max(1, _CHUNK_PIXELS // max(len(x), 1))
    to_view, to_cells = view.frame.forward, view.in_cells()
    for top in range(rows.start, rows.stop, step):
        y = np.arange(top, min(top + step, rows.stop))
        points = np.stack(np.broadcast_arrays(x, y[:, np.newaxis]), axis=-1)
        seen = within(through(to_view, points), view.frame.size)
        if not seen.any():
            continue
        cells = np.where(seen[..., np.newaxis], through(to_cells, points), 0)
        left, right, across = _neighbours(cells[..., 0], num_columns)
        above, below, down = _neighbours(cells[..., 1], num_rows)
        values = np.zeros((len(flat), *seen.shape), np.float32)
        for line, share_down in ((above, 1 - down), (below, down)):
            for column, share_across in ((left, 1 - across), (right, across)):
                values += flat.take(line * num_columns + column, axis=1) * (share_down * share_across)
        yield (slice(top, top + len(y)), columns), values, seen


def _bounds(frame: Frame) -> _Part:
    """Return the smallest part of the original that holds everything the view shows."""
    (height, width), source = frame.size, frame.source
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]])
    mapped = frame.to_source(corners)
    if np.isnan(mapped).any():  # a horizon runs through the view
        return slice(0, source[0]), slice(0, source[1])
    low = np.clip(np.floor(mapped.min(axis=0)), 0, source[::-1]).astype(int)
    high = np.clip(np.ceil(mapped.max(axis=0)) + 1, 0, source[::-1]).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _between(places: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    return within(np.stack([places, np.zeros_like(places)], axis=-1), (1, size))


def _neighbours(
    places: NDArray[np.float64], size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the cells before and after each place along one axis, and the share of the second."""
    places = np.clip(snapped(places), 0, size - 1)
    low = places.astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (places - low).astype(np.float32)
