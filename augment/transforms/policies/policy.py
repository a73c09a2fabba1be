"""Base class of policies, which apply drawn operations in order, to the image and all its targets."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms import matrix_geometry
from augment.transforms.albumentations_import import TARGETS, A, cv2
from augment.transforms.matrix_geometry import Placed, Straight
from augment.transforms.policies import operations
from augment.transforms.policies.operations import COLOURS, GEOMETRIC, Magnitudes, Shape

_Array = NDArray[Any]


Step = tuple[str, float | None]
"""An operation and its magnitude."""


class Policy(Straight, A.DualTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Transform that applies ``operations``, drawn by its subclass, one after another.

    Geometric ones move all targets: masks by nearest neighbour, keypoints by the product of the matrices, boxes step by
    step. Each is resampled separately, as in the authors' code.
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

    def steps(self, params: Mapping[str, Any]) -> list[matrix_geometry.WarpStep]:
        shape = params["shape"][:2]
        return [matrix_geometry.WarpStep(matrix, shape) for matrix in matrices(params["operations"], shape)]

    def draw(self, space: operations.Space, share: float, shape: Shape) -> Step:
        """Draw one operation of the space, all equally likely, at this share of its magnitudes."""
        name = self.py_random.choice(tuple(space))
        return name, draw_magnitude(space[name], share, shape, self.py_random)


def draw_magnitude(magnitudes: Magnitudes | None, share: float, shape: Shape, py_random: random.Random) -> float | None:
    """Return the magnitude at this share; a fair coin chooses its sign if it is signed."""
    if magnitudes is None:
        return None
    return magnitudes.at(share, shape, negative=magnitudes.signed and py_random.random() < 0.5)


def applied(
    array: _Array, steps: Sequence[Step], interpolation: int, fill: tuple[float, float, float] | float
) -> _Array:
    """Apply the steps to an image, or geometric ones to a mask; without steps return it unchanged."""
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
    """Return the matrices of the steps that move pixels, in order."""
    return [operations.matrix(name, magnitude, shape) for name, magnitude in _moving(steps) if magnitude]


def _moving(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step[0] in GEOMETRIC]
