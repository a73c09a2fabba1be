"""A stream for Keras 3 with any backend: ``model.fit(data, shuffle=False, callbacks=[data.callback])``.

The callback gives the dataset the number of Keras' own epoch, so that the look at a first batch, which ``fit`` takes
before it trains, uses up no epoch. It counts the batches that were trained, so that ``state_dict`` is exact whatever a
backend fetches ahead.
"""

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

import keras

from augment.client.columns import arrays_of, check_stream
from augment.client.stream import ClientStream
from augment.client.transport import ClientError
from augment.samples.sample import Batch


class StreamPyDataset(keras.utils.PyDataset):
    """Batches of a stream by their number: item ``i`` is batch ``i`` of the current epoch, (inputs, targets).

    ``inputs`` and ``targets`` name columns, as the wire does: ``image``, ``label``, ``label_weights``, ``mask``, of
    further views ``image_1`` and so on. One name gives an array, several give a dictionary of arrays; ``targets=None``
    gives inputs alone. Images are uint8 (N, H, W, C) unless the stream was declared with another ``dtype`` or
    ``layout``. Arrays are read-only. Columns that differ in size from row to row, such as boxes, are no arrays:
    ``convert`` is a function of a ``Batch``, used in place of both, that returns what Keras shall get.

    Give ``fit`` the ``callback`` as the first of its callbacks. Then Keras' number of the epoch is the stream's, and
    ``state_dict`` describes the batch that was trained last. Without it, the dataset goes on to its next epoch when
    Keras ends one whose last batch was asked for.

    One thread reads, because the stream fetches ahead by itself: ClientError if ``workers`` is above 1 or
    ``use_multiprocessing`` is set. Batches in order come from one request; in any other order each is a request of its
    own. With the callback, ``shuffle=True`` of ``fit`` is a ClientError: the stream has shuffled the records, and an
    epoch whose batches come in another order cannot be resumed.
    """

    def __init__(
        self,
        stream: ClientStream,
        *,
        inputs: str | Sequence[str] = "image",
        targets: str | Sequence[str] | None = "label",
        convert: Callable[[Batch], Any] | None = None,
        workers: int = 1,
        use_multiprocessing: bool = False,
    ) -> None:
        if workers > 1 or use_multiprocessing:
            raise ClientError(
                f"workers is {workers} and use_multiprocessing is {use_multiprocessing}; take workers=1 and "
                "use_multiprocessing=False: the stream fetches ahead by itself (prefetch of Client.stream says how far)"
            )
        super().__init__(workers=1, use_multiprocessing=False)
        self._stream = check_stream(stream)
        self._convert = convert or (lambda batch: _columns(batch, inputs, targets))
        self.callback = PositionCallback(self)
        self._epoch, self._start = 0, 0
        self._loaded: tuple[int, int] | None = None
        self._trained: tuple[int, int] | None = None
        self._asked: set[int] = set()
        self._is_last_asked = False
        self._is_out_of_order = False
        self._reader: Generator[Batch, None, None] | None = None
        self._reader_at = (-1, -1)
        self._lock = threading.Lock()  # a backend may still read an iterator that it has dropped

    def __len__(self) -> int:
        """Batches of the current epoch; after ``load_state_dict`` those that are left of it."""
        return self._stream.num_batches - self._start

    def __getitem__(self, index: int) -> Any:
        """Return a batch of the current epoch, counted from its first or from the one that a loaded state names."""
        with self._lock:
            if not 0 <= index < len(self):
                raise IndexError(f"index is {index}; the epoch has batches 0 to {len(self) - 1}")
            self._is_last_asked |= index == len(self) - 1
            # Whoever reads in order has asked for the batch before, in this epoch or an earlier one.
            self._is_out_of_order |= self.callback.is_training and index > 0 and index - 1 not in self._asked
            self._asked.add(index)
            batch = self._read(self._epoch, self._start + index)
        return self._convert(batch)

    def _read(self, epoch: int, index: int) -> Batch:
        """Take the batch from the open request if it is the next there, else ask for it."""
        if self._reader is None or self._reader_at != (epoch, index):
            self._close()
            if index != self._start:  # the first is asked for with all that follow it, any other alone
                with closing(self._stream.epoch(epoch, index, index + 1)) as batches:
                    return next(batches)
            self._reader = self._stream.epoch(epoch, index)
        self._reader_at = (epoch, index + 1)
        try:
            return next(self._reader)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def on_epoch_end(self) -> None:
        """Go on to the next epoch if the last batch was asked for; Keras calls this, also after a look at one batch."""
        with self._lock:
            self._close()
            if self._is_last_asked:
                self._move(self._epoch + 1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Make this the current epoch. A loaded state in the middle of it still counts."""
        with self._lock:
            loaded, self._loaded = self._loaded, None
            self._move(*(loaded if loaded is not None and loaded[0] == epoch else (epoch, 0)))

    def _move(self, epoch: int, start: int) -> None:
        if (epoch, start) != (self._epoch, self._start):
            self._close()
        self._epoch, self._start, self._is_last_asked = epoch, start, False

    def begin_epoch(self, epoch: int, num_steps: int | None) -> None:
        """Make this the current epoch, of which ``fit`` takes so many batches. For the callback."""
        if self._loaded is not None and self._loaded[0] != epoch:
            raise ClientError(
                f"the loaded state is in epoch {self._loaded[0]} and fit begins with epoch {epoch}; give fit "
                "initial_epoch=data.epoch"
            )
        if not self.callback.is_training:
            self._asked.clear()  # what was read before in any order says nothing about this fit
        self.set_epoch(epoch)
        if num_steps != len(self):
            raise ClientError(
                f"fit takes {num_steps} batches an epoch, epoch {epoch} has {len(self)} to give; leave out "
                f"steps_per_epoch, and train what is left of a broken epoch in a fit for itself: "
                "initial_epoch=data.epoch, epochs=data.epoch + 1"
            )

    def count_trained(self, index: int) -> None:
        """Count a batch of the current epoch as trained. For the callback."""
        if self._is_out_of_order:
            raise ClientError(
                "fit reads batches in another order; give fit shuffle=False: the stream has shuffled the records, and "
                "an epoch in another order cannot be resumed"
            )
        is_last = index + 1 >= len(self)
        self._trained = (self._epoch + 1, 0) if is_last else (self._epoch, self._start + index + 1)

    @property
    def epoch(self) -> int:
        """The number of the current epoch: ``initial_epoch`` of the next ``fit``."""
        return self._epoch

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the batch that was trained last; after an epoch's last batch, the next epoch.

        ClientError if batches were read without the ``callback``, because then the trained batches are not counted.
        """
        if self._asked and not self.callback.is_used:
            raise ClientError(
                "the position is unknown: batches were read without data.callback, which counts them; give it "
                "to fit (callbacks=[data.callback])"
            )
        epoch, index = self._trained or self._loaded or (self._epoch, self._start)
        return {"stream": self._stream.id, "epoch": epoch, "next_batch": index}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there: ``len`` is what is left of that epoch. ClientError if the state is another stream's.

        Keras takes all epochs of one ``fit`` to be as long as its first. So the rest of a broken epoch is a ``fit`` for
        itself (``initial_epoch=data.epoch, epochs=data.epoch + 1``), and the epochs after it are another.
        """
        if state["stream"] != self._stream.id:
            raise ClientError(
                f"the state is of stream {state['stream']}, this one is {self._stream.id}: its dataset, pipeline, "
                "seed, batch size or engine differs, and it would go on with other images"
            )
        with self._lock:
            self._loaded, self._trained = (int(state["epoch"]), int(state["next_batch"])), None
            self._move(*self._loaded)


class EpochCallback(keras.callbacks.Callback):
    """The number of the epoch that ``fit`` is in, for a dataset that asks for it when a pass begins."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def epoch(self) -> int:
        """Return the number of Keras' epoch; 0 before its first."""
        return self._epoch

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 - the signature is Keras'
        """Take the number."""
        self._epoch = epoch


class PositionCallback(EpochCallback):
    """Tells a ``StreamPyDataset`` the number of the epoch that Keras trains, and which batches of it are trained."""

    def __init__(self, data: StreamPyDataset) -> None:
        super().__init__()
        self._data = data
        self.is_training = False
        self.is_used = False

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Make this the dataset's epoch. ClientError if ``fit`` takes another number of batches than it has."""
        super().on_epoch_begin(epoch, logs)
        self._data.begin_epoch(epoch, self.params.get("steps"))
        self.is_training = self.is_used = True

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002 - the signature is Keras'
        """Count the batch. ClientError if batches do not come in order."""
        self._data.count_trained(batch)

    def on_train_end(self, logs: object = None) -> None:  # noqa: ARG002 - the signature is Keras'
        """Allow any order again."""
        self.is_training = False


def _columns(batch: Batch, inputs: str | Sequence[str], targets: str | Sequence[str] | None) -> Any:
    """Return (inputs, targets), each an array or a dictionary of arrays; a tuple of one without targets."""
    remedy = "give convert=, a function of a Batch that returns (inputs, targets)"
    groups = [inputs] if targets is None else [inputs, targets]
    found = []
    for group in groups:
        arrays = arrays_of(batch, [group] if isinstance(group, str) else group, remedy)
        found.append(arrays[group] if isinstance(group, str) else dict(arrays))
    return tuple(found)
