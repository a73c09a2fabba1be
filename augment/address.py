"""Addresses of samples, and the digests in them.

A digest is always BLAKE2b-128 (RFC 7693) over length-prefixed fields, so that two different sequences of fields never
share an encoding.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

DIGEST_BYTES = 16

_JOINED_BELOW_BYTES = 1024
"""Smaller fields are joined and hashed in one call, because a call takes longer than the hash itself."""


def digest_fields(fields: Iterable[bytes | str | int], *, person: bytes = b"") -> bytes:
    """Return the 16-byte digest of the fields, in their order.

    A string counts as its UTF-8 bytes, an integer as its decimal digits; each field is preceded by its length in bytes
    as eight little-endian bytes. ``person`` (at most 16 bytes) separates one use of the hash from another.
    """
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES, person=person)
    parts: list[bytes] = []
    for field in fields:
        data = field if isinstance(field, bytes) else str(field).encode()
        parts.append(len(data).to_bytes(8, "little"))
        if len(data) < _JOINED_BELOW_BYTES:
            parts.append(data)
            continue
        hasher.update(b"".join(parts))
        hasher.update(data)
        parts.clear()
    hasher.update(b"".join(parts))
    return hasher.digest()


@dataclass(frozen=True, slots=True)
class Address:
    """Everything that the pixels of one augmented sample depend on.

    ``engine``, ``record`` and ``pipeline`` are hexadecimal digests: of the rendering code, of the encoded bytes and
    annotations, of the canonical pipeline. ``draw`` counts epochs (times repeats) in a stream and copies in an
    expansion; ``view`` is 0 unless a stream asks for several views. ``others`` are the digests of the other sources of
    images: the split that donors come from, and the datasets of references.
    """

    engine: str
    record: str
    pipeline: str
    seed: int
    draw: int
    view: int
    key: str
    others: tuple[str, ...] = ()

    @property
    def render_key(self) -> str:
        """Name of the sample, 32 hexadecimal digits. Samples with equal names have equal pixels."""
        numbers = (self.seed, self.draw, self.view)
        return digest_fields((self.engine, self.record, self.pipeline, *numbers, self.key, *self.others)).hex()
