"""Smallest size at which a JPEG may be decoded: the rule of N/8, which is part of every address.

A JPEG decoder can give N/8 of an image's size for much less work than the full size. That changes pixels, so N must
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
    """Return N in 1..8: the image may be decoded at ceil(height * N / 8) x ceil(width * N / 8). 8 is the full size.

    N is less than 8 only if the pipeline's first node is always applied and is Resize, SmallestMaxSize, LongestMaxSize
    or RandomResizedCrop. The smallest region that it can take from the reduced image must still be at least as large as
    its result; N is the least such number. SmallestMaxSize and LongestMaxSize must also give the same size as from the
    full image, so that the size of a sample does not depend on its decoding. N is always 8 for a dataset with masks or
    keypoints (``targets``), whose coordinates are those of the full image.
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
    """Return height and width of an image decoded at N/8, rounded as by libjpeg."""
    return -(-height * n // FULL), -(-width * n // FULL)
