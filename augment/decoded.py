"""Encoded picture, encoded mask and annotations to a sample: what every draw of a record begins with."""

from collections.abc import Callable

import numpy as np

from augment import decode, masks, targets
from augment.annotations import Annotations
from augment.errors import RecordError
from augment.sample import Sample
from augment.targets import Vocabulary


def decode_picture(
    picture: bytes,
    annotations: Annotations,
    mask: bytes | None,
    vocabulary: Vocabulary,
    *,
    full_size: tuple[int, int],
    max_pixels: int,
    eighths: Callable[[int, int], int],
) -> Sample:
    """The sample; its targets are those that the vocabulary names.

    ``full_size`` is the picture's height and width, which annotations are measured in: ``eighths`` may say that less is
    decoded. A picture without a mask among others that have one gets a mask that says nothing of any pixel.

    Raises RecordError with an empty key where picture or mask cannot be decoded; ValueError as ``targets.fill``.
    """
    sample = Sample(decode.decode(picture, max_pixels=max_pixels, eighths=eighths))
    if not vocabulary.targets - {"label"}:
        return sample
    targets.fill(sample, annotations, vocabulary)
    height, width = sample.image.shape[:2]
    if sample.boxes is not None and (height, width) != full_size:
        sample.boxes *= np.array([width / full_size[1], height / full_size[0]] * 2, np.float32)
    if mask is not None:
        try:
            sample.mask = masks.decode_mask(mask, max_pixels=max_pixels)
        except RecordError as error:
            raise RecordError("", error.reason, f"its mask: {error.detail}") from error
    elif "mask" in vocabulary.targets:
        sample.mask = np.full((height, width), masks.IGNORED, np.uint8)
    return sample
