"""Colour: hue, saturation, channels, stains, colour spaces.

Brightness, contrast, saturation and hue are tables of 256 levels for whole planes, with the bytes of the original. Only
the conversion to hue, saturation and value and back is OpenCV's, because no table of a channel can express it.
``FancyPCA`` shifts colours by one matrix that is linear in the image's colours.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import A, cv2
from augment.transforms.entry import TransformEntry

_BITS: schema.Schema = {"type": "integer", "minimum": 1, "maximum": 7}
_STAIN_PRESETS = {
    "ruifrok": "Ruifrok and Johnston",
    "macenko": "Macenko",
    "standard": "standard",
    "high_contrast": "high contrast",
    "h_heavy": "much haematoxylin",
    "e_heavy": "much eosin",
    "dark": "dark",
    "light": "light",
}


def _factor(what: str) -> schema.Schema:
    return schema.pair(schema.number(0, limits.FACTOR, f"factor of the {what}; 1 changes nothing"), scalar="around-one")


def _shift(channel: str) -> schema.Schema:
    return schema.pair(
        schema.number(-255, 255, f"added to {channel}; of 255, or a share of it if both ends are in [-1, 1]"),
        scalar="symmetric",
    )


def _white_inside(params: Mapping[str, Any]) -> str | None:
    limit, lowest = params["temperature_limit"], 3_000 if params["mode"] == "blackbody" else 4_000
    if limit is not None and not lowest <= limit[0] <= 6_000 <= limit[1]:
        return f"temperature_limit is {limit}; it must contain 6000 (white) and start at {lowest} or above in this mode"
    return None


def _preset_only_where_used(params: Mapping[str, Any]) -> str | None:
    if params["method"] == "random_preset" and params["preset"] is not None:
        return "preset must be null with the method random_preset, which draws one"
    return None


class FancyPCA(A.FancyPCA):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """FancyPCA whose values are within one level of the original's: the same sum in OpenCV's fixed-point numbers.

    Means and covariances come from whole numbers and are exact; the original's come from rounded floats.
    """

    def apply(self, img: NDArray[np.uint8], alpha_vector: NDArray[np.float32], **_: Any) -> NDArray[np.uint8]:
        """Shift the colours of ``img``, uint8 (H, W, 3), into a new array."""
        mean, covariance = moments(img)
        variances, axes = np.linalg.eigh(covariance)
        variances, axes = variances[::-1], axes[:, ::-1]
        shift = axes @ np.diag(alpha_vector * variances)
        matrix = np.column_stack([np.eye(3) + shift, -shift @ mean * 255])
        out: NDArray[Any] = cv2.transform(img, matrix)
        return out


def moments(image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means (3,) and unbiased covariances (3, 3) of the channels; black is 0 and white 1."""
    planes = cv2.split(image)
    sums = np.array([cv2.sumElems(plane)[0] for plane in planes])
    squares = [cv2.norm(plane, cv2.NORM_L2SQR) for plane in planes]
    products = np.diag(squares)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        apart = cv2.norm(planes[i], planes[j], cv2.NORM_L2SQR)
        products[i, j] = products[j, i] = (squares[i] + squares[j] - apart) / 2
    count = planes[0].size
    covariance = (products - np.outer(sums, sums) / count) / max(count - 1, 1)
    return sums / count / 255, covariance / 255**2


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
    """Convert values of 256 levels to a table, clipped at 0 and 255 and rounded down."""
    table: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return table


def _turned(shift: float) -> NDArray[np.uint8]:
    table: NDArray[np.uint8] = np.mod(np.arange(256, dtype=np.int16) + shift, _HUES).astype(np.uint8)
    return table


def _by_planes(image: _Array, *tables: NDArray[np.uint8] | None) -> _Array:
    """Apply a table to each of hue, saturation and value; None leaves one unchanged."""
    planes = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    for plane, table in zip(planes, tables, strict=True):
        if table is not None:
            _look_up(plane, table, inplace=True)
    return cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2RGB)


class ColorJitter(A.ColorJitter):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """ColorJitter with the same bytes, by tables."""

    def apply(self, img: _Array, order: Sequence[int], **params: Any) -> _Array:
        """Apply the four changes to ``img``, uint8 (H, W, 3), in the drawn order."""
        amounts = (params["brightness"], params["contrast"], params["saturation"], params["hue"])
        for step in order:
            img = _STEPS[step](img, amounts[step])
        return img


class HueSaturationValue(A.HueSaturationValue):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """HueSaturationValue with the same bytes, by tables."""

    def apply(self, img: _Array, hue_shift: float, sat_shift: float, val_shift: float, **_: Any) -> _Array:
        """Shift hue, saturation and value of ``img``, uint8 (H, W, 3)."""
        if hue_shift == 0 and sat_shift == 0 and val_shift == 0:
            return img
        saturations = _table(_LEVELS + int(sat_shift))
        saturations[0] = 0  # grey has no hue to saturate
        return _by_planes(img, _turned(hue_shift), saturations, _table(_LEVELS + int(val_shift)))


