"""Batch to bytes and back: Arrow IPC streams, which every Arrow library reads.

A stream is ``stream_start(schema)``, any number of ``batch_message(batch, schema)`` and ``STREAM_END``: pure bytes that
can be cut and joined, because a message does not depend on those before it. One record batch is one training batch. If
all samples have one size the column ``image`` is an ``arrow.fixed_shape_tensor``, else an
``arrow.variable_shape_tensor`` (Arrow's canonical extension types). ``columns.py`` lists the columns of the targets.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from augment.errors import CallError
from augment.samples.sample import Batch
from augment.wire import columns
from augment.wire.columns import BatchLayout

STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""End-of-stream marker of Arrow's encapsulated message format; a cut stream lacks it."""

METADATA_KEY = b"augment"
_NAMES = (
    pa.field("key", pa.string(), nullable=False),
    pa.field("position", pa.int64(), nullable=False),
    pa.field("is_padding", pa.bool_(), nullable=False),
    pa.field("replaces", pa.string()),  # last: see _is_ended
)


def schema_of(layout: BatchLayout) -> pa.Schema:
    """Return the Arrow schema of a stream; its metadata is one JSON object under the key ``augment``."""
    described = dict(layout.metadata) | ({"num_views": 1 + len(layout.views)} if layout.views else {})
    metadata = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return pa.schema([*columns.fields_of(layout), *_NAMES], metadata={METADATA_KEY: metadata.encode()})


def stream_start(schema: pa.Schema) -> bytes:
    """Return the schema message that begins a stream."""
    return bytes(memoryview(schema.serialize()))


def batch_message(batch: Batch, schema: pa.Schema) -> list[memoryview]:
    """Return one batch as an encapsulated Arrow message, padded to 8 bytes, as parts to be written one after the other.

    Pixels are not copied: the parts are views of the batch's arrays.
    """
    arrays = [
        *(columns.column_of(batch, field) for field in list(schema)[: -len(_NAMES)]),
        pa.array(batch.keys, pa.string()),
        pa.array(batch.positions, pa.int64()),
        pa.array(columns.padding(batch)),
        pa.array(batch.replaces, pa.string()),
    ]
    parts = _Parts(len(stream_start(schema)))
    with pa.PythonFile(parts, mode="w") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
        message = parts.taken
        parts.taken = []  # drops the end of the stream, which is not part of the message
    return message


class _Parts:
    """File object that collects the written buffers without copying, except the schema at a stream's beginning."""

    closed = False

    def __init__(self, num_before: int) -> None:
        self._num_before = num_before
        self.taken: list[memoryview] = []

    def write(self, data: Any) -> None:
        part = memoryview(data).cast("B")
        before = min(self._num_before, len(part))
        self._num_before -= before
        if before < len(part):
            self.taken.append(part[before:])

    def flush(self) -> None:
        """Do nothing; writes are not buffered."""

    def close(self) -> None:
        """Do nothing; the buffers are kept."""


def read_batches(source: Any) -> Iterator[Batch]:
    """Yield the batches of an Arrow stream: bytes, a file object, or any other input of ``pyarrow.ipc.open_stream``.

    Images are read-only views if the source is memory. Raises CallError if the stream was cut before its end or is not
    one of ours.
    """
    watched = _EndWatch(source) if hasattr(source, "read") else source
    try:
        with pa.ipc.open_stream(watched) as reader:
            metadata = json.loads((reader.schema.metadata or {}).get(METADATA_KEY, b"{}"))
            for record_batch in reader:
                yield _batch(record_batch, metadata)
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise CallError(f"this is not a complete Arrow stream of batches: {error}; ask for it again") from error
    if not _is_ended(watched):
        raise CallError(
            "this is not a complete Arrow stream of batches: it was cut between two of them; ask for it again"
        )


def from_message(message: Any, schema: pa.Schema) -> Batch:
    """Return the batch of one message whose schema is known; images are views into the message's memory."""
    record_batch = pa.ipc.read_record_batch(pa.py_buffer(message), schema)
    return _batch(record_batch, json.loads(schema.metadata[METADATA_KEY]))


class _EndWatch:
    """Detects a source that ended early: pyarrow takes a file that ends between messages for complete."""

    closed = False

    def __init__(self, source: Any) -> None:
        self._source = source
        self.ran_dry = False

    def read(self, size: int) -> bytes:
        data: bytes = self._source.read(size)
        self.ran_dry = self.ran_dry or (size > 0 and not data)
        return data


def _is_ended(source: Any) -> bool:
    if isinstance(source, _EndWatch):
        return not source.ran_dry
    # No message ends like the marker: its last column is UTF-8, which has no byte 0xff, after offsets below 2**31.
    return bytes(memoryview(source).cast("B")[-len(STREAM_END) :]) == STREAM_END


def _batch(record_batch: pa.RecordBatch, metadata: Mapping[str, Any]) -> Batch:
    positions = record_batch.column("position").to_numpy()
    shared = {
        "epoch": int(metadata.get("epoch", 0)),
        "index": int(positions[0]) // int(metadata["batch_size"]) if len(positions) and "batch_size" in metadata else 0,
        "keys": record_batch.column("key").to_pylist(),
        "positions": positions,
        "replaces": record_batch.column("replaces").to_pylist(),
        "is_padding": record_batch.column("is_padding").to_numpy(zero_copy_only=False),
    }
    num_views = columns.num_views(record_batch.schema.names)
    first, *others = (Batch(**shared, **columns.targets_in(record_batch, view)) for view in range(num_views))
    first.other_views = tuple(others)
    return first
