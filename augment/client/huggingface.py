"""Streams as rows for the Hugging Face Trainer and for loaders that Accelerate prepares.

Both cut rows into batches and share these among the processes by themselves: every process that reads gets the whole
stream here, never a rank's slice of it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import datasets
from datasets.iterable_dataset import ExamplesIterable

from augment.client.stream import ClientStream
from augment.client.torch import StreamDataset
from augment.client.transport import ClientError


class RowDataset(datasets.IterableDataset):
    """Rows of a stream, in its order: dictionaries of tensors without a batch axis.

    ``columns`` maps columns of a ``StreamDataset`` to the names that the model takes, as ``{"image": "pixel_values",
    "label": "labels"}``, and leaves out the rest; without it, all columns but text. ``layout`` and ``normalize`` are
    those of ``StreamDataset``. Rows that fill no batch of the loader's go into a smaller one.

    Each pass is one epoch: the number given to ``set_epoch``, which the Trainer and prepared loaders call, else one
    more than the pass before. ``state_dict`` tells the epoch and the row after the latest, and ``load_state_dict``
    goes on there without reading what came before. A dataset that ``map`` or another method derives keeps neither.
    """

    def __init__(
        self,
        stream: ClientStream,
        *,
        columns: Mapping[str, str] | None = None,
        layout: str | None = None,
        normalize: bool = False,
    ) -> None:
        if columns is not None and not isinstance(columns, Mapping):
            raise ClientError(
                f"columns is {columns!r:.100}; give a mapping from the stream's names to the model's, such as "
                '{"image": "pixel_values", "label": "labels"}'
            )
        names = None if columns is None else list(columns)
        self._names = dict(columns or {})
        self._batches = StreamDataset(
            stream, columns=names, text=False, layout=layout, normalize=normalize, rank=0, world_size=1
        )
        self._num_rows = _rows_of_epoch(stream)
        self._first_row = 0
        self._reached: dict[str, Any] | None = None
        super().__init__(ExamplesIterable(self._rows, {}))

    def __len__(self) -> int:
        """Rows of a whole epoch."""
        return self._num_rows

    def set_epoch(self, epoch: int) -> None:
        """Give the next pass this number. A loaded state in the middle of that epoch still counts."""
        super().set_epoch(epoch)
        self._batches.set_epoch(epoch)
        if self._batches.state_dict()["next_batch"] == 0:
            self._reached = None

    def state_dict(self) -> dict[str, Any]:
        """Return where the latest pass is: the stream's id, the epoch, the batch of the stream and the row in it."""
        return dict(self._reached or {**self._batches.state_dict(), "row": 0})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next pass start there. ClientError if the state is another stream's."""
        self._batches.load_state_dict(state)
        self._first_row = int(state["row"])
        self._reached = dict(state)

    def _rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        first, self._first_row = self._first_row, 0
        for batch in self._batches:
            following = self._batches.state_dict()
            epoch, index = following["epoch"], following["next_batch"] - 1
            if index < 0:
                epoch, index = epoch - 1, len(self._batches) - 1
            number = len(next(iter(batch.values())))
            for row in range(first, number):
                is_last = row + 1 == number
                after = {"epoch": epoch, "next_batch": index, "row": row + 1}
                self._reached = {**following, "row": 0} if is_last else {**following, **after}
                yield f"{epoch}/{index}/{row}", {self._names.get(name, name): batch[name][row] for name in batch}
            first = 0


def _rows_of_epoch(stream: ClientStream) -> int:
    document = stream.document
    if document["drop_last"]:
        return int(document["num_batches"]) * int(document["batch_size"])
    return int(document["num_records"]) * int(document["repeats"])
