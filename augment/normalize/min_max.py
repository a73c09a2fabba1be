"""Min-max: one range of values becomes another, in proportion.

    y = low + (high - low) · (x - a) / (b - a)

for values x from 0 to 255, ``output: [low, high]`` and ``input: [a, b]``. Where the input is ``picture`` or
``picture_channels``, a and b are the least and the greatest value of each picture, or of each of its channels, and
``epsilon`` is added to b - a (I. H. Witten, E. Frank, M. A. Hall, Data Mining, 3rd ed., 2011, section 2.4; the formula
of scikit-learn's MinMaxScaler, and with ``epsilon: 0.0001`` of Albumentations' min_max).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from augment import levels
from augment.document import JSON
from augment.normalize.methods import TOP, ByPicture, ByValue, Normalization
from augment.normalize.reading import LARGEST, Reader
from augment.normalize.statistics import PICTURE, PICTURE_CHANNELS

METHOD: Final = "min_max"
FORMAT: Final = "format"
"""The input range that uint8 pictures have: 0 to 255."""

_BLACK_TO_WHITE: Final = (0.0, float(TOP))
_UNIT: Final = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class MinMax(ByValue):
    """From a fixed range. Values outside it lie outside ``output`` likewise; ``clip`` makes them its ends."""

    input: tuple[float, float] = _BLACK_TO_WHITE
    output: tuple[float, float] = _UNIT
    clip: bool = False

    def canonical(self) -> dict[str, JSON]:
        return {"method": METHOD, "input": list(self.input), "output": list(self.output), "clip": self.clip}

    def floats(self) -> NDArray[np.float64]:
        return np.tile(_scaled(self.input, self.output, clip=self.clip), (3, 1))

    def denormalise(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:
        """What was clipped comes back as the value of the input range that is nearest to it."""
        shown = ByValue.denormalise(self, image)
        return shown.clip(max(0, math.ceil(self.input[0])), min(TOP, math.floor(self.input[1]))) if self.clip else shown


@dataclass(frozen=True, slots=True)
class PictureMinMax(ByPicture):
    """From each picture's own range, or each channel's. What has one value only becomes the low end of ``output``."""

    input: str
    output: tuple[float, float] = _UNIT
    epsilon: float = 0.0

    def canonical(self) -> dict[str, JSON]:
        return {"method": METHOD, "input": self.input, "output": list(self.output), "epsilon": self.epsilon}

    def floats(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        if self.input == PICTURE:
            return np.tile(self._of(int(image.min()), int(image.max())), (3, 1))
        ends = zip(image.min(axis=(0, 1)).tolist(), image.max(axis=(0, 1)).tolist(), strict=True)
        return np.stack([self._of(low, high) for low, high in ends])

    def _of(self, low: int, high: int) -> NDArray[np.float64]:
        wide = high - low + self.epsilon
        return _scaled((low, low + wide) if wide else (low, np.inf), self.output, clip=False)


def read(params: Reader) -> Normalization:
    """The method of these parameters."""
    output = params.interval("output", _UNIT)
    if params.is_text("input"):
        word = params.word("input", (FORMAT, PICTURE, PICTURE_CHANNELS))
        if word in {PICTURE, PICTURE_CHANNELS}:
            params.absent(("clip",), f"input: {word}")
            return PictureMinMax(word, output, params.number("epsilon", 0.0, 0.0, LARGEST))
        ends = _BLACK_TO_WHITE
    else:
        ends = params.interval("input", _BLACK_TO_WHITE)
    clip = params.flag("clip", default=False)
    is_within = ends[0] <= 0 and ends[1] >= TOP
    return MinMax(ends, output, clip and not is_within)  # where nothing lies outside, clipping is no difference


def _scaled(ends: tuple[float, float], output: tuple[float, float], *, clip: bool) -> NDArray[np.float64]:
    values = np.arange(levels.LEVELS, dtype=np.float64)
    if clip:
        values = values.clip(*ends)
    return output[0] + (output[1] - output[0]) * ((values - ends[0]) / (ends[1] - ends[0]))
