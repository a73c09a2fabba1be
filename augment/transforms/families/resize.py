"""Sizes: resizing the whole image, and padding it.

The size rules follow the arithmetic of Albumentations 2.0.8.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import A, corrected
from augment.transforms.entry import (
    UNBOUNDED,
    Change,
    Extent,
    Params,
    TransformEntry,
    Unfit,
    border,
    moving_entry,
    named_size,
    point,
    position,
    resample,
    scale_limit,
    side,
)
from augment.transforms.matrix_geometry import Placed, Straight, resized, shifted
from augment.transforms.schema import Schema

_SIDE: Schema = {"type": "integer", "minimum": 1, "maximum": limits.OUTPUT_SIDE_PX}
_PAD: Schema = {"type": "integer", "minimum": 0, "maximum": limits.PAD_PX}


def _one_max_size(params: Mapping[str, Any]) -> str | None:
    if (params["max_size"] is None) == (params["max_size_hw"] is None):
        return "give either max_size or max_size_hw"
    if params["max_size_hw"] == [None, None]:
        return "max_size_hw needs a height or a width"
    return None


def _one_divisor(params: Mapping[str, Any]) -> str | None:
    for which in ("height", "width"):
        if (params[f"min_{which}"] is None) == (params[f"pad_{which}_divisor"] is None):
            return f"give either min_{which} or pad_{which}_divisor (the other null)"
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


def _pad(params: Params, before: Extent) -> Iterable[Extent]:
    padding = params["padding"]
    if not isinstance(padding, list):
        across = down = 2 * padding
    elif len(padding) == 2:
        across, down = 2 * padding[0], 2 * padding[1]
    else:
        across, down = padding[0] + padding[2], padding[1] + padding[3]
    return (before.each(lambda side: side + down, lambda side: side + across),)


def _pad_if_needed(params: Params, before: Extent) -> Iterable[Extent]:
    def padded(which: str, side: int) -> int:
        least: int | None = params[f"min_{which}"]
        divisor: int | None = params[f"pad_{which}_divisor"]
        if least is not None:
            return max(side, least)
        return side if divisor is None else -(-side // divisor) * divisor

    return (before.each(functools.partial(padded, "height"), functools.partial(padded, "width")),)


_SLACK: Final = 1e-6
"""A drawn factor may exceed its upper bound by rounding (but is never below the lower)."""


def _random_scale(params: Params, before: Extent) -> Iterable[Extent]:
    low, high = (limit + 1.0 for limit in params["scale_limit"])
    slack = 0.0 if low == high else _SLACK
    min_height, min_width = (int(side * low) for side in (before.min_height, before.min_width))
    if before.firm and min(min_height, min_width) < 1:
        raise Unfit(f"a factor of {low:g} leaves nothing of an image of {before}; raise the lower `scale_limit`")
    max_height, max_width = (int(side * high + slack) for side in (before.max_height, before.max_width))
    return (Extent(max(1, min_height), max_height, max(1, min_width), max_width, before.firm),)


def max_sizes(name: str, params: Params, height: int, width: int) -> list[tuple[int, int]]:
    """Return the sizes that ``SmallestMaxSize`` or ``LongestMaxSize`` can give one image: one for each choice."""
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
        # the largest ratio of two sides
        aspect = max(before.max_height / before.min_width, before.max_width / before.min_height, 1.0)
        if name == "SmallestMaxSize":
            longest = {m: min(math.ceil(m * aspect), UNBOUNDED) for m in choices}
            return {Extent(m, longest[m], m, longest[m]) for m in choices}
        return {Extent(max(1, int(m / aspect)), m, max(1, int(m / aspect)), m, firm=False) for m in choices}

    return change


def _fit_box(box: list[int | None], *, largest: bool) -> Extent:
    """Return the sizes for ``max_size_hw`` and images of any size; a null side follows from the other's factor."""
    height, width = box
    if height is not None and width is not None:
        if largest:
            return Extent(1, height, 1, width, firm=False)
        return Extent(height, UNBOUNDED, width, UNBOUNDED)
    if height is not None:
        return Extent(height, height, 1, UNBOUNDED, firm=False)
    return Extent(1, UNBOUNDED, int(str(width)), int(str(width)), firm=False)


