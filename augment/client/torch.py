"""A stream as a PyTorch dataset: whole batches, this process's rank, exact to resume.

``DataLoader(StreamDataset(stream), batch_size=None)`` or the dataset itself; both yield dictionaries of tensors, whose
images are uint8 (N, H, W, C) unless the stream was declared with another ``dtype`` or ``layout``. On the accelerator,
``images.permute(0, 3, 1, 2).float()`` and the stream's normalisation cost less than float batches cost on the network.
Keys are the wire's columns: ``image``, ``label``, ``mask``, ``boxes`` and so on, of further views ``image_1``,
``mask_1`` and so on; in a stream with views also ``inverse``, ``inverse_1`` and so on, and ``source_size``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed
import torch.utils.data

from augment.client.stream import ClientStream
from augment.client.transport import ClientError
from augment.samples.sample import Batch
from augment.wire.columns import COLUMNS, view_name


class StreamDataset(torch.utils.data.IterableDataset[dict[str, Any]]):
    """One pass is one epoch, or what is left of it; the next pass is the next epoch, unless ``set_epoch`` says another.

    Rank and world size are those of ``torch.distributed`` where it is initialised, else 0 and 1. With one loader worker
    the position is kept in that worker: keep ``num_workers=0`` (the stream fetches ahead anyway) for ``state_dict``.
    """

    def __init__(self, stream: ClientStream, *, rank: int | None = None, world_size: int | None = None) -> None:
        super().__init__()
        if (rank is None) != (world_size is None):
            raise ClientError("rank and world_size are given together, or both taken from torch.distributed")
        self._stream = stream
        self._given = None if rank is None or world_size is None else (rank, world_size)
        self._epoch = 0
        self._next = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = torch.utils.data.get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise ClientError(
                f"num_workers is {worker.num_workers}: each worker would read the whole stream and every batch would "
                "come that many times; the service has the workers, take num_workers=0"
            )
        rank, world_size = self._place()
        batches = self._stream.epoch(self._epoch, self._next, rank=rank, world_size=world_size)
        try:
            for batch in batches:
                self._next = batch.index + 1  # before it is handed out: a checkpoint taken now goes on behind it
                yield _tensors(batch)
        finally:
            batches.close()
        self._epoch, self._next = self._epoch + 1, 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._stream.num_batches

    def set_epoch(self, epoch: int) -> None:
        """Read this epoch next: from where a loaded state stands if it is that epoch, else from its start."""
        if epoch != self._epoch:
            self._epoch, self._next = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: two integers and its id."""
        return {"stream": self._stream.id, "epoch": self._epoch, "next_batch": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there, with any number of ranks; ClientError where the state is another stream's."""
        if state["stream"] != self._stream.id:
            raise ClientError(
                f"the state is of stream {state['stream']}, this one is {self._stream.id}: its dataset, pipeline, "
                "seed, batch size or engine differs, and it would go on with other pictures"
            )
        self._epoch, self._next = int(state["epoch"]), int(state["next_batch"])

    def _place(self) -> tuple[int, int]:
        if self._given is not None:
            return self._given
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1


def _tensors(batch: Batch) -> dict[str, Any]:
    found: dict[str, Any] = {"key": batch.keys, "position": _tensor(batch.positions), "replaces": batch.replaces}
    for number, view in enumerate(batch.views):
        for column, attribute in COLUMNS.items():
            name, values = view_name(column, number), getattr(view, attribute)
            if name in found:
                continue  # what all views share
            if isinstance(values, np.ndarray):
                found[name] = _tensor(values)
            elif values is not None:
                found[name] = [_tensor(value) for value in values]
    return found


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    """A view where the array may be written to; Arrow's memory may not, and a tensor would let it happen."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())
