"""Where transforms find other pictures than their own: donors of the same split, references of another dataset."""

from typing import Final, Protocol

from augment.errors import Reason, RecordError
from augment.sample import Sample

OTHERS: Final = 8
"""How many records after a refused one are tried in its place."""


class Source(Protocol):
    """Decoded records by their place; those of one source have the same targets."""

    @property
    def num_records(self) -> int:
        """At least 1."""
        ...

    @property
    def digest(self) -> str:
        """Of all keys and record digests: part of the address of every sample that takes from here."""
        ...

    def key(self, index: int) -> str:
        """The name of the record at a place in [0, num_records)."""
        ...

    def sample(self, index: int) -> Sample:
        """That record, decoded at full size; nobody changes its arrays. RecordError where it cannot be had."""
        ...


def take(source: Source, index: int) -> tuple[str, Sample]:
    """The key and sample of a record, or of the first of the next ``OTHERS`` that can be decoded.

    Raises RecordError of the first where none can.
    """
    first: RecordError | None = None
    for place in range(index, index + min(OTHERS + 1, source.num_records)):
        other = place % source.num_records
        try:
            return source.key(other), source.sample(other)
        except RecordError as error:
            first = first or error
    if first is None:
        raise RecordError("", Reason.NOT_RENDERABLE, "there is no other record to take from")
    raise first
