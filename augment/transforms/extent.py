"""What one transform does to the height and width of a picture.

A function here takes the sizes that may reach a transform and gives those that may leave it; whatever has none keeps
the size. Each follows the arithmetic of Albumentations 2.0.8, and a test over the whole catalogue holds it to what
really comes out.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

UNBOUNDED: Final = 1_000_000_000
"""Stands for a side of which nothing is known; larger than any picture."""

Params = Mapping[str, Any]


class Unfit(Exception):  # noqa: N818 - not an error yet: whoever knows the place makes it one
    """A transform cannot take what reaches it; the message says what it needs and the remedy."""


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """Sizes that may occur: every height and width within these bounds, in pixels, both ends included.

    ``firm``: the lower bounds do occur, so that a crop larger than them fails for certain in some draw.
    """

    min_height: int
    max_height: int
    min_width: int
    max_width: int
    firm: bool = True

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width where there is only one size."""
        if self.min_height == self.max_height and self.min_width == self.max_width:
            return self.min_height, self.min_width
        return None

    @property
    def swapped(self) -> "Extent":
        return Extent(self.min_width, self.max_width, self.min_height, self.max_height, self.firm)

    @property
    def max_pixels(self) -> int:
        return self.max_height * self.max_width

    def __str__(self) -> str:
        if self.size is not None:
            return f"{self.min_height} x {self.min_width}"
        return f"{_span(self.min_height, self.max_height)} x {_span(self.min_width, self.max_width)}"


def _span(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"{low} or more" if high >= UNBOUNDED else f"{low}-{high}"


ANY: Final = Extent(1, UNBOUNDED, 1, UNBOUNDED, firm=False)
"""Any picture at all."""


def point(height: int, width: int) -> Extent:
    return Extent(height, height, width, width)


def after(name: str, params: Params, before: Extent) -> Iterable[Extent]:
    """The sizes that leave a transform that is applied to a picture of ``before``; raises Unfit."""
    change = CHANGES.get(name)
    return (before,) if change is None else change(params, before)


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
    """What is left follows from boxes or an angle."""
    del params
    return (Extent(1, before.max_height, 1, before.max_width, firm=False),)


def _rotate(params: Params, before: Extent) -> Iterable[Extent]:
    return _some_part(params, before) if params["crop_border"] else (before,)


def _crop_and_pad(params: Params, before: Extent) -> Iterable[Extent]:
    if params["keep_size"]:
        return (before,)
    in_pixels = params["px"] is not None
    top, right, bottom, left = _sides(params["px"] if in_pixels else params["percent"], whole=in_pixels)

    def ends(low_side: int, high_side: int, *spans: tuple[float, float]) -> tuple[int, int, bool]:
        unit_low, unit_high = (1, 1) if in_pixels else (low_side, high_side)
        low = low_side + sum(int(span[0] * unit_low) for span in spans)
        high = high_side + sum(int(span[1] * unit_high) for span in spans)
        cut_away = low_side + sum(min(0, int(span[0] * unit_low)) for span in spans) < 1
        return (1, max(high_side, high), False) if cut_away else (low, high, True)

    min_height, max_height, firm_height = ends(before.min_height, before.max_height, top, bottom)
    min_width, max_width, firm_width = ends(before.min_width, before.max_width, left, right)
    return (Extent(min_height, max_height, min_width, max_width, before.firm and firm_height and firm_width),)


def _sides(value: Any, *, whole: bool) -> list[tuple[float, float]]:
    """Lowest and highest of what each side may be given: top, right, bottom, left."""

    def span(item: Any) -> tuple[float, float]:
        if not isinstance(item, list):
            return item, item
        # a pair of whole numbers is drawn by randrange, which leaves its end out
        return (item[0], item[1] - 1 if whole else item[1]) if len(item) == 2 else (min(item), max(item))

    if isinstance(value, list) and len(value) == 4:
        return [span(item) for item in value]
    return [span(value)] * 4


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


def _max_size(name: str) -> Callable[[Params, Extent], Iterable[Extent]]:
    def change(params: Params, before: Extent) -> Iterable[Extent]:
        if before.size is not None:
            return {point(*size) for size in max_sizes(name, params, *before.size)}
        if params["max_size"] is None:
            return (_fit_box(params["max_size_hw"], largest=name == "LongestMaxSize"),)
        choices = params["max_size"] if isinstance(params["max_size"], list) else [params["max_size"]]
        # the most that one side can be of the other
        aspect = max(before.max_height / before.min_width, before.max_width / before.min_height, 1.0)
        if name == "SmallestMaxSize":
            return {Extent(m, math.ceil(m * aspect), m, math.ceil(m * aspect)) for m in choices}
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

    scale = params["scale"]
    diagonal = math.hypot(before.max_height * most(scale, "y"), before.max_width * most(scale, "x"))
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


CHANGES: Final[Mapping[str, Callable[[Params, Extent], Iterable[Extent]]]] = {
    "Affine": _affine,
    "AtLeastOneBBoxRandomCrop": _crop_to_size,
    "BBoxSafeRandomCrop": _some_part,
    "CenterCrop": _crop_to_size,
    "Crop": _crop_rectangle,
    "CropAndPad": _crop_and_pad,
    "CropNonEmptyMaskIfExists": _crop_to_size,
    "D4": _any_turn,
    "LongestMaxSize": _max_size("LongestMaxSize"),
    "Pad": _pad,
    "PadIfNeeded": _pad_if_needed,
    "Perspective": _perspective,
    "RandomCrop": _crop_to_size,
    "RandomCropFromBorders": _crop_from_borders,
    "RandomResizedCrop": _to_size,
    "RandomRotate90": _any_turn,
    "RandomScale": _random_scale,
    "RandomSizedBBoxSafeCrop": _to_height_width,
    "RandomSizedCrop": _random_sized_crop,
    "Resize": _to_height_width,
    "Rotate": _rotate,
    "SmallestMaxSize": _max_size("SmallestMaxSize"),
    "SquareSymmetry": _any_turn,
    "Transpose": _transpose,
}
