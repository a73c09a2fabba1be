"""Log and gamma: curves from black to white that spread the dark values, or the bright ones.

    v = x / 255
    log      y = low + (high - low) · log(1 + gain · v) / log(1 + gain)
    gamma    y = low + (high - low) · v^gamma

The log transformation s = c · log(1 + r) and the power law s = c · r^gamma of R. C. Gonzalez and R. E. Woods (Digital
Image Processing, section 3.2), with c such that white stays white. ``gain: 255`` is r = x, ``gain: 1`` scikit-image's
``adjust_log``. ``gamma: 2.2`` takes back about the coding of a display and so gives light; 1/2.2 lifts the shadows.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from augment.document import JSON
from augment.levels import LEVELS
from augment.normalize.methods import TOP, ByValue, Normalization
from augment.normalize.reading import LARGEST, Reader

LOG: Final = "log"
GAMMA: Final = "gamma"

_UNIT: Final = (0.0, 1.0)
_GAIN: Final = (float(TOP), 1e-6)
_GAMMA: Final = (2.2, 1e-3, 100.0)
"""The default and the bounds: beyond them a float32 cannot tell 256 values apart."""


@dataclass(frozen=True, slots=True)
class Log(ByValue):
    """The larger ``gain``, the more of the range is given to the dark values."""

    gain: float = _GAIN[0]
    output: tuple[float, float] = _UNIT

    def canonical(self) -> dict[str, JSON]:
        return {"method": LOG, "gain": self.gain, "output": list(self.output)}

    def floats(self) -> NDArray[np.float64]:
        white = math.log1p(self.gain)
        return _scaled([math.log1p(self.gain * level / TOP) / white for level in range(LEVELS)], self.output)


@dataclass(frozen=True, slots=True)
class Gamma(ByValue):
    """Above 1 more of the range is given to the bright values, below 1 to the dark ones."""

    gamma: float = _GAMMA[0]
    output: tuple[float, float] = _UNIT

    def canonical(self) -> dict[str, JSON]:
        return {"method": GAMMA, "gamma": self.gamma, "output": list(self.output)}

    def floats(self) -> NDArray[np.float64]:
        return _scaled([math.pow(level / TOP, self.gamma) for level in range(LEVELS)], self.output)


def read_log(params: Reader) -> Normalization:
    """The method of these parameters."""
    gain, least = _GAIN
    return Log(params.number("gain", gain, least, LARGEST), params.interval("output", _UNIT))


def read_gamma(params: Reader) -> Normalization:
    """The method of these parameters."""
    return Gamma(params.number("gamma", *_GAMMA), params.interval("output", _UNIT))


def _scaled(curve: list[float], output: tuple[float, float]) -> NDArray[np.float64]:
    low, high = output
    return np.tile(low + (high - low) * np.array(curve), (3, 1))
