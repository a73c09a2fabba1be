"""What a policy can do to a picture, by name, and the magnitudes that papers give to it, as data.

A magnitude is what its operation takes: degrees, a shear factor, pixels, a factor of which 1 changes nothing, bits or a
threshold. Names are those of AutoAugment (Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data",
2019, table 6).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms.policies import colours
from augment.transforms.straight import shifted

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
    """Anticlockwise, about the middle."""
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
"""Where they move a point, measured from the picture's corner at the edges of pixels. A shear holds that corner."""

COLOURS: Final[Mapping[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {
        "Brightness": colours.brightness,
        "Color": colours.colour,
        "Contrast": colours.contrast,
        "Sharpness": colours.sharpness,
        "Posterize": colours.posterize,
        "Solarize": colours.solarize,
        "AutoContrast": colours.autocontrast,
        "Equalize": colours.equalize,
        "Invert": colours.invert,
    }
)


def matrix(name: str, magnitude: float, shape: Shape) -> Matrix:
    """Where a geometric operation moves a pixel's middle, (3, 3)."""
    return shifted(-0.5, -0.5) @ GEOMETRIC[name](magnitude, shape) @ shifted(0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """The magnitudes of one operation, from one that changes nothing to the strongest.

    ``signed``: the strongest lies as far on the other side, and a fair coin chooses. ``side``: magnitudes are shares of
    the picture's width or height. ``whole`` makes a whole number of them.
    """

    weakest: float
    strongest: float
    signed: bool = False
    side: str = ""
    whole: Callable[[float], int] | None = None

    def at(self, share: float, shape: Shape, *, negative: bool = False) -> float:
        """The magnitude at this share of the way from the weakest to the strongest."""
        change = (self.strongest - self.weakest) * share
        if self.side:
            change *= shape[0] if self.side == "height" else shape[1]
        value = self.weakest - change if negative and self.signed else self.weakest + change
        return float(value if self.whole is None else self.whole(value))


Space = Mapping[str, Magnitudes | None]
"""Operations that are drawn with equal chances; None where one has no magnitude."""


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
"""AutoAugment, table 6. Its 150 pixels are of pictures of 331."""

RAND: Final[Space] = MappingProxyType({**_IDENTITY, **{name: one for name, one in AUTO.items() if name != "Invert"}})
"""RandAugment: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space" (2020),
section 3: AutoAugment's without Invert, and one that does nothing."""

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
default; these have factors from 0.1 to 1.9 as AutoAugment's, where its code has only weaker than 1 at severity 3."""

MIX: Final[Space] = MappingProxyType({name: one for name, one in MIX_ALL.items() if name not in _ENHANCEMENTS})
"""The same without what resembles a corruption of ImageNet-C, on which AugMix is judged."""
