"""Crops: a part of the image, as it is or resized.

Size rules follow the arithmetic of Albumentations 2.0.8. ``RandomResizedCrop`` resizes in one call of OpenCV;
Albumentations builds the function that calls it anew for each image.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits, matrix_geometry, schema
from augment.transforms.albumentations_import import A, cv2
from augment.transforms.entry import (
    ALL_TARGETS,
    Change,
    Entry,
    Extent,
    Params,
    Unfit,
    area_for_downscale,
    border,
    border_mode,
    fill_mask,
    interpolation,
    mask_interpolation,
    point,
    resample,
)
from augment.transforms.schema import Schema


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


def _crop(height: int, width: int, params: Params, before: Extent, remedy: str) -> Iterable[Extent]:
    if not params.get("pad_if_needed", False):
        too_low = (before.min_height if before.firm else before.max_height) < height
        too_narrow = (before.min_width if before.firm else before.max_width) < width
        if too_low or too_narrow:
            raise Unfit(f"it takes {height} x {width} pixels (height x width) from a picture of {before}; {remedy}")
    return (point(height, width),)


_PAD_OR_RESIZE: Final = "set `pad_if_needed: true`, put `SmallestMaxSize` before it, or take less"
_RESIZE: Final = "put `SmallestMaxSize` before it, or take less"


def _crop_to_size(params: Params, before: Extent) -> Iterable[Extent]:
    remedy = _PAD_OR_RESIZE if "pad_if_needed" in params else _RESIZE
    return _crop(params["height"], params["width"], params, before, remedy)


def _crop_rectangle(params: Params, before: Extent) -> Iterable[Extent]:
    """As a crop, but it must reach ``y_max`` and ``x_max``."""
    _crop(params["y_max"], params["x_max"], params, before, _PAD_OR_RESIZE)
    return (point(params["y_max"] - params["y_min"], params["x_max"] - params["x_min"]),)


def _random_sized_crop(params: Params, before: Extent) -> Iterable[Extent]:
    del before
    if int(params["min_max_height"][0] * params["w2h_ratio"]) < 1:
        raise Unfit(f"a crop of {params['min_max_height'][0]} rows has no column; raise min_max_height or w2h_ratio")
    return (point(*params["size"]),)


def _to_size(params: Params, before: Extent) -> Iterable[Extent]:
    del before
    return (point(*params["size"]),)


def _to_height_width(params: Params, before: Extent) -> Iterable[Extent]:
    del before
    return (point(params["height"], params["width"]),)


def _crop_from_borders(params: Params, before: Extent) -> Iterable[Extent]:
    def least(side: int, first: float, second: float) -> int:
        return max(1, int((1 - second) * side) - int(first * side))

    return (
        Extent(
            least(before.min_height, params["crop_top"], params["crop_bottom"]),
            before.max_height,
            least(before.min_width, params["crop_left"], params["crop_right"]),
            before.max_width,
            before.firm,
        ),
    )


def _some_part(params: Params, before: Extent) -> Iterable[Extent]:
    """What is left follows from the boxes."""
    del params
    return (Extent(1, before.max_height, 1, before.max_width, firm=False),)


def _crop_and_pad(params: Params, before: Extent) -> Iterable[Extent]:
    if params["keep_size"]:
        return (before,)
    in_pixels = params["px"] is not None
    top, right, bottom, left = _side_ranges(params["px"] if in_pixels else params["percent"], whole=in_pixels)

    def ends(low_side: int, high_side: int, *spans: tuple[float, float]) -> tuple[int, int, bool]:
        unit_low, unit_high = (1, 1) if in_pixels else (low_side, high_side)
        low = low_side + sum(int(span[0] * unit_low) for span in spans)
        high = high_side + sum(int(span[1] * unit_high) for span in spans)
        if low_side + sum(min(0, int(span[0] * unit_low)) for span in spans) >= 1:
            return low, high, True
        # nothing would be left, so less is cut than was drawn, and the padding comes on top
        return 1, high_side + sum(max(0, int(span[1] * unit_high)) for span in spans), False

    min_height, max_height, firm_height = ends(before.min_height, before.max_height, top, bottom)
    min_width, max_width, firm_width = ends(before.min_width, before.max_width, left, right)
    return (Extent(min_height, max_height, min_width, max_width, before.firm and firm_height and firm_width),)


def _side_ranges(value: Any, *, whole: bool) -> list[tuple[float, float]]:
    """Lowest and highest of what each side may be given: top, right, bottom, left."""

    def span(item: Any) -> tuple[float, float]:
        if not isinstance(item, list):
            return item, item
        # a pair of whole numbers is drawn by randrange, which leaves its end out
        return (item[0], item[1] - 1 if whole else item[1]) if len(item) == 2 else (min(item), max(item))

    if isinstance(value, list) and len(value) == 4:
        return [span(item) for item in value]
    return [span(value)] * 4


CHANGES: Final[Mapping[str, Change]] = {
    "AtLeastOneBBoxRandomCrop": _crop_to_size,
    "BBoxSafeRandomCrop": _some_part,
    "CenterCrop": _crop_to_size,
    "Crop": _crop_rectangle,
    "CropAndPad": _crop_and_pad,
    "CropNonEmptyMaskIfExists": _crop_to_size,
    "Mosaic": _to_size,
    "RandomCrop": _crop_to_size,
    "RandomCropFromBorders": _crop_from_borders,
    "RandomResizedCrop": _to_size,
    "RandomSizedBBoxSafeCrop": _to_height_width,
    "RandomSizedCrop": _random_sized_crop,
}


_Array = NDArray[Any]


def _cut(first: int, second: int, side: int) -> tuple[int, int]:
    """Cut so much from both ends of a side, or less in the same proportion, so that a pixel is left."""
    if first + second < side:
        return first, second
    less = (side - 1) * first // (first + second)
    return less, side - 1 - less


class CropAndPad(matrix_geometry.CropAndPad):
    """A pixel is always left, and each side is drawn as it is written.

    The original fails for some cuts that leave no pixel, and draws all sides in the way that the first one is written,
    so that a list of numbers, ranges and choices fails.
    """

    def _get_px_params(self) -> list[int]:
        if not isinstance(self.px, list | tuple) or len(self.px) == 2:
            return list(super()._get_px_params())
        return [self._drawn(each, self.py_random.randrange) for each in self.px]

    def _get_percent_params(self) -> list[float]:
        if not isinstance(self.percent, list | tuple) or len(self.percent) == 2:
            return list(super()._get_percent_params())
        return [self._drawn(each, self.py_random.uniform) for each in self.percent]

    def _drawn(self, side: Any, draw: Callable[[Any, Any], Any]) -> Any:
        if not isinstance(side, list | tuple):
            return side
        return draw(*side) if len(side) == 2 else self.py_random.choice(side)

    @staticmethod
    def _prevent_zero(crop_params: list[int], height: int, width: int) -> list[int]:
        top, right, bottom, left = A.CropAndPad._prevent_zero(crop_params, height, width)  # noqa: SLF001 - it is what is mended
        if top + bottom >= height:
            top, bottom = _cut(crop_params[0], crop_params[2], height)
        if left + right >= width:
            left, right = _cut(crop_params[3], crop_params[1], width)
        return [top, right, bottom, left]


class _SomePixel:
    """A crop holds at least one pixel; in the original it may round to none, and fails."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        drawn: dict[str, Any] = super().get_params_dependent_on_data(params, data)  # type: ignore[misc]  # a mixin
        height, width = params["shape"][:2]
        left, top, right, bottom = drawn["crop_coords"]
        left = left if right > left else min(left, width - 1)
        top = top if bottom > top else min(top, height - 1)
        return drawn | {"crop_coords": (left, top, max(right, left + 1), max(bottom, top + 1))}


class BBoxSafeRandomCrop(_SomePixel, matrix_geometry.BBoxSafeRandomCrop):
    pass


class RandomSizedBBoxSafeCrop(_SomePixel, matrix_geometry.RandomSizedBBoxSafeCrop):
    pass


class RandomResizedCrop(_SomePixel, matrix_geometry.RandomResizedCrop):
    """The same bytes."""

    def apply(self, img: _Array, crop_coords: tuple[int, int, int, int], **params: Any) -> _Array:
        """The crop of a picture, (H, W) or (H, W, C), in the size of the transform; a view where it has that size."""
        if img.ndim != 3 or img.shape[2] != 3:  # OpenCV drops a dimension of length 1
            return np.asarray(super().apply(img, crop_coords, **params))
        left, top, right, bottom = crop_coords
        part: _Array = img[top:bottom, left:right]
        height, width = self.size
        if part.shape[:2] == (height, width):
            return part
        interpolation = self._get_interpolation_for_resize(part.shape[:2], "image")
        return cv2.resize(part, (width, height), interpolation=interpolation)
