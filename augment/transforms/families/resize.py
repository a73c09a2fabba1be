"""Sizes: resizing the whole image, and padding it; size rules of these and of all that scales, turns or warps.

The rules follow the arithmetic of Albumentations 2.0.8.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from augment.transforms import limits, schema
from augment.transforms.entry import (
    ALL_TARGETS,
    UNBOUNDED,
    Change,
    Entry,
    Extent,
    Params,
    Unfit,
    area_for_downscale,
    border,
    point,
    resample,
)
from augment.transforms.schema import Schema

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


def _resize(params: Params, before: Extent) -> Iterable[Extent]:
    del before
    return (point(params["height"], params["width"]),)


def _pad(params: Params, before: Extent) -> Iterable[Extent]:
    padding = params["padding"]
    if not isinstance(padding, list):
        across = down = 2 * padding
    elif len(padding) == 2:
        across, down = 2 * padding[0], 2 * padding[1]
    else:
        across, down = padding[0] + padding[2], padding[1] + padding[3]
    return (
        Extent(
            before.min_height + down,
            before.max_height + down,
            before.min_width + across,
            before.max_width + across,
            before.firm,
        ),
    )


def _pad_if_needed(params: Params, before: Extent) -> Iterable[Extent]:
    def padded(side: int, least: int | None, divisor: int | None) -> int:
        if least is not None:
            return max(side, least)
        return side if divisor is None else -(-side // divisor) * divisor

    height = (params["min_height"], params["pad_height_divisor"])
    width = (params["min_width"], params["pad_width_divisor"])
    return (
        Extent(
            padded(before.min_height, *height),
            padded(before.max_height, *height),
            padded(before.min_width, *width),
            padded(before.max_width, *width),
            before.firm,
        ),
    )


_SLACK: Final = 1e-6
"""A drawn factor may exceed its upper bound by rounding (never fall below the lower)."""


def _random_scale(params: Params, before: Extent) -> Iterable[Extent]:
    low, high = (limit + 1.0 for limit in params["scale_limit"])
    slack = 0.0 if low == high else _SLACK
    min_height, min_width = (int(side * low) for side in (before.min_height, before.min_width))
    if before.firm and min(min_height, min_width) < 1:
        raise Unfit(f"a factor of {low:g} leaves nothing of a picture of {before}; raise the lower `scale_limit`")
    max_height, max_width = (int(side * high + slack) for side in (before.max_height, before.max_width))
    return (Extent(max(1, min_height), max_height, max(1, min_width), max_width, before.firm),)


def max_sizes(name: str, params: Params, height: int, width: int) -> list[tuple[int, int]]:
    """The sizes that ``SmallestMaxSize`` or ``LongestMaxSize`` makes of one picture: one for each choice it has."""
    if params["max_size"] is not None:
        choices = params["max_size"] if isinstance(params["max_size"], list) else [params["max_size"]]
        side = max(height, width) if name == "LongestMaxSize" else min(height, width)
        factors = [choice / side for choice in choices]
    else:
        max_height, max_width = params["max_size_hw"]
        both = [] if max_height is None else [max_height / height]
        both += [] if max_width is None else [max_width / width]
        factors = [min(both) if name == "LongestMaxSize" else max(both)]
    return [(max(1, round(height * factor)), max(1, round(width * factor))) for factor in factors]


def _max_size_change(name: str) -> Change:
    def change(params: Params, before: Extent) -> Iterable[Extent]:
        if before.size is not None:
            return {point(*size) for size in max_sizes(name, params, *before.size)}
        if params["max_size"] is None:
            return (_fit_box(params["max_size_hw"], largest=name == "LongestMaxSize"),)
        choices = params["max_size"] if isinstance(params["max_size"], list) else [params["max_size"]]
        # the most that one side can be of the other
        aspect = max(before.max_height / before.min_width, before.max_width / before.min_height, 1.0)
        if name == "SmallestMaxSize":
            longest = {m: min(math.ceil(m * aspect), UNBOUNDED) for m in choices}
            return {Extent(m, longest[m], m, longest[m]) for m in choices}
        return {Extent(max(1, int(m / aspect)), m, max(1, int(m / aspect)), m, firm=False) for m in choices}

    return change


def _fit_box(box: list[int | None], *, largest: bool) -> Extent:
    """As ``max_size_hw`` says, for pictures of any size; one side may follow from the other's factor."""
    height, width = box
    if height is not None and width is not None:
        if largest:
            return Extent(1, height, 1, width, firm=False)
        return Extent(height, UNBOUNDED, width, UNBOUNDED)
    if height is not None:
        return Extent(height, height, 1, UNBOUNDED, firm=False)
    return Extent(1, UNBOUNDED, int(str(width)), int(str(width)), firm=False)


def _transpose(params: Params, before: Extent) -> Iterable[Extent]:
    del params
    return (before.swapped,)


def _any_turn(params: Params, before: Extent) -> Iterable[Extent]:
    del params
    return {before, before.swapped}


def _rotate(params: Params, before: Extent) -> Iterable[Extent]:
    """With ``crop_border`` the largest upright part without a border is left; its size follows from the angle."""
    if not params["crop_border"]:
        return (before,)
    return (Extent(1, before.max_height, 1, before.max_width, firm=False),)


def _affine(params: Params, before: Extent) -> Iterable[Extent]:
    """With ``fit_output`` the frame follows the drawn matrix; no side exceeds the scaled diagonal over cos(shear)."""
    if not params["fit_output"]:
        return (before,)

    def most(value: Any, axis: str) -> float:
        if isinstance(value, dict):
            value = value.get(axis, 1.0)
        return float(max(abs(end) for end in value) if isinstance(value, list) else abs(value))

    def shear(axis: str) -> float:
        value = params["shear"]
        return most(value.get(axis, 0.0) if isinstance(value, dict) else value, axis)

    # A balanced scale is drawn from between the range's end and 1, wherever the range lies.
    least = 1.0 if params["balanced_scale"] else 0.0
    scale_y, scale_x = (max(least, most(params["scale"], axis)) for axis in ("y", "x"))
    diagonal = math.hypot(before.max_height * scale_y, before.max_width * scale_x)
    height, width = (math.ceil(diagonal / math.cos(math.radians(shear(axis)))) + 2 for axis in ("y", "x"))
    return (Extent(1, min(height, UNBOUNDED), 1, min(width, UNBOUNDED), firm=False),)


def _perspective(params: Params, before: Extent) -> Iterable[Extent]:
    """Without ``keep_size`` the frame is the moved quadrilateral, or with ``fit_output`` whatever holds the result."""
    if params["keep_size"]:
        return (before,)
    if params["fit_output"]:
        raise Unfit("with `fit_output` and without `keep_size` its size has no bound; set `keep_size: true`")
    diagonal = math.ceil(math.hypot(before.max_height, before.max_width)) + 2
    return (Extent(1, diagonal, 1, diagonal, firm=False),)


CHANGES: Final[Mapping[str, Change]] = {
    "Affine": _affine,
    "D4": _any_turn,
    "LongestMaxSize": _max_size_change("LongestMaxSize"),
    "Pad": _pad,
    "PadIfNeeded": _pad_if_needed,
    "Perspective": _perspective,
    "RandomRotate90": _any_turn,
    "RandomScale": _random_scale,
    "Resize": _resize,
    "Rotate": _rotate,
    "SmallestMaxSize": _max_size_change("SmallestMaxSize"),
    "SquareSymmetry": _any_turn,
    "Transpose": _transpose,
}
