"""Smallest size at which a JPEG may be decoded: the rule of N/8, which is part of every address.

A JPEG decoder can give N/8 of an image's size for much less work than all of it. That changes pixels, so the N must
follow from the pipeline and the size of the image alone, never from the crop that is drawn, nor from a setting.
"""

import functools
from typing import Final

from augment.pipelines.spec import PipelineSpec
from augment.transforms.catalogue import catalogue

FULL: Final = 8
_PLACED: Final = frozenset({"mask", "keypoints"})


@functools.lru_cache(maxsize=4096)
def eighths(spec: PipelineSpec, height: int, width: int, *, targets: frozenset[str] = frozenset()) -> int:
    """N in 1..8: the image may be decoded at ceil(height * N / 8) x ceil(width * N / 8). 8 is the full size.

    Less than 8 only where the pipeline's first node is always applied and is Resize, SmallestMaxSize, LongestMaxSize
    or RandomResizedCrop, and where the smallest region it can take from the reduced image is still at least as large
    as what it makes of it; then the least such N. SmallestMaxSize and LongestMaxSize must also make the very size that
    they would make of the full image, so that the size of a sample does not depend on how it was decoded. Never
    for a dataset with masks or keypoints (``targets``), which lie on the pixels of the full image.
    """
    if not spec.transforms or targets & _PLACED:
        return FULL
    first = spec.transforms[0]
    is_enough = catalogue()[first.name].reduces_decode
    if is_enough is None or first.params["p"] != 1:
        return FULL
    smaller = (n for n in range(1, FULL) if is_enough(first.params, (height, width), reduced(height, width, n)))
    return next(smaller, FULL)


def reduced(height: int, width: int, n: int) -> tuple[int, int]:
    """Height and width of an image that is decoded at N/8, as libjpeg rounds them."""
    return -(-height * n // FULL), -(-width * n // FULL)
