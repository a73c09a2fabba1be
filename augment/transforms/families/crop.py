"""Crops: a part of the picture, as it is or resized."""

from collections.abc import Mapping
from typing import Any

from augment.transforms import limits, schema
from augment.transforms.entry import (
    ALL_TARGETS,
    Entry,
    area_for_downscale,
    border,
    border_mode,
    fill_mask,
    interpolation,
    mask_interpolation,
    resample,
)
from augment.transforms.schema import Schema

FAMILY = "crop"


def _side(description: str) -> Schema:
    return schema.integer(1, limits.OUTPUT_SIDE_PX, description)


_SIZE = schema.array(
    {"type": "integer", "minimum": 1, "maximum": limits.OUTPUT_SIDE_PX},
    2,
    2,
    "height and width of the result in pixels",
)
_HEIGHT_WIDTH = {"height": _side("height of the crop in pixels"), "width": _side("width of the crop in pixels")}
_RESULT = {"height": _side("height of the result in pixels"), "width": _side("width of the result in pixels")}
_PADDED = {
    "pad_if_needed": schema.flag("pad a picture that is smaller than the crop; otherwise such a record is refused"),
    "pad_position": schema.choice(
        {
            "center": "in the middle",
            "top_left": "top left",
            "top_right": "top right",
            "bottom_left": "bottom left",
            "bottom_right": "bottom right",
            "random": "at random",
        },
        "where the picture lies when it is padded",
    ),
} | border()
_AREA_SCALE = schema.pair(schema.number(0, 1, "area of the crop as a share of the picture's area", above=True))
_EROSION = schema.number(0, 1, "share of the boxes that the crop may cut away; 0 keeps all of them whole")


def _ratio(description: str) -> Schema:
    return schema.pair(schema.number(0.01, 100, description))


def _x_grows(params: Mapping[str, Any]) -> str | None:
    if params["x_min"] < params["x_max"] and params["y_min"] < params["y_max"]:
        return None
    return "x_min must be less than x_max, and y_min less than y_max"


def _one_of_px_percent(params: Mapping[str, Any]) -> str | None:
    if (params["px"] is None) == (params["percent"] is None):
        return "give px or percent, one of the two"
    return None


def _px_ranges(params: Mapping[str, Any]) -> str | None:
    px = params["px"]
    ranges = (
        [px]
        if isinstance(px, list) and len(px) == 2
        else [item for item in px or [] if isinstance(item, list)]
        if isinstance(px, list)
        else []
    )
    if any(len(item) == 2 and item[0] >= item[1] for item in ranges):
        return "a range of px excludes its end, so its first number must be less than its second"
    return None


def _borders_leave_something(params: Mapping[str, Any]) -> str | None:
    if params["crop_left"] + params["crop_right"] > 1 or params["crop_top"] + params["crop_bottom"] > 1:
        return "crop_left + crop_right and crop_top + crop_bottom must each be at most 1"
    return None


def _sides(item: Schema, unit: str) -> Schema:
    """What CropAndPad takes for its four sides."""
    one = item | {"title": "all sides"}
    span = {"type": "array", "items": item, "minItems": 2, "maxItems": 2}
    several = {"type": "array", "items": item, "minItems": 3, "maxItems": limits.CHOICES}
    each: Schema = {"anyOf": [item, span, several]}
    return schema.either(
        f"{unit} added to (or, below zero, cut from) each side: one number, a range to draw from, or a list for top, "
        "right, bottom and left, of numbers, ranges or choices",
        one,
        span | {"title": "range", "x-ordered": True},
        {"type": "array", "items": item, "minItems": 4, "maxItems": 4, "title": "top, right, bottom, left"},
        {"type": "array", "items": each, "minItems": 4, "maxItems": 4, "title": "top, right, bottom, left, each drawn"},
    )


