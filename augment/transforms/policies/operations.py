"""Operations of policies by name, and their magnitudes in the papers, as data.

A magnitude is in the unit of its operation: degrees, a shear factor, pixels, a factor of which 1 changes nothing, bits
or a threshold. Names are those of AutoAugment (Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data",
2019, table 6).

Operations that move no pixel take uint8 (H, W, 3) RGB and return a new array. They are torchvision's of 0.28 for uint8
tensors (``torchvision.transforms.v2.functional``), which follow Pillow's ``ImageOps`` and ``ImageEnhance``: the same
formulas in the same precision, so that pixels agree. An operation on single values is a table of 256 values.
docs/policies.md shows how far they agree.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms.albumentations_import import cv2
from augment.transforms.matrix_geometry import shifted

Image = NDArray[Any]
_Table = NDArray[np.uint8]

_LEVELS: Final = np.arange(256, dtype=np.float32)
_SMOOTH: Final = 13
"""Sum of the weights of Pillow's SMOOTH: 5 in the middle of eight times 1."""


def brightness(image: Image, factor: float) -> Image:
    """Multiply by the factor: 0 is black, 1 the image."""
    return cv2.LUT(image, _whole(_LEVELS * np.float32(factor)))


def contrast(image: Image, factor: float) -> Image:
    """Scale the distance from the mean of the image's grey: 0 is grey all over, 1 the image."""
    mean = np.float32(np.floor(_grey(image)).mean(dtype=np.float64))
    return cv2.LUT(image, _whole(_LEVELS * np.float32(factor) + mean * np.float32(1 - factor)))


def colour(image: Image, factor: float) -> Image:
    """Scale each pixel's distance from its grey: 0 is grey, 1 the image, more is more saturated."""
    grey = np.floor(_grey(image)) * np.float32(1 - factor)
    return _whole(image * np.float32(factor) + grey[..., np.newaxis])


def sharpness(image: Image, factor: float) -> Image:
    """Scale each pixel's distance from the mean around it: 0 is smooth, 1 the image. The outermost pixels stay."""
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
    """Keep this many of a value's eight bits, the highest."""
    return image & np.uint8(256 - (1 << (8 - int(bits))))


def solarize(image: Image, threshold: float) -> Image:
    """Invert values of at least the threshold."""
    return cv2.LUT(image, np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS).astype(np.uint8))


def invert(image: Image, _: float | None = None) -> Image:
    return np.bitwise_not(image)


