"""The columns of a batch by the names that the wire gives them, for the adapters of frameworks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from augment.client.stream import ClientStream
from augment.client.transport import ClientError
from augment.samples.sample import Batch
from augment.validation import did_you_mean
from augment.wire.columns import COLUMNS, padding, view_name


def columns_of(batch: Batch, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return these columns of a batch, or all: an array with one entry for each row, or a list of one value for each.

    ``key`` and ``replaces`` are lists of text; what differs in size from row to row (boxes, images of several sizes) is
    a list of arrays. Further views have ``image_1`` and so on. ClientError if the batch has no such column.
    """
    found: dict[str, Any] = {}
    for number, view in enumerate(batch.views):
        for column, attribute in COLUMNS.items():
            name, values = view_name(column, number), getattr(view, attribute)
            if name not in found and values is not None:  # all views share some columns
                found[name] = values
    found |= {
        "key": batch.keys,
        "position": batch.positions,
        "replaces": batch.replaces,
        "is_padding": padding(batch),
    }
    if names is None:
        return found
    for name in names:
        if name not in found:
            raise ClientError(
                f"the stream has no column {name!r}; it has {', '.join(found)}{did_you_mean(name, found)}"
            )
    return {name: found[name] for name in names}


def arrays_of(batch: Batch, names: Sequence[str], remedy: str) -> Mapping[str, np.ndarray[Any, Any]]:
    """Return columns that are arrays; ClientError, with the remedy, if one has a value of another size in each row."""
    found = columns_of(batch, names)
    for name, values in found.items():
        if not isinstance(values, np.ndarray):
            raise ClientError(f"the column {name!r} is no array: its values differ from row to row; {remedy}")
    return found


def check_stream(stream: object) -> ClientStream:
    """Return the stream; ClientError if it is something else."""
    if not isinstance(stream, ClientStream):
        raise ClientError(f"stream is {stream!r:.100}; give what Client(url).stream(dataset=…, …) returns")
    return stream


def check_columns(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names as a tuple; ClientError if they are one text."""
    if isinstance(columns, str):
        raise ClientError(f"columns is {columns!r}; give a list of names, such as ['image', 'label']")
    return None if columns is None else tuple(columns)
