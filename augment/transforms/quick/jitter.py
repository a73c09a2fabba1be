"""Brightness, contrast, saturation and hue: tables of 256 levels for whole planes, in the bytes of the original.

What is left is OpenCV's way to hue, saturation and value and back, which no table of a channel can say.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import A, cv2

_Array = NDArray[Any]
_look_up: Callable[..., _Array] = A.augmentations.pixel.functional.sz_lut
_LEVELS: Final = np.arange(256, dtype=np.float32)
_HUES: Final = 180
"""OpenCV counts hues in steps of two degrees."""


def brightness(image: _Array, factor: float) -> _Array:
    return image if factor == 1 else _look_up(image, _table(_LEVELS * np.float32(factor)), inplace=False)


def contrast(image: _Array, factor: float) -> _Array:
    if factor == 1:
        return image
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean = cv2.sumElems(grey)[0] / grey.size
    if factor == 0:
        return np.full_like(image, int(mean + 0.5))
    return _look_up(image, _table(_LEVELS * factor + mean * (1 - factor)), inplace=False)


def saturation(image: _Array, factor: float) -> _Array:
    if factor == 1:
        return image
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return grey if factor == 0 else cv2.addWeighted(image, factor, grey, 1 - factor, 0)


def hue(image: _Array, turn: float) -> _Array:
    return image if turn == 0 else _by_planes(image, _turned(_HUES * turn), None, None)


_STEPS: Final[Sequence[Callable[[_Array, float], _Array]]] = (brightness, contrast, saturation, hue)


def _table(values: _Array) -> NDArray[np.uint8]:
    """A level for each of 256: cut at 0 and 255, and rounded down."""
    table: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return table


def _turned(shift: float) -> NDArray[np.uint8]:
    table: NDArray[np.uint8] = np.mod(np.arange(256, dtype=np.int16) + shift, _HUES).astype(np.uint8)
    return table


def _by_planes(image: _Array, *tables: NDArray[np.uint8] | None) -> _Array:
    """The picture with a table each applied to hue, saturation and value; None leaves one as it is."""
    planes = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    for plane, table in zip(planes, tables, strict=True):
        if table is not None:
            _look_up(plane, table, inplace=True)
    return cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2RGB)


class ColorJitter(A.ColorJitter):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """The same bytes."""

    def apply(self, img: _Array, order: Sequence[int], **params: Any) -> _Array:
        """``img`` is uint8 (H, W, 3)."""
        amounts = (params["brightness"], params["contrast"], params["saturation"], params["hue"])
        for step in order:
            img = _STEPS[step](img, amounts[step])
        return img


class HueSaturationValue(A.HueSaturationValue):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """The same bytes."""

    def apply(self, img: _Array, hue_shift: float, sat_shift: float, val_shift: float, **_: Any) -> _Array:
        """``img`` is uint8 (H, W, 3)."""
        if hue_shift == 0 and sat_shift == 0 and val_shift == 0:
            return img
        saturations = _table(_LEVELS + int(sat_shift))
        saturations[0] = 0  # grey has no hue to be saturated
        return _by_planes(img, _turned(hue_shift), saturations, _table(_LEVELS + int(val_shift)))
