"""Outputs of one record: its rendered copies and its original, encoded and described for the format."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from augment.datasets import keys
from augment.datasets.dataset import Dataset
from augment.datasets.read import content_digest
from augment.errors import KeyedErrors
from augment.expansion import folder
from augment.expansion.folder import Condition
from augment.expansion.manifest import Row
from augment.expansion.spec import ExpansionSpec
from augment.expansion.splits import Part
from augment.formats.format import FolderFormat, Output, WrittenFile
from augment.images import decode, masks
from augment.images.encode import DEFAULT_QUALITY, EXTENSIONS, format_like
from augment.render.renderer import LastDecoded, Renderer, encode_sample
from augment.samples.annotations import BY_KEYPOINT, NOTHING, Annotations
from augment.samples.sample import Applied, Record, Rendered
from augment.scanning import scan
from augment.workers.task import Guard

_EXTENSIONS = {**EXTENSIONS, "tiff": "tif"}
"""File extensions that differ from the name of the format, for images that had no file."""

_NO_BOXES = Annotations(boxes=(), box_labels=())

_SAID_OF = {
    "labels": ("labels",),
    "boxes": ("boxes", "box_labels", "box_attributes", "instance_masks", "keypoint_boxes"),
    "instance_masks": ("instance_masks",),
    "keypoints": ("keypoints", *BY_KEYPOINT),
}
"""Fields of annotations by the target that they belong to."""


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of a record, with the record's digest and the render key.

    ``paths`` are all paths that its files may have, the image's first; empty if outputs are packed.
    """

    output: Output
    record_digest: str
    render_key: str | None
    paths: tuple[str, ...]
    mask_path: str | None

    def is_described_by(self, row: Row) -> bool:
        """Return True if the row's output was made from the same record in the same way and has the same paths."""
        if self.paths and (row.path, row.mask_path) != (self.paths[0], self.mask_path):
            return False
        then = (row.record_digest, row.render_key, row.extension)
        return then == (self.record_digest, self.render_key, self.output.extension)

    def condition(self, root: Path, row: Row | None, since_ns: int) -> Condition:
        """Return the condition of the output that ``row`` describes; a run keeps it if it is right.

        Annotation files are not compared, because they are written again without rendering.
        """
        if row is None:
            return Condition.MISSING
        if not self.is_described_by(row):
            return Condition.OUTDATED
        rendered = (each for each in row.on_disk() if each.path in {row.path, row.mask_path})
        return folder.condition(root, rendered, since_ns)


class Outputs:
    """Describes the outputs of one part of an expansion."""

    def __init__(self, spec: ExpansionSpec, part: Part, dataset: Dataset) -> None:
        self._spec = spec
        self._split = spec.folder(part)
        self._part = part
        self._dataset = dataset

    @cached_property
    def _format(self) -> FolderFormat:
        return scan.folder_format(self._spec.format)

    def wanted(self, record: Record) -> list[Output]:
        """Return all outputs of a record: its copies, then its original. A copy's size is known once it is rendered.

        Raises RecordError and StorageError if the original's file must be read and cannot be.
        """
        name = self.class_name(record)
        copies = self._spec.copies_of(self._part, record.key, name)
        extension = EXTENSIONS[self.image_format(record)] if copies else ""
        found = [self._output(record, copy, extension) for copy in range(copies)]
        if self._spec.has_original(self._part):
            found.append(self._output(record, None, self._extension(record)))
        return found

    def specs(self, record: Record, render_key: Callable[[int], str]) -> Iterator[OutputSpec]:
        """Yield the outputs of ``wanted`` with their paths; ``render_key`` returns that of a copy.

        Raises what ``wanted`` does, and RecordError if the format has no path for an output.
        """
        for output in self.wanted(record):
            key = None if output.copy is None else render_key(output.copy)
            paths = () if self._spec.packs else self.paths(output)
            mask_path = self._format.mask_path(output) if output.has_mask and paths else None
            yield OutputSpec(output, record.digest, key, paths, mask_path)

    def sketch(self, record: Record) -> Output:
        """Return one output with the same paths as the record's outputs, without reading any file."""
        return self._output(record, 0, EXTENSIONS[self._spec.image_format or format_like(record.encoding or "")])

    def image_format(self, record: Record) -> str:
        """Return the format of the copies: as requested, else that of a JPEG or lossy WebP image, else PNG.

        Raises RecordError and StorageError if the manifest lacks the format and the file cannot be read.
        """
        if self._spec.image_format is not None:
            return self._spec.image_format
        return format_like(record.encoding or decode.encoding(self._dataset.read(record)))

    def class_name(self, record: Record) -> str | None:
        """Return the name of the record's single class, or None."""
        return None if record.label is None else self._spec.classes[record.label]

    def said(self, annotations: str | None) -> str | None:
        """Return a record's annotations without the dropped targets."""
        if annotations is None or not self._spec.drop_targets:
            return annotations
        return without(Annotations.from_json(annotations), self._spec.drop_targets).to_json()

    def has_mask(self, record: Record) -> bool:
        """Return True if the record's outputs have masks."""
        return record.mask is not None and "mask" not in self._spec.drop_targets

    def paths(self, output: Output) -> tuple[str, ...]:
        """Return every path that a file of the output may have; the first is the image's.

        The other files are named after the image and may be missing if there are no annotations. Raises RecordError if
        the format has no path for it.
        """
        sidecars = [
            sidecar
            for said in (NOTHING, _NO_BOXES)
            for sidecar in self._format.sidecars(replace(output, annotations=said), self._spec.whole)
        ]
        mask = (self._format.mask_path(output),) if output.has_mask else ()
        return tuple(dict.fromkeys((self._format.image_path(output), *mask, *(each.path for each in sidecars))))

    def sidecars(self, row: Row) -> tuple[WrittenFile, ...]:
        """Return the annotation files of the output that a row describes."""
        return tuple(self._format.sidecars(of_row(self._spec, row), self._spec.whole))

    def _output(self, record: Record, copy: int | None, extension: str) -> Output:
        said = self.said(record.annotations)
        return Output(
            key=record.key,
            split=self._split,
            copy=copy,
            extension=extension,
            height=record.height,
            width=record.width,
            class_name=None if "label" in self._spec.drop_targets else self.class_name(record),
            annotations=NOTHING if said is None else Annotations.from_json(said),
            has_mask=self.has_mask(record),
        )

    def _extension(self, record: Record) -> str:
        """Return the extension of the record's own image, empty if its key contains it."""
        if record.offset is None:
            if record.key.rpartition("/")[2] == record.path.name:
                return ""
            return keys.extension(record.path.name).removeprefix(".")
        found = (record.encoding or decode.encoding(self._dataset.read(record))).partition("-")[0]
        extension = _EXTENSIONS.get(found, found)
        return "" if keys.extension(record.key).lower() in {f".{extension}", f".{found}"} else extension


