"""Effects of a transform on keypoints besides their places: angles and scales.

Albumentations 2.0.8 turns angles the wrong way round in ``Rotate`` and everything built on its matrices, by 180
degrees too much in mirrors at a diagonal, and not at all in a resize that changes proportions; it multiplies scales by
the larger of two factors. Here both follow from places. A keypoint's angle is the direction in which a point one pixel
ahead of it moves; its scale changes by the square root of the area around it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms.matrix_geometry import Straight

_Array = NDArray[Any]

ANGLE: Final = 7
SCALE: Final = 8
"""Columns of keypoints after Albumentations' five, row and ``GONE``; present if the sample has either."""

_STEP_PX: Final = 1.0


def follow(transform: Any) -> None:
    """Make a built transform carry the angles and scales of keypoints."""
    targets = transform._key2func  # noqa: SLF001 - there is no public way
    if "keypoints" in targets and not follows_itself(transform):
        targets["keypoints"] = _turned_after(targets["keypoints"])


def follows_itself(transform: Any) -> bool:
    """Return True if it moves keypoints by a field or by tiles instead of a formula. None of these mirrors."""
    return bool(getattr(transform, "follows_itself", False))


def is_mirrored(transform: Any, params: Mapping[str, Any]) -> bool:
    """Return True if this call mirrors the image: the turn from right to down is reversed."""
    return isinstance(transform, Straight) and bool(np.linalg.det(transform.placed(params)[0]) < 0)


def matrix_of(transform: Any, params: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Return the matrix (3, 3) by which this call moves the middles of pixels, or None if it bends lines."""
    if isinstance(transform, Straight):
        return np.asarray(transform.placed(params)[0], np.float64)
    return None if follows_itself(transform) else np.eye(3)


def turned(keypoints: _Array, along_x: _Array, along_y: _Array) -> None:
    """Turn and scale keypoints in place, given the images (N, 2) of a step of one pixel along x and along y."""
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
