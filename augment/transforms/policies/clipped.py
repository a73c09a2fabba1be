"""Boxes through several steps that each cut off what leaves the frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import cv2
from augment.transforms.straight import boxes_through, shifted

_Array = NDArray[Any]
_Matrix = NDArray[np.float64]


def boxes_through_steps(boxes: _Array, matrices: Sequence[_Matrix], shape: tuple[int, int], visible: int) -> _Array:
    """The upright boxes about what is left of boxes after these steps, each of which shows the same frame.

    ``boxes`` are (N, M) in pixels at their edges within a picture of ``shape``. What one step pushes out of the frame
    is gone, even where a later one comes back. An outline is followed as the convex polygon that it is, so that a box
    does not grow with each turn; column ``visible`` is multiplied by the share of its area that is left. Boxes that are
    gone are left out. The last step's box is not cut at the frame: who called does that.
    """
    if not matrices:
        return boxes
    if len(matrices) == 1:
        return boxes_through(boxes, matrices[0], shape=shape, frame=shape, border_mode=cv2.BORDER_CONSTANT)
    left = []
    for row in boxes:
        x_min, y_min, x_max, y_max = row[:4]
        outline: _Array = np.array([[x_min, y_min], [x_max, y_min], [x_max, y_max], [x_min, y_max]])
        share = 1.0
        for i, matrix in enumerate(matrices):
            at_edges = shifted(0.5, 0.5) @ matrix @ shifted(-0.5, -0.5)
            outline = outline @ at_edges[:2, :2].T + at_edges[:2, 2]
            if i < len(matrices) - 1:
                whole = area(outline)
                outline = within(outline, shape)
                if len(outline) < 3 or not whole:
                    break
                share *= area(outline) / whole
        else:
            left.append([*outline.min(axis=0), *outline.max(axis=0), *row[4:]])
            left[-1][visible] *= share
    return np.array(left).reshape(-1, boxes.shape[1])


def within(outline: _Array, shape: tuple[int, int]) -> _Array:
    """The part of a convex polygon (N, 2) in the frame, after Sutherland and Hodgman (1974); it may have no points."""
    height, width = shape
    for axis, limit, side in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        distance = side * (outline[:, axis] - limit)
        if (distance >= 0).all():
            continue
        after, further = np.roll(outline, -1, axis=0), np.roll(distance, -1)
        points = []
        for i in range(len(outline)):
            if distance[i] >= 0:
                points.append(outline[i])
            if (distance[i] >= 0) != (further[i] >= 0):
                points.append(outline[i] + (after[i] - outline[i]) * distance[i] / (distance[i] - further[i]))
        outline = np.array(points).reshape(-1, 2)
        if not len(outline):
            break
    return outline


def area(outline: _Array) -> float:
    """The area of a polygon (N, 2) (the shoelace formula)."""
    x, y = outline.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
