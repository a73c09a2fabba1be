"""Whole Arrow streams of batches, and readers for formats that only other programs read."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.samples.sample import Batch
from augment.wire import arrow, columns
from augment.wire.columns import BatchLayout


def arrow_bytes(batches: list[Batch], layout: BatchLayout) -> bytes:
    """A complete stream of these batches."""
    schema = arrow.schema_of(layout)
    messages = [bytes(part) for batch in batches for part in arrow.batch_message(batch, schema)]
    return b"".join((arrow.stream_start(schema), *messages, arrow.STREAM_END))


def read_npz(data: bytes) -> Batch:
    """The batch of one .npz file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    first, *others = (_view(content, view) for view in range(columns.num_views(content)))
    first.other_views = tuple(others)
    return first


def _view(content: dict[str, NDArray[Any]], view: int) -> Batch:
    moved = {name: columns.view_name(name, view) for name in (*columns.MASKS, *columns.RAGGED)}
    there = {name: column for name, column in moved.items() if column in content}
    targets: dict[str, Any] = {
        field: _tensors(content, there[name]) for name, field in columns.MASKS.items() if name in there
    }
    targets |= {name: _ragged(content, there[name]) for name in columns.RAGGED if name in there}
    return Batch(
        epoch=int(content["epoch"]),
        index=int(content["index"]),
        images=_tensors(content, columns.view_name("image", view)),
        keys=content["key"].tolist(),
        positions=content["position"],
        labels=content.get("label"),
        label_weights=content.get("label_weights"),
        replaces=[text or None for text in content["replaces"].tolist()],
        is_padding=content["is_padding"],
        inverses=content.get(columns.view_name("inverse", view)),
        source_sizes=content.get("source_size"),
        **targets,
    )


def _tensors(content: dict[str, NDArray[Any]], name: str) -> Any:
    if f"{name}_shape" not in content:
        return content[name]
    shapes = content[f"{name}_shape"]
    cuts = np.cumsum(shapes.prod(axis=1))[:-1]
    parts = np.split(content[name], cuts) if len(shapes) else []
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _ragged(content: dict[str, NDArray[Any]], name: str) -> list[NDArray[Any]]:
    counts = content[f"{name}_count"]
    return list(np.split(content[name], np.cumsum(counts)[:-1])) if len(counts) else []
