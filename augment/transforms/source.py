"""Where transforms find other pictures than their own: donors of the same split, references of another dataset."""

from typing import Final, Protocol

from augment.errors import Reason, RecordError
from augment.sample import Sample

OTHERS: Final = 8
"""How many records after a refused one are tried in its place."""

_OF_THE_BYTES: Final = frozenset({Reason.FORMAT, Reason.TOO_MANY_PIXELS, Reason.UNDECODABLE, Reason.ANNOTATION})
"""Why a record can be passed over: what is wrong with it now was wrong when it was scanned, on every machine."""


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
    """The key and sample of a record, or of the first of the next ``OTHERS`` that can be decoded.

    Raises RecordError of the first where none can; and where a file changed or cannot be read, since the same address
    would have other pixels today than yesterday.
    """
    first: RecordError | None = None
    for place in range(index, index + min(OTHERS + 1, source.num_records)):
        other = place % source.num_records
        try:
            return source.key(other), source.sample(other)
        except RecordError as error:
            if error.reason not in _OF_THE_BYTES:
                raise
            first = first or error
    if first is None:
        raise RecordError("", Reason.NOT_RENDERABLE, "there is no other record to take from")
    raise first
