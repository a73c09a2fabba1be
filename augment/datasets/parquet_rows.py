"""Rows of Parquet files, read by number: the encoded image in a column, and the other columns.

A column of images is binary, or a struct with a binary member ``bytes``, as Hugging Face's ``datasets`` writes it. A
Parquet file can only be read in whole row groups, so the groups read last are cached, up to ``KEPT_BYTES`` (and always
one). A group of more than ``GROUP_MAX_BYTES`` is refused, because reading any row needs a whole column of it in memory.
All functions are safe between threads.
"""

import functools
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from augment.datasets import seen_files
from augment.datasets.seen_files import FileStatus

KEPT_BYTES = 64 * 2**20
"""Room for six groups of 100 photographs of 100 kB each; ``datasets`` writes groups of 100 rows."""

GROUP_MAX_BYTES = 2**30
"""Largest uncompressed size of a row group, as stated in the file."""


_ROWS_MAX = 2**48
_BATCH_ROWS = 2**16


class UnreadableRowError(Exception):
    """Error of a file that is not Parquet, is broken at the row, or has row groups that are too large."""


class _Identity(NamedTuple):
    path: str
    status: bytes


@dataclass(frozen=True, slots=True)
class Description:
    """Schema and row groups of a file; ``stops`` is the number of the row after each group's last one.

    ``group_bytes`` is the uncompressed size of each group. Sizes of single columns are never read, because Arrow's
    bindings abort the process on impossible values in a damaged file.
    """

    metadata: pq.FileMetaData
    schema: pa.Schema
    stops: NDArray[np.int64]
    group_bytes: tuple[int, ...]

    @property
    def num_rows(self) -> int:
        return int(self.stops[-1]) if len(self.stops) else 0


def describe(path: Path) -> Description:
    """Read a file's description. Raises OSError if it cannot be opened, UnreadableRowError."""
    return _describe(_identify(path)[0])


def image_leaf(schema: pa.Schema, column: str) -> str:
    """Return the leaf of an image's bytes: the column itself, or its member ``bytes``."""
    index = schema.get_field_index(column)
    if index < 0:
        raise UnreadableRowError(f"it has no column {column}")
    return f"{column}.bytes" if pa.types.is_struct(schema.field(index).type) else column


def read_cell(path: Path, column: str, row: int) -> tuple[bytes | None, FileStatus]:
    """Return the bytes in one cell, and the status of the file.

    The bytes are None if the row does not exist or the cell is null. Raises as ``describe`` does.
    """
    identity, status = _identify(path)
    place = _place(identity, row)
    if place is None:
        return None, status
    table = _KEPT.group(identity, place[0], (image_leaf(_describe(identity).schema, column),))
    with refusals():
        cell = table.column(column)[place[1]]
        if isinstance(cell, pa.StructScalar):
            cell = cell["bytes"] if cell.is_valid else cell
        value = cell.as_py()
    if value is not None and not isinstance(value, bytes):
        raise UnreadableRowError(f"its column {column} does not hold bytes")
    return value, status


def read_row(path: Path, columns: Sequence[str], row: int) -> dict[str, Any]:
    """Return these columns of one row as Python values. Raises as ``describe`` does."""
    identity, _ = _identify(path)
    place = _place(identity, row)
    if place is None:
        raise UnreadableRowError(f"it has no row {row}")
    table = _KEPT.group(identity, place[0], tuple(columns))
    with refusals():
        values: dict[str, Any] = table.slice(place[1], 1).to_pylist()[0]
    return values


def read_columns(path: Path, leaves: Sequence[str]) -> Iterator[pa.Table]:
    """Yield these leaves of all rows, one row group at a time. Raises as ``describe`` does."""
    identity, _ = _identify(path)
    for group in np.flatnonzero(np.diff(_describe(identity).stops, prepend=0)).tolist():
        yield _read_group(identity, group, tuple(leaves))


@contextmanager
def refusals() -> Iterator[None]:
    """Turn the errors that Arrow raises for a broken file into UnreadableRowError.

    Apart from Arrow's classes these are OSError without an errno (a broken page), KeyError, OverflowError and more,
    none of them documented. An OSError with an errno comes from the operating system and is passed on.
    """
    try:
        yield
    except UnreadableRowError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableRowError(text[:200]) from error


def _identify(path: Path) -> tuple[_Identity, FileStatus]:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableRowError("it is not a regular file")
    status = FileStatus.of(found)
    return _Identity(os.fspath(path), status.packed), status


