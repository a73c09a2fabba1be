"""Effects of a transform on boxes and keypoints beyond their places: visible parts of boxes, angles, scales.

Albumentations 2.0.8 turns angles the wrong way round in ``Rotate`` and all that is built on its matrices, by 180
degrees too many in mirrors at a diagonal, and not at all where a resize keeps no proportion; it multiplies scales by
the larger of two factors. Here both follow the places: a keypoint's angle is the direction in which a point a pixel
ahead of it goes, its scale changes as the square root of the area about it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms.matrix_geometry import Straight

_Array = NDArray[Any]

ANGLE: Final = 7
SCALE: Final = 8
"""Columns of keypoints behind Albumentations' five, row and ``GONE``; they are there where the sample has either."""

_STEP_PX: Final = 1.0


def follow(transform: Any) -> None:
    """Let boxes and keypoints of a transform that is built be followed in full."""
    targets = transform._key2func  # noqa: SLF001 - there is no public way
    if "keypoints" in targets and not follows_itself(transform):
        targets["keypoints"] = _turned_after(targets["keypoints"])


def follows_itself(transform: Any) -> bool:
    """Whether it moves keypoints by other means than a formula of their places: a field, or tiles. None mirrors."""
    return bool(getattr(transform, "follows_itself", False))


def is_mirrored(transform: Any, params: Mapping[str, Any]) -> bool:
    """True if this call shows the image in a mirror: the turn from right to down is reversed."""
    return isinstance(transform, Straight) and bool(np.linalg.det(transform.placed(params)[0]) < 0)


def matrix_of(transform: Any, params: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Where this call takes the middles of pixels: (3, 3); None where it bends lines, so that no matrix says it."""
    if isinstance(transform, Straight):
        return np.asarray(transform.placed(params)[0], np.float64)
    return None if follows_itself(transform) else np.eye(3)


def turned(keypoints: _Array, along_x: _Array, along_y: _Array) -> None:
    """Turn and scale keypoints in place; where a step of a pixel along x and along y leads them is (N, 2) each."""
    if keypoints.shape[1] <= ANGLE:
        return
    angles = keypoints[:, ANGLE, np.newaxis]
    ahead = along_x * np.cos(angles) + along_y * np.sin(angles)
    keypoints[:, ANGLE] = np.arctan2(ahead[:, 1], ahead[:, 0])
    keypoints[:, SCALE] *= np.sqrt(np.abs(along_x[:, 0] * along_y[:, 1] - along_x[:, 1] * along_y[:, 0]))


def _turned_after(move: Callable[..., _Array]) -> Callable[..., _Array]:
    def moved_and_turned(keypoints: _Array, **params: Any) -> _Array:
        if keypoints.shape[1] <= ANGLE or not len(keypoints):
            return move(keypoints, **params)
        probes = np.repeat(keypoints[np.newaxis].astype(np.float64), 5, axis=0)
        for probe, axis, step in ((1, 0, 1), (2, 0, -1), (3, 1, 1), (4, 1, -1)):
            probes[probe, :, axis] += step * _STEP_PX
        columns = keypoints.shape[1]
        probed = move(probes.reshape(-1, columns), **params).reshape(probes.shape).astype(np.float64)
        along_x, along_y = ((probed[i, :, :2] - probed[i + 1, :, :2]) / (2 * _STEP_PX) for i in (1, 3))
        moved: _Array = probed[0]
        turned(moved, along_x, along_y)
        return moved

    return moved_and_turned
