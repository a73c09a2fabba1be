"""Render one batch of a stream: its rows, each with its views, replacements of refused rows, and mixing."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import validation
from augment.chance import EpochOrder
from augment.datasets.dataset import Dataset
from augment.errors import DatasetError, RecordError
from augment.normalize.pixel_format import PLAIN, convert
from augment.normalize.section import parse
from augment.render.renderer import LastDecoded, Renderer
from augment.samples import sample
from augment.samples.sample import Batch, Record, Refusal, Rendered
from augment.streams.spec import BatchSlice, StreamSpec
from augment.transforms.donors.source import REPLACEMENTS
from augment.workers.task import Guard

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class BatchRenderer:
    """Renderer of the batches of one stream in this process.

    ``renderers`` has one for each view. ``image_shapes`` has (H, W, 3) for a view whose samples all have that shape,
    else None. Not thread-safe, like its renderers.
    """

    renderers: Sequence[Renderer]
    spec: StreamSpec
    image_shapes: Sequence[Shape | None]

    def render(self, place: BatchSlice, guard: Guard) -> Batch:
        """Render one rank's slice of one batch.

        A row whose record is refused takes the first accepted one of the next ``REPLACEMENTS`` in the epoch's order,
        which wraps around; raises DatasetError if all are refused. If rows are mixed, the whole batch is rendered.
        Conversion to floats or another layout comes last.
        """
        batch = self._mixed(place, guard)
        form = self.spec.pixel_format
        if form != PLAIN:
            for view, section in zip(batch.views, self.spec.normalize, strict=True):
                view.images = convert(view.images, None if section is None else parse(section), form.dtype, form.layout)
        return mark_padding(batch, is_padding=self.spec.is_padding(place))

    def _mixed(self, place: BatchSlice, guard: Guard) -> Batch:
        positions = self.spec.positions(place)
        if self.spec.mix is None:
            return self._rows(place, positions, guard)
        first = place.index * self.spec.batch_size
        whole = self._rows(place, range(first, first + self.spec.num_rows(place.index)), guard)
        rules = self.renderers[0].spec
        mixed = self.spec.mix.apply(
            whole,
            stream_id=self.spec.pixels_id,
            epoch=place.epoch,
            index=place.index,
            num_classes=len(self._dataset.classes),
            boxes=rules.boxes,
            keypoints=rules.keypoints,
        )
        return mixed.rows(positions.start - first, positions.stop - first)

    def _rows(self, place: BatchSlice, positions: range, guard: Guard) -> Batch:
        spec = self.spec
        epoch = validation.integer("epoch", place.epoch, 0, spec.epoch_max)
        order = EpochOrder(spec.num_records, spec.seed, epoch, shuffle=spec.shuffle)
        places = np.arange(positions.start // spec.repeats, -(-positions.stop // spec.repeats), dtype=np.int64)
        wanted = self._dataset.records(order.take(places))
        attempts = _Attempts(self.renderers, guard)
        images = [sample.Images(len(positions), shape) for shape in self.image_shapes]
        first = positions.start // spec.repeats
        rows = []
        for position in positions:
            turn, repeat = divmod(position, spec.repeats)
            row = self._row(attempts, wanted[turn - first], turn, order, epoch * spec.repeats + repeat)
            for rendered, view_images in zip(row.views, images, strict=True):
                rendered.sample.image = view_images.take(rendered.sample.image)
            rows.append(row)
        views = [self._view(view, place, positions, rows, made.rows) for view, made in enumerate(images)]
        views[0].other_views = tuple(views[1:])
        views[0].refusals = tuple(attempts.refusals.values())
        return views[0]

    @property
    def _dataset(self) -> Dataset:
        return self.renderers[0].dataset

    def _view(
        self,
        view: int,
        place: BatchSlice,
        positions: range,
        rows: "Sequence[_Row]",
        images: NDArray[np.uint8] | list[NDArray[np.uint8]],
    ) -> Batch:
        rendered = [row.views[view] for row in rows]
        samples = [each.sample for each in rendered]
        shape = self.image_shapes[view]
        return Batch(
            epoch=place.epoch,
            index=place.index,
            images=images,
            keys=[row.record.key for row in rows],
            positions=np.asarray(positions, dtype=np.int64),
            **sample.targets(samples, self._dataset.targets, fixed=shape is not None),
            replaces=[row.replaces for row in rows],
            provenance=[each.provenance for each in rendered],
            **(self._origins(rows, rendered) if self.spec.has_views else {}),
        )

    @staticmethod
    def _origins(rows: "Sequence[_Row]", rendered: Sequence[Rendered]) -> dict[str, Any]:
        nowhere = np.full((3, 3), np.nan)
        inverses = [nowhere if each.inverse is None else each.inverse for each in rendered]
        sizes = [(row.record.height, row.record.width) for row in rows]
        return {
            "inverses": np.array(inverses, np.float64).reshape(-1, 3, 3),
            "source_sizes": np.array(sizes, np.int64).reshape(-1, 2),
        }

    def _row(self, attempts: "_Attempts", record: Record, turn: int, order: EpochOrder, draw: int) -> "_Row":
        if (views := attempts.render(record, draw)) is not None:
            return _Row(record, None, views)
        others = list(itertools.islice(self._others(turn, order), REPLACEMENTS))
        for other in others:
            if (views := attempts.render(other, draw)) is not None:
                return _Row(other, record.key, views)
        first = attempts.refusals[record.key]
        raise DatasetError(
            f"record {record.key} is refused ({first.reason}: {first.detail}) and so are the {len(others)} records "
            "after it in the epoch's order; remove broken records from the dataset and scan it again"
        )

    def _others(self, turn: int, order: EpochOrder) -> Iterator[Record]:
        """Yield the records after a turn in the epoch's order that are large enough for every view's pipeline."""
        for start in range(1, order.num_records, REPLACEMENTS):
            stop = min(start + REPLACEMENTS, order.num_records)
            following = (turn + np.arange(start, stop, dtype=np.int64)) % order.num_records
            for other in self._dataset.records(order.take(following)):
                if all(renderer.fits(other) for renderer in self.renderers):
                    yield other


def mark_padding(batch: Batch, *, is_padding: bool) -> Batch:
    """Return the batch with ``is_padding`` set for all of its rows, in each view."""
    views = [replace(view, is_padding=np.full(len(view), is_padding)) for view in batch.views]
    return replace(views[0], other_views=tuple(views[1:]))


@dataclass(frozen=True, slots=True)
class _Row:
    record: Record
    replaces: str | None
    views: Sequence[Rendered]


class _Attempts:
    """Renderer of one batch's records. Tries refused draws once, keeps the last record decoded for repeats."""

    def __init__(self, renderers: Sequence[Renderer], guard: Guard) -> None:
        self._renderers = renderers
        self._guard = guard
        self._refused: set[tuple[str, int]] = set()
        self._decoded = LastDecoded()
        self.refusals: dict[str, Refusal] = {}

    def render(self, record: Record, draw: int) -> Sequence[Rendered] | None:
        """Return all views of a record in a draw, or None if one of them is refused."""
        if (record.key, draw) in self._refused:
            return None
        try:
            return list(self._views(record, draw))
        except RecordError as error:
            self._refused.add((record.key, draw))
            self.refusals.setdefault(record.key, Refusal(record.key, error.reason, error.detail))
            return None

    def _views(self, record: Record, draw: int) -> Iterator[Rendered]:
        for view, renderer in enumerate(self._renderers):
            work = functools.partial(self._view, renderer, record, draw, view)
            yield self._guard(renderer.subject(record), record.key, work)

    def _view(self, renderer: Renderer, record: Record, draw: int, view: int) -> Rendered:
        return renderer.transform(record, self._decoded.sample(renderer, record), draw=draw, view=view)
