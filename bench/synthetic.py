"""Datasets with more records than files: manifests whose rows name the same photographs again and again.

Every row is a separate record (with its own key, and so its own chance), and every file is really read and decoded. Up
to some millions of rows the manifest is written in full. A billion rows would be 150 GB; instead the file's footer
names one record batch of 65,536 rows repeatedly. That measures the order of an epoch, the footer and the reading of
rows by number, but not the disk's time to load distant pages.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from augment.datasets import manifest
from augment.datasets.dataset import Dataset
from augment.datasets.manifest import BATCH_ROWS
from bench.peers.served import DATASET

_FULL_MAX = 20_000_000
_MAGIC_BYTES = 6
_BLOCK = struct.Struct("<qi4xq")
"""A ``Block`` of Arrow's File.fbs: offset, length of the metadata, length of the body."""

_RECORD_BATCHES = 3
"""Index of ``recordBatches`` among the fields of ``Footer``."""


def grow(home: Path, num_records: int) -> None:
    """Replace the records of a home's dataset by ``num_records`` records. No service may have the home open."""
    folder = home / "datasets" / DATASET
    entry: dict[str, Any] = json.loads((folder / "dataset.json").read_bytes())
    path = folder / entry["generation"] / "manifest.arrow"
    dataset = Dataset.open(path)
    summary = dataset.source.summary
    digest = hashlib.blake2b(f"{summary.digest} {num_records}".encode(), digest_size=16).hexdigest()
    (split,) = summary.splits
    whole = -(-num_records // BATCH_ROWS) * BATCH_ROWS if num_records > _FULL_MAX else num_records
    grown = replace(summary, digest=digest, num_records=whole, splits=(replace(split, stop=whole),))
    with manifest.new_file(path) as file:
        manifest.write(file, grown, _batches(dataset, min(whole, BATCH_ROWS if whole > _FULL_MAX else whole)))
    if whole > _FULL_MAX:
        _repeat_first_batch(path, whole // BATCH_ROWS)
    entry |= {"digest": digest, "num_records": whole}
    (folder / "dataset.json").write_text(json.dumps(entry), encoding="utf-8")


def _batches(dataset: Dataset, num_records: int) -> Iterator[pa.RecordBatch]:
    rows = pa.Table.from_batches(dataset.source.record_batches()).combine_chunks().replace_schema_metadata(None)
    for start in range(0, num_records, BATCH_ROWS):
        numbers = np.arange(start, min(start + BATCH_ROWS, num_records))
        taken = rows.take(pa.array(numbers % rows.num_rows)).combine_chunks()
        keys = pa.array([f"{number:012d}" for number in numbers.tolist()])
        yield from taken.set_column(0, manifest.SCHEMA.field(0), keys).to_batches()


def _repeat_first_batch(path: Path, times: int) -> None:
    """Make the footer name the file's only record batch ``times`` times (flatbuffers: a new vector after the table)."""
    data = path.read_bytes()
    (length,) = struct.unpack("<i", data[-_MAGIC_BYTES - 4 : -_MAGIC_BYTES])
    start = len(data) - _MAGIC_BYTES - 4 - length
    footer = bytearray(data[start : start + length])
    (table,) = struct.unpack_from("<I", footer, 0)
    (back,) = struct.unpack_from("<i", footer, table)
    (offset,) = struct.unpack_from("<H", footer, table - back + 4 + 2 * _RECORD_BATCHES)
    field = table + offset
    old = field + struct.unpack_from("<I", footer, field)[0]
    (number,) = struct.unpack_from("<I", footer, old)
    if number != 1:
        raise ValueError(f"{path} has {number} record batches; one is repeated")
    block = bytes(footer[old + 4 : old + 4 + _BLOCK.size])
    while (len(footer) + 4) % 8:  # its structs are aligned to 8 bytes, and its length precedes them
        footer.append(0)
    struct.pack_into("<I", footer, field, len(footer) - field)
    footer += struct.pack("<I", times) + times * block
    path.write_bytes(data[:start] + footer + struct.pack("<i", len(footer)) + data[-_MAGIC_BYTES:])
