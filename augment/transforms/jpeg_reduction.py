"""Smallest size at which a JPEG may be decoded: the rule of N/8, which is part of every address.

A JPEG decoder can give N/8 of an image's size for much less work than all of it. That changes pixels, so the N must
follow from the pipeline and the size of the image alone, never from the crop that is drawn, nor from a setting.
"""

import functools
import math
from typing import Final

from augment.pipelines.spec import PipelineSpec
from augment.transforms.entry import Params
from augment.transforms.families.resize import max_sizes

FULL: Final = 8
_SHRINKERS: Final = frozenset({"LongestMaxSize", "RandomResizedCrop", "Resize", "SmallestMaxSize"})
_PLACED: Final = frozenset({"mask", "keypoints"})
_ROUNDING: Final = 1 - 1e-9
"""Exponentials and roots of a draw may fall this much short of their bound (a few units in the last of 53 bits)."""


@functools.lru_cache(maxsize=4096)
def eighths(spec: PipelineSpec, height: int, width: int, *, targets: frozenset[str] = frozenset()) -> int:
    """N in 1..8: the picture may be decoded at ceil(height * N / 8) x ceil(width * N / 8). 8 is the full size.

    Less than 8 only where the pipeline's first node is always applied and is Resize, SmallestMaxSize, LongestMaxSize
    or RandomResizedCrop, and where the smallest region it can take from the reduced picture is still at least as large
    as what it makes of it; then the least such N. SmallestMaxSize and LongestMaxSize must also make the very size that
    they would make of the full picture, so that the size of a sample does not depend on how it was decoded. Never
    for a dataset with masks or keypoints (``targets``), which lie on the pixels of the full picture.
    """
    if not spec.transforms or targets & _PLACED:
        return FULL
    first = spec.transforms[0]
    if first.name not in _SHRINKERS or first.params["p"] != 1:
        return FULL
    for n in range(1, FULL):
        if _enough(first.name, first.params, (height, width), reduced(height, width, n)):
            return n
    return FULL


def reduced(height: int, width: int, n: int) -> tuple[int, int]:
    """Height and width of a picture that is decoded at N/8, as libjpeg rounds them."""
    return -(-height * n // FULL), -(-width * n // FULL)


def _enough(name: str, params: Params, full: tuple[int, int], small: tuple[int, int]) -> bool:
    """Whether no region that the transform takes from the reduced picture is smaller than what it makes of it."""
    if name == "Resize":
        return bool(small[0] >= params["height"] and small[1] >= params["width"])
    if name == "RandomResizedCrop":
        height, width = smallest_crop(params, *small)
        return bool(height >= params["size"][0] and width >= params["size"][1])
    outputs = max_sizes(name, params, *full)
    return outputs == max_sizes(name, params, *small) and all(
        small[0] >= height and small[1] >= width for height, width in outputs
    )


def smallest_crop(params: Params, height: int, width: int) -> tuple[int, int]:
    """The least height and the least width that ``RandomResizedCrop`` takes from a picture, in any draw.

    A draw is an area in ``scale`` and an aspect ratio in ``ratio`` (width over height); it counts where it lies inside
    the picture. The least width has the least area and the least ratio whose height still fits, the least height has
    the greatest ratio whose width still fits. After ten draws that do not fit, the middle is taken, as large as
    ``ratio`` allows.
    """
    low_ratio, high_ratio = params["ratio"]
    area = params["scale"][0] * height * width
    # a side counts as inside where it rounds to the picture's, so half a pixel more
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
