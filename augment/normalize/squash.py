"""Tanh and arctan: a standard score whose tails are bent to a finite range, so that no outlier reaches far.

    z = (x / 255 - mean) / std                         for each channel
    tanh      y = low + (high - low) · (tanh z + 1) / 2
    arctan    y = low + (high - low) · (2/π · arctan z + 1) / 2

With the default ``output: [-1, 1]`` that is tanh z and 2/π · arctan z. F. R. Hampel's tanh estimators as A. Jain,
K. Nandakumar and A. Ross give them (Score normalization in multimodal biometric systems, Pattern Recognition 38, 2005:
0.5 · (tanh(0.01 · (x - mean)/std) + 1)) are ``output: [0, 1]`` and a
hundred times that deviation as ``std``.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from augment.document import JSON
from augment.levels import LEVELS
from augment.normalize.by_dataset import ByDataset
from augment.normalize.methods import TOP, ByValue, Normalization
from augment.normalize.reading import Reader
from augment.normalize.statistics import Channels

TANH: Final = "tanh"
ARCTAN: Final = "arctan"

_HALF: Final = (0.5, 0.5, 0.5)
_AROUND_0: Final = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Squash(ByValue):
    """``method`` is ``tanh`` or ``arctan``. Without numbers of their own black is z = -1 and white z = 1."""

    method: str
    mean: Channels = _HALF
    std: Channels = _HALF
    output: tuple[float, float] = _AROUND_0

    def canonical(self) -> dict[str, JSON]:
        return {
            "method": self.method,
            "mean": list(self.mean),
            "std": list(self.std),
            "output": list(self.output),
        }

    def floats(self) -> NDArray[np.float64]:
        low, high = self.output
        # not NumPy's functions, whose last bit depends on the processor
        bend = math.tanh if self.method == TANH else _arctan
        return np.array(
            [
                [low + (high - low) * ((bend((level / TOP - mean) / std) + 1) / 2) for level in range(LEVELS)]
                for mean, std in zip(self.mean, self.std, strict=True)
            ]
        )


def read_tanh(params: Reader) -> Normalization:
    """The method of these parameters."""
    return _read(TANH, params)


def read_arctan(params: Reader) -> Normalization:
    """The method of these parameters."""
    return _read(ARCTAN, params)


def _read(method: str, params: Reader) -> Normalization:
    output = params.interval("output", _AROUND_0)
    found = params.statistics(_HALF, _HALF)
    if isinstance(found, str):
        return ByDataset({"method": method, "output": list(output)})
    return Squash(method, *found, output)


def _arctan(z: float) -> float:
    return math.atan(z) * 2 / math.pi
