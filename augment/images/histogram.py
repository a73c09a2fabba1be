"""Histograms of the 256 values of a pixel, and exact statistics from them.

Values are counted, not added up as floats: the sum of integers is the same in any order. Mean and standard deviation
are rounded once, at the end.
"""

import math
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEVELS: Final = 256
_PIXELS_AT_ONCE = 1 << 20
"""Counting turns each pixel's values into eight bytes each."""


def count(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count each value in each channel of uint8 (H, W, 3): int64 (3, 256)."""
    flat = image.reshape(-1, 3)
    counts = np.zeros((3, LEVELS), np.int64)
    for start in range(0, len(flat), _PIXELS_AT_ONCE):
        some = flat[start : start + _PIXELS_AT_ONCE]
        for channel in range(3):
            counts[channel] += np.bincount(some[:, channel], minlength=LEVELS)
    return counts


def mean_and_std(counts: NDArray[np.int64], top: int = 1) -> tuple[float, float]:
    """Return mean and population standard deviation of counted values, divided by ``top``; NaN if there are none."""
    numbers = counts.tolist()
    number = sum(numbers)
    if not number:
        return math.nan, math.nan
    total = sum(level * each for level, each in enumerate(numbers))
    squares = sum(level * level * each for level, each in enumerate(numbers))
    variance = Fraction(number * squares - total * total, (number * top) ** 2)
    return float(Fraction(total, number * top)), math.sqrt(variance)
