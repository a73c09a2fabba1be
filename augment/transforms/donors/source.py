"""Sources of other images for transforms: donors of the same split, references of another dataset.

Some transforms take a style, a template or elements to paste from references. A pipeline names the dataset
(``references: styles``), and the code that compiles it binds the name to a ``Source``. A sample's address determines
the record, as every other choice; nothing is kept between two samples.
"""

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from augment.errors import Reason, RecordError
from augment.samples.sample import Sample
from augment.transforms.albumentations_import import cv2

REPLACEMENTS: Final = 8
"""Number of following records that are tried in place of a refused one, here and in the rows of batches."""


class Source(Protocol):
    """Decoded records by index; those of one source have the same targets."""

    @property
    def num_records(self) -> int:
        """Number of records, at least 1."""
        ...

    def key(self, index: int) -> str:
        """Return the name of the record at an index in [0, num_records)."""
        ...

    def sample(self, index: int) -> Sample:
        """Return that record, decoded at full size and read-only by convention. Raises RecordError if it fails."""
        ...


def take(source: Source, index: int) -> tuple[str, Sample]:
    """Return the key and sample of a record, or of the first of the next ``REPLACEMENTS`` that can be decoded.

    Raises the first RecordError if none can. It also raises if a file changed or cannot be read, because the pixels of
    an address must not change.
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
        raise RecordError("", Reason.NOT_RENDERABLE, "the split has no other record to take from")
    raise first


class Referring:
    """Mixin of all transforms with references; comes before Albumentations' class among the bases."""

    py_random: Any
    references: str
    _source: Source

    def bind(self, source: Source) -> None:
        """Set the source of the references; once, before the first call."""
        self._source = source

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw one reference after the draws of ``get_params``: its key, which provenance shows, and its pixels."""
        key, sample = self.reference()
        return {"reference": key, "reference_image": sample.image}

    def reference(self) -> tuple[str, Sample]:
        """Draw a record, and return its key and sample. Raises RecordError as ``take`` does."""
        return take(self._source, self.py_random.randrange(self._source.num_records))


def fitted(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize the image: by the area filter if it becomes smaller, else bilinearly."""
    if image.shape[:2] == (height, width):
        return image
    smaller = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def as_pixels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert real values to pixels: rounded, and clipped at 0 and 255."""
    cut: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return cut