def _resize_is_enough(params: Params, _: tuple[int, int], small: tuple[int, int]) -> bool:
    return bool(small[0] >= params["height"] and small[1] >= params["width"])


def _max_size_is_enough(name: str) -> Callable[[Params, tuple[int, int], tuple[int, int]], bool]:
    """Make a rule by which outputs are the same from both images: a sample's size must not depend on its decoding."""

    def is_enough(params: Params, full: tuple[int, int], small: tuple[int, int]) -> bool:
        outputs = max_sizes(name, params, *full)
        return outputs == max_sizes(name, params, *small) and all(
            small[0] >= height and small[1] >= width for height, width in outputs
        )

    return is_enough


class _Padded(Straight):
    def placed(self, params: Mapping[str, Any]) -> Placed:
        height, width = params["shape"][:2]
        top, bottom, left, right = (params[f"pad_{side}"] for side in ("top", "bottom", "left", "right"))
        return shifted(left, top), (height + top + bottom, width + left + right)


class _Resized(Straight):
    def placed(self, params: Mapping[str, Any]) -> Placed:
        before = params["shape"][:2]
        after = self.result_of(before, params)
        return resized(before, after), after

    def result_of(self, before: tuple[int, int], params: Mapping[str, Any]) -> tuple[int, int]:
        scale = params["scale"]
        return max(1, round(before[0] * scale)), max(1, round(before[1] * scale))


class Resize(_Resized, A.Resize):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Add the factors: nothing is drawn, but they depend on the image."""
        height, width = params["shape"][:2]
        return {"scale": {"x": self.width / width, "y": self.height / height}}

    def result_of(self, before: tuple[int, int], params: Mapping[str, Any]) -> tuple[int, int]:  # noqa: ARG002
        return self.height, self.width


class RandomScale(_Resized, A.RandomScale):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    def result_of(self, before: tuple[int, int], params: Mapping[str, Any]) -> tuple[int, int]:
        return int(before[0] * params["scale"]), int(before[1] * params["scale"])


def _max_size_entry(name: str, which: str) -> TransformEntry:
    return moving_entry(
        name,
        f"Resizes the image so that its {which} side has a given length; the shape stays.",
        _max_size(which) | resample(area=True),
        rules=(("either max_size or max_size_hw", _one_max_size),),
        implementation=corrected(_Resized, getattr(A, name)),
        output_size=_max_size_change(name),
        scales=True,
        reads_only=True,
        reduces_decode=_max_size_is_enough(name),
    )


ENTRIES = (
    moving_entry(
        "Resize",
        "Resizes the image to one height and width, for any shape.",
        {"height": side("height in pixels"), "width": side("width in pixels")} | resample(area=True),
        implementation=Resize,
        output_size=named_size,
        reads_only=True,
        reduces_decode=_resize_is_enough,
    ),
    _max_size_entry("LongestMaxSize", "longer"),
    _max_size_entry("SmallestMaxSize", "shorter"),
    moving_entry(
        "RandomScale",
        "Resizes the image by a random factor; the size varies.",
        {"scale_limit": scale_limit()} | resample(area=True),
        implementation=RandomScale,
        output_size=_random_scale,
        scales=True,
    ),
    moving_entry(
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
        implementation=corrected(_Padded, A.Pad),
        output_size=_pad,
    ),
    moving_entry(
        "PadIfNeeded",
        "Adds a border until the image has a minimum size, or sides that are multiples of a number.",
        {
            "min_height": schema.optional(side("minimum height in pixels"), "pad_height_divisor is used"),
            "min_width": schema.optional(side("minimum width in pixels"), "pad_width_divisor is used"),
            "pad_height_divisor": schema.optional(side("divisor of the height"), "min_height is used"),
            "pad_width_divisor": schema.optional(side("divisor of the width"), "min_width is used"),
            "position": position("position of the image in the padded one"),
        }
        | border(),
        rules=(("min_height or pad_height_divisor, and min_width or pad_width_divisor", _one_divisor),),
        implementation=corrected(_Padded, A.PadIfNeeded),
        output_size=_pad_if_needed,
    ),
)
