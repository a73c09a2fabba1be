"""Online: (stream, epoch, index) -> Batch, in this process or in a pool of its own.

A stream keeps no position. Whoever reads it says which epoch, which batches and which rank, so that resuming is one
integer and any process may answer.
"""

import functools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from types import TracebackType
from typing import Self

from augment import arguments, engine
from augment.batch import BATCH_SIZE_MAX, BatchRenderer, Place, StreamSpec
from augment.batch_task import BatchTask
from augment.chance import NUMBER_MAX
from augment.dataset import Dataset
from augment.errors import CallError, DatasetError, StorageError
from augment.formats import registry
from augment.guard import InProcessGuard
from augment.laid import Laid
from augment.memory_file import MemoryFile
from augment.render import Renderer, RenderSource, check_seed
from augment.sample import Batch, Rendered
from augment.task import Workers
from augment.transforms import sizes
from augment.transforms.load import Pipeline
from augment.wire import arrow
from augment.wire.columns import Layout

_PREFETCH = 2
"""Batches in flight for each worker: one that is rendered and one that waits."""


class Stream:
    """Augmented batches of a dataset, each a pure function of (stream, epoch, index).

    ``dataset`` is a Dataset or the path of a folder, which is scanned; ``pipeline`` a Pipeline, the name of a preset or
    the path of a file. ``split`` omitted means ``train`` where there is one, else all records. ``workers`` are
    processes to render in; without them each batch is rendered where it is asked for. Iterating the stream itself
    gives epoch 0:

        for epoch in range(90):
            for batch in stream.batches(epoch):
                train(batch.images, batch.labels)

    Raises PipelineError at once where the pipeline cannot hold for the dataset, CallError for arguments out of range.
    With workers a stream may be read from several threads, without them from one.
    """

    def __init__(
        self,
        dataset: Dataset | str | os.PathLike[str],
        pipeline: Pipeline | str | os.PathLike[str],
        *,
        batch_size: int = 64,
        seed: int = 0,
        split: str | None = None,
        shuffle: bool = True,
        drop_last: bool = True,
        workers: Workers | None = None,
    ) -> None:
        # All that can be judged at once is judged before a scan that may take minutes.
        self.pipeline = Pipeline.take(pipeline)
        seed, batch_size = check_seed(seed), arguments.integer("batch_size", batch_size, 1, BATCH_SIZE_MAX)
        shuffle, drop_last = arguments.flag("shuffle", shuffle), arguments.flag("drop_last", drop_last)
        self._workers: Workers | None = arguments.workers("workers", workers)
        whole = registry.take(dataset)
        self.dataset = whole.choose(split)
        smallest = self.dataset.min_size()
        sizes.check_fits(
            self.pipeline.spec, smallest.height, smallest.width, self.dataset.moved_targets, key=smallest.key
        )
        self.spec = StreamSpec(
            engine=engine.engine_id(),
            dataset=whole.digest,
            split=self.dataset.split,
            pipeline=self.pipeline.digest,
            seed=seed,
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            num_records=self.dataset.num_records,
        )
        self.image_shape = self._image_shape()
        self._whole = whole
        self._shared: MemoryFile | None = None

    @functools.cached_property
    def _here(self) -> BatchRenderer:
        """Compiled when it is first needed: whoever only describes a stream, or has workers, never renders here."""
        renderer = Renderer(self.dataset, self.pipeline.spec, seed=self.spec.seed)
        return BatchRenderer(renderer, self.spec, self.image_shape)

    @property
    def id(self) -> str:
        """The stream's digest: equal for equal streams on every machine of one engine."""
        return self.spec.id

    @property
    def num_batches(self) -> int:
        """Batches in each epoch."""
        return self.spec.num_batches

    @property
    def num_records(self) -> int:
        """Records in the chosen split."""
        return self.spec.num_records

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that labels index."""
        return self.dataset.classes

    def batch(self, epoch: int, index: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """One rank's slice of one batch, rendered here and now."""
        return self._here.render(Place(epoch, index, rank, world_size), InProcessGuard())

    def batches(
        self, epoch: int = 0, start: int = 0, stop: int | None = None, *, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Batches ``start`` to ``stop`` (by default the epoch's end) of an epoch, in order.

        With workers, the next few are rendered ahead of the reader; their images are read-only views.
        """
        start = arguments.integer("start", start, 0)
        end = self.num_batches if stop is None else arguments.integer("stop", stop, 0)
        arguments.integer("epoch", epoch, 0, NUMBER_MAX)
        if not 0 <= start <= end <= self.num_batches:
            raise CallError(f"start {start} and stop {end} must satisfy 0 <= start <= stop <= {self.num_batches}")
        places = [Place(epoch, index, rank, world_size) for index in range(start, end)]
        for place in places[:1]:
            self.spec.positions(place)  # rank and world size are refused here, not when the first batch is asked for
        if self._workers is None:
            return (self._here.render(place, InProcessGuard()) for place in places)
        return self._batches_ahead(self._workers, epoch, places)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(epoch=0)

    def sample(self, epoch: int, key: str) -> Rendered:
        """What the model sees of one record in one epoch, with what was done to it."""
        epoch = arguments.integer("epoch", epoch, 0, NUMBER_MAX)
        position = self.dataset.find(key)
        if position is None:
            raise DatasetError(f"the dataset has no record {arguments.shown(key)}; keys are paths without extension")
        return self._here.renderer.render(self.dataset.record(position), draw=epoch)

    def close(self) -> None:
        """Give back what workers needed of this stream; the workers themselves stay with whoever made them."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batches_ahead(self, workers: Workers, epoch: int, places: Sequence[Place]) -> Iterator[Batch]:
        layout = self.layout(epoch)
        schema = arrow.schema_of(layout)
        source = self._source()
        pending: deque[tuple[Place, Future[Laid | None], MemoryFile]] = deque()
        waiting = iter(places)
        ahead = max(1, _PREFETCH * workers.num_workers)
        try:
            while True:
                while len(pending) < ahead and (place := next(waiting, None)) is not None:
                    file = MemoryFile(f"batch-{place.index}")
                    future = workers.submit(BatchTask(source, self.spec, layout, place, file.path))
                    pending.append((place, future, file))
                if not pending:
                    return
                place, future, file = pending.popleft()
                with file:
                    if (laid := future.result()) is None:
                        raise StorageError("a batch does not fit into memory; take a smaller batch_size")
                    batch = arrow.from_message(file.map(), schema)
                yield replace(batch, epoch=place.epoch, index=place.index, refusals=laid.refusals)
        finally:
            for _, future, _ in pending:
                future.cancel()
            # A worker opens its file by descriptor number, which must not become another file's while it still might.
            wait([future for _, future, _ in pending])
            for _, _, file in pending:
                file.close()

    def layout(self, epoch: int) -> Layout:
        """What all batches of one epoch have in common."""
        return Layout(
            self.image_shape, self.dataset.targets, len(self.classes), self.dataset.mask_bits, self.metadata(epoch)
        )

    def metadata(self, epoch: int) -> dict[str, object]:
        """What travels beside the pixels: the address of the batches, the class names, the normalisation."""
        return {
            "stream": self.id,
            "epoch": epoch,
            "seed": self.spec.seed,
            "batch_size": self.spec.batch_size,
            "classes": list(self.classes),
            "keypoint_names": list(self.dataset.keypoint_names),
            "normalize": self.pipeline.spec.canonical().get("normalize"),
        }

    def _source(self) -> RenderSource:
        """The manifest in a memory file that workers of this machine open by its path in ``/proc``."""
        if self._shared is None:
            self._shared = MemoryFile("manifest")
            self._shared.write(self._whole.to_buffer())
        return RenderSource(
            manifest=self._shared.path,
            dataset_digest=self._whole.digest,
            split=self.dataset.split,
            spec=self.pipeline.spec,
            seed=self.spec.seed,
        )

    def _image_shape(self) -> tuple[int, int, int] | None:
        size = sizes.fixed_output(self.pipeline.spec)
        if size is None and (common := self.dataset.common_size()) is not None:
            size = sizes.output_size(self.pipeline.spec, *common)
        return None if size is None else (*size, 3)