def of_row(spec: ExpansionSpec, row: Row) -> Output:
    """Return the output that a row describes."""
    return Output(
        key=row.key,
        split=row.split,
        copy=row.copy,
        extension=row.extension or "",
        height=row.height or 0,
        width=row.width or 0,
        class_name=None if "label" in spec.drop_targets else row.class_name,
        annotations=NOTHING if row.annotations is None else Annotations.from_json(row.annotations),
        has_mask=row.mask_digest is not None,
    )


def without(annotations: Annotations, targets: tuple[str, ...]) -> Annotations:
    """Return the annotations without these targets and the fields that belong to them."""
    return replace(annotations, **dict.fromkeys(name for target in targets for name in _SAID_OF.get(target, ())))


@dataclass(frozen=True, slots=True)
class Encoded:
    """One encoded output. ``mask`` is PNG; ``annotations`` is the text of ``Annotations.to_json``.

    ``applied`` and ``dropped`` are JSON, the transforms and losses of a copy; None for an original.
    """

    data: bytes
    height: int
    width: int
    mask: bytes | None = None
    annotations: str | None = None
    render_key: str | None = None
    applied: str | None = None
    dropped: str | None = None


class CopyMaker:
    """Renders and encodes copies of one record, which it decodes once.

    Each copy is guarded separately, so that the time limit holds for each. If the guard runs it in another process, the
    decoded image stays there and the next copy decodes again.
    """

    def __init__(self, renderer: Renderer, spec: ExpansionSpec, outputs: Outputs, guard: Guard, record: Record) -> None:
        self._renderer = renderer
        self._spec = spec
        self._outputs = outputs
        self._guard = guard
        self._record = record
        self._decoded = LastDecoded()

    def make(self, copy: int | None) -> Encoded:
        """Return a copy by its number, or the original.

        Raises RecordError if it cannot be decoded, rendered or encoded.
        """
        if copy is None:
            return self._original()
        return self._guard(self._renderer.subject(self._record), self._record.key, lambda: self._make(copy))

    def _make(self, copy: int) -> Encoded:
        record = self._record
        decoded = self._decoded.sample(self._renderer, record)
        rendered = self._renderer.transform(record, decoded, draw=copy)
        sample = rendered.sample
        height, width = sample.image.shape[:2]
        with KeyedErrors(record.key):
            image_format = self._outputs.image_format(record)
        has_mask, quality = self._outputs.has_mask(record), self._spec.quality or DEFAULT_QUALITY
        image, mask = encode_sample(record.key, sample, image_format, quality, with_mask=has_mask)
        return Encoded(
            image,
            height,
            width,
            mask=mask,
            annotations=self._said(rendered),
            render_key=rendered.render_key,
            applied=_json(_applied(rendered.applied)),
            dropped=_json(rendered.dropped) if rendered.dropped else None,
        )

    def _said(self, rendered: Rendered) -> str | None:
        """Return a copy's annotations, or None if neither its record nor donors have any."""
        sample = rendered.sample
        if self._record.annotations is None and sample.boxes is sample.keypoints is sample.labels is None:
            return None
        moved = self._renderer.annotations(self._record, rendered)
        if self._record.annotations is None and not (moved.boxes or moved.keypoints or moved.labels):
            return None
        return self._outputs.said(moved.to_json())

    def _original(self) -> Encoded:
        record, dataset = self._record, self._renderer.dataset
        return Encoded(
            dataset.read(record),
            record.height,
            record.width,
            mask=self._original_mask() if self._outputs.has_mask(record) else None,
            annotations=self._outputs.said(record.annotations),
        )

    def _original_mask(self) -> bytes:
        """Return the record's own mask if it is a PNG of its indices, else encode its indices as one."""
        dataset, record = self._renderer.dataset, self._record
        data = dataset.read_mask(record)
        if masks.is_index_png(data) and record.mask is not None and record.mask.digest == content_digest(data).hex():
            return data
        subject, legend = self._renderer.subject(record), dataset.mask_legend
        return self._guard(subject, record.key, lambda: masks.encode_mask(masks.decode_mask(data, legend=legend)))


def _applied(applied: Sequence[Applied]) -> list[Mapping[str, object]]:
    return [{"name": each.name, "params": each.params} for each in applied]


_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
