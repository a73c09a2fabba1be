"""Coordinates of a view in the upright original image, and back; whole numbers are the middles of pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 1e-6
"""Tolerance in pixels for rounding in a product of matrices."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Frame of one view of one image; sizes are height and width.

    ``inverse`` is float64 (3, 3), from the view's pixels to those of the original, whose size is ``source``.
    """

    inverse: NDArray[np.float64]
    size: tuple[int, int]
    source: tuple[int, int]

    @property
    def mirrors(self) -> bool:
        """True if the view shows the image mirrored."""
        return bool(np.linalg.det(self._upright()) < 0)

    @property
    def forward(self) -> NDArray[np.float64]:
        """Matrix from the original's pixels to the view's."""
        return np.asarray(np.linalg.inv(self._upright()), np.float64)

    def to_source(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points (…, 2) of the view, x and y, to the original; NaN for those behind a perspective's horizon."""
        return through(self._upright(), points)

    def shows(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return True for each point (…, 2) of the original that the view shows."""
        return within(through(self.forward, points), self.size)

    def _upright(self) -> NDArray[np.float64]:
        """Return the matrix with the sign that gives the view's middle a third coordinate above 0."""
        middle = np.array([(self.size[1] - 1) / 2, (self.size[0] - 1) / 2, 1.0])
        return self.inverse if self.inverse[2] @ middle > 0 else -self.inverse


def through(matrix: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map points (…, 2) by a matrix; NaN for those behind the horizon."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(moved[..., 2:] > 0, moved[..., :2] / moved[..., 2:], np.nan)


def within(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return True for each point (…, 2) within an image's edges; False for NaN."""
    ends = np.array([size[1] - 0.5, size[0] - 0.5]) + _TOLERANCE
    return np.asarray(((points >= -0.5 - _TOLERANCE) & (points <= ends)).all(axis=-1), np.bool_)


def snapped(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a new array in which places that rounding moved off the middle of a pixel are whole again."""
    whole = np.rint(places)
    return np.where(np.abs(places - whole) < _TOLERANCE, whole, places)
