"""Sources of other images for transforms: donors of the same split, references of another dataset.

From references some transforms take a style, a template or what they paste. A pipeline names the dataset
(``references: styles``); whoever compiles it binds the name to a ``Source``. Which record a sample takes follows from
its address, as every other choice does, and nothing is kept between two samples.
"""

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from augment.errors import Reason, RecordError
from augment.samples.sample import Sample
from augment.transforms.albumentations_import import cv2

REPLACEMENTS: Final = 8
"""How many records after a refused one are tried in its place, here and in the rows of batches."""


class Source(Protocol):
    """Decoded records by their place; those of one source have the same targets."""

    @property
    def num_records(self) -> int:
        """At least 1."""
        ...

    def key(self, index: int) -> str:
        """The name of the record at a place in [0, num_records)."""
        ...

    def sample(self, index: int) -> Sample:
        """That record, decoded at full size; nobody changes its arrays. RecordError where it cannot be had."""
        ...


def take(source: Source, index: int) -> tuple[str, Sample]:
    """The key and sample of a record, or of the first of the next ``REPLACEMENTS`` that can be decoded.

    Raises RecordError of the first where none can; and where a file changed or cannot be read, since the same address
    would have other pixels today than yesterday.
    """
    first: RecordError | None = None
    for place in range(index, index + min(REPLACEMENTS + 1, source.num_records)):
        other = place % source.num_records
        try:
            return source.key(other), source.sample(other)
        except RecordError as error:
            if not error.reason.is_of_the_bytes:
                raise
            first = first or error
    if first is None:
        raise RecordError("", Reason.NOT_RENDERABLE, "there is no other record to take from")
    raise first


class Referring:
    """What all transforms with references share; comes before Albumentations' class among the bases."""

    py_random: Any
    references: str
    _source: Source

    def bind(self, source: Source) -> None:
        """Say where the references are; once, before the first call."""
        self._source = source

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw one reference, after what ``get_params`` drew: its key, which provenance shows, and its pixels."""
        key, sample = self.reference()
        return {"reference": key, "reference_image": sample.image}

    def reference(self) -> tuple[str, Sample]:
        """Draw a record: its key and what it holds. RecordError as ``source.take``."""
        return take(self._source, self.py_random.randrange(self._source.num_records))


def fitted(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The image in this size: means of what a pixel covers where it becomes smaller, else bilinear."""
    if image.shape[:2] == (height, width):
        return image
    smaller = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def as_pixels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Real values as an image's: rounded, and cut at 0 and 255."""
    cut: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return cut
