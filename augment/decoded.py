"""Decoded picture, mask and annotations to a sample: what every draw of a record begins with."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import masks, targets
from augment.annotations import Annotations
from augment.errors import RecordError
from augment.sample import Sample
from augment.targets import Vocabulary


def with_targets(
    image: NDArray[np.uint8],
    annotations: Annotations,
    mask: Callable[[], NDArray[np.integer[Any]]] | None,
    vocabulary: Vocabulary,
    *,
    full_size: tuple[int, int],
) -> Sample:
    """The sample of a decoded picture; its targets are those that the vocabulary names.

    ``full_size`` is the picture's height and width, which annotations are measured in: it may have been decoded
    smaller. ``mask`` decodes its mask. A picture without one among others that have one gets a mask that says nothing
    of any pixel.

    Raises RecordError with an empty key where the mask cannot be decoded; ValueError as ``targets.fill``.
    """
    sample = Sample(image)
    if not vocabulary.targets - {"label"}:
        return sample
    targets.fill(sample, annotations, vocabulary)
    height, width = sample.image.shape[:2]
    if sample.boxes is not None and (height, width) != full_size:
        sample.boxes *= np.array([width / full_size[1], height / full_size[0]] * 2, np.float32)
    if mask is not None:
        try:
            sample.mask = mask()
        except RecordError as error:
            raise RecordError("", error.reason, f"its mask: {error.detail}") from error
    elif "mask" in vocabulary.targets:
        sample.mask = np.full((height, width), masks.IGNORED, np.uint8)
    return sample
