"""Sizes: resizing the whole picture, and padding it."""

from collections.abc import Mapping
from typing import Any

from augment.transforms import limits, schema
from augment.transforms.entry import ALL_TARGETS, Entry, area_for_downscale, border, resample
from augment.transforms.schema import Schema

FAMILY = "resize"

_SIDE: Schema = {"type": "integer", "minimum": 1, "maximum": limits.OUTPUT_SIDE_PX}
_PAD: Schema = {"type": "integer", "minimum": 0, "maximum": limits.PAD_PX}


def _one_max_size(params: Mapping[str, Any]) -> str | None:
    if (params["max_size"] is None) == (params["max_size_hw"] is None):
        return "give max_size or max_size_hw, one of the two"
    if params["max_size_hw"] == [None, None]:
        return "max_size_hw needs a height or a width"
    return None


def _one_divisor(params: Mapping[str, Any]) -> str | None:
    for side in ("height", "width"):
        if (params[f"min_{side}"] is None) == (params[f"pad_{side}_divisor"] is None):
            return f"give min_{side} or pad_{side}_divisor, one of the two (the other null)"
    return None


def _max_size(which: str) -> dict[str, Schema]:
    null_or_side: Schema = {"anyOf": [_SIDE, {"type": "null", "title": "any"}]}
    return {
        "max_size": schema.optional(
            schema.either(
                f"length of the {which} side in pixels, or several to choose from at random",
                _SIDE | {"title": "pixels"},
                {"type": "array", "items": _SIDE, "minItems": 1, "maxItems": limits.CHOICES, "title": "choose from"},
            ),
            "max_size_hw is used",
        ),
        "max_size_hw": schema.optional(
            schema.array(null_or_side, 2, 2, "height and width in pixels, either may be null", title="height, width"),
            "max_size is used",
        ),
    }


_MAX_SIZE_RULES = (("max_size or max_size_hw, one of the two", _one_max_size),)

ENTRIES = (
    Entry(
        "Resize",
        "Resizes the picture to one height and width, whatever its shape.",
        {"height": _SIDE | {"description": "height in pixels"}, "width": _SIDE | {"description": "width in pixels"}}
        | resample()
        | {"area_for_downscale": area_for_downscale()},
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "LongestMaxSize",
        "Resizes the picture so that its longer side has a length; the shape stays.",
        _max_size("longer") | resample() | {"area_for_downscale": area_for_downscale()},
        ALL_TARGETS,
        moves_pixels=True,
        rules=_MAX_SIZE_RULES,
    ),
    Entry(
        "SmallestMaxSize",
        "Resizes the picture so that its shorter side has a length; the shape stays.",
        _max_size("shorter") | resample() | {"area_for_downscale": area_for_downscale()},
        ALL_TARGETS,
        moves_pixels=True,
        rules=_MAX_SIZE_RULES,
    ),
    Entry(
        "RandomScale",
        "Resizes the picture by a random factor; the size varies.",
        {
            "scale_limit": schema.pair(
                schema.number(-0.99, limits.SCALE_FACTOR - 1, "the factor minus 1: 0.5 is half as large again"),
                scalar="symmetric",
            )
        }
        | resample()
        | {"area_for_downscale": area_for_downscale()},
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "Pad",
        "Adds a border of a fixed width.",
        {
            "padding": schema.either(
                "pixels added: on all sides, or left and right / top and bottom, or left, top, right, bottom",
                _PAD | {"title": "all sides"},
                {
                    "type": "array",
                    "items": _PAD,
                    "minItems": 2,
                    "maxItems": 2,
                    "title": "left and right, top and bottom",
                },
                {"type": "array", "items": _PAD, "minItems": 4, "maxItems": 4, "title": "left, top, right, bottom"},
            )
        }
        | border(),
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "PadIfNeeded",
        "Adds a border until the picture has a least size, or a size that can be divided.",
        {
            "min_height": schema.optional(
                _SIDE | {"description": "least height in pixels"}, "pad_height_divisor is used"
            ),
            "min_width": schema.optional(_SIDE | {"description": "least width in pixels"}, "pad_width_divisor is used"),
            "pad_height_divisor": schema.optional(
                _SIDE | {"description": "the height becomes a multiple of it"}, "min_height is used"
            ),
            "pad_width_divisor": schema.optional(
                _SIDE | {"description": "the width becomes a multiple of it"}, "min_width is used"
            ),
            "position": schema.choice(
                {
                    "center": "in the middle",
                    "top_left": "top left",
                    "top_right": "top right",
                    "bottom_left": "bottom left",
                    "bottom_right": "bottom right",
                    "random": "at random",
                },
                "where the picture lies in the padded one",
            ),
        }
        | border(),
        ALL_TARGETS,
        moves_pixels=True,
        rules=(("min_height or pad_height_divisor, and min_width or pad_width_divisor", _one_divisor),),
    ),
)
