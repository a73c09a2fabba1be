"""Pictures of another dataset, from which some transforms take a style, a template or what they paste.

A pipeline names the dataset (``references: styles``); whoever compiles it binds the name to a ``References``. Which
record a sample takes follows from its address, as every other choice does, and nothing is kept between two samples.
"""

from collections.abc import Iterator
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from augment.errors import RecordChangedError, RecordError
from augment.sample import Sample
from augment.transforms.library import A, cv2

TRIES: Final = 8
"""How many records after a refused one are tried in its place, in the order of their keys: as many as of a batch."""


class References(Protocol):
    """The records of a dataset, in the order of their keys."""

    @property
    def num_records(self) -> int: ...

    def key(self, index: int) -> str:
        """The key of the record at a place in [0, num_records)."""

    def sample(self, index: int) -> Sample:
        """The record's picture with its targets, which stay as they are; RecordError where it cannot be used."""


class Referring:
    """What all transforms with references share; comes before Albumentations' class among the bases."""

    py_random: Any
    references: str
    _source: References | None = None

    class InitSchema(A.core.transforms_interface.BaseTransformInitSchema):  # type: ignore[misc]  # untyped
        references: str

    def bind(self, source: References) -> None:
        """Say where the references are; once, before the first call."""
        self._source = source

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw one reference, after what ``get_params`` drew: its key, which provenance shows, and its pixels."""
        key, sample = self.reference()
        return {"reference": key, "reference_picture": sample.image}

    def reference(self) -> tuple[str, Sample]:
        """Draw a record: its key and what it holds.

        One that cannot be decoded gives its place to the next. RecordError where none of the next can be used either,
        RecordChangedError where a file is no longer the one that was scanned: other pixels would have the same address.
        """
        source = self._source
        if source is None:
            raise AssertionError(f"nothing is bound to {self.references!r}; whoever compiles the pipeline does that")
        first = self.py_random.randrange(source.num_records)
        refused: RecordError | None = None
        for index in _round(first, source.num_records):
            key = source.key(index)
            try:
                return key, source.sample(index)
            except RecordChangedError as error:
                raise RecordChangedError(key, error.reason, f"{self._named(key)}: {error.detail}") from error
            except RecordError as error:
                refused = refused or RecordError(key, error.reason, f"{self._named(key)}: {error.detail}")
        assert refused is not None  # noqa: S101 - there is at least one record
        raise refused

    def _named(self, key: str) -> str:
        return f"the reference {key} of {self.references!r}"


def _round(first: int, num_records: int) -> Iterator[int]:
    for step in range(min(TRIES + 1, num_records)):
        yield (first + step) % num_records


def fitted(picture: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The picture in this size: means of what a pixel covers where it becomes smaller, else bilinear."""
    if picture.shape[:2] == (height, width):
        return picture
    smaller = height <= picture.shape[0] and width <= picture.shape[1]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def as_pixels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Real values as a picture's: rounded, and cut at 0 and 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def blend(weight: float, values: NDArray[Any]) -> NDArray[Any]:
    """What each value of 0 to 255 becomes where ``values`` (.., 256) replace it by this weight."""
    return weight * values + (1 - weight) * np.arange(256)