def autocontrast(image: Image, _: float | None = None) -> Image:
    """Stretch each channel to the range from 0 to 255; a channel of a single value stays."""
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
    """Convert to grey as Pillow does for mode L (ITU-R BT.601 in 16 bits), uint8 (H, W)."""
    red, green, blue = (image[..., channel].astype(np.uint32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def _grey(image: Image) -> NDArray[np.float32]:
    """Compute grey with torchvision's weights, before it is rounded down."""
    red, green, blue = (image[..., channel] for channel in range(3))
    return (red * np.float32(0.2989) + green * np.float32(0.587) + blue * np.float32(0.114)).astype(
        np.float32, copy=False
    )


def _whole(values: NDArray[Any]) -> _Table:
    """Convert to uint8, clipped at both ends and rounded down."""
    whole: _Table = np.clip(values, 0, 255).astype(np.uint8)
    return whole


def _by_channel(image: Image, table: _Table) -> Image:
    """Apply ``table``, (256, 3), one column to each channel."""
    return cv2.LUT(image, np.ascontiguousarray(table).reshape(256, 1, 3))


Matrix = NDArray[np.float64]
Shape = tuple[int, int]
"""Height and width."""


def _shear_x(magnitude: float, _: Shape) -> Matrix:
    return np.array([[1.0, -magnitude, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def _shear_y(magnitude: float, _: Shape) -> Matrix:
    return np.array([[1.0, 0.0, 0.0], [-magnitude, 1.0, 0.0], [0.0, 0.0, 1.0]])


def _translate_x(magnitude: float, _: Shape) -> Matrix:
    return shifted(magnitude, 0)


def _translate_y(magnitude: float, _: Shape) -> Matrix:
    return shifted(0, magnitude)


def _rotate(magnitude: float, shape: Shape) -> Matrix:
    """Rotate anticlockwise about the middle."""
    height, width = shape
    cos, sin = math.cos(math.radians(magnitude)), math.sin(math.radians(magnitude))
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    turned: Matrix = shifted(width / 2, height / 2) @ turn @ shifted(-width / 2, -height / 2)
    return turned


GEOMETRIC: Final[Mapping[str, Callable[[float, Shape], Matrix]]] = MappingProxyType(
    {
        "ShearX": _shear_x,
        "ShearY": _shear_y,
        "TranslateX": _translate_x,
        "TranslateY": _translate_y,
        "Rotate": _rotate,
    }
)
"""Matrices of geometric operations; points are measured from the image's corner, which a shear keeps in place."""

COLOURS: Final[Mapping[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {
        "Brightness": brightness,
        "Color": colour,
        "Contrast": contrast,
        "Sharpness": sharpness,
        "Posterize": posterize,
        "Solarize": solarize,
        "AutoContrast": autocontrast,
        "Equalize": equalize,
        "Invert": invert,
    }
)


def matrix(name: str, magnitude: float, shape: Shape) -> Matrix:
    """Return the matrix (3, 3) by which a geometric operation moves the middles of pixels."""
    return shifted(-0.5, -0.5) @ GEOMETRIC[name](magnitude, shape) @ shifted(0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """Magnitudes of one operation, from one that changes nothing to the strongest.

    ``signed``: the strongest exists on both sides, and a fair coin chooses. ``side``: magnitudes are shares of the
    image's width or height. ``whole`` makes them whole numbers.
    """

    weakest: float
    strongest: float
    signed: bool = False
    side: str = ""
    whole: Callable[[float], int] | None = None

    def at(self, share: float, shape: Shape, *, negative: bool = False) -> float:
        """Return the magnitude at this share of the way from the weakest to the strongest."""
        change = (self.strongest - self.weakest) * share
        if self.side:
            change *= shape[0] if self.side == "height" else shape[1]
        value = self.weakest - change if negative and self.signed else self.weakest + change
        return float(value if self.whole is None else self.whole(value))


Space = Mapping[str, Magnitudes | None]
"""Operations that are drawn with equal probability; None for one without a magnitude."""


def _space(
    *,
    shear: float,
    translate_x: Magnitudes,
    translate_y: Magnitudes,
    rotate: Magnitudes,
    enhance: float,
    posterize: Magnitudes,
) -> dict[str, Magnitudes | None]:
    factor = Magnitudes(1.0, 1.0 + enhance, signed=True)
    return {
        "ShearX": Magnitudes(0.0, shear, signed=True),
        "ShearY": Magnitudes(0.0, shear, signed=True),
        "TranslateX": translate_x,
        "TranslateY": translate_y,
        "Rotate": rotate,
        "Brightness": factor,
        "Color": factor,
        "Contrast": factor,
        "Sharpness": factor,
        "Posterize": posterize,
        "Solarize": Magnitudes(256.0, 0.0),
        "AutoContrast": None,
        "Equalize": None,
    }


def _share(of: float, side: str) -> Magnitudes:
    return Magnitudes(0.0, of, signed=True, side=side, whole=math.trunc)


_PIXELS_32: Final = Magnitudes(0.0, 32.0, signed=True, whole=math.trunc)
_IDENTITY: Final[Space] = {"Identity": None}

AUTO: Final[Space] = MappingProxyType(
    _space(
        shear=0.3,
        translate_x=_share(150 / 331, "width"),
        translate_y=_share(150 / 331, "height"),
        rotate=Magnitudes(0.0, 30.0, signed=True),
        enhance=0.9,
        posterize=Magnitudes(8, 4, whole=round),
    )
    | {"Invert": None}
)
"""AutoAugment, table 6. Its 150 pixels refer to images of 331."""

RAND: Final[Space] = MappingProxyType({**_IDENTITY, **{name: one for name, one in AUTO.items() if name != "Invert"}})
"""RandAugment: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space" (2020),
section 3: AutoAugment's without Invert, and Identity."""

TRIVIAL_WIDE: Final[Space] = MappingProxyType(
    {
        **_IDENTITY,
        **_space(
            shear=0.99,
            translate_x=_PIXELS_32,
            translate_y=_PIXELS_32,
            rotate=Magnitudes(0.0, 135.0, signed=True),
            enhance=0.99,
            posterize=Magnitudes(8, 2, whole=round),
        ),
    }
)
"""TrivialAugment: Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation" (2021), the
wide space of table 1."""

_ENHANCEMENTS: Final = ("Brightness", "Color", "Contrast", "Sharpness")

MIX_ALL: Final[Space] = MappingProxyType(
    _space(
        shear=0.3,
        translate_x=_share(1 / 3, "width"),
        translate_y=_share(1 / 3, "height"),
        rotate=Magnitudes(0.0, 30.0, signed=True, whole=math.trunc),
        enhance=0.9,
        posterize=Magnitudes(4, 0, whole=math.ceil),
    )
)
"""AugMix: Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty" (2020),
with the magnitudes of its authors' code (github.com/google-research/augmix) and the operations that it leaves out by
default. These have factors from 0.1 to 1.9 as in AutoAugment, while its code has only factors below 1 at severity 3."""

MIX: Final[Space] = MappingProxyType({name: one for name, one in MIX_ALL.items() if name not in _ENHANCEMENTS})
"""AugMix without the operations that resemble corruptions of ImageNet-C, on which AugMix is evaluated."""