ENTRIES = (
    Entry(
        "RandomCropKeepSize",
        "Cuts out a random part and resizes it back to the size the picture had.",
        {
            "scale": _AREA_SCALE,
            "ratio": _ratio("aspect ratio of the crop divided by the picture's own; 1 does not distort"),
            "interpolation": interpolation(),
        },
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "RandomResizedCrop",
        "Cuts out a random part of random area and aspect ratio and resizes it to one size (as Inception was trained).",
        {"size": _SIZE, "scale": _AREA_SCALE, "ratio": _ratio("width of the crop divided by its height")}
        | resample()
        | {"area_for_downscale": area_for_downscale()},
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "RandomSizedCrop",
        "Cuts out a random part whose height is drawn in pixels and resizes it to one size.",
        {
            "min_max_height": schema.pair(_side("height of the crop in pixels"), scalar="from-one"),
            "size": _SIZE,
            "w2h_ratio": schema.number(0.01, 100, "width of the crop divided by its height"),
        }
        | resample()
        | {"area_for_downscale": area_for_downscale()},
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "RandomCrop",
        "Cuts out a part of one size at a random place.",
        _HEIGHT_WIDTH | _PADDED,
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry("CenterCrop", "Cuts out the middle.", _HEIGHT_WIDTH | _PADDED, ALL_TARGETS, moves_pixels=True),
    Entry(
        "Crop",
        "Cuts out the same rectangle from every picture.",
        {
            "x_min": schema.integer(0, limits.OUTPUT_SIDE_PX - 1, "left edge in pixels"),
            "y_min": schema.integer(0, limits.OUTPUT_SIDE_PX - 1, "top edge in pixels"),
            "x_max": _side("right edge in pixels, exclusive"),
            "y_max": _side("bottom edge in pixels, exclusive"),
        }
        | _PADDED,
        ALL_TARGETS,
        moves_pixels=True,
        rules=(("x_min < x_max and y_min < y_max", _x_grows),),
    ),
    Entry(
        "RandomCropFromBorders",
        "Cuts a random share off each side; the size varies.",
        {
            f"crop_{side}": schema.number(0, 0.99, f"largest share of the {dimension} that is cut off at the {side}")
            for side, dimension in (("left", "width"), ("right", "width"), ("top", "height"), ("bottom", "height"))
        },
        ALL_TARGETS,
        moves_pixels=True,
        rules=(("crop_left + crop_right <= 1 and crop_top + crop_bottom <= 1", _borders_leave_something),),
    ),
    Entry(
        "CropAndPad",
        "Cuts pixels off each side, or adds them where the number is above zero.",
        {
            "px": schema.optional(
                _sides({"type": "integer", "minimum": -limits.PAD_PX, "maximum": limits.PAD_PX}, "pixels"),
                "percent is used",
            ),
            "percent": schema.optional(
                _sides({"type": "number", "minimum": -1, "maximum": limits.PAD_RATIO}, "share of the side"),
                "px is used",
            ),
            "keep_size": schema.flag("resize the result to the size the picture had"),
            "sample_independently": schema.flag("draw each side by itself"),
            "interpolation": interpolation(),
            "mask_interpolation": mask_interpolation(),
            "border_mode": border_mode(),
            "fill": schema.number(0, 255, "value outside the picture, where the border is constant"),
            "fill_mask": fill_mask(),
        },
        ALL_TARGETS,
        moves_pixels=True,
        rules=(
            ("px or percent, one of the two", _one_of_px_percent),
            ("a range of px excludes its end", _px_ranges),
        ),
    ),
    Entry(
        "CropNonEmptyMaskIfExists",
        "Cuts out a part of one size that holds some of the mask, where the mask is not empty.",
        _HEIGHT_WIDTH
        | {
            "ignore_values": schema.optional(
                schema.array(
                    {"type": "integer", "minimum": 0, "maximum": 65_535},
                    1,
                    limits.CHOICES,
                    "classes of the mask that count as empty",
                ),
                "only class 0 does",
            ),
            "ignore_channels": schema.choice({None: "none"}, "masks have one channel here"),
        },
        ALL_TARGETS,
        moves_pixels=True,
        requires=frozenset({"mask"}),
    ),
    Entry(
        "BBoxSafeRandomCrop",
        "Cuts out a random part that keeps the boxes; the size varies.",
        {"erosion_rate": _EROSION},
        ALL_TARGETS,
        moves_pixels=True,
        requires=frozenset({"boxes"}),
    ),
    Entry(
        "RandomSizedBBoxSafeCrop",
        "Cuts out a random part that keeps the boxes and resizes it to one size.",
        _RESULT | {"erosion_rate": _EROSION} | resample(),
        ALL_TARGETS,
        moves_pixels=True,
        requires=frozenset({"boxes"}),
    ),
    Entry(
        "AtLeastOneBBoxRandomCrop",
        "Cuts out a part of one size that holds at least some of one box, where there is one.",
        _HEIGHT_WIDTH
        | {"erosion_factor": schema.number(0, 1, "share of that box that may be cut away; 0 keeps it whole")},
        ALL_TARGETS,
        moves_pixels=True,
    ),
)
