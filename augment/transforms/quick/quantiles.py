"""Random numbers for noise, several times faster than a generator draws them: quantiles looked up by random words.

A normal number is one of the 65,536 quantiles of the normal distribution at (k + 1/2) / 65,536, each as likely as the
next: the standard deviation is 0.99999, nothing lies beyond 4.33, and no test of a picture's noise that is rounded to
whole levels can tell. The words are those of SFC64 (Chris Doty-Humphrey's), whose stream NumPy holds fixed.
"""

import functools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

_NUM_QUANTILES: Final = 2**16
SEEDS: Final = 2**32
"""Noise has a seed in [0, SEEDS)."""
Seed = int | tuple[int, ...]
"""One transform's seed, and behind it which of its noises this is, where it has several."""


@functools.cache
def quantiles() -> NDArray[np.float32]:
    """The quantiles, float32 (65536,), ascending; not to be written to."""
    values: NDArray[np.float32] = special.ndtri((np.arange(_NUM_QUANTILES) + 0.5) / _NUM_QUANTILES).astype(np.float32)
    values.flags.writeable = False
    return values


def normals(shape: tuple[int, ...], seed: Seed, *, mean: float, std: float) -> NDArray[np.float32]:
    """Normal numbers: float32, a new array."""
    picked = quantiles().take(_words(math.prod(shape), seed), mode="wrap").reshape(shape)
    return _scaled(picked, mean, std)


def whole_normals(shape: tuple[int, ...], seed: Seed, *, mean: float, std: float) -> NDArray[np.int16]:
    """The same numbers rounded towards 0: int16, a new array. Mean and deviation are such that they fit, in levels."""
    words = _words(math.prod(shape), seed)
    if len(words) < _NUM_QUANTILES:
        return normals(shape, seed, mean=mean, std=std).astype(np.int16)
    return _scaled(quantiles(), mean, std).astype(np.int16).take(words, mode="wrap").reshape(shape)


def poissons(shape: tuple[int, ...], seed: Seed, *, rate: float) -> NDArray[np.float32]:
    """Numbers of the Poisson distribution, as near as 65,536 words come to it: float32, a new array."""
    counts = np.arange(math.ceil(rate + 12 * math.sqrt(rate) + 12))
    upto = np.rint(special.pdtr(counts, rate) * _NUM_QUANTILES).astype(np.int64)
    table = np.repeat(counts.astype(np.float32), np.diff(upto, prepend=0))
    return table.take(_words(math.prod(shape), seed), mode="wrap").reshape(shape)


def _scaled(numbers: NDArray[np.float32], mean: float, std: float) -> NDArray[np.float32]:
    scaled = numbers * np.float32(std)
    scaled += np.float32(mean)
    return scaled


def _words(count: int, seed: Seed) -> NDArray[np.uint16]:
    longs: NDArray[np.uint64] = np.random.SFC64(seed).random_raw(-(-count // 4))
    return longs.astype("<u8", copy=False).view("<u2")[:count]
