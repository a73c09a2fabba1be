"""Pixels through tables of 256 floats, straight into the type and layout that is wanted."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from augment.errors import CallError
from augment.levels import LEVELS

Table: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""From the pixels (H, W, 3) of one picture to its table (3, 256), in the type that is wanted."""

_PIXELS_AT_ONCE: Final = 1 << 16
"""NumPy takes indices of eight bytes: so many of them stay in a processor's cache."""


def look_up(images: NDArray[np.uint8], table: Table, dtype: np.dtype[Any], *, first: bool) -> NDArray[Any]:
    """Map uint8 (..., H, W, 3): (..., 3, H, W) where ``first`` says that channels come first, else of the same shape.

    A new array, contiguous in the order of its axes.
    """
    check_images(images)
    *outer, height, width, _ = images.shape
    shape = (*outer, 3, height, width) if first else images.shape
    result = np.empty(shape, dtype)
    if not result.size:
        return result
    rows = min(height, max(1, _PIXELS_AT_ONCE // width))
    begins = np.tile(np.arange(3, dtype=np.intp) * LEVELS, rows * width)
    for place in np.ndindex(*outer):
        picture, into = images[place], result[place]
        floats = table(picture)
        for top in range(0, height, rows):
            part = picture[top : top + rows]
            if first:
                for channel in range(3):
                    np.take(floats[channel], part[..., channel], out=into[channel, top : top + rows], mode="clip")
            else:
                places = part.reshape(-1) + begins[: part.size]
                np.take(floats.reshape(-1), places, out=into[top : top + rows].reshape(-1), mode="clip")
    return result


def check_images(images: NDArray[Any]) -> None:
    """Raise CallError unless these are pictures."""
    if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-1] != 3:
        raise CallError(f"images are uint8 (..., H, W, 3), not {images.dtype} {images.shape}; give them as they come")
