"""Keypoints of several views, brought back into the original picture and averaged."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from augment import arguments
from augment.errors import CallError
from augment.merging.frame import Frame

_Array = NDArray[np.float64]


def checked_pairs(flip_idx: Sequence[int] | None, num_points: int) -> NDArray[np.intp] | None:
    """``flip_idx`` as an array; CallError unless it names each keypoint once."""
    if flip_idx is None:
        return None
    pairs = [arguments.integer("flip_idx", each, 0, num_points - 1) for each in arguments.many("flip_idx", flip_idx)]
    if sorted(pairs) != list(range(num_points)):
        raise CallError(f"flip_idx is {arguments.shown(pairs)}; it names each of the {num_points} keypoints once")
    return np.array(pairs, np.intp)


def averaged(
    places: _Array, weights: _Array | None, rows: Sequence[tuple[Frame, ...]], pairs: NDArray[np.intp] | None
) -> tuple[_Array, _Array]:
    """Points (N, K, 2) of ``places`` (V, N, K, 2), each the mean of the views that have it, and weights (N, K).

    A weight is the mean over the views that have the point; 0 where none has. New arrays.
    """
    back = np.empty(places.shape)
    shares = np.ones(places.shape[:3]) if weights is None else weights.copy()
    for row, frames in enumerate(rows):
        for view, frame in enumerate(frames):
            back[view, row] = frame.to_source(places[view, row])
            if pairs is not None and frame.mirrors:
                back[view, row] = back[view, row][pairs]
                shares[view, row] = shares[view, row][pairs]
    there = ~np.isnan(back).any(axis=-1)
    num_there = there.sum(axis=0)
    shares = np.where(there, shares, 0.0)
    total = shares.sum(axis=0)
    even = np.where(total > 0, shares, there)  # where all weigh nothing, all weigh the same
    with np.errstate(invalid="ignore"):
        joined = (np.nan_to_num(back) * even[..., np.newaxis]).sum(axis=0) / even.sum(axis=0)[..., np.newaxis]
    return joined, total / np.maximum(num_there, 1)
