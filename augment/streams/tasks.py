"""Tasks of workers online: a whole batch, a part of one in some format, one sample.

Each writes its result into a file that others read, as ``render/result_file.py`` describes; nothing is sent through a
pipe. The whole batch is rendered once, as an Arrow message followed by the rows' provenance; slices for ranks and other
formats are made from that file.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from augment.errors import DatasetError
from augment.images.encode import DEFAULT_QUALITY
from augment.render import result_file
from augment.render.renderer import RenderSource, encode_sample
from augment.render.result_file import Laid
from augment.samples.sample import Batch, Provenance, Record
from augment.streams.batch import BatchRenderer, mark_padding
from augment.streams.spec import BatchSlice, StreamSpec
from augment.wire import arrow, npz, tar
from augment.wire.columns import BatchLayout
from augment.workers.task import Guard


class BatchFormat(StrEnum):
    """Formats of a batch."""

    ARROW = "arrow"
    TAR = "tar"
    NPZ = "npz"


@dataclass(frozen=True, slots=True)
class PartFormat:
    """A format with its options: how a tar holds images, and the quality of jpg."""

    name: BatchFormat = BatchFormat.ARROW
    image_format: str = "png"
    quality: int = DEFAULT_QUALITY


@dataclass(frozen=True, slots=True)
class BatchTask:
    """Task that writes one batch, or one rank's slice of it, to ``into`` as an Arrow message. None if there is no room.

    ``sources`` has one for each view.
    """

    sources: tuple[RenderSource, ...]
    spec: StreamSpec
    layout: BatchLayout
    place: BatchSlice
    into: Path

    def run(self, guard: Guard) -> Laid | None:
        """Render and write the batch; the file's old content is replaced."""
        started = time.perf_counter()
        renderers = [source.renderer() for source in self.sources]
        for renderer in renderers:
            renderer.stages.take()  # drops the seconds of a task that failed
        shapes = [self.layout.image_shape, *(view.image_shape for view in self.layout.views)]
        batch = BatchRenderer(renderers, self.spec, shapes).render(self.place, guard)
        rendered = time.perf_counter()
        message = arrow.batch_message(batch, arrow.schema_of(self.layout))
        sizes = result_file.write(self.into, message, _described(batch))
        seconds: dict[str, float] = {}
        for renderer in renderers:
            for stage, taken in renderer.stages.take().items():
                seconds[stage] = seconds.get(stage, 0.0) + taken
        seconds["assemble"] = rendered - started - sum(seconds.values())
        seconds["write"] = time.perf_counter() - rendered
        num_replaced = sum(other is not None for other in batch.replaces)
        return sizes and Laid(*sizes, tuple(batch.refusals), num_replaced, seconds)


def _described(batch: Batch) -> list[list[dict[str, object]]]:
    """Return the provenance of each row, view by view."""
    return [[each.as_json() for each in view.provenance] for view in batch.views]


def with_provenance(batch: Batch, described: list[list[dict[str, object]]]) -> Batch:
    """Return the batch of a ``BatchTask``'s message with the provenance from its description, view by view."""
    views = [
        replace(view, provenance=[Provenance.from_json(row) for row in rows])
        for view, rows in zip(batch.views, described, strict=True)
    ]
    return replace(views[0], other_views=tuple(views[1:]))


@dataclass(frozen=True, slots=True)
class PartTask:
    """Task that converts one rank's slice of a batch to a format, from the file ``whole`` of a ``BatchTask``.

    Refusals are those of the whole batch, because they also decide if the part may be kept.
    """

    whole: Path
    laid: Laid
    spec: StreamSpec
    layout: BatchLayout
    place: BatchSlice
    part_format: PartFormat
    into: Path

    def run(self, guard: Guard) -> Laid | None:  # noqa: ARG002 - no record is decoded here
        """Cut and convert the batch; the file's old content is replaced."""
        started = time.perf_counter()
        sizes = result_file.write(self.into, self._content())
        return sizes and replace(
            self.laid,
            content_bytes=sizes[0],
            num_bytes=sizes[1],
            seconds={"convert": time.perf_counter() - started},
        )

    def _content(self) -> Sequence[bytes | memoryview]:
        schema = arrow.schema_of(self.layout)
        batch = arrow.from_message(result_file.read_content(self.whole, self.laid), schema)
        first = self.place.index * self.spec.batch_size
        positions = self.spec.positions(self.place)
        batch = replace(batch, epoch=self.place.epoch, index=self.place.index)
        if self.part_format.name is BatchFormat.TAR:
            batch = with_provenance(batch, result_file.read_description(self.whole, self.laid))
        part = batch.rows(positions.start - first, positions.stop - first)
        part = mark_padding(part, is_padding=self.spec.is_padding(self.place))
        match self.part_format.name:
            case BatchFormat.ARROW:
                return arrow.batch_message(part, schema)
            case BatchFormat.TAR:
                form = self.part_format
                return list(tar.batch_members(part, form.image_format, form.quality, self.layout.pixel_format))
            case BatchFormat.NPZ:
                return [npz.to_bytes(part)]


@dataclass(frozen=True, slots=True)
class SampleTask:
    """Task that writes one record of an epoch to ``into`` as PNG, followed by its provenance.

    ``source`` is that of the view; ``draw`` is the epoch, or with repeats counts those of all epochs.
    """

    source: RenderSource
    key: str
    epoch: int
    draw: int
    view: int
    into: Path

    def run(self, guard: Guard) -> Laid | None:
        """Render and write the sample. Raises RecordError if the record is refused."""
        renderer = self.source.renderer()
        renderer.stages.take()  # drops the seconds of a task that failed
        position = renderer.dataset.find(self.key)
        if position is None:
            raise DatasetError(f"the dataset has no record {self.key!r}; keys are paths without extension")
        record = renderer.dataset.record(position)
        png, description = guard(renderer.subject(record), record.key, lambda: self._render(record))
        sizes = result_file.write(self.into, [png], description)
        renderer.stages.end("write")
        return sizes and Laid(*sizes, seconds=renderer.stages.take())

    def _render(self, record: Record) -> tuple[bytes, dict[str, object]]:
        renderer = self.source.renderer()
        rendered = renderer.render(record, draw=self.draw, view=self.view)
        sample = rendered.sample
        description: dict[str, object] = {
            "key": record.key,
            "epoch": self.epoch,
            "draw": self.draw,
            "view": self.view,
            "record_digest": record.digest,
            "label": record.label,
            "image_shape": list(sample.image.shape),
        }
        if self.source.inverses:
            description["source_size"] = [record.height, record.width]
        png, _ = encode_sample(record.key, sample, "png", with_mask=False)
        renderer.stages.end("encode")
        if renderer.dataset.targets - {"label"}:
            description["annotations"] = renderer.annotations(record, rendered).members()
        return png, description | rendered.provenance.as_json()
