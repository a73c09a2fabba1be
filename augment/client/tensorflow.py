"""A stream as a ``tf.data.Dataset`` of dictionaries: ``for batch in stream_dataset(stream, epoch=0): …``.

Every batch carries its address, the scalars ``epoch`` and ``index``. However far a pipeline fetches ahead, the batch in
hand says where to go on: ``stream_dataset(stream, epoch=int(batch["epoch"]), start=int(batch["index"]) + 1)``.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import tensorflow as tf

from augment.client.columns import check_columns, check_stream, columns_of
from augment.client.stream import ClientStream
from augment.client.transport import ClientError
from augment.samples.sample import Batch

_ADDRESS = ("epoch", "index")


def stream_dataset(
    stream: ClientStream,
    *,
    epoch: int | Callable[[], int] | None = None,
    start: int = 0,
    columns: Sequence[str] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> "tf.data.Dataset":
    """Return a dataset whose elements are batches: dictionaries of tensors by the names of the wire's columns.

    Without ``epoch`` each pass over the dataset is the next epoch, from 0 on, whatever became of the pass before, so a
    look at one batch uses up a number. An ``epoch`` is the number of every pass, or a function that returns it when a
    pass begins, such as ``EpochCallback().epoch`` for Keras' ``fit``. Passes begin with batch ``start``; the
    cardinality is the number of batches from there to the epoch's end. ``repeat()`` goes on with the next epochs.

    ``columns`` chooses what an element holds; without it, ``epoch``, ``index`` (int64 scalars) and all columns: images
    are uint8 (N, H, W, C) unless the stream was declared with another ``dtype`` or ``layout``, ``key`` and
    ``replaces`` are strings (empty for no key). What differs from row to row is a ``tf.RaggedTensor``: ``boxes``
    float32 (N, None, 4), ``box_labels`` int64 (N, None), images of several sizes (N, None, None, 3).

    The stream fetches ahead by itself; ``prefetch`` of the dataset adds the copy into TensorFlow's memory. The first
    batch is fetched here, to learn the types. ClientError if a number is out of range, or images of several sizes come
    as NCHW.
    """
    check_stream(stream)
    names = check_columns(columns)
    numbers = itertools.count()
    if epoch is None:
        take: Callable[[], int] = numbers.__next__
    else:
        take = epoch if callable(epoch) else lambda: epoch
    with closing(stream.epoch(0, start, start + 1, rank=rank, world_size=world_size)) as batches:
        first = next(batches)
    levels = {name: _ragged_levels(name, values, stream) for name, values in _columns(first, names).items()}

    def elements() -> Iterator[dict[str, Any]]:
        with closing(stream.epoch(take(), start, rank=rank, world_size=world_size)) as batches:
            for batch in batches:
                yield {name: _tensor(values, levels[name]) for name, values in _columns(batch, names).items()}

    specs = {name: _spec(values, levels[name]) for name, values in _columns(first, names).items()}
    dataset = tf.data.Dataset.from_generator(elements, output_signature=specs)
    return dataset.apply(tf.data.experimental.assert_cardinality(stream.num_batches - start))


def _columns(batch: Batch, names: Sequence[str] | None) -> dict[str, Any]:
    """Return the columns that are asked for, the batch's address among them."""
    address = {"epoch": np.int64(batch.epoch), "index": np.int64(batch.index)}
    if names is None:
        return address | columns_of(batch)
    found = columns_of(batch, [name for name in names if name not in address])
    return {name: address[name] if name in address else found[name] for name in names}


def _ragged_levels(name: str, values: Any, stream: ClientStream) -> int:
    """Return how many axes after the rows differ in length: 0 for a column that is a plain tensor."""
    if not isinstance(values, list) or not values or not isinstance(values[0], np.ndarray):
        return 0
    column = name.rstrip("0123456789").rstrip("_")
    if column in {"image", "mask"}:
        if stream.pixel_format.channels_first and column == "image":
            raise ClientError(
                "images of several sizes have no layout NCHW in TensorFlow; declare the stream with layout='NHWC', or "
                "resize in the pipeline"
            )
        return 2
    return 3 if column == "instance_masks" else 1


def _spec(values: Any, num_levels: int) -> Any:
    if not num_levels:
        if isinstance(values, list):
            return tf.TensorSpec([None], tf.string)
        return tf.TensorSpec([None, *values.shape[1:]] if values.ndim else [], values.dtype)
    inner = values[0].shape[num_levels:]
    return tf.RaggedTensorSpec([None, *[None] * num_levels, *inner], values[0].dtype, ragged_rank=num_levels)


def _tensor(values: Any, num_levels: int) -> Any:
    """Return what ``from_generator`` takes: an array, a list of text, or a ragged tensor of a list of arrays."""
    if not num_levels:
        return [value or "" for value in values] if isinstance(values, list) else values
    lengths = [
        np.concatenate([np.repeat(each.shape[level], np.prod(each.shape[:level], dtype=np.int64)) for each in values])
        for level in range(num_levels)
    ]
    flat = np.concatenate([each.reshape(-1, *each.shape[num_levels:]) for each in values])
    with tf.device("CPU:0"):  # where from_generator puts everything together
        return tf.RaggedTensor.from_nested_row_lengths(flat, lengths)
