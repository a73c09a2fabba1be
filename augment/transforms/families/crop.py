"""Crops: a part of the image, unchanged or resized.

Size rules follow the arithmetic of Albumentations 2.0.8. ``RandomResizedCrop`` resizes in one call of OpenCV;
Albumentations builds a new function around that call for each image.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import TARGETS, A, corrected, cv2
from augment.transforms.entry import (
    Extent,
    Params,
    Range,
    Unfit,
    border,
    border_mode,
    fill_mask,
    indices,
    interpolation,
    mask_interpolation,
    moving_entry,
    named_size,
    point,
    position,
    resample,
    side,
    size,
)
from augment.transforms.matrix_geometry import Placed, Straight, WarpStep, resized, shifted
from augment.transforms.schema import Schema

_SIZE = size()
_HEIGHT_WIDTH = {"height": side("height of the crop in pixels"), "width": side("width of the crop in pixels")}
_RESULT = {"height": side("height of the result in pixels"), "width": side("width of the result in pixels")}
_PADDED = {
    "pad_if_needed": schema.flag("pad an image that is smaller than the crop; otherwise such a record is refused"),
    "pad_position": position("position of the image when it is padded"),
} | border()
_AREA_SCALE = schema.pair(schema.number(0, 1, "area of the crop as a share of the image's area", above=True))
_EROSION = schema.number(0, 1, "share of the boxes that the crop may cut away; 0 keeps them whole")


def _ratio(description: str) -> Schema:
    return schema.pair(schema.number(0.01, 100, description))


def _x_grows(params: Mapping[str, Any]) -> str | None:
    if params["x_min"] < params["x_max"] and params["y_min"] < params["y_max"]:
        return None
    return "x_min must be less than x_max, and y_min less than y_max"


def _one_of_px_percent(params: Mapping[str, Any]) -> str | None:
    if (params["px"] is None) == (params["percent"] is None):
        return "give either px or percent"
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
    """Describe the four sides of CropAndPad."""
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


def _crop(height: int, width: int, params: Params, before: Extent, remedy: str) -> Iterable[Extent]:
    is_small = before.surest[0] < height or before.surest[1] < width
    if is_small and not params.get("pad_if_needed", False):
        raise Unfit(f"it crops {height} x {width} pixels (height x width) from an image of {before}; {remedy}")
    return (point(height, width),)


_PAD_OR_RESIZE: Final = "set `pad_if_needed: true`, put `SmallestMaxSize` before it, or crop less"
_RESIZE: Final = "put `SmallestMaxSize` before it, or crop less"


def _crop_to_size(params: Params, before: Extent) -> Iterable[Extent]:
    remedy = _PAD_OR_RESIZE if "pad_if_needed" in params else _RESIZE
    return _crop(params["height"], params["width"], params, before, remedy)


def _crop_rectangle(params: Params, before: Extent) -> Iterable[Extent]:
    """Apply the rule of a crop that reaches ``y_max`` and ``x_max``."""
    _crop(params["y_max"], params["x_max"], params, before, _PAD_OR_RESIZE)
    return (point(params["y_max"] - params["y_min"], params["x_max"] - params["x_min"]),)


def _random_sized_crop(params: Params, before: Extent) -> Iterable[Extent]:
    if int(params["min_max_height"][0] * params["w2h_ratio"]) < 1:
        raise Unfit(f"a crop of {params['min_max_height'][0]} rows has no column; raise min_max_height or w2h_ratio")
    return named_size(params, before)


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
    """Return the sizes of any part, because the part depends on the boxes."""
    del params
    return (before.part,)


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
        # nothing would be left, so less is cut than was drawn, and the padding is added to the rest
        return 1, high_side + sum(max(0, int(span[1] * unit_high)) for span in spans), False

    min_height, max_height, firm_height = ends(before.min_height, before.max_height, top, bottom)
    min_width, max_width, firm_width = ends(before.min_width, before.max_width, left, right)
    return (Extent(min_height, max_height, min_width, max_width, before.firm and firm_height and firm_width),)


def _side_ranges(value: Any, *, whole: bool) -> list[tuple[float, float]]:
    """Return lowest and highest value of each side: top, right, bottom, left."""

    def span(item: Any) -> tuple[float, float]:
        if not isinstance(item, list):
            return item, item
        # a pair of whole numbers is drawn by randrange, which excludes its end; of shares the larger may come first
        ends = (item[0], item[1] - 1) if whole and len(item) == 2 else item
        return min(ends), max(ends)

    if isinstance(value, list) and len(value) == 4:
        return [span(item) for item in value]
    return [span(value)] * 4


_Array = NDArray[Any]


class _Cropped(Straight):
    """Mixin for a crop of the image, which is padded first if it is too small."""

    def placed(self, params: Mapping[str, Any]) -> Placed:
        x_min, y_min, x_max, y_max = params["crop_coords"]
        pad = params.get("pad_params") or {"pad_left": 0, "pad_top": 0}
        return shifted(pad["pad_left"] - x_min, pad["pad_top"] - y_min), (y_max - y_min, x_max - x_min)


class CropNonEmptyMaskIfExists(_Cropped, A.CropNonEmptyMaskIfExists):  # type: ignore[misc]  # as above
    """CropNonEmptyMaskIfExists that crops an image without objects anywhere; the original refuses it."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        if "mask" not in data and "masks" in data and not len(data["masks"]):
            data = data | {"mask": np.zeros(params["shape"][:2], np.uint8)}
        return super().get_params_dependent_on_data(params, data)  # type: ignore[no-any-return]  # untyped


