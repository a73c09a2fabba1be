"""One-shot augmentation: encoded images in, encoded augmented images out, each at an address.

The key of an image is the digest of its bytes, the draw is the copy: the same image, pipeline and seed give the same
bytes on any machine of the same engine. Images that must move alike share one key, the digest of the first of them.
Images and results travel as files, annotations as messages.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from augment import engine
from augment.address import Address
from augment.datasets import read, targets
from augment.errors import KeyedErrors, Reason, RecordError, StorageError
from augment.images import decode, masks
from augment.pipelines.spec import PipelineSpec
from augment.render import request_annotations, result_file
from augment.render.records import Stages, source_of
from augment.render.renderer import ReferenceSource, encode_sample, file_identity, others, render_at, subject
from augment.render.request_annotations import NOTHING_SAID, Said
from augment.samples.sample import Provenance, Sample
from augment.transforms import jpeg_reduction, sizes
from augment.transforms.runtime import compiler
from augment.workers.task import Guard


@dataclass(frozen=True, slots=True)
class RequestImage:
    """An image of a request: its name for refusals, its file and its annotations.

    ``mask`` is the file of its encoded mask.
    """

    name: str
    path: Path
    said: Said = NOTHING_SAID
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One augmented copy: the range of its bytes in the task's file, its provenance and its annotations.

    The mask's bytes, as PNG, follow those of the image. ``annotations`` are as the answer contains them.
    """

    copy: int
    key: str
    start: int
    num_bytes: int
    height: int
    width: int
    provenance: Provenance
    annotations: Mapping[str, Any]
    mask_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Copies:
    """All copies of one image; ``seconds`` are the durations of the stages."""

    results: Sequence[Result]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ImageSizesTask:
    """Task that reads the upright (height, width) of each image from its header.

    Raises RecordError for the first bad one.
    """

    sources: Sequence[RequestImage]
    max_pixels: int

    def run(self, guard: Guard) -> list[tuple[int, int]]:
        """Read the headers, each under its own guard."""
        return [self._size(source, guard) for source in self.sources]

    def _size(self, source: RequestImage, guard: Guard) -> tuple[int, int]:
        data = source.path.read_bytes()

        def probe() -> tuple[int, int]:
            with KeyedErrors(source.name):
                header = decode.probe(data, max_pixels=self.max_pixels)
            return header.height, header.width

        return guard(f"{_record_digest(read.content_digest(data))}-header-{engine.engine_id()}", source.name, probe)


@dataclass(frozen=True, slots=True)
class OneShotTask:
    """Task that writes the copies of one image from ``first_copy`` on to ``into``, one after the other.

    ``key_of`` is the file of the image whose digest is the key, if that is not ``source``.
    """

    source: RequestImage
    spec: PipelineSpec
    seed: int
    copies: int
    image_format: str
    quality: int
    max_pixels: int
    into: Path
    references: tuple[ReferenceSource, ...] = ()
    first_copy: int = 0
    key_of: Path | None = None

    def run(self, guard: Guard) -> Copies:
        """Render and write the copies. Raises RecordError with the image's name if it is refused."""
        stages = Stages()
        stages.begin()
        data = self.source.path.read_bytes()
        stages.end("read")
        work = _Work(self, data, stages)
        parts: list[bytes] = []
        results: list[Result] = []
        for copy in range(self.first_copy, self.first_copy + self.copies):
            make = functools.partial(work.make, copy, start=sum(map(len, parts)))
            result, image, mask = guard(work.subject, self.source.name, make)
            results.append(result)
            parts += [image, mask]
        stages.begin()
        if result_file.write(self.into, parts) is None:
            raise StorageError("there is no room for the augmented images; free space, or ask for fewer")
        stages.end("write")
        return Copies(results, stages.take())


