"""The address of a sample, and the digests that addresses are made of.

A digest here is always BLAKE2b-128 (RFC 7693) over length-prefixed fields, so that no two different sequences of
fields can share an encoding.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

DIGEST_BYTES = 16

_JOINED_BELOW_BYTES = 1024
"""Small fields are hashed in one go: a call for each takes longer than the hash."""


def digest_fields(fields: Iterable[bytes | str | int], *, person: bytes = b"") -> bytes:
    """Hash the fields in their order: 16 bytes.

    A string counts as its UTF-8 bytes, an integer as its decimal digits; each field is preceded by its length in
    bytes as eight little-endian bytes. ``person`` (at most 16 bytes) keeps one use of the hash apart from another.
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
    """Everything the pixels of one augmented sample depend on.

    ``engine``, ``record`` and ``pipeline`` are hexadecimal digests: of the code that renders, of the encoded bytes
    and annotations that go in, of the canonical pipeline. ``draw`` counts epochs (times repeats) in a stream and
    copies in an expansion; ``view`` is 0 unless a stream asks for several views. ``others`` are the digests of what
    else the pipeline takes images from: the split that donors are of, datasets of references.
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
        """The name of the sample: 32 hexadecimal digits; equal where the pixels are equal by construction."""
        numbers = (self.seed, self.draw, self.view)
        return digest_fields((self.engine, self.record, self.pipeline, *numbers, self.key, *self.others)).hex()