class _SomePixel(_Cropped):
    """Mixin for a crop of at least one pixel; the original may round to none, and fails."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        drawn: dict[str, Any] = super().get_params_dependent_on_data(params, data)  # type: ignore[misc]  # a mixin
        height, width = params["shape"][:2]
        left, top, right, bottom = drawn["crop_coords"]
        left = left if right > left else min(left, width - 1)
        top = top if bottom > top else min(top, height - 1)
        return drawn | {"crop_coords": (left, top, max(right, left + 1), max(bottom, top + 1))}


class _CroppedToSize(_Cropped):
    def placed(self, params: Mapping[str, Any]) -> Placed:
        matrix, part = super().placed(params)
        return resized(part, self.result) @ matrix, self.result

    @property
    def result(self) -> tuple[int, int]:
        height, width = self.size  # type: ignore[attr-defined]  # of the class that this is mixed into
        return height, width


class RandomResizedCrop(_SomePixel, _CroppedToSize, A.RandomResizedCrop):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """RandomResizedCrop with the same bytes, in one call of OpenCV."""

    def apply(self, img: _Array, crop_coords: tuple[int, int, int, int], **params: Any) -> _Array:
        """Crop and resize an image, (H, W) or (H, W, C); a view if the crop has the final size."""
        if img.ndim != 3 or img.shape[2] != 3:  # OpenCV drops a dimension of length 1
            return np.asarray(super().apply(img, crop_coords, **params))
        left, top, right, bottom = crop_coords
        part: _Array = img[top:bottom, left:right]
        height, width = self.size
        if part.shape[:2] == (height, width):
            return part
        interpolation = self._get_interpolation_for_resize(part.shape[:2], "image")
        return cv2.resize(part, (width, height), interpolation=interpolation)


class RandomSizedBBoxSafeCrop(_SomePixel, _CroppedToSize, A.RandomSizedBBoxSafeCrop):  # type: ignore[misc]  # as above
    @property
    def result(self) -> tuple[int, int]:
        return self.height, self.width


def _cut(first: int, second: int, side: int) -> tuple[int, int]:
    """Limit the cuts from both ends of a side, in the same proportion, so that a pixel is left."""
    if first + second < side:
        return first, second
    less = (side - 1) * first // (first + second)
    return less, side - 1 - less


class CropAndPad(Straight, A.CropAndPad):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """CropAndPad that always leaves a pixel, draws each side as written, and mirrors nothing that was cut off.

    The original fails for some cuts that leave no pixel. It draws all sides in the form of the first one, so a list
    that mixes numbers, ranges and choices fails.
    """

    def placed(self, params: Mapping[str, Any]) -> Placed:
        x_min, y_min, _, _ = params["crop_params"] or (0, 0, 0, 0)
        top, _, left, _ = params["pad_params"] or (0, 0, 0, 0)
        matrix, frame = shifted(left - x_min, top - y_min), params["result_shape"]
        if not self.keep_size:
            return matrix, frame
        return resized(frame, params["shape"][:2]) @ matrix, params["shape"][:2]

    def steps(self, params: Mapping[str, Any]) -> list[WarpStep]:
        matrix, frame = self.placed(params)
        height, width = params["shape"][:2]
        x_min, y_min, x_max, y_max = params["crop_params"] or (0, 0, width, height)
        cut = WarpStep(shifted(-x_min, -y_min), (y_max - y_min, x_max - x_min))
        return [cut, WarpStep(matrix @ shifted(x_min, y_min), frame, self.border_mode)]

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
        top, right, bottom, left = A.CropAndPad._prevent_zero(crop_params, height, width)  # noqa: SLF001 - the function to correct
        if top + bottom >= height:
            top, bottom = _cut(crop_params[0], crop_params[2], height)
        if left + right >= width:
            left, right = _cut(crop_params[3], crop_params[1], width)
        return [top, right, bottom, left]


_ROUNDING: Final = 1 - 1e-9
"""Exponentials and roots of a draw may be this much below their bound (a few units in the last of 53 bits)."""


def _enough(params: Params, _: tuple[int, int], small: tuple[int, int]) -> bool:
    height, width = smallest_crop(params, *small)
    return bool(height >= params["size"][0] and width >= params["size"][1])


def smallest_crop(params: Params, height: int, width: int) -> tuple[int, int]:
    """Return the least height and the least width that ``RandomResizedCrop`` can draw for an image.

    A draw is an area in ``scale`` and an aspect ratio in ``ratio`` (width over height); it counts if it fits the image.
    The least width has the least area and the least ratio whose height still fits. The least height has the greatest
    ratio whose width still fits. After ten draws that do not fit, the crop is the middle, as large as ``ratio`` allows.
    """
    low_ratio, high_ratio = params["ratio"]
    area = params["scale"][0] * height * width
    # a side fits if it rounds to the image's, so half a pixel more
    least_ratio = max(low_ratio, area / (height + 0.5) ** 2)
    most_ratio = min(high_ratio, (width + 0.5) ** 2 / area) if area > 0 else high_ratio
    fallback = _fallback(low_ratio, high_ratio, height, width)
    if least_ratio > most_ratio:  # no draw of the least area fits, and larger ones fit even less
        return fallback
    crop_height = max(1, round(math.sqrt(area / most_ratio) * _ROUNDING))
    crop_width = max(1, round(math.sqrt(area * least_ratio) * _ROUNDING))
    return min(crop_height, fallback[0]), min(crop_width, fallback[1])


def _fallback(low_ratio: float, high_ratio: float, height: int, width: int) -> tuple[int, int]:
    ratio = width / height
    if ratio < low_ratio:
        return round(width / low_ratio), width
    if ratio > high_ratio:
        return height, round(height * high_ratio)
    return height, width


class RandomCropKeepSize(Straight, A.DualTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Transform that cuts out a random part of the image and resizes it to the image's size.

    ``scale`` is the range of the part's area as a share of the image's. ``ratio`` is the range of its aspect ratio
    divided by the image's; 1 distorts nothing. The area is drawn uniformly, then the logarithm of the ratio among those
    that fit, so that no draw is rejected (the Inception crop of Szegedy et al., "Going Deeper with Convolutions", 2015,
    draws ten times and then takes the middle). If no ratio of the range fits an area, the nearest is used and the area
    is as large as that allows.
    """

    _targets = TARGETS

    def __init__(
        self,
        scale: Range = (0.25, 1.0),
        ratio: Range = (3 / 4, 4 / 3),
        interpolation: int = cv2.INTER_LINEAR,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        self.scale = scale
        self.ratio = ratio
        self.interpolation = interpolation

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw the part: its corner and size in whole pixels."""
        height, width = params["shape"][:2]
        area = self.py_random.uniform(*self.scale)
        low, high = max(self.ratio[0], area), min(self.ratio[1], 1 / area)
        if low > high:
            low = high = self.ratio[0] if self.ratio[0] > 1 / area else self.ratio[1]
        ratio = math.exp(self.py_random.uniform(math.log(low), math.log(high)))
        area = min(area, ratio, 1 / ratio)
        part_width = min(width, max(1, round(width * math.sqrt(area * ratio))))
        part_height = min(height, max(1, round(height * math.sqrt(area / ratio))))
        return {
            "x_min": self.py_random.randint(0, width - part_width),
            "y_min": self.py_random.randint(0, height - part_height),
            "part_width": part_width,
            "part_height": part_height,
        }

    def apply(self, img: _Array, *_: Any, **params: Any) -> _Array:
        return self._cut(img, params, self.interpolation)

    def apply_to_mask(self, mask: _Array, *_: Any, **params: Any) -> _Array:
        return self._cut(mask, params, cv2.INTER_NEAREST_EXACT)

    def placed(self, params: Mapping[str, Any]) -> Placed:
        height, width = params["shape"][:2]
        part = (params["part_height"], params["part_width"])
        return resized(part, (height, width)) @ shifted(-params["x_min"], -params["y_min"]), (height, width)

    @staticmethod
    def _cut(array: _Array, params: dict[str, Any], interpolation: int) -> _Array:
        height, width = params["shape"][:2]
        x_min, y_min = params["x_min"], params["y_min"]
        part = array[y_min : y_min + params["part_height"], x_min : x_min + params["part_width"]]
        if part.shape[:2] == (height, width):
            return array
        return cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=interpolation)


ENTRIES = (
    moving_entry(
        "RandomCropKeepSize",
        "Cuts out a random part and resizes it to the size of the image.",
        {
            "scale": _AREA_SCALE,
            "ratio": _ratio("aspect ratio of the crop divided by the image's; 1 does not distort"),
            "interpolation": interpolation(),
        },
        implementation=RandomCropKeepSize,
    ),
    moving_entry(
        "RandomResizedCrop",
        "Cuts out a random part of random area and aspect ratio and resizes it to one size (as in Inception).",
        {"size": _SIZE, "scale": _AREA_SCALE, "ratio": _ratio("width of the crop divided by its height")}
        | resample(area=True),
        implementation=RandomResizedCrop,
        output_size=named_size,
        reads_only=True,
        reduces_decode=_enough,
    ),
    moving_entry(
        "RandomSizedCrop",
        "Cuts out a random part whose height is drawn in pixels and resizes it to one size.",
        {
            "min_max_height": schema.pair(side("height of the crop in pixels"), scalar="from-one"),
            "size": _SIZE,
            "w2h_ratio": schema.number(0.01, 100, "width of the crop divided by its height"),
        }
        | resample(area=True),
        implementation=corrected(_CroppedToSize, A.RandomSizedCrop),
        output_size=_random_sized_crop,
    ),
    moving_entry(
        "RandomCrop",
        "Cuts out a part of one size at a random place.",
        _HEIGHT_WIDTH | _PADDED,
        implementation=corrected(_Cropped, A.RandomCrop),
        output_size=_crop_to_size,
        reads_only=True,
    ),
    moving_entry(
        "CenterCrop",
        "Cuts out the middle.",
        _HEIGHT_WIDTH | _PADDED,
        implementation=corrected(_Cropped, A.CenterCrop),
        output_size=_crop_to_size,
        reads_only=True,
    ),
    moving_entry(
        "Crop",
        "Cuts out the same rectangle from every image.",
        {
            "x_min": schema.integer(0, limits.OUTPUT_SIDE_PX - 1, "left edge in pixels"),
            "y_min": schema.integer(0, limits.OUTPUT_SIDE_PX - 1, "top edge in pixels"),
            "x_max": side("right edge in pixels, exclusive"),
            "y_max": side("bottom edge in pixels, exclusive"),
        }
        | _PADDED,
        rules=(("x_min < x_max and y_min < y_max", _x_grows),),
        implementation=corrected(_Cropped, A.Crop),
        output_size=_crop_rectangle,
    ),
    moving_entry(
        "RandomCropFromBorders",
        "Cuts a random share off each side; the size varies.",
        {
            f"crop_{side}": schema.number(0, 0.99, f"largest share of the {dimension} that is cut off at the {side}")
            for side, dimension in (("left", "width"), ("right", "width"), ("top", "height"), ("bottom", "height"))
        },
        rules=(("crop_left + crop_right <= 1 and crop_top + crop_bottom <= 1", _borders_leave_something),),
        implementation=corrected(_Cropped, A.RandomCropFromBorders),
        output_size=_crop_from_borders,
    ),
    moving_entry(
        "CropAndPad",
        "Cuts pixels off each side, or adds them if the number is above zero.",
        {
            "px": schema.optional(
                _sides({"type": "integer", "minimum": -limits.PAD_PX, "maximum": limits.PAD_PX}, "pixels"),
                "percent is used",
            ),
            "percent": schema.optional(
                _sides({"type": "number", "minimum": -1, "maximum": limits.PAD_RATIO}, "share of the side"),
                "px is used",
            ),
            "keep_size": schema.flag("resize the result to the size of the image"),
            "sample_independently": schema.flag("draw each side separately"),
            "interpolation": interpolation(),
            "mask_interpolation": mask_interpolation(),
            "border_mode": border_mode(),
            "fill": schema.number(0, 255, "value outside the image, for a constant border"),
            "fill_mask": fill_mask(),
        },
        rules=(
            ("either px or percent", _one_of_px_percent),
            ("a range of px excludes its end", _px_ranges),
        ),
        implementation=CropAndPad,
        output_size=_crop_and_pad,
    ),
    moving_entry(
        "CropNonEmptyMaskIfExists",
        "Cuts out a part of one size that holds some of the mask, if the mask is not empty.",
        _HEIGHT_WIDTH
        | {
            "ignore_values": schema.optional(
                indices(0, 65_535, "classes of the mask that count as empty"), "only class 0"
            ),
            "ignore_channels": schema.choice({None: "none"}, "masks have one channel here"),
        },
        requires=frozenset({"mask"}),
        implementation=CropNonEmptyMaskIfExists,
        output_size=_crop_to_size,
    ),
    moving_entry(
        "BBoxSafeRandomCrop",
        "Cuts out a random part that keeps the boxes; the size varies.",
        {"erosion_rate": _EROSION},
        requires=frozenset({"boxes"}),
        implementation=corrected(_SomePixel, A.BBoxSafeRandomCrop),
        output_size=_some_part,
    ),
    moving_entry(
        "RandomSizedBBoxSafeCrop",
        "Cuts out a random part that keeps the boxes and resizes it to one size.",
        _RESULT | {"erosion_rate": _EROSION} | resample(),
        requires=frozenset({"boxes"}),
        implementation=RandomSizedBBoxSafeCrop,
        output_size=named_size,
    ),
    moving_entry(
        "AtLeastOneBBoxRandomCrop",
        "Cuts out a part of one size that holds at least some of one box, if there is one.",
        _HEIGHT_WIDTH
        | {"erosion_factor": schema.number(0, 1, "share of that box that may be cut away; 0 keeps it whole")},
        implementation=corrected(_Cropped, A.AtLeastOneBBoxRandomCrop),
        output_size=_crop_to_size,
    ),
)
