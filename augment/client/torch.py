"""PyTorch dataset of a stream: whole batches for this process's rank, with exact resume.

``DataLoader(StreamDataset(stream), batch_size=None)`` or the dataset itself; both yield dictionaries of tensors, whose
images are uint8 (N, H, W, C) unless the stream was declared with another ``dtype`` or ``layout``.
``StreamDataset(stream, layout="NCHW", normalize=True, device="cuda")`` yields the input of a network: batches are sent
as uint8, also to the device, and converted to floats there.

Keys are the wire's columns: ``image``, ``label``, ``mask``, ``boxes`` and so on, of further views ``image_1``,
``mask_1`` and so on; in a stream with views also ``inverse``, ``inverse_1`` and so on, and ``source_size``.
``is_padding`` (bool) marks rows that another rank has too: leave them out of sums and counts.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed
import torch.utils.data
from torch.utils.data._utils.collate import default_collate_fn_map

from augment.client.stream import ClientStream
from augment.client.transport import ClientError
from augment.normalize.pixel_format import LAYOUTS
from augment.samples.sample import Batch
from augment.validation import quoted
from augment.wire.columns import COLUMNS, padding, view_name

TEXT_COLUMNS = ("key", "replaces")
"""The columns that are no tensors."""


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

    ``columns`` selects the columns of a batch; the default is all, or with ``text=False`` all tensors, because some
    frameworks fail on text. Rank and world size are those of ``torch.distributed`` if it is initialised, else 0 and 1;
    with several processes of Accelerate they are required. The dataset can be pickled; a copy resumes from the state of
    the original.

    ``layout`` (NCHW or NHWC) is the layout of the images, contiguous; by default the stream's. ``normalize=True``
    returns float32 as the stream's section says. ``device`` moves every tensor there; on CUDA the next batch is copied
    from pinned memory on a separate CUDA stream while the current one is used. ``pin_memory`` returns tensors in pinned
    memory, for a framework that moves them itself; without CUDA it has no effect.

    With ``num_workers`` of a ``DataLoader`` above 0 the first batch raises ClientError: the stream fetches ahead by
    itself, and a dataset in a worker process cannot report its position to the loader.
    """

    def __init__(
        self,
        stream: ClientStream,
        *,
        columns: Sequence[str] | None = None,
        text: bool = True,
        layout: str | None = None,
        normalize: bool = False,
        pin_memory: bool = False,
        device: "torch.device | str | None" = None,
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
        if layout is not None and layout not in LAYOUTS:
            raise ClientError(f"layout is {layout!r}; it is one of {', '.join(LAYOUTS)}, or None for the stream's")
        num_views = len(stream.document["normalize"]) if stream.document["views"] else 1
        if normalize:
            for view in range(num_views):
                stream.normalize(np.empty((0, 1, 1, 3), np.uint8), view=view)  # refuses a view without a section
        self._stream = stream
        self._columns = None if columns is None else tuple(columns)
        self._text = text
        self._image_columns = [view_name("image", view) for view in range(num_views)]
        self._layout = layout or stream.pixel_format.layout
        self._normalize = normalize
        self._device = None if device is None else torch.device(device)
        # A copy from pageable memory would wait for the device.
        self._pin = torch.cuda.is_available() and (
            pin_memory or (self._device is not None and self._device.type == "cuda")
        )
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
            for index, tensors in self._on_device((batch.index, self._tensors(batch)) for batch in batches):
                # Set before the yield, so that a checkpoint taken by the consumer resumes after this batch.
                self._reached = self._after(start.epoch, index)
                yield tensors
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
        if _accelerate_shares_loaders():
            raise ClientError(
                "Accelerate splits what a prepared loader reads; give rank=0, world_size=1 if this dataset is in one, "
                "else rank=accelerator.process_index, world_size=accelerator.num_processes"
            )
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def _on_device(self, batches: Iterable[tuple[int, TensorBatch]]) -> Iterator[tuple[int, TensorBatch]]:
        if self._device is None or self._device.type != "cuda":
            for index, batch in batches:
                yield index, self._finished(batch)
            return
        copies = torch.cuda.Stream(self._device)
        ahead: tuple[int, TensorBatch, Any] | None = None
        for index, batch in batches:
            with torch.cuda.stream(copies):
                copied = index, self._finished(batch), copies.record_event()
            if ahead is not None:
                yield self._handed_over(*ahead)
            ahead = copied
        if ahead is not None:
            yield self._handed_over(*ahead)

    def _handed_over(self, index: int, batch: TensorBatch, copied: Any) -> tuple[int, TensorBatch]:
        """Let the reader's CUDA stream wait for the copy, and the allocator for the reader."""
        current = torch.cuda.current_stream(self._device)
        current.wait_event(copied)
        for value in batch.values():
            for tensor in value if isinstance(value, list) else [value]:
                if isinstance(tensor, torch.Tensor):
                    tensor.record_stream(current)
        return index, batch

    def _finished(self, batch: TensorBatch) -> TensorBatch:
        """Move a batch to the device; lay its images out and normalise them there."""
        if self._device is not None:
            batch = TensorBatch({name: self._moved(value) for name, value in batch.items()})
        for view, name in enumerate(self._image_columns):
            if name in batch:
                batch[name] = self._images(batch[name], view)
        return batch

    def _moved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._moved(each) for each in value]
        return value.to(self._device, non_blocking=self._pin) if isinstance(value, torch.Tensor) else value

    def _images(self, images: Any, view: int) -> Any:
        if isinstance(images, list):
            return [self._images(image, view) for image in images]
        if self._layout != self._stream.pixel_format.layout:
            images = images.movedim(-1, -3) if self._layout == "NCHW" else images.movedim(-3, -1)
        if self._normalize:
            return self._stream.normalize(images, view=view, layout=self._layout)
        return images.contiguous()

    def _tensors(self, batch: Batch) -> TensorBatch:
        tensors = TensorBatch(
            key=batch.keys,
            position=self._tensor(batch.positions),
            replaces=batch.replaces,
            is_padding=self._tensor(padding(batch)),
        )
        for number, view in enumerate(batch.views):
            for column, attribute in COLUMNS.items():
                name, values = view_name(column, number), getattr(view, attribute)
                if name in tensors or values is None:
                    continue  # a column that all views share, or that the dataset does not have
                is_array = isinstance(values, np.ndarray)
                tensors[name] = self._tensor(values) if is_array else [self._tensor(value) for value in values]
        if self._columns is None:
            return TensorBatch({name: tensors[name] for name in tensors if self._text or name not in TEXT_COLUMNS})
        if missing := [name for name in self._columns if name not in tensors]:
            raise ClientError(f"the stream has no column {missing[0]!r}; it has {', '.join(tensors)}")
        return TensorBatch({name: tensors[name] for name in self._columns})

    def _tensor(self, array: np.ndarray[Any, Any]) -> Any:
        """Return a view of a writable array, else a copy: a tensor would let Arrow's read-only memory be written."""
        if not self._pin:
            return torch.from_numpy(array if array.flags.writeable else array.copy())
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        pinned = torch.empty(array.shape, dtype=dtype, pin_memory=True)
        pinned.numpy()[...] = array
        return pinned


def _accelerate_shares_loaders() -> bool:
    """Return True in one of several processes of Accelerate: whether a loader is prepared, a dataset cannot know."""
    state = sys.modules.get("accelerate.state")
    return state is not None and state.is_initialized() and state.AcceleratorState().num_processes > 1
