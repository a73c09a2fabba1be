"""What crops do to the height and width of a picture, by the arithmetic of Albumentations 2.0.8."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from augment.transforms.extent import Change, Extent, Params, Unfit, point


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
    top, right, bottom, left = _sides(params["px"] if in_pixels else params["percent"], whole=in_pixels)

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
