"""Colour: hue, saturation, channels, stains, colour spaces."""

from collections.abc import Mapping
from typing import Any

from augment.transforms import limits, schema
from augment.transforms.entry import Entry

FAMILY = "colour"

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
        schema.number(-255, 255, f"added to {channel}; of 255, or a share of it where both ends lie in [-1, 1]"),
        scalar="symmetric",
    )


def _white_inside(params: Mapping[str, Any]) -> str | None:
    limit, lowest = params["temperature_limit"], 3_000 if params["mode"] == "blackbody" else 4_000
    if limit is not None and not lowest <= limit[0] <= 6_000 <= limit[1]:
        return f"temperature_limit is {limit}; it must hold 6000 (white) and begin at {lowest} or above for this mode"
    return None


def _preset_only_where_used(params: Mapping[str, Any]) -> str | None:
    if params["method"] == "random_preset" and params["preset"] is not None:
        return "preset must be null with the method random_preset, which chooses one"
    return None


ENTRIES = (
    Entry(
        "ColorJitter",
        "Changes brightness, contrast, saturation and hue in a random order, as torchvision does.",
        {
            "brightness": _factor("brightness"),
            "contrast": _factor("contrast"),
            "saturation": _factor("saturation"),
            "hue": schema.pair(schema.number(-0.5, 0.5, "turn of the colour circle; 0.5 is half"), scalar="symmetric"),
        },
    ),
    Entry(
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
    ),
    Entry(
        "RGBShift",
        "Adds a random value to each channel.",
        {"r_shift_limit": _shift("red"), "g_shift_limit": _shift("green"), "b_shift_limit": _shift("blue")},
    ),
    Entry(
        "FancyPCA",
        "Shifts the colours along the principal components of the picture's own colours (Krizhevsky et al., 2012).",
        {"alpha": schema.number(0, limits.FACTOR, "standard deviation of the shift")},
    ),
    Entry(
        "PlanckianJitter",
        "Changes the colour of the light along that of a glowing body (Zini et al., 2023).",
        {
            "mode": schema.choice({"blackbody": "black body", "cied": "daylight (CIE D)"}, "whose light"),
            "temperature_limit": schema.optional(
                schema.pair(schema.integer(3_000, 15_000, "temperature in kelvin; 6000 is white")),
                "all that the mode knows",
            ),
            "sampling_method": schema.choice(
                {"uniform": "uniform", "gaussian": "Gaussian about white"}, "how the temperature is drawn"
            ),
        },
        rules=(("temperature_limit holds 6000 and begins at 3000 (blackbody) or 4000 (cied)", _white_inside),),
    ),
    Entry(
        "HEStain",
        "Changes the stains of a histological slide (haematoxylin and eosin).",
        {
            "method": schema.choice(
                {
                    "random_preset": "a preset, chosen at random",
                    "preset": "one preset",
                    "vahadane": "estimated after Vahadane",
                    "macenko": "estimated after Macenko",
                },
                "where the colours of the stains come from",
            ),
            "preset": schema.optional(
                schema.choice(dict(_STAIN_PRESETS), "the colours of the stains"), "none; standard where one is needed"
            ),
            "intensity_scale_range": schema.pair(
                schema.number(0, limits.STAINS_RANGE, "factor of each stain's concentration")
            ),
            "intensity_shift_range": schema.pair(schema.number(-1, 1, "added to each stain's concentration")),
            "augment_background": schema.flag("change the background too"),
        },
        rules=(("preset is null with random_preset", _preset_only_where_used),),
    ),
    Entry("ChannelShuffle", "Puts red, green and blue in a random order."),
    Entry("InvertImg", "Subtracts every value from 255, as in a negative."),
    Entry(
        "ToGray",
        "Makes the picture grey; it keeps three equal channels.",
        {
            "num_output_channels": schema.choice({3: "three equal channels"}, "samples have three channels"),
            "method": schema.choice(
                {
                    "weighted_average": "weighted as the eye does",
                    "from_lab": "lightness of CIE L*a*b*",
                    "desaturation": "mean of the largest and the smallest",
                    "average": "mean",
                    "max": "largest",
                    "pca": "first principal component",
                },
                "how three values become one",
            ),
        },
    ),
    Entry("ToSepia", "Gives the picture the brown of an old photograph."),
    Entry(
        "Posterize",
        "Keeps the highest bits of every value only.",
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
    Entry(
        "Solarize",
        "Inverts every value above a threshold.",
        {"threshold_range": schema.pair(schema.number(0, 1, "threshold as a share of 255"))},
    ),
)