class ToGray(A.ToGray):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """ToGray with the same bytes, except for images one pixel high, which the original turns on their side."""

    def apply(self, img: _Array, **params: Any) -> _Array:
        """Convert ``img``, uint8 (H, W, 3), to grey in three channels."""
        return np.asarray(super().apply(img, **params)).reshape(img.shape)


ENTRIES = (
    TransformEntry(
        "ColorJitter",
        "Changes brightness, contrast, saturation and hue in a random order, as torchvision does.",
        {
            "brightness": _factor("brightness"),
            "contrast": _factor("contrast"),
            "saturation": _factor("saturation"),
            "hue": schema.pair(schema.number(-0.5, 0.5, "turn of the colour circle; 0.5 is half"), scalar="symmetric"),
        },
        implementation=ColorJitter,
    ),
    TransformEntry(
        "HueSaturationValue",
        "Shifts hue, saturation and value.",
        {
            "hue_shift_limit": schema.pair(
                schema.number(-180, 180, "added to the hue, in steps of two degrees"), scalar="symmetric"
            ),
            "sat_shift_limit": schema.pair(
                schema.number(-255, 255, "added to the saturation of 255"), scalar="symmetric"
            ),
            "val_shift_limit": schema.pair(schema.number(-255, 255, "added to the value of 255"), scalar="symmetric"),
        },
        implementation=HueSaturationValue,
    ),
    TransformEntry(
        "RGBShift",
        "Adds a random value to each channel.",
        {"r_shift_limit": _shift("red"), "g_shift_limit": _shift("green"), "b_shift_limit": _shift("blue")},
    ),
    TransformEntry(
        "FancyPCA",
        "Shifts the colours along the principal components of the image's own colours (Krizhevsky et al., 2012).",
        {"alpha": schema.number(0, limits.FACTOR, "standard deviation of the shift")},
        implementation=FancyPCA,
    ),
    TransformEntry(
        "PlanckianJitter",
        "Changes the colour temperature of the light (Zini et al., 2023).",
        {
            "mode": schema.choice({"blackbody": "black body", "cied": "daylight (CIE D)"}, "light source"),
            "temperature_limit": schema.optional(
                schema.pair(schema.integer(3_000, 15_000, "temperature in kelvin; 6000 is white")),
                "all that the mode allows",
            ),
            "sampling_method": schema.choice(
                {"uniform": "uniform", "gaussian": "Gaussian around white"}, "distribution of the temperature"
            ),
        },
        rules=(("temperature_limit contains 6000 and starts at 3000 (blackbody) or 4000 (cied)", _white_inside),),
    ),
    TransformEntry(
        "HEStain",
        "Changes the stains of a histological slide (haematoxylin and eosin).",
        {
            "method": schema.choice(
                {
                    "random_preset": "a preset, chosen at random",
                    "preset": "one preset",
                    "vahadane": "estimated by Vahadane's method",
                    "macenko": "estimated by Macenko's method",
                },
                "source of the stains' colours",
            ),
            "preset": schema.optional(
                schema.choice(dict(_STAIN_PRESETS), "colours of the stains"), "none; standard if one is needed"
            ),
            "intensity_scale_range": schema.pair(
                schema.number(0, limits.STAINS_RANGE, "factor of each stain's concentration")
            ),
            "intensity_shift_range": schema.pair(schema.number(-1, 1, "added to each stain's concentration")),
            "augment_background": schema.flag("change the background too"),
        },
        rules=(("preset is null with random_preset", _preset_only_where_used),),
    ),
    TransformEntry("ChannelShuffle", "Puts red, green and blue in a random order."),
    TransformEntry("InvertImg", "Subtracts every value from 255, as in a negative."),
    TransformEntry(
        "ToGray",
        "Makes the image grey, with three equal channels.",
        {
            "num_output_channels": schema.choice({3: "three equal channels"}, "samples have three channels"),
            "method": schema.choice(
                {
                    "weighted_average": "weighted like human vision",
                    "from_lab": "lightness of CIE L*a*b*",
                    "desaturation": "mean of the largest and the smallest",
                    "average": "mean",
                    "max": "largest",
                    "pca": "first principal component",
                },
                "conversion of three values to one",
            ),
        },
        implementation=ToGray,
    ),
    TransformEntry("ToSepia", "Gives the image the brown of an old photograph."),
    TransformEntry(
        "Posterize",
        "Keeps only the highest bits of every value.",
        {
            "num_bits": schema.either(
                "bits that are kept, of 8; a range to draw from; or a range for each channel",
                {"type": "array", "items": _BITS, "minItems": 2, "maxItems": 2, "x-ordered": True, "title": "range"},
                _BITS | {"title": "single value", "x-scalar": "repeat"},
                {
                    "type": "array",
                    "items": {"type": "array", "items": _BITS, "minItems": 2, "maxItems": 2, "x-ordered": True},
                    "minItems": 3,
                    "maxItems": 3,
                    "title": "red, green, blue",
                },
            )
        },
    ),
    TransformEntry(
        "Solarize",
        "Inverts every value above a threshold.",
        {"threshold_range": schema.pair(schema.number(0, 1, "threshold as a share of 255"))},
    ),
)
