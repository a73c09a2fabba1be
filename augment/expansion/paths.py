"""A set of many paths in little memory."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class PathSet:
    """Whether a path is among millions: eight bytes each.

    It keeps 64-bit hashes, so that a path that is not in it is taken for one that is with a probability of
    (number of paths) / 2**64: 1 in 10**12 for ten million.
    """

    def __init__(self, groups: Iterable[Sequence[str]]) -> None:
        parts = [hashed(group) for group in groups]
        self._hashes = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)

    def __len__(self) -> int:
        return int(self._hashes.size)

    def missing(self, paths: Sequence[str]) -> list[str]:
        """Those of the paths that are not in the set, in their order."""
        known = np.isin(hashed(paths), self._hashes)
        return [path for path, is_known in zip(paths, known, strict=True) if not is_known]


def hashed(paths: Sequence[str]) -> NDArray[np.uint64]:
    """Eight bytes for each path."""
    # surrogateescape: a file that is not ours may have a name that is not UTF-8
    digests = (hashlib.blake2b(path.encode(errors="surrogateescape"), digest_size=8).digest() for path in paths)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
