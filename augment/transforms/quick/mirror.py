"""The mirror, as fast as memory allows: pixels of three bytes are moved as pixels of four."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import A, cv2

STRIP_BYTES: Final = 256 * 1024
"""Larger pictures are moved in strips of this many bytes (of four-byte pixels), which stay in a core's cache."""


def mirrored(image: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The picture left to right, in a new C-contiguous array, or in ``out``, of the same shape and dtype.

    ``image`` is (H, W) or (H, W, C), of any dtype OpenCV knows and any strides. ``out`` may have rows that lie apart,
    and must not overlap ``image``. ValueError where it has another shape or dtype.

    OpenCV reverses elements of 1, 2, 4 or 8 bytes in registers, and those of 3 one by one: a uint8 (H, W, 3) picture
    goes through four channels and back, which takes a quarter of the time.
    """
    if out is None:
        out = np.empty(image.shape, image.dtype)
    elif out.shape != image.shape or out.dtype != image.dtype:
        raise ValueError(f"out is {out.dtype} {out.shape}; it must be as the picture, {image.dtype} {image.shape}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        cv2.flip(image, 1, dst=out)
        return out
    height, width, _ = image.shape
    num_rows = max(1, min(height, STRIP_BYTES // (4 * width)))
    wide, turned = np.empty((2, num_rows, width, 4), np.uint8)
    for top in range(0, height, num_rows):
        strip = image[top : top + num_rows]
        there = slice(len(strip))
        cv2.cvtColor(strip, cv2.COLOR_RGB2RGBA, dst=wide[there])
        cv2.flip(wide[there], 1, dst=turned[there])
        cv2.cvtColor(turned[there], cv2.COLOR_RGBA2RGB, dst=out[top : top + num_rows])
    return out


class HorizontalFlip(A.HorizontalFlip):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """The same bytes."""

    def apply(self, img: NDArray[Any], **_: Any) -> NDArray[Any]:
        return mirrored(img)
