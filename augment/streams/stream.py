"""Online augmentation: (stream, epoch, index) -> Batch, in this process or in a pool of workers.

A stream keeps no position. The reader gives the epoch, the batches and the rank, so that resuming takes one integer and
any process may answer.
"""

import functools
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, Unpack

from augment import engine, validation
from augment.dataset_stats import mean_std
from augment.datasets.dataset import Dataset
from augment.errors import AugmentError, CallError, DatasetError, StorageError
from augment.images import decode
from augment.images.cache import CachePlace
from augment.mixing.mix import parse_mix
from augment.normalize import section
from augment.normalize.images import denormalise, normalize
from augment.normalize.pixel_format import PixelFormat
from augment.render import result_file
from augment.render.pipeline import Pipeline
from augment.render.references import References, take
from augment.render.renderer import ReferenceSource, Renderer, RenderSource, check_seed
from augment.render.result_file import Laid
from augment.render.views import problems_of_view, take_views
from augment.samples import notebook
from augment.samples.sample import Batch, Rendered
from augment.scanning import scan
from augment.streams.batch import BatchRenderer, Shape
from augment.streams.options import BATCH_SIZE_MAX, REPEATS_MAX, StreamKeywords, StreamOptions
from augment.streams.spec import BatchSlice, StreamSpec
from augment.streams.tasks import BatchTask, with_provenance
from augment.transforms import sizes
from augment.wire import arrow
from augment.wire.columns import BatchLayout
from augment.workers.files import MemoryFile
from augment.workers.task import InProcessGuard, Workers

_PREFETCH = 2
"""Batches in flight for each worker: one being rendered and one waiting."""


