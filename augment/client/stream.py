"""Client side of a declared stream: epochs of batches, each batch delivered exactly once despite network failures.

Arrow reads an answer's body through ``Received``: pixels go from the socket into the memory that the arrays view. A
background thread fetches ahead into a bounded queue (``Prefetch``) and ends when the reader stops.
"""

import contextlib
import copy
import json
import queue
import threading
import warnings
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from augment import validation
from augment.client.replicas import OF_THIS_REPLICA, Replica, Replicas
from augment.client.transport import (
    TRANSIENT,
    Answer,
    ClientError,
    Patience,
    RefusedError,
    ServiceAddress,
    Stop,
    TooManyFailuresError,
    Transport,
    arguments_checked,
    is_transient,
)
from augment.client.window import Fetched, Window
from augment.errors import CallError
from augment.normalize.images import denormalise, normalize
from augment.normalize.pixel_format import PixelFormat
from augment.samples import notebook
from augment.samples.sample import Batch
from augment.tta.merge import Merged, merge_predictions
from augment.validation import FailureBudget, MaxFailures
from augment.wire import arrow

_LARGE_BYTES = 1 << 16
"""Reads of at least this size, the bodies of batches, get their own memory; schemas and headers are smaller."""


class Received:
    """File object of an answer's body for ``pyarrow.ipc.open_stream``. For one thread at a time."""

    closed = False

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def read(self, size: int) -> bytes | memoryview:
        """Return the next ``size`` bytes, fewer only at the end. Large reads return a read-only view of new memory.

        Raises ``transport.TRANSIENT``.
        """
        if size < _LARGE_BYTES:
            return self._answer.read(size)
        memory = np.empty(size, np.uint8).data  # NumPy requests huge pages: a hundredth of the page faults
        return memory[: self._answer.fill(memory)].toreadonly()


class Prefetch:
    """Iterator over the batches of ``produce(stop)``, which runs at most ``depth`` batches ahead in a thread."""

    def __init__(self, produce: Callable[[Stop], Iterator[Batch]], depth: int) -> None:
        self._produce = produce
        self._items: queue.Queue[tuple[Batch | None, BaseException | None]] = queue.Queue(max(1, depth))
        self._stop = Stop()
        self._thread = threading.Thread(target=self._run, name="augment-prefetch", daemon=True)

    def __iter__(self) -> Generator[Batch, None, None]:
        self._thread.start()
        try:
            while True:
                item, error = self._items.get()
                if error is not None:
                    raise error
                if item is None:
                    return
                yield item
        finally:
            self.close()

    def close(self) -> None:
        """End the thread and wait for it. May be called from any thread, repeatedly, and before the first item."""
        self._stop.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with contextlib.suppress(queue.Empty):
            while True:
                self._items.get_nowait()
        # The generator itself reads no more. Any other reader learns that its epoch is not whole.
        closed = ClientError(
            "the stream was closed before the end of the epoch; read the epoch again from this batch on"
        )
        self._items.put_nowait((None, closed))

    def _run(self) -> None:
        last: tuple[Batch | None, BaseException | None] = (None, None)
        try:
            for item in self._produce(self._stop):
                if not self._put((item, None)):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            last = (None, error)
        self._put(last)

    def _put(self, item: tuple[Batch | None, BaseException | None]) -> bool:
        while not self._stop:
            try:
                self._items.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False


_ARROW = "application/vnd.apache.arrow.stream"
_NOT_FOUND = 404
_EPOCH_MAX = 2**53 - 1


class ReplacedRowsWarning(UserWarning):
    """Rows of an epoch replace records that were refused or have changed since the scan."""


