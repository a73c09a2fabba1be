"""Straight lines stay straight: shifts, scales, shears, perspective."""

from collections.abc import Mapping
from typing import Any

from augment.transforms import limits, schema
from augment.transforms.entry import ALL_TARGETS, Entry, border, interpolation, warp
from augment.transforms.schema import Schema

FAMILY = "geometry"

_ROTATE_METHOD = schema.choice(
    {"largest_box": "the rotated box's bounding box", "ellipse": "the bounding box of the ellipse in the box"},
    "how a box that no longer stands upright becomes one that does",
)
_SHIFT = "shift as a share of the width or height"
_SCALE: Schema = {"type": "number", "minimum": 0.01, "maximum": limits.SCALE_FACTOR}
_SHARE: Schema = {"type": "number", "minimum": -2, "maximum": 2}
_PIXELS: Schema = {"type": "integer", "minimum": -limits.PAD_PX, "maximum": limits.PAD_PX}
_SHEAR: Schema = {"type": "number", "minimum": -89, "maximum": 89}


def _axes(item: Schema, description: str) -> Schema:
    """A number, a range, or both for x and y by themselves."""
    span = {"type": "array", "items": item, "minItems": 2, "maxItems": 2, "x-ordered": True, "title": "range"}
    one = item | {"title": "single value", "x-scalar": "repeat"}
    axis: Schema = {"anyOf": [span, one]}
    return schema.either(
        f"{description}; a range for each axis by itself, or {{x, y}}",
        span,
        one,
        {
            "type": "object",
            "properties": {"x": axis, "y": axis},
            "required": [],
            "additionalProperties": False,
            "minProperties": 1,
            "title": "x and y",
        },
    )


def _one_translation(params: Mapping[str, Any]) -> str | None:
    if params["translate_percent"] is not None and params["translate_px"] is not None:
        return "give translate_percent or translate_px, not both"
    return None


def _same_ratio(params: Mapping[str, Any]) -> str | None:
    scale = params["scale"]
    if params["keep_ratio"] and isinstance(scale, dict) and scale.get("x", 1) != scale.get("y", 1):
        return "with keep_ratio the scale of x and y must be the same range"
    return None


ENTRIES = (
    Entry(
        "RandomShiftScale",
        "Shifts the picture and scales it about its centre at random; the frame keeps its size.",
        {
            "shift_limit": schema.pair(schema.number(-1, 1, f"{_SHIFT}, drawn for each"), scalar="symmetric"),
            "scale_limit": schema.pair(
                schema.number(-0.99, limits.SCALE_FACTOR - 1, "the factor minus 1: 0.5 is half as large again"),
                scalar="symmetric",
            ),
            "interpolation": interpolation(warps=True),
        }
        | border(),
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "Affine",
        "Scales, shifts, turns and shears the picture about its centre, each at random; the defaults change nothing.",
        {
            "scale": _axes(_SCALE, "factor: 0.5 is half as large"),
            "translate_percent": schema.optional(
                _axes(_SHARE, "shift as a share of width and height"), "translate_px is used"
            ),
            "translate_px": schema.optional(_axes(_PIXELS, "shift in pixels"), "no shift, or translate_percent"),
            "rotate": schema.pair(schema.number(-360, 360, "angle in degrees"), scalar="repeat"),
            "shear": _axes(_SHEAR, "shear in degrees"),
        }
        | warp()
        | {
            "fit_output": schema.flag("enlarge the frame until all of the result fits; the size varies"),
            "keep_ratio": schema.flag("one factor for both axes"),
            "rotate_method": _ROTATE_METHOD,
            "balanced_scale": schema.flag("draw below and above 1 equally often where the range holds both"),
        },
        ALL_TARGETS,
        moves_pixels=True,
        rules=(
            ("translate_percent or translate_px, not both", _one_translation),
            ("keep_ratio needs the same scale for x and y", _same_ratio),
        ),
    ),
    Entry(
        "ShiftScaleRotate",
        "Shifts, scales and turns the picture at random; the frame keeps its size.",
        {
            "shift_limit": schema.pair(schema.number(-1, 1, _SHIFT), scalar="symmetric"),
            "scale_limit": schema.pair(
                schema.number(-0.99, limits.SCALE_FACTOR - 1, "the factor minus 1: 0.5 is half as large again"),
                scalar="symmetric",
            ),
            "rotate_limit": schema.pair(schema.number(-360, 360, "angle in degrees"), scalar="symmetric"),
        }
        | warp()
        | {
            "shift_limit_x": schema.optional(
                schema.pair(schema.number(-1, 1, "shift as a share of the width"), scalar="symmetric"), "shift_limit"
            ),
            "shift_limit_y": schema.optional(
                schema.pair(schema.number(-1, 1, "shift as a share of the height"), scalar="symmetric"), "shift_limit"
            ),
            "rotate_method": _ROTATE_METHOD,
        },
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "Perspective",
        "Moves the four corners at random, as if the picture were seen from elsewhere.",
        {
            "scale": schema.pair(
                schema.number(0, 1, "standard deviation of a corner's move as a share of the side"), scalar="from-zero"
            ),
            "keep_size": schema.flag("resize the result to the size the picture had"),
            "fit_output": schema.flag("enlarge the frame until all of the result fits"),
        }
        | warp(),
        ALL_TARGETS,
        moves_pixels=True,
    ),
)
