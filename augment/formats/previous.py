"""What an earlier scan of the same folder knows: files that did not change since need not be read again."""

import os

import numpy as np

from augment import read
from augment.manifest import Manifest, Row


class Previous:
    """Finds records of an earlier manifest by their path. Holds 16 bytes a record; safe between threads."""

    def __init__(self, source: Manifest) -> None:
        self._manifest = source
        summary = source.summary
        hashes = np.fromiter(
            (hash(path) for batch in source.record_batches() for path in batch.column("path").to_pylist()),
            dtype=np.int64,
            count=summary.num_records,
        )
        self._rows = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._rows]

    def find(self, path: str, status: os.stat_result, class_name: str | None) -> Row | None:
        """The record of this file if its size, mtime and class are what they were, and its mtime can be trusted.

        Only of files that are a picture and have no mask. Whether its annotations are still the same, the caller sees.
        """
        wanted = path.encode()
        sought = np.int64(hash(path))
        first = int(np.searchsorted(self._hashes, sought))
        while first < len(self._hashes) and self._hashes[first] == sought:
            index = int(self._rows[first])
            if self._manifest.path(index) == wanted:
                row = self._manifest.row(index)
                return row if self._is_same(row, status, class_name) else None
            first += 1
        return None

    def _is_same(self, row: Row, status: os.stat_result, class_name: str | None) -> bool:
        summary = self._manifest.summary
        return (
            (row.mask, row.offset) == (None, None)
            and (row.size_bytes, row.mtime_ns) == (status.st_size, status.st_mtime_ns)
            and (None if row.label is None else summary.classes[row.label]) == class_name
            and read.is_settled(row.mtime_ns, summary.scanned_ns)
        )
