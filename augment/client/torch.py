"""PyTorch dataset of a stream: whole batches for this process's rank, with exact resume.

``DataLoader(StreamDataset(stream), batch_size=None)`` and the dataset itself both yield dictionaries of tensors. Images
are uint8 (N, H, W, C) unless the stream was declared with another ``dtype`` or ``layout``. To permute and normalise
them on the accelerator costs less than to send float batches over the network.
Keys are the wire's columns: ``image``, ``label``, ``mask``, ``boxes`` and so on; of further views ``image_1``,
``mask_1`` and so on; in a stream with views also ``inverse``, ``inverse_1`` and so on, and ``source_size``.
``is_padding`` (bool) marks rows that another rank has too: leave them out of sums and counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed
import torch.utils.data
from torch.utils.data._utils.collate import default_collate_fn_map

from augment.client.stream import ClientStream
from augment.client.transport import ClientError
from augment.samples.sample import Batch
from augment.validation import quoted
from augment.wire.columns import COLUMNS, padding, view_name


class TensorBatch(dict[str, Any]):
    """One batch by the names of its columns. A separate type, so that ``default_collate`` can refuse it."""


def _refuse_collation(batch: Sequence[TensorBatch], **_: object) -> NoReturn:
    raise ClientError(
        f"DataLoader collates {len(batch)} whole batches into one; give batch_size=None: the stream declares the "
        "batch_size, and each item of a StreamDataset is a batch"
    )


default_collate_fn_map[TensorBatch] = _refuse_collation


@dataclass(frozen=True, slots=True)
class _Position:
    """Start of a pass: batch ``index`` of an epoch."""

    epoch: int
    index: int = 0


class StreamDataset(torch.utils.data.IterableDataset[TensorBatch]):
    """Dataset of which each pass is one whole epoch, even if the pass before was not finished.

    A pass takes its epoch's number at its first ``next()``: one more than the pass before, or the number given to
    ``set_epoch``. A pass that is abandoned after one batch also uses up a number, and two passes at once have two
    numbers. Only ``load_state_dict`` makes a pass start in the middle of an epoch.

    ``columns`` selects the columns of a batch; the default is all. Some frameworks move every column to a device and
    fail on text: leave out ``key`` and ``replaces`` there. Rank and world size are those of ``torch.distributed`` if
    it is initialised, else 0 and 1. The dataset can be pickled; a copy resumes from the state of the original.

    With ``num_workers`` of a ``DataLoader`` above 0 the first batch raises ClientError: the stream fetches ahead by
    itself, and a dataset in a worker process cannot report its position to the loader.
    """

    def __init__(
        self,
        stream: ClientStream,
        *,
        columns: Sequence[str] | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(stream, ClientStream):
            raise ClientError(f"stream is {quoted(stream)}; give what Client(url).stream(dataset=…, …) returns")
        if (rank is None) != (world_size is None):
            raise ClientError("rank and world_size are given together, or both taken from torch.distributed")
        if isinstance(columns, str):
            raise ClientError(f"columns is {columns!r}; give a list of names, such as ['image', 'label']")
        self._stream = stream
        self._columns = None if columns is None else tuple(columns)
        self._given = None if rank is None or world_size is None else (rank, world_size)
        self._last_epoch = -1
        self._next: _Position | None = None
        self._reached: _Position | None = None

    def __iter__(self) -> Iterator[TensorBatch]:
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            raise ClientError(
                f"num_workers is {worker.num_workers}; set num_workers=0: the stream fetches ahead by itself, and a "
                "dataset in a worker process cannot report its epoch and batch to the loader"
            )
        return self._pass()

    def _pass(self) -> Iterator[TensorBatch]:
        start = self._next or _Position(self._last_epoch + 1)
        self._next, self._last_epoch = None, start.epoch
        rank, world_size = self._rank()
        batches = self._stream.epoch(start.epoch, start.index, rank=rank, world_size=world_size)
        try:
            for batch in batches:
                # Set before the yield, so that a checkpoint taken by the consumer resumes after this batch.
                self._reached = self._after(start.epoch, batch.index)
                yield self._tensors(batch)
        finally:
            batches.close()

    def __len__(self) -> int:
        """Number of batches in a whole epoch."""
        return self._stream.num_batches

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass. A loaded state in the middle of that epoch stays valid."""
        if self._next is None or self._next.epoch != epoch:
            self._next = _Position(epoch)
        if self._reached is None or self._reached.index == 0:
            self._reached = self._next

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the latest batch; after an epoch's last batch, the start of the next epoch."""
        at = self._reached or self._next or _Position(self._last_epoch + 1)
        return {"stream": self._stream.id, "epoch": at.epoch, "next_batch": at.index}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Start the next pass at a saved position, with any number of ranks.

        Raises ClientError if the state is another stream's.
        """
        if state["stream"] != self._stream.id:
            raise ClientError(
                f"the state is of stream {state['stream']}, this one is {self._stream.id}: its dataset, pipeline, "
                "seed, batch size or engine differs, and it would continue with other images"
            )
        self._next = self._reached = self._after(int(state["epoch"]), int(state["next_batch"]) - 1)

    def _after(self, epoch: int, index: int) -> _Position:
        """Return the position after a batch of an epoch."""
        return _Position(epoch + 1) if index + 1 >= self._stream.num_batches else _Position(epoch, index + 1)

    def _rank(self) -> tuple[int, int]:
        if self._given is not None:
            return self._given
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def _tensors(self, batch: Batch) -> TensorBatch:
        tensors = TensorBatch(
            key=batch.keys,
            position=_tensor(batch.positions),
            replaces=batch.replaces,
            is_padding=_tensor(padding(batch)),
        )
        for number, view in enumerate(batch.views):
            for column, attribute in COLUMNS.items():
                name, values = view_name(column, number), getattr(view, attribute)
                if name in tensors or values is None:
                    continue  # a column that all views share, or that the dataset does not have
                is_array = isinstance(values, np.ndarray)
                tensors[name] = _tensor(values) if is_array else [_tensor(value) for value in values]
        if self._columns is None:
            return tensors
        if missing := [name for name in self._columns if name not in tensors]:
            raise ClientError(f"the stream has no column {missing[0]!r}; it has {', '.join(tensors)}")
        return TensorBatch({name: tensors[name] for name in self._columns})


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    """Return a view if the array is writable, else a copy: tensors are writable, and Arrow's memory is read-only."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())
