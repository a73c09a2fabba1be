"""Worker tasks of batches and samples. A batch is rendered whole once; its parts are made from that file."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from augment.render.result_file import Laid
from augment.streams.spec import BatchSlice
from augment.streams.tasks import BatchFormat, BatchTask, PartFormat, PartTask, SampleTask
from augment.wire.columns import BatchLayout
from augment.workers.task import Task, Workers
from service.datasets import registry
from service.datasets.registry import Datasets
from service.observe import Metrics
from service.streams.batch_cache import Batches, BatchRequest
from service.streams.streams import OpenStream

_ROW_BYTES = 512
"""Estimated size of a row without its pixels: key, position, provenance."""

_UNKNOWN_PIXELS = 512 * 512
"""Assumed size of an image whose size depends on the record or the draw."""


class Rendering:
    """Factory of batch requests for the workers. For the event loop's thread only."""

    def __init__(self, batches: Batches, datasets: Datasets, workers: Workers, metrics: Metrics) -> None:
        self._batches = batches
        self._datasets = datasets
        self._workers = workers
        self._metrics = metrics

    def part(self, stream: OpenStream, place: BatchSlice, part_format: PartFormat) -> BatchRequest:
        """Return the request of a rank's slice of a batch in a format. The whole batch in Arrow is the rendering."""
        whole = self._whole(stream, place)
        if part_format.name is BatchFormat.ARROW and place.world_size == 1:
            return whole
        if part_format.name is not BatchFormat.TAR:
            part_format = PartFormat(part_format.name)  # the other options are for tar only
        spec, layout = stream.stream.spec, _layout(stream, place.epoch)

        async def produce(into: Path) -> Laid | None:
            async with self._batches.lease(whole) as file:
                task = PartTask(file.path, file.laid, spec, layout, place, part_format, into)
                return await self._run(task)

        address = (stream.id, place, part_format)
        return BatchRequest(address, produce, whole.expected_bytes // place.world_size)

    def sample(self, stream: OpenStream, epoch: int, key: str, *, view: int = 0, repeat: int = 0) -> BatchRequest:
        """Return the request of one sample before rows are mixed, as PNG with its provenance."""
        draw = stream.stream.draw(epoch, repeat)

        async def produce(into: Path) -> Laid | None:
            async with registry.reading(self._datasets, stream.entries):
                return await self._run(SampleTask(stream.sources[view], key, epoch, draw, view, into))

        return BatchRequest(
            (stream.id, "sample", draw, view, key), produce, _image_bytes(stream.stream.image_shapes[view])
        )

    def _whole(self, stream: OpenStream, place: BatchSlice) -> BatchRequest:
        spec = stream.stream.spec
        place = BatchSlice(place.epoch, place.index)
        layout = _layout(stream, place.epoch)

        async def produce(into: Path) -> Laid | None:
            async with registry.reading(self._datasets, stream.entries):
                laid = await self._run(BatchTask(stream.sources, spec, layout, place, into))
            for refusal in laid.refusals if laid is not None else ():
                self._metrics.records_refused.labels(str(refusal.reason)).inc()
            return laid

        images = spec.pixel_format.itemsize * sum(map(_image_bytes, stream.stream.image_shapes))
        expected = spec.num_rows(place.index) * (images + _ROW_BYTES)
        return BatchRequest((stream.id, place), produce, expected)

    async def _run(self, task: Task[Laid | None]) -> Laid | None:
        started = time.perf_counter()
        laid = await asyncio.wrap_future(self._workers.submit(task))
        if laid is not None:
            self._metrics.observe_stages(laid.seconds)
            waited_s = time.perf_counter() - started - sum(laid.seconds.values())
            self._metrics.stage_seconds.labels("queue").observe(max(0.0, waited_s))
        return laid


def _layout(stream: OpenStream, epoch: int) -> BatchLayout:
    """Return the layout with minimal metadata; only the head of a stream has the names of thousands of classes."""
    layout = stream.stream.layout(epoch)
    return replace(layout, metadata={"epoch": epoch, "batch_size": stream.stream.spec.batch_size})


def _image_bytes(shape: tuple[int, int, int] | None) -> int:
    return 3 * (_UNKNOWN_PIXELS if shape is None else shape[0] * shape[1])