class Stream:
    """Augmented batches of a dataset, each a pure function of (stream, epoch, index).

    ``dataset`` is a Dataset or the path of a folder, which is scanned; ``pipeline`` a Pipeline, the name of a preset or
    the path of a file. Without ``split`` the stream uses ``train`` if that split exists, else all records. ``workers``
    are processes to render in; without them each batch is rendered in the calling thread. Iterating the stream itself
    gives epoch 0:

        for epoch in range(90):
            for batch in stream.batches(epoch):
                train(batch.images, batch.labels)

    ``options`` are the fields of ``StreamOptions``. ``batch_size`` counts rows. With ``repeats`` each record appears
    that many times in its batch, each time with another draw, decoded once. ``views`` in place of ``pipeline`` lists
    pipelines, or ``{"pipeline": …, "count": n}``: each row then has an image of its record for each of them. ``mix``
    joins rows, as ``{"MixUp": {"alpha": 0.8}}``.
    ``normalize`` (a section that replaces the pipelines' own; with views a list with one for each), ``dtype``
    (``uint8``, ``float32``, ``float16``) and ``layout`` (``NHWC``, ``NCHW``) define the form of the images: ``uint8``
    leaves the arithmetic to the reader. ``references`` are datasets by the names that transforms use.

    ``shuffle`` and ``drop_last`` are True by default for the training split, or a dataset without splits, and False for
    every other split, so that an evaluation sees each record once.

    Raises PipelineError at once if the pipeline does not fit the dataset, CallError for arguments out of range. With
    workers a stream may be read from several threads, without them from one.
    """

    def __init__(
        self,
        dataset: Dataset | str | os.PathLike[str],
        pipeline: Pipeline | str | os.PathLike[str] | None = None,
        *,
        views: Sequence[object] | None = None,
        references: References | None = None,
        workers: Workers | None = None,
        **options: Unpack[StreamKeywords],
    ) -> None:
        # Check everything that needs no dataset before a scan that may take minutes.
        asked = StreamOptions(**options)
        self.views = take_views(pipeline, views)
        self._pipelines = [view.pipeline for view in self.views for _ in range(view.count)]
        seed, batch_size = check_seed(asked.seed), validation.integer("batch_size", asked.batch_size, 1, BATCH_SIZE_MAX)
        shuffle = None if asked.shuffle is None else validation.flag("shuffle", asked.shuffle)
        drop_last = None if asked.drop_last is None else validation.flag("drop_last", asked.drop_last)
        repeats = validation.integer("repeats", asked.repeats, 1, REPEATS_MAX)
        mixed = None if asked.mix is None else parse_mix(asked.mix)
        form = PixelFormat(asked.dtype, asked.layout)
        sections = section.choose([each.spec.normalize for each in self._pipelines], asked.normalize, form)
        self._workers: Workers | None = validation.workers("workers", workers)
        specs = [view.pipeline.spec for view in self.views]
        self._references = take(references, specs, has_views=views is not None)
        whole = scan.take(dataset)
        self.dataset = whole.choose(asked.split)
        self._check_pipelines(has_views=views is not None)
        self.image_shapes = tuple(self._image_shape(each) for each in self._pipelines)
        if mixed is not None:
            mixed.check(self.dataset.targets, self.image_shapes)
        self.spec = StreamSpec(
            engine=engine.engine_id(),
            dataset=whole.digest,
            split=self.dataset.split,
            pipelines=tuple(each.digest for each in self._pipelines),
            seed=seed,
            batch_size=batch_size,
            shuffle=self.dataset.is_for_training if shuffle is None else shuffle,
            drop_last=self.dataset.is_for_training if drop_last is None else drop_last,
            num_records=self.dataset.num_records,
            has_views=views is not None,
            references=tuple((name, each.digest) for name, each in self._references.items()),
            repeats=repeats,
            mix=mixed,
            normalize=self._resolved(sections),
            dtype=form.dtype,
            layout=form.layout,
        )
        self._whole = whole
        self._shared: dict[str, MemoryFile] = {}

    def _resolved(self, sections: section.Sections) -> section.Sections:
        """Return the sections with the split's numbers filled in: read from their note, or measured now."""
        if not section.any_needs_dataset(sections):
            return sections
        return mean_std.resolved(sections, self.dataset, mean_std.measured(self.dataset, self._workers))

    def _check_pipelines(self, *, has_views: bool) -> None:
        """Raise PipelineError, with the position of the view, if one does not fit the dataset."""
        notices = list(self.dataset.notices)
        for place, view in enumerate(self.views):
            with problems_of_view(place if has_views else None):
                notices += view.pipeline.notices
                notices += sizes.check_dataset(view.pipeline.spec, self.dataset)
        self._notices = notices

    @functools.cached_property
    def _here(self) -> BatchRenderer:
        """Renderer of this process, compiled on first use: a stream with workers never needs it."""
        renderers = {
            each.digest: Renderer(
                self.dataset,
                each.spec,
                seed=self.spec.seed,
                references=self._references,
                inverses=self.spec.has_views,
            )
            for each in self._pipelines
        }
        return BatchRenderer([renderers[digest] for digest in self.spec.pipelines], self.spec, self.image_shapes)

    @property
    def pipeline(self) -> Pipeline:
        """Pipeline of the first view, which is the only one unless ``views`` were given."""
        return self._pipelines[0]

    @property
    def image_shape(self) -> Shape | None:
        """(H, W, 3) of all images of the first view, or None if they differ."""
        return self.image_shapes[0]

    @property
    def batch_bytes(self) -> int | None:
        """Bytes of the images of a full batch in the stream's dtype, or None if sizes differ."""
        pixels = [math.prod(shape) for shape in self.image_shapes if shape is not None]
        if len(pixels) < len(self.image_shapes):
            return None
        return self.spec.num_rows(0) * sum(pixels) * self.spec.pixel_format.itemsize

    @property
    def targets(self) -> frozenset[str]:
        """Targets of the rows, by the names of ``Sample``'s fields: mixed rows have ``labels``."""
        there = self.dataset.targets
        return there if self.spec.mix is None else self.spec.mix.targets(there)

    @property
    def normalization(self) -> Any:
        """Canonical section, or None; with views a list with one for each."""
        return list(self.spec.normalize) if self.spec.has_views else self.spec.normalize[0]

    def normalize(self, images: Any, *, view: int = 0) -> Any:
        """Return uint8 images as float32, normalised by a view's section exactly as in a stream of floats.

        Raises CallError if there is no section, or if the stream's images are already floats.
        """
        return normalize(images, self.spec.normalize[self._view(view)], self.spec.pixel_format)

    def denormalise(self, images: Any, *, view: int = 0) -> Any:
        """Return uint8 (..., H, W, 3) images to look at from images of a batch or from ``normalize``."""
        return denormalise(images, self.spec.normalize[self._view(view)], self.spec.pixel_format)

    def _view(self, view: int) -> int:
        return validation.integer("view", view, 0, len(self._pipelines) - 1)

    def __repr__(self) -> str:
        split = "" if self.dataset.split is None else f", split {self.dataset.split!r}"
        counts = f"{self.num_records} records, {self.num_batches} batches of {self.spec.batch_size}"
        return f"<Stream {self.id[:8]} of {self.dataset.root.name!r}{split}: {counts}>"

    def _repr_html_(self) -> str:
        """Return images of batch (0, 0), rendered here, with targets drawn; an error is shown as text."""
        try:
            batch = self.batch(0, 0, world_size=notebook.num_slices(self.spec.batch_size))
            return batch.html(
                repr(self), classes=self.classes, to_pixels=lambda images, view: self.denormalise(images, view=view)
            )
        except AugmentError as error:
            return notebook.page(repr(self), lines=[f"{type(error).__name__}: {error}"])

    @property
    def id(self) -> str:
        """Digest of the stream: equal for equal streams on every machine of one engine."""
        return self.spec.id

    @property
    def num_batches(self) -> int:
        """Number of batches in each epoch."""
        return self.spec.num_batches

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences for the user about the dataset, its pipelines, and the rows that an epoch leaves out."""
        if dropped := self.spec.num_dropped:
            rows = f"each epoch drops {dropped} of {self.spec.epoch_rows} rows, too few for a batch of "
            return (*self._notices, f"{rows}{self.spec.batch_size}; drop_last=False keeps them")
        return tuple(self._notices)

    @property
    def num_records(self) -> int:
        """Number of records in the chosen split."""
        return self.spec.num_records

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that labels index."""
        return self.dataset.classes

    def batch(self, epoch: int, index: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """Render one rank's slice of one batch in this process."""
        return self._here.render(BatchSlice(epoch, index, rank, world_size), InProcessGuard())

    def batches(
        self, epoch: int = 0, start: int = 0, stop: int | None = None, *, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Yield batches ``start`` to ``stop`` (by default the epoch's end) of an epoch, in order.

        With workers, the next few are rendered ahead of the reader; their images are read-only views.
        """
        start = validation.integer("start", start, 0)
        end = self.num_batches if stop is None else validation.integer("stop", stop, 0)
        validation.integer("epoch", epoch, 0, self.spec.epoch_max)
        if not 0 <= start <= end <= self.num_batches:
            raise CallError(f"start {start} and stop {end} must satisfy 0 <= start <= stop <= {self.num_batches}")
        places = [BatchSlice(epoch, index, rank, world_size) for index in range(start, end)]
        for place in places[:1]:
            self.spec.positions(place)  # refuses rank and world size now, not at the first batch
        if self._workers is None:
            return (self._here.render(place, InProcessGuard()) for place in places)
        return self._batches_ahead(self._workers, epoch, places)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(epoch=0)

    def sample(self, epoch: int, key: str, *, view: int = 0, repeat: int = 0) -> Rendered:
        """Render one record as one epoch has it, with its provenance; rows are not mixed here."""
        draw, view = self.draw(epoch, repeat), self._view(view)
        position = self.dataset.find(key)
        if position is None:
            raise DatasetError(f"the dataset has no record {validation.quoted(key)}; keys are paths without extension")
        return self._here.renderers[view].render(self.dataset.record(position), draw=draw, view=view)

    def draw(self, epoch: int, repeat: int = 0) -> int:
        """Return the draw of a repeat in an epoch, as addresses count it."""
        epoch = validation.integer("epoch", epoch, 0, self.spec.epoch_max)
        return epoch * self.spec.repeats + validation.integer("repeat", repeat, 0, self.spec.repeats - 1)

    def close(self) -> None:
        """Free what workers needed for this stream; the workers themselves stay with their owner."""
        while self._shared:
            self._shared.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batches_ahead(self, workers: Workers, epoch: int, places: Sequence[BatchSlice]) -> Iterator[Batch]:
        layout = self.layout(epoch)
        schema = arrow.schema_of(layout)
        sources = self._sources()
        pending: deque[tuple[BatchSlice, Future[Laid | None], MemoryFile]] = deque()
        waiting = iter(places)
        ahead = max(1, _PREFETCH * workers.num_workers)
        try:
            while True:
                while len(pending) < ahead and (place := next(waiting, None)) is not None:
                    file = MemoryFile(f"batch-{place.index}")
                    future = workers.submit(BatchTask(sources, self.spec, layout, place, file.path))
                    pending.append((place, future, file))
                if not pending:
                    return
                place, future, file = pending.popleft()
                with file:
                    if (written := future.result()) is None:
                        raise StorageError("a batch does not fit into memory; take a smaller batch_size")
                    batch = arrow.from_message(result_file.read_content(file.path, written), schema)
                    batch = with_provenance(batch, result_file.read_description(file.path, written))
                yield replace(batch, epoch=place.epoch, index=place.index, refusals=written.refusals)
        finally:
            for _, future, _ in pending:
                future.cancel()
            # A worker opens its file by descriptor number. While it may still do so, the number must not be another
            # file's.
            wait([future for _, future, _ in pending])
            for _, _, file in pending:
                file.close()

    def layout(self, epoch: int) -> BatchLayout:
        """Return the common properties of all batches of one epoch."""
        views = [
            BatchLayout(
                shape,
                self.targets,
                len(self.classes),
                self.dataset.mask_bits,
                has_inverses=self.spec.has_views,
                pixel_format=self.spec.pixel_format,
            )
            for shape in self.image_shapes
        ]
        return replace(views[0], metadata=self.metadata(epoch), views=tuple(views[1:]))

    def metadata(self, epoch: int) -> dict[str, object]:
        """Return what is sent besides the pixels: the address of the batches, the class names, the normalisation."""
        return {
            "stream": self.id,
            "epoch": epoch,
            "seed": self.spec.seed,
            "batch_size": self.spec.batch_size,
            "repeats": self.spec.repeats,
            "num_views": len(self._pipelines),
            "mix": None if self.spec.mix is None else self.spec.mix.canonical(),
            "classes": list(self.classes),
            "keypoint_names": list(self.dataset.keypoint_names),
            "normalize": self.normalization,
            "dtype": self.spec.dtype,
            "layout": self.spec.layout,
        }

    def sources(
        self,
        manifest: Path,
        references: Mapping[str, Path],
        *,
        max_pixels: int = decode.DEFAULT_MAX_PIXELS,
        cache: CachePlace | None = None,
    ) -> tuple[RenderSource, ...]:
        """Return the sources for workers, one for each view. ``manifest`` and ``references`` are saved datasets.

        ``cache`` is the place of the cache of decoded images.
        """
        referred = tuple(ReferenceSource(name, references[name], digest) for name, digest in self.spec.references)
        return tuple(
            RenderSource(
                manifest=manifest,
                dataset_digest=self._whole.digest,
                split=self.dataset.split,
                spec=each.spec,
                seed=self.spec.seed,
                max_pixels=max_pixels,
                references=referred,
                inverses=self.spec.has_views,
                cache=cache,
            )
            for each in self._pipelines
        )

    def _sources(self) -> tuple[RenderSource, ...]:
        """Return sources in memory files that workers on this machine open by their paths in ``/proc``."""
        there = {"": self._whole} | {name: self._references[name] for name, _ in self.spec.references}
        for name, dataset in there.items():
            if name not in self._shared:
                self._shared[name] = MemoryFile("manifest")
                self._shared[name].write(dataset.to_buffer())
        paths = {name: file.path for name, file in self._shared.items()}
        return self.sources(paths[""], paths)

    def _image_shape(self, pipeline: Pipeline) -> Shape | None:
        size = sizes.fixed_output(pipeline.spec)
        if size is None and (common := self.dataset.common_size()) is not None:
            size = sizes.output_size(pipeline.spec, *common)
        return None if size is None else (*size, 3)
