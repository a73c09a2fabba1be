"""Pixels of two pictures in one: blended by weight, or one pasted into the other."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from augment.mixing.draws import STEPS, Draw

_Integer = TypeVar("_Integer", bound=np.integer)


def blend(images: NDArray[np.uint8], draw: Draw) -> NDArray[np.uint8]:
    """Each row as weight * own + (1 - weight) * partner's, rounded half to even: uint8 (N, H, W, 3), a new array.

    Exact, because weights are multiples of 1/256: sums of products are whole 256ths and fit uint16.
    """
    out = np.empty_like(images, order="C")
    total, odd = (np.empty(images.shape[1:], np.uint16) for _ in range(2))
    for row, (partner, weight) in enumerate(zip(draw.partners, draw.weights, strict=True)):
        own = np.uint16(weight * STEPS)
        np.multiply(images[row], own, out=total, dtype=np.uint16)
        np.multiply(images[partner], np.uint16(STEPS) - own, out=odd, dtype=np.uint16)
        total += odd
        # half to even: 127 rounds a half down, and 128, where the whole part is odd, up
        np.right_shift(total, 8, out=odd)
        odd &= 1
        odd += 127
        total += odd
        np.right_shift(total, 8, out=out[row], casting="unsafe")
    return out


def paste(arrays: NDArray[_Integer], draw: Draw) -> NDArray[_Integer]:
    """Each row with its partner's pixels in its box: (N, H, W) or (N, H, W, 3), a new array."""
    out = arrays.copy()
    for row, partner in enumerate(draw.partners):
        if (box := draw.box(row)) is not None:
            x_min, y_min, x_max, y_max = box
            out[row, y_min:y_max, x_min:x_max] = arrays[partner, y_min:y_max, x_min:x_max]
    return out