class ClientStream:
    """Batches of one stream. Several epochs may be read at once, each by one thread. Can be pickled.

    ``document`` is the service's document of the stream. ``num_rows`` counts the rows that this object has delivered,
    ``num_failed`` those among them that replace other records.
    """

    def __init__(
        self,
        transport: Transport,
        replicas: Replicas,
        declaration: Mapping[str, Any],
        *,
        prefetch: int = 2,
        max_failures: MaxFailures | None = None,
    ) -> None:
        with arguments_checked():
            self._budget = FailureBudget(max_failures)
            self._prefetch = validation.integer("prefetch", prefetch, 0)
        self._transport = transport
        self._replicas = replicas
        self._declaration = dict(declaration)
        self._reading: weakref.WeakSet[Prefetch] = weakref.WeakSet()
        self.document: Mapping[str, Any] = self._declare_first()
        self.num_rows = 0
        self.num_failed = 0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_reading"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, _reading=weakref.WeakSet())

    def __repr__(self) -> str:
        document = self.document
        split = "" if document["split"] is None else f", split {document['split']!r}"
        counts = f"{document['num_records']} records, {self.num_batches} batches of {document['batch_size']}"
        return f"<ClientStream {self.id[:8]} of {document['dataset']!r}{split}: {counts}>"

    def _repr_html_(self) -> str:
        """Return images of batch (0, 0), which this fetches, with targets drawn; or an error as text, after 5 s."""
        impatient = copy.copy(self)  # with counts of its own
        impatient._transport = self._transport.impatient()  # noqa: SLF001 - a copy of itself
        world_size = notebook.num_slices(int(self.document["batch_size"]))  # only the first rows come
        try:
            with warnings.catch_warnings(), closing(impatient.epoch(0, 0, 1, world_size=world_size)) as batches:
                warnings.simplefilter("ignore", ReplacedRowsWarning)
                batch = next(batches)
            return batch.html(
                repr(self), classes=self.classes, to_pixels=lambda images, view: self.denormalise(images, view=view)
            )
        except (ClientError, CallError) as error:
            return notebook.page(repr(self), lines=[f"{type(error).__name__}: {error}"])

    @property
    def id(self) -> str:
        """The stream's digest: equal on every replica."""
        return str(self.document["id"])

    @property
    def notices(self) -> tuple[str, ...]:
        """Notices: rows that an epoch leaves out, and parts of the pipeline that were dropped or renamed."""
        return tuple(self.document["notices"])

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch."""
        return int(self.document["num_batches"])

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Shape (H, W, 3) of every image, or None if the images differ in size."""
        shape = self.document["image_shape"]
        return None if shape is None else (shape[0], shape[1], shape[2])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, indexed by the labels."""
        return tuple(self.document["classes"])

    def normalize(self, images: Any, *, view: int = 0, layout: str | None = None) -> Any:
        """Normalise a batch's uint8 images to float32, as the stream's ``normalize`` section says.

        ``images`` are arrays of NumPy, tensors of PyTorch, TensorFlow or JAX, or a list of these; the result has the
        same kind, layout and device. ``layout`` is NHWC or NCHW; by default it is found by the axis with three
        channels. The result equals the images of the same stream with ``dtype="float32"``, bit for bit, for a quarter
        of the bytes on the network. Raises ClientError if the stream has no such section or its images are floats.
        """
        try:
            return normalize(images, self._section(view), self.pixel_format, layout)
        except CallError as error:
            raise ClientError(str(error)) from error

    def denormalise(self, images: Any, *, view: int = 0) -> Any:
        """Convert float images, of a batch or from ``normalize``, to viewable uint8 of shape (..., H, W, 3)."""
        try:
            return denormalise(images, self._section(view), self.pixel_format)
        except CallError as error:
            raise ClientError(str(error)) from error

    @property
    def pixel_format(self) -> PixelFormat:
        """Dtype and layout of the images in batches."""
        return PixelFormat(self.document["dtype"], self.document["layout"])

    def _section(self, view: int) -> Mapping[str, Any] | None:
        sections = self.document["normalize"] if self.document["views"] else [self.document["normalize"]]
        if not 0 <= view < len(sections):
            raise ClientError(f"view is {view}; this stream has views 0 to {len(sections) - 1}")
        section: Mapping[str, Any] | None = sections[view]
        return section

    def merge(self, predictions: Sequence[Mapping[str, Any]], batch: Batch, **options: Any) -> Merged:
        """Merge a model's predictions for the views of a batch into one prediction for each row.

        ``options`` are those of ``augment.merge_predictions``.
        """
        return merge_predictions(predictions, batch, **options)

    def epoch(
        self, epoch: int, start: int = 0, stop: int | None = None, *, rank: int = 0, world_size: int = 1
    ) -> Generator[Batch, None, None]:
        """Yield this rank's slice of batches ``start`` to ``stop`` of an epoch, in order, each exactly once.

        The next batches are fetched in the background, from all replicas if the client has several. After a lost
        connection, reading resumes at the missing batch. Images are read-only views. Closing the iterator ends its
        thread.

        Warns once at the end (ReplacedRowsWarning) if rows replace records that were refused or have changed.
        """
        with arguments_checked():
            epoch = validation.integer("epoch", epoch, 0, _EPOCH_MAX)
            start = validation.integer("start", start, 0)
            stop = self.num_batches if stop is None else validation.integer("stop", stop, 0)
            world_size = validation.integer("world_size", world_size, 1)
            rank = validation.integer("rank", rank, 0, world_size - 1)
        if not 0 <= start <= stop <= self.num_batches:
            raise ClientError(
                f"start is {start} and stop is {stop}; 0 <= start <= stop <= {self.num_batches} is required, the "
                "number of batches in an epoch"
            )
        query = {"epoch": epoch, "rank": rank, "world_size": world_size, "format": "arrow"}
        return self._counted(query, start, stop, world_size)

    def close(self) -> None:
        """Stop reading all epochs of this stream."""
        for prefetch in list(self._reading):
            prefetch.close()

    def _counted(
        self, query: Mapping[str, Any], start: int, stop: int, world_size: int
    ) -> Generator[Batch, None, None]:
        prefetch = Prefetch(lambda stopped: self._fetch(query, start, stop, stopped), self._prefetch)
        self._reading.add(prefetch)
        batches = iter(prefetch)
        num_rows, num_replaced, first = 0, 0, ""
        try:
            for batch in batches:
                replaced = [key for key in batch.replaces if key is not None]
                self._count(batch, replaced, world_size)
                num_rows += len(batch)
                num_replaced += len(replaced)
                first = first or "".join(replaced[:1])
                yield batch
        finally:
            batches.close()
            if num_replaced:
                warnings.warn(
                    f"epoch {query['epoch']}: {num_replaced} of {num_rows} rows replace records that were refused or "
                    f"have changed since the scan, the first of them {first}; `augment check` names the reason",
                    ReplacedRowsWarning,
                    stacklevel=2,
                )

    def _fetch(self, query: Mapping[str, Any], start: int, stop: int, stopped: Stop) -> Iterator[Batch]:
        self._replicas.discover()  # a pickled copy has not done so
        if len(self._replicas) > 1:
            return self._from_replicas(query, range(start, stop), stopped)
        return self._from_server(query, start, stop, stopped)

    def _from_server(self, query: Mapping[str, Any], start: int, stop: int, stopped: Stop) -> Iterator[Batch]:
        """Read a range of batches in one answer, which the service renders ahead; after a cut, resume in another."""
        server, index = self._transport.current, start
        patience = Patience(self._transport.deadline_s, stopped.sleep)
        was_unknown = is_unknown = False
        while index < stop and not stopped:
            try:
                if is_unknown:
                    self._declare(server)
                    was_unknown, is_unknown = True, False
                for batch in self._read(server, "", {**query, "start": index, "stop": stop}, stopped):
                    self._replicas.count()
                    yield replace(batch, epoch=query["epoch"], index=index)
                    index += 1
                    was_unknown = False
                    patience.renew()
                if index < stop:
                    raise CallError(f"the answer ended before batch {index} of {stop}")
            except (RefusedError, CallError, *TRANSIENT) as error:
                if stopped:
                    return
                if isinstance(error, RefusedError) and error.status == _NOT_FOUND and not was_unknown:
                    is_unknown = True
                elif is_transient(error):
                    patience.wait(error, str(server))
                else:
                    raise

    def _from_replicas(self, query: Mapping[str, Any], indices: range, stopped: Stop) -> Iterator[Batch]:
        epoch = query["epoch"]

        def fetch(replica: Replica, index: int, ahead: Sequence[int], stop: Stop) -> Fetched:
            path = f"/{epoch}/{index}"
            part = {name: value for name, value in query.items() if name != "epoch"}
            headers = {"Augment-Ahead": ",".join(map(str, ahead))} if ahead else {}
            was_unknown = False
            while True:
                if self.id not in replica.streams:
                    self._declare(replica.server)
                    self._replicas.declared(replica, self.id)
                answer_headers: dict[str, str] = {}
                try:
                    batches = list(self._read(replica.server, path, part, stop, headers, answer_headers))
                except RefusedError as error:
                    if error.status != _NOT_FOUND or was_unknown:
                        raise
                    was_unknown = True
                    self._replicas.forgotten(replica, self.id)
                    continue
                if len(batches) != 1:
                    raise CallError(
                        f"{replica.server} answered with {len(batches)} batches, not with batch {index} alone"
                    )
                return Fetched(
                    replace(batches[0], epoch=epoch, index=index),
                    is_final="etag" in answer_headers,
                    was_cached="hit" in answer_headers.get("cache-status", ""),
                )

        size = max(self._prefetch, 2 * len(self._replicas))
        window = Window(
            self._replicas,
            fetch,
            self.id,
            epoch,
            indices,
            size=size,
            deadline_s=self._transport.deadline_s,
            stop=stopped,
        )
        return iter(window)

    def _read(
        self,
        server: ServiceAddress,
        path: str,
        query: Mapping[str, Any],
        stopped: Stop,
        headers: Mapping[str, str] = MappingProxyType({}),
        answer_headers: dict[str, str] | None = None,
    ) -> Iterator[Batch]:
        try:
            with self._transport.open(
                server,
                "GET",
                f"/v1/streams/{self.id}/batches{path}",
                query=query,
                headers={"Accept": _ARROW, **headers},
                watch=stopped.watch,
            ) as answer:
                if answer_headers is not None:
                    answer_headers.update({name.lower(): value for name, value in answer.headers.items()})
                yield from arrow.read_batches(Received(answer))
        finally:
            stopped.watch(None)

    def _declare_first(self) -> Mapping[str, Any]:
        """Declare the stream at the first replica that can serve it, and pass over those that cannot."""
        self._replicas.discover()
        refused: dict[ServiceAddress, RefusedError] = {}
        while True:
            server = self._transport.current
            try:
                document: Mapping[str, Any] = self._transport.json("POST", "/v1/streams", self._declaration)
            except RefusedError as error:
                if error.status not in OF_THIS_REPLICA or len(refused) + 1 >= len(self._replicas):
                    raise next(iter(refused.values()), error) from None
                refused[server] = error
                self._transport.leave(server)
                if self._transport.current in refused:
                    raise
            else:
                self._replicas.declared_at(self._transport.current, refused, str(document["id"]))
                return document

    def _declare(self, server: ServiceAddress) -> None:
        """Declare the stream at a server that does not know it. Raises ClientError if the server's id differs."""
        with self._transport.open(
            server,
            "POST",
            "/v1/streams",
            body=json.dumps(self._declaration).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        ) as answer:
            document = json.loads(answer.read())
        if document["id"] != self.id:
            raise ClientError(
                f"{server} gives this stream the id {document['id']}, but other servers give it {self.id}: its dataset "
                "or engine differs (compare GET /version and the datasets' digests); none of its batches was used"
            )

    def _count(self, batch: Batch, replaced: Sequence[str], world_size: int) -> None:
        self.num_rows += len(batch)
        self.num_failed += len(replaced)
        # A fraction is taken of at least an epoch: one bad record in the first batch must not count as half of the run.
        rows_of_epoch = int(self.document["num_records"]) * int(self.document["repeats"])
        rows = max(self.num_rows, rows_of_epoch // world_size)
        if not self._budget.allows(self.num_failed, rows):
            raise TooManyFailuresError(
                f"{self.num_failed} of {self.num_rows} rows replace refused records, max_failures is "
                f"{self._budget.max_failures}; the last batch ({batch.epoch}, {batch.index}) replaces {replaced[:3]}"
            )
