"""The operations of policies that move no pixel, on uint8 (H, W, 3) RGB; each gives a new array.

They are torchvision's of 0.28 for uint8 tensors (``torchvision.transforms.v2.functional``), which follow Pillow's
``ImageOps`` and ``ImageEnhance``: the same formulas in the same precision, so that pixels agree. What depends on a
pixel's value alone is a table of 256 values. docs/policies.md shows how far they agree.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import cv2

Image = NDArray[Any]
_Table = NDArray[np.uint8]

_LEVELS: Final = np.arange(256, dtype=np.float32)
_SMOOTH: Final = 13
"""Sum of the weights of Pillow's SMOOTH: 5 in the middle of eight times 1."""


def brightness(image: Image, factor: float) -> Image:
    """Multiply by the factor: 0 is black, 1 the picture."""
    return cv2.LUT(image, _whole(_LEVELS * np.float32(factor)))


def contrast(image: Image, factor: float) -> Image:
    """Draw values away from the mean of the picture's grey: 0 is grey all over, 1 the picture."""
    mean = np.float32(np.floor(_grey(image)).mean(dtype=np.float64))
    return cv2.LUT(image, _whole(_LEVELS * np.float32(factor) + mean * np.float32(1 - factor)))


def colour(image: Image, factor: float) -> Image:
    """Draw each pixel away from its grey: 0 is grey, 1 the picture, above that more saturated."""
    grey = np.floor(_grey(image)) * np.float32(1 - factor)
    return _whole(image * np.float32(factor) + grey[..., np.newaxis])


def sharpness(image: Image, factor: float) -> Image:
    """Draw each pixel away from the mean about it: 0 is smooth, 1 the picture. The outermost pixels stay."""
    if min(image.shape[:2]) <= 2:
        return image.copy()
    sums = cv2.boxFilter(image, cv2.CV_16U, (3, 3), normalize=False)[1:-1, 1:-1]
    inner = image[1:-1, 1:-1]
    smooth = (sums + 4 * inner.astype(np.uint16) + _SMOOTH // 2) // _SMOOTH
    values = inner.astype(np.float32)
    sharpened = image.copy()
    sharpened[1:-1, 1:-1] = _whole(values + (smooth.astype(np.float32) - values) * np.float32(1 - factor))
    return sharpened


def posterize(image: Image, bits: float) -> Image:
    """Keep that many of a value's eight bits, the highest."""
    return image & np.uint8(256 - (1 << (8 - int(bits))))


def solarize(image: Image, threshold: float) -> Image:
    """Invert values from the threshold on."""
    return cv2.LUT(image, np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS).astype(np.uint8))


def invert(image: Image, _: float | None = None) -> Image:
    return np.bitwise_not(image)


def autocontrast(image: Image, _: float | None = None) -> Image:
    """Stretch each channel to the range from 0 to 255; one of a single value stays."""
    channels = cv2.split(image)  # a minimum along the first two axes would take ten times as long
    low = np.array([channel.min() for channel in channels], np.float32)
    high = np.array([channel.max() for channel in channels], np.float32)
    flat = low == high
    scale = np.where(flat, np.float32(1), (high - low) * np.float32(1 / 255))
    return _by_channel(image, _whole((_LEVELS[:, np.newaxis] - np.where(flat, np.float32(0), low)) / scale))


def equalize(image: Image, _: float | None = None) -> Image:
    """Make each channel's values about equally frequent; one with too few pixels below its highest value stays."""
    table = np.empty((256, 3), np.uint8)
    for i, channel in enumerate(cv2.split(image)):
        counts = np.bincount(channel.ravel(), minlength=256)
        step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
        if step:
            below = np.concatenate([[0], counts.cumsum()[:-1]])
            table[:, i] = np.minimum((below + step // 2) // step, 255)
        else:
            table[:, i] = np.arange(256)
    return _by_channel(image, table)


def luma(image: Image) -> NDArray[np.uint8]:
    """Grey by Pillow's conversion to mode L (ITU-R BT.601 in 16 bits), uint8 (H, W)."""
    red, green, blue = (image[..., channel].astype(np.uint32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def _grey(image: Image) -> NDArray[np.float32]:
    """Grey as torchvision weighs it, before it is rounded down."""
    red, green, blue = (image[..., channel] for channel in range(3))
    return (red * np.float32(0.2989) + green * np.float32(0.587) + blue * np.float32(0.114)).astype(
        np.float32, copy=False
    )


def _whole(values: NDArray[Any]) -> _Table:
    """To uint8, cut at both ends and rounded down."""
    whole: _Table = np.clip(values, 0, 255).astype(np.uint8)
    return whole


def _by_channel(image: Image, table: _Table) -> Image:
    """``table`` is (256, 3)."""
    return cv2.LUT(image, np.ascontiguousarray(table).reshape(256, 1, 3))