@contextmanager
def _opened(identity: _Identity) -> Iterator[pa.OSFile]:
    """Open the file, which must have this status now and at the end. Raises UnreadableRowError."""
    with pa.OSFile(identity.path) as file:
        _check_same(file, identity)
        yield file
        _check_same(file, identity)


def _check_same(file: pa.OSFile, identity: _Identity) -> None:
    if seen_files.packed(os.fstat(file.fileno())) != identity.status:
        raise UnreadableRowError("it was written to during the read; read it again")


@functools.lru_cache(maxsize=64)
def _describe(identity: _Identity) -> Description:
    with refusals(), _opened(identity) as file:
        metadata = pq.read_metadata(file)
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        num_rows = [group.num_rows for group in groups]
        size_bytes = tuple(group.total_byte_size for group in groups)
        if min((*num_rows, *size_bytes), default=0) < 0 or sum(num_rows) > _ROWS_MAX:
            raise UnreadableRowError(
                f"it claims to have row groups of {num_rows[:3]} … rows and {size_bytes[:3]} … bytes"
            )
        return Description(metadata, metadata.schema.to_arrow_schema(), np.cumsum(num_rows, dtype=np.int64), size_bytes)


def _place(identity: _Identity, row: int) -> tuple[int, int] | None:
    """Return the row's group and its index in the group, or None."""
    stops = _describe(identity).stops
    group = int(np.searchsorted(stops, row, side="right"))
    if row < 0 or group == len(stops):
        return None
    return group, row - (int(stops[group - 1]) if group else 0)


def _read_group(identity: _Identity, group: int, leaves: tuple[str, ...]) -> pa.Table:
    """Read a group in steps of so few rows that no column can exceed ``GROUP_MAX_BYTES``.

    A repeated value is in the file once and in memory for each row.
    """
    held = _describe(identity)
    size_bytes = max(held.group_bytes[group], 1)
    if size_bytes > GROUP_MAX_BYTES:
        raise too_large(group, size_bytes)
    batches, num_bytes = [], 0
    rows = GROUP_MAX_BYTES // size_bytes
    with (
        refusals(),
        _opened(identity) as source,
        pq.ParquetFile(source, metadata=held.metadata, pre_buffer=False) as file,
    ):
        if held.metadata.row_group(group).num_rows <= rows:
            return file.read_row_group(group, columns=list(leaves), use_threads=False)
        rows = min(rows, _BATCH_ROWS)
        for batch in file.iter_batches(rows, row_groups=[group], columns=list(leaves), use_threads=False):
            num_bytes += batch.nbytes
            if num_bytes > GROUP_MAX_BYTES:
                raise too_large(group, num_bytes)
            batches.append(batch)
        return pa.Table.from_batches(batches)


def too_large(group: int, size_bytes: int) -> UnreadableRowError:
    """Return the error for a row group of this size."""
    return UnreadableRowError(
        f"row group {group} has {size_bytes} bytes or more; at most {GROUP_MAX_BYTES} are read at a time; write the "
        "file in row groups of 100 rows"
    )


class _Kept:
    """Cache of the row groups read last; each is read once, however many threads wait for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._reading: dict[object, Lock] = {}
        self._tables: OrderedDict[object, pa.Table] = OrderedDict()
        self._num_bytes = 0

    def group(self, identity: _Identity, group: int, leaves: tuple[str, ...]) -> pa.Table:
        name = (identity, group, leaves)
        with self._lock:
            if (table := self._find(name)) is not None:
                return table
            reading = self._reading.setdefault(name, Lock())
        with reading:
            with self._lock:
                if (table := self._find(name)) is not None:
                    return table
            try:
                table = _read_group(identity, group, leaves)
                with self._lock:
                    self._keep(name, table)
                return table
            finally:
                with self._lock:
                    self._reading.pop(name, None)

    def _find(self, name: object) -> pa.Table | None:
        table = self._tables.get(name)
        if table is not None:
            self._tables.move_to_end(name)
        return table

    def _keep(self, name: object, table: pa.Table) -> None:
        self._tables[name] = table
        self._num_bytes += table.nbytes
        while self._num_bytes > KEPT_BYTES and len(self._tables) > 1:
            self._num_bytes -= self._tables.popitem(last=False)[1].nbytes


_KEPT = _Kept()
