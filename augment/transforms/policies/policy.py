"""Policy: apply drawn operations in order, to the image and all its targets.

Boxes go through several steps that each cut off what leaves the frame.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms.albumentations_import import A, cv2
from augment.transforms.keypoint_motion import VISIBLE
from augment.transforms.matrix_geometry import Placed, Straight, boxes_through, shifted
from augment.transforms.policies import operations
from augment.transforms.policies.operations import COLOURS, GEOMETRIC, Magnitudes, Shape

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


Step = tuple[str, float | None]
"""An operation and its magnitude."""

TARGETS: Final = A.core.type_definitions.ALL_TARGETS[:4]  # the image, its mask, boxes and keypoints; no volumes


class Policy(Straight, A.DualTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Applies ``operations``, which its subclass draws, one after another.

    Geometric ones move all targets: masks by nearest neighbour, keypoints by the product of the matrices, boxes as
    ``boxes_through_steps`` says. Each is resampled on its own, as its authors did.
    """

    _targets = TARGETS

    def __init__(
        self, interpolation: int, fill: tuple[float, float, float] | float, fill_mask: float, p: float
    ) -> None:
        super().__init__(p=p)
        self.interpolation = interpolation
        self.fill = fill
        self.fill_mask = fill_mask

    def apply(self, img: _Array, *_: Any, operations: Sequence[Step], **params: Any) -> _Array:  # noqa: ARG002
        return applied(img, operations, self.interpolation, self.fill)

    def apply_to_mask(self, mask: _Array, *_: Any, operations: Sequence[Step], **params: Any) -> _Array:  # noqa: ARG002
        return applied(mask, _moving(operations), cv2.INTER_NEAREST, self.fill_mask)

    def placed(self, params: Mapping[str, Any]) -> Placed:
        shape = params["shape"][:2]
        product = np.eye(3)
        for matrix in matrices(params["operations"], shape):
            product = matrix @ product
        return product, shape

    def apply_to_bboxes(self, bboxes: _Array, **params: Any) -> _Array:
        height, width = params["shape"][:2]
        size = np.array([width, height, width, height])
        boxes = np.array(bboxes, dtype=np.float64)
        boxes[:, :4] *= size
        boxes = boxes_through_steps(boxes, matrices(params["operations"], (height, width)), (height, width), VISIBLE)
        boxes[:, :4] /= size
        return boxes

    def draw(self, space: operations.Space, share: float, shape: Shape) -> Step:
        """One operation of the space, all equally likely, at this share of its magnitudes."""
        name = self.py_random.choice(tuple(space))
        return name, draw_magnitude(space[name], share, shape, self.py_random)


def draw_magnitude(magnitudes: Magnitudes | None, share: float, shape: Shape, py_random: random.Random) -> float | None:
    """The magnitude at this share; where it has a sign, a fair coin chooses that."""
    if magnitudes is None:
        return None
    return magnitudes.at(share, shape, negative=magnitudes.signed and py_random.random() < 0.5)


def applied(
    array: _Array, steps: Sequence[Step], interpolation: int, fill: tuple[float, float, float] | float
) -> _Array:
    """A picture, or with geometric steps alone a mask, after the steps; itself where there is none."""
    values = tuple(fill) if isinstance(fill, tuple | list) else (fill,) * 3
    height, width = array.shape[:2]
    for name, magnitude in steps:
        if name in GEOMETRIC and magnitude:
            moved = operations.matrix(name, magnitude, (height, width))
            array = cv2.warpAffine(
                array,
                moved[:2],
                (width, height),
                flags=interpolation,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=values,
            )
        elif name in COLOURS:
            array = COLOURS[name](array, magnitude)
    return array


def matrices(steps: Sequence[Step], shape: Shape) -> list[operations.Matrix]:
    """Where each step that moves pixels moves them, in order."""
    return [operations.matrix(name, magnitude, shape) for name, magnitude in _moving(steps) if magnitude]


def _moving(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step[0] in GEOMETRIC]
