"""Batch to bytes and back: Arrow IPC streams, which every Arrow library reads.

A stream is ``stream_start(schema)``, any number of ``batch_message(batch, schema)`` and ``STREAM_END``: pure bytes that
can be cut and joined, because a message does not depend on those before it. One record batch is one training batch.
Where all samples have one size the column ``image`` is an ``arrow.fixed_shape_tensor``, else an
``arrow.variable_shape_tensor`` (Arrow's canonical extension types; for the second pyarrow
has no class in Python, so it is written and read by its storage here).
"""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augment.errors import CallError
from augment.sample import Batch

STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The end-of-stream marker of Arrow's encapsulated message format: what a cut stream lacks."""

METADATA_KEY = b"augment"
_DIM_NAMES = ["H", "W", "C"]
_VARIABLE_TENSOR = {
    b"ARROW:extension:name": b"arrow.variable_shape_tensor",
    b"ARROW:extension:metadata": json.dumps(
        {"dim_names": _DIM_NAMES, "uniform_shape": [None, None, 3]}, separators=(",", ":")
    ).encode(),
}
_LIST_BYTES_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Layout:
    """What all batches of a stream have in common: the columns and what a reader should know of them.

    ``image_shape`` is (H, W, 3), or None where pictures differ in size. ``metadata`` (JSON) holds the normalisation,
    the class names and the address.
    """

    image_shape: tuple[int, int, int] | None
    has_labels: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)


def schema_of(layout: Layout) -> pa.Schema:
    """The Arrow schema of a stream; its metadata is one JSON object under the key ``augment``."""
    if layout.image_shape is None:
        storage = pa.struct([("data", pa.list_(pa.uint8())), ("shape", pa.list_(pa.int32(), 3))])
        image = pa.field("image", storage, nullable=False, metadata=_VARIABLE_TENSOR)
    else:
        tensor = pa.fixed_shape_tensor(pa.uint8(), list(layout.image_shape), dim_names=_DIM_NAMES)
        image = pa.field("image", tensor, nullable=False)
    fields = [
        image,
        pa.field("key", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("replaces", pa.string()),
    ]
    if layout.has_labels:
        fields.append(pa.field("label", pa.int64(), nullable=False))
    metadata = json.dumps(layout.metadata, sort_keys=True, separators=(",", ":"))
    return pa.schema(fields, metadata={METADATA_KEY: metadata.encode()})


def stream_start(schema: pa.Schema) -> bytes:
    """The schema message that a stream begins with."""
    return bytes(memoryview(schema.serialize()))


def batch_message(batch: Batch, schema: pa.Schema) -> memoryview:
    """One batch as an encapsulated Arrow message: bytes, padded to 8; new memory."""
    columns = [_image_column(batch, schema.field("image").type)]
    columns.append(pa.array(batch.keys, pa.string()))
    columns.append(pa.array(batch.positions, pa.int64()))
    columns.append(pa.array(batch.replaces, pa.string()))
    if "label" in schema.names:
        columns.append(pa.array(batch.labels, pa.int64()))
    return memoryview(pa.record_batch(columns, schema=schema).serialize()).cast("B")


def read_batches(source: Any) -> Iterator[Batch]:
    """Batches of an Arrow stream: bytes, a path's file object, anything ``pyarrow.ipc.open_stream`` takes.

    Images are views into the source's memory where it is memory, and read-only then. Raises CallError where the
    stream was cut before its end or is not one of ours.
    """
    watched = _EndWatch(source) if hasattr(source, "read") else source
    try:
        with pa.ipc.open_stream(watched) as reader:
            metadata = json.loads((reader.schema.metadata or {}).get(METADATA_KEY, b"{}"))
            for record_batch in reader:
                yield _batch(record_batch, metadata)
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise CallError(f"this is no complete Arrow stream of batches: {error}; ask for it again") from error
    if not _is_ended(watched):
        raise CallError("this is no complete Arrow stream of batches: it was cut between two of them; ask for it again")


def from_message(message: Any, schema: pa.Schema) -> Batch:
    """The batch of one message whose schema is known; images are views into the message's memory."""
    record_batch = pa.ipc.read_record_batch(pa.py_buffer(message), schema)
    return _batch(record_batch, json.loads(schema.metadata[METADATA_KEY]))


def to_bytes(batches: list[Batch], layout: Layout) -> bytes:
    """A complete stream of these batches."""
    schema = schema_of(layout)
    sink = io.BytesIO()
    sink.write(stream_start(schema))
    for batch in batches:
        sink.write(batch_message(batch, schema))
    sink.write(STREAM_END)
    return sink.getvalue()


class _EndWatch:
    """Notices when a source ran dry: pyarrow takes the end of a file between two messages for the end of the stream."""

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
    # No message ends like the marker: its last column is text, or labels, which never reach 2**32 - 1.
    return bytes(memoryview(source).cast("B")[-len(STREAM_END) :]) == STREAM_END


def _image_column(batch: Batch, column_type: pa.DataType) -> pa.Array:
    if isinstance(column_type, pa.FixedShapeTensorType):
        shape = tuple(column_type.shape)
        images = np.ascontiguousarray(batch.images, dtype=np.uint8).reshape(len(batch), *shape)
        flat = pa.array(images.reshape(-1))
        storage = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(shape)))
        return pa.ExtensionArray.from_storage(column_type, storage)
    sizes = np.array([image.size for image in batch.images], dtype=np.int64)
    if sizes.sum() > _LIST_BYTES_MAX:
        raise CallError(
            f"a batch of pictures of different sizes holds {sizes.sum()} bytes, an Arrow list at most "
            f"{_LIST_BYTES_MAX}; ask for a smaller batch_size or resize in the pipeline"
        )
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    data = np.concatenate([np.ravel(image) for image in batch.images]) if len(batch) else np.empty(0, np.uint8)
    shapes = np.array([image.shape for image in batch.images], dtype=np.int32).reshape(-1)
    return pa.StructArray.from_arrays(
        [
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(data)),
            pa.FixedSizeListArray.from_arrays(pa.array(shapes), 3),
        ],
        fields=list(column_type),
    )


def _images(column: pa.Array) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
    if isinstance(column, pa.FixedShapeTensorArray):
        shape = tuple(column.type.shape)
        if not len(column):
            return np.empty((0, *shape), np.uint8)
        images: NDArray[np.uint8] = column.to_numpy_ndarray()
        return images
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    data, shapes = storage.field("data"), storage.field("shape")
    values = data.values.to_numpy()
    offsets = data.offsets.to_numpy()
    sizes = shapes.flatten().to_numpy().reshape(-1, 3)
    return [values[offsets[i] : offsets[i + 1]].reshape(sizes[i]) for i in range(len(column))]


def _batch(record_batch: pa.RecordBatch, metadata: Mapping[str, Any]) -> Batch:
    positions = record_batch.column("position").to_numpy()
    labels = record_batch.column("label").to_numpy() if "label" in record_batch.schema.names else None
    return Batch(
        epoch=int(metadata.get("epoch", 0)),
        index=int(positions[0]) // int(metadata["batch_size"]) if len(positions) and "batch_size" in metadata else 0,
        images=_images(record_batch.column("image")),
        keys=record_batch.column("key").to_pylist(),
        positions=positions,
        labels=labels,
        replaces=record_batch.column("replaces").to_pylist(),
    )
