"""The 256 values of a pixel: how often each occurs in an image, and what follows from that exactly.

Values are counted, not added up as floats: whole numbers add up to the same whatever the order, and mean and standard
deviation are rounded once, at the end.
"""

import math
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEVELS: Final = 256
_PIXELS_AT_ONCE = 1 << 20
"""Counting turns each into eight bytes."""


def count(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each value occurs in each channel of uint8 (H, W, 3): int64 (3, 256)."""
    flat = image.reshape(-1, 3)
    counts = np.zeros((3, LEVELS), np.int64)
    for start in range(0, len(flat), _PIXELS_AT_ONCE):
        some = flat[start : start + _PIXELS_AT_ONCE]
        for channel in range(3):
            counts[channel] += np.bincount(some[:, channel], minlength=LEVELS)
    return counts


def mean_and_std(counts: NDArray[np.int64], top: int = 1) -> tuple[float, float]:
    """Of values that occur so often, divided by ``top``: the deviation of all of them; NaN where none is."""
    numbers = counts.tolist()
    number = sum(numbers)
    if not number:
        return math.nan, math.nan
    total = sum(level * each for level, each in enumerate(numbers))
    squares = sum(level * level * each for level, each in enumerate(numbers))
    variance = Fraction(number * squares - total * total, (number * top) ** 2)
    return float(Fraction(total, number * top)), math.sqrt(variance)
