"""Streams as a Lightning data module: ``trainer.fit(model, datamodule=StreamDataModule(train, val))``.

A pass has the trainer's epoch. Lightning writes into its checkpoints where the training stream is, and goes on there,
in the middle of an epoch too.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import lightning.pytorch

from augment.client.stream import ClientStream
from augment.client.torch import StreamDataset, TensorBatch
from augment.client.transport import ClientError


class TrainerDataset(StreamDataset):
    """A dataset whose passes have the epoch, the rank and the device of a trainer."""

    def __init__(self, stream: ClientStream, trainer: "lightning.pytorch.Trainer", **options: Any) -> None:
        super().__init__(
            stream,
            device=trainer.strategy.root_device,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            **options,
        )
        self._trainer = trainer

    def _pass(self) -> Iterator[TensorBatch]:
        self.set_epoch(self._trainer.current_epoch)
        yield from super()._pass()


class StreamDataModule(lightning.pytorch.LightningDataModule):
    """The streams of a training; each may be left out. Batches are those of a ``StreamDataset``, without text.

    Epoch, rank, world size and device are the trainer's: each rank reads its slice of every batch, and copies and
    normalises it on its device. So sanity checks and peeks change nothing: training epoch 3 reads epoch 3 of the
    stream, and validations during it epoch 3 of theirs. ``columns``, ``layout``, ``normalize`` and ``pin_memory`` are
    those of ``StreamDataset``; name ``key`` in ``columns`` to have the keys.
    """

    def __init__(
        self,
        train: ClientStream | None = None,
        val: ClientStream | None = None,
        test: ClientStream | None = None,
        predict: ClientStream | None = None,
        *,
        columns: Sequence[str] | None = None,
        layout: str | None = None,
        normalize: bool = False,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        self._streams = {"train": train, "val": val, "test": test, "predict": predict}
        self._options: dict[str, Any] = {
            "columns": columns, "text": False, "layout": layout, "normalize": normalize, "pin_memory": pin_memory,
        }  # fmt: skip
        for stream in self._streams.values():
            if stream is not None:
                StreamDataset(stream, **self._options)  # a wrong argument is an error here, not in the trainer

    def train_dataloader(self) -> Any:
        return self._dataset("train")

    def val_dataloader(self) -> Any:
        return self._dataset("val") if self._streams["val"] is not None else []

    def test_dataloader(self) -> Any:
        return self._dataset("test")

    def predict_dataloader(self) -> Any:
        return self._dataset("predict")

    def _dataset(self, name: str) -> StreamDataset:
        stream = self._streams[name]
        if stream is None:
            raise ClientError(f"the data module has no stream for {name}; give StreamDataModule(…, {name}=stream)")
        if self.trainer is None:
            return StreamDataset(stream, **self._options)
        return TrainerDataset(stream, self.trainer, **self._options)