class _Work:
    """One image, decoded once for all its copies; ``subject`` is the subject of a verdict on it."""

    def __init__(self, task: OneShotTask, data: bytes, stages: Stages) -> None:
        source = task.source
        content = read.content_digest(data)
        self.task = task
        self.data = data
        self.stages = stages
        self.key = (content if task.key_of is None else read.content_digest(task.key_of.read_bytes())).hex()
        self._mask = None if source.mask is None else source.mask.read_bytes()
        self._said = source.said
        self._vocabulary = source.said.vocabulary(has_mask=self._mask is not None)
        self._taken_from = others(task.spec, None, {each.name: each.dataset_digest for each in task.references})
        self.record = _record_digest(content, source.said, self._mask)
        self.subject = subject(self.record, task.spec, self._taken_from)
        self._decoded: Sample | None = None
        self._full_size = 0, 0
        self._conversions: tuple[str, ...] = ()

    def make(self, copy: int, *, start: int) -> tuple[Result, bytes, bytes]:
        """Return one copy, which begins at ``start`` of the task's file, and the bytes of its image and its mask."""
        task = self.task
        self.stages.begin()
        with KeyedErrors(task.source.name):
            if self._decoded is None:
                self._decoded = self._decode()
                header = decode.probe(self.data, max_pixels=task.max_pixels)
                self._full_size = header.height, header.width
                self._conversions = tuple(map(str, header.conversions))
                self.stages.end("decode")
            files = tuple(file_identity(each.manifest) for each in task.references)
            compiled = _compiled(task.spec, self._vocabulary.keypoint_names, task.references, task.max_pixels, files)
            pipeline, taken_from = task.spec.digest, self._taken_from
            address = Address(engine.engine_id(), self.record, pipeline, task.seed, copy, 0, self.key, taken_from)
            rendered = render_at(address, compiled, self._decoded, full_size=self._full_size)
            self.stages.end("transform")
            sample = rendered.sample
            image, mask = encode_sample(task.source.name, sample, task.image_format, task.quality)
            self.stages.end("encode")
        height, width = sample.image.shape[:2]
        annotations = self._said.members(targets.annotations_of(sample, self._said.annotations, self._vocabulary))
        provenance = replace(rendered.provenance, conversions=self._conversions)
        mask = mask or b""
        result = Result(copy, self.key, start, len(image), height, width, provenance, annotations, len(mask))
        return result, image, mask

    def _decode(self) -> Sample:
        task, moved = self.task, self._vocabulary.moved
        eighths = functools.partial(jpeg_reduction.eighths, task.spec, targets=moved)
        if self._said == NOTHING_SAID and self._mask is None:
            return Sample(decode.decode_image(self.data, max_pixels=task.max_pixels, eighths=eighths))
        header = decode.probe(self.data, max_pixels=task.max_pixels)
        if moved:  # refuse a transform that cannot move one of them
            sizes.check_fits(task.spec, header.height, header.width, self._vocabulary.targets, key=task.source.name)
        try:
            self._said = request_annotations.check(self._said, header.height, header.width)
            mask = self._mask
            sample = targets.with_targets(
                decode.decode_image(self.data, max_pixels=task.max_pixels, eighths=eighths),
                self._said.annotations,
                None if mask is None else lambda: masks.decode_mask(mask, max_pixels=task.max_pixels),
                self._vocabulary,
                full_size=(header.height, header.width),
            )
        except ValueError as error:
            raise RecordError(task.source.name, Reason.ANNOTATION, str(error)) from error
        if sample.mask is not None and sample.mask.shape != sample.image.shape[:2]:
            size = f"{sample.mask.shape[1]} x {sample.mask.shape[0]}, the image is {header.width} x {header.height}"
            raise RecordError(task.source.name, Reason.ANNOTATION, f"mask of another size: it is {size}")
        return sample


def _record_digest(content: bytes, said: Said = NOTHING_SAID, mask: bytes | None = None) -> str:
    label = None if said.label is None else str(said.label)
    return read.record_digest(
        content, label, said.canonical(), None if mask is None else read.content_digest(mask)
    ).hex()


@functools.lru_cache(maxsize=16)
def _compiled(
    spec: PipelineSpec,
    keypoint_names: tuple[str, ...],
    references: tuple[ReferenceSource, ...],
    max_pixels: int,
    files: tuple[object, ...],  # noqa: ARG001 - other files may later be at the same paths
) -> compiler.Compiled:
    sources = {each.name: source_of(each.open(), max_pixels=max_pixels) for each in references}
    return compiler.Compiled(spec, keypoint_names=keypoint_names, references=sources)
