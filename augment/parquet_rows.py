"""Encoded pictures in a column of a Parquet file, read by the number of their row.

The column is binary, or a struct with a binary member ``bytes``, as Hugging Face's ``datasets`` writes pictures. A
Parquet file can be read a row group at a time only, so the last groups that were read are kept; pictures in row groups
of 100, as ``datasets`` cuts them, cost some milliseconds each where the order is random.
"""

import functools
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_GROUPS_KEPT = 4


def read_cell(path: Path, column: str, row: int) -> bytes | None:
    """The bytes in one cell; None where there is no such row or nothing in it.

    Raises OSError where the file cannot be read, pyarrow.ArrowException where it is no Parquet file or has no such
    column.
    """
    status = path.stat()
    identity = (os.fspath(path), status.st_ino, status.st_size, status.st_mtime_ns)
    group, within = _place(_metadata(identity), row)
    if group is None:
        return None
    cell = _group(identity, column, group)[within].as_py()
    data: bytes | None = cell["bytes"] if isinstance(cell, dict) else cell
    return data


_Identity = tuple[str, int, int, int]


@functools.lru_cache(maxsize=64)
def _metadata(identity: _Identity) -> pq.FileMetaData:
    return pq.read_metadata(identity[0])


def _place(metadata: pq.FileMetaData, row: int) -> tuple[int | None, int]:
    for group in range(metadata.num_row_groups):
        num_rows = metadata.row_group(group).num_rows
        if row < num_rows:
            return group, row
        row -= num_rows
    return None, 0


@functools.lru_cache(maxsize=_GROUPS_KEPT)
def _group(identity: _Identity, column: str, group: int) -> pa.ChunkedArray:
    with pq.ParquetFile(identity[0]) as file:
        return file.read_row_group(group, columns=[column]).column(0)
