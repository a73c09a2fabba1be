"""What the records of one split become, as a format is told of it, and the files that the format makes of it."""

from dataclasses import replace

from augment import decode, keys
from augment.annotations import NOTHING, Annotations
from augment.dataset import Dataset
from augment.expansion.manifest import Row
from augment.expansion.spec import ExpansionSpec
from augment.expansion.splits import Part
from augment.formats import registry
from augment.formats.writing import Output, WrittenFile
from augment.sample import Record

_EXTENSIONS = {"jpeg": "jpg", "tiff": "tif"}
"""Of pictures that had no file of their own, where a name is not what their format is called."""

_NO_BOXES = Annotations(boxes=(), box_labels=())

_OF_KEYPOINTS = ("labels", "visibility", "angles", "scales", "boxes")


class Outputs:
    """Describes the outputs of one part of an expansion."""

    def __init__(self, spec: ExpansionSpec, part: Part, dataset: Dataset) -> None:
        self._spec = spec
        self._split = spec.folder(part)
        self._part = part
        self._dataset = dataset
        self._format = registry.FORMATS[spec.format]

    def wanted(self, record: Record) -> list[Output]:
        """All that a record is to become: its copies, then its original. A copy's size is known once it is rendered.

        Raises RecordError and StorageError where the original's file has to be looked into and cannot be.
        """
        name = self.class_name(record)
        copies = self._spec.copies_of(self._part, record.key, name)
        found = [self._output(record, copy, self._spec.extension) for copy in range(copies)]
        if self._spec.has_original(self._part):
            found.append(self._output(record, None, self._extension(record)))
        return found

    def sketch(self, record: Record) -> Output:
        """An output that lies where the record's outputs do, whatever they are; no file is looked into."""
        return self._output(record, 0, self._spec.extension)

    def class_name(self, record: Record) -> str | None:
        """The name of the record's single class; None where it has none."""
        return None if record.label is None else self._spec.classes[record.label]

    def said(self, annotations: str | None) -> str | None:
        """Of a record's annotations what its outputs have: less the targets that are dropped."""
        if annotations is None or not self._spec.drop_targets:
            return annotations
        return without(Annotations.from_json(annotations), self._spec.drop_targets).to_json()

    def has_mask(self, record: Record) -> bool:
        """Whether the record's outputs have masks."""
        return record.mask is not None and "mask" not in self._spec.drop_targets

    def paths(self, output: Output) -> tuple[str, ...]:
        """Every place where something of the output may lie; the first is the picture's.

        What lies beside a picture is called after it, whatever it says; there may be nothing where nothing is said.
        Raises RecordError where the format has no place for it.
        """
        sidecars = [
            sidecar
            for said in (NOTHING, _NO_BOXES)
            for sidecar in self._format.sidecars(replace(output, annotations=said), self._spec.whole)
        ]
        mask = (self._format.mask_path(output),) if output.has_mask else ()
        return tuple(dict.fromkeys((self._format.picture_path(output), *mask, *(each.path for each in sidecars))))

    def mask_path(self, output: Output) -> str:
        """Where the output's mask lies."""
        return self._format.mask_path(output)

    def picture_path(self, output: Output) -> str:
        """Where the output's picture lies."""
        return self._format.picture_path(output)

    def sidecars(self, row: Row) -> tuple[WrittenFile, ...]:
        """What lies beside the picture that a row describes."""
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
        """That of the record's own picture, empty where its key holds it."""
        if record.offset is None:
            if record.key.rpartition("/")[2] == record.path.name:
                return ""
            return keys.extension(record.path.name).removeprefix(".")
        found = decode.probe(self._dataset.read(record)).format
        extension = _EXTENSIONS.get(found, found)
        return "" if keys.extension(record.key).lower() in {f".{extension}", f".{found}"} else extension


def of_row(spec: ExpansionSpec, row: Row) -> Output:
    """The output that a row describes."""
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
    """The annotations less these targets, and less what is said of them."""
    gone: set[str] = set()
    if "labels" in targets:
        gone.add("labels")
    if "boxes" in targets:
        gone |= {"boxes", "box_labels", "box_attributes", "instance_masks", "keypoint_boxes"}
    if "instance_masks" in targets:
        gone.add("instance_masks")
    if "keypoints" in targets:
        gone |= {"keypoints", *(f"keypoint_{name}" for name in _OF_KEYPOINTS)}
    return replace(annotations, **dict.fromkeys(gone))
