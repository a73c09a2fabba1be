"""Numbers for classes from several views, joined to one for each class."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from augment.errors import CallError

_Array = NDArray[np.float64]


def _mean(views: _Array) -> _Array:
    joined: _Array = views.mean(axis=0)
    return joined


def _max(views: _Array) -> _Array:
    joined: _Array = views.max(axis=0)
    return joined


def _geometric_mean(views: _Array) -> _Array:
    if (views < 0).any():
        raise CallError(
            f"labels holds {views.min():g}; a geometric mean is of probabilities, 0 and above: apply softmax or "
            "sigmoid first, or take labels='mean'"
        )
    with np.errstate(divide="ignore"):
        joined: _Array = np.exp(np.log(views).mean(axis=0))
    return joined


JOINS: Mapping[str, Callable[[_Array], _Array]] = {
    "mean": _mean,
    "max": _max,
    "geometric_mean": _geometric_mean,
}
"""By name, what makes (N, C) of (V, N, C); nothing is scaled to a sum of 1 afterwards."""
