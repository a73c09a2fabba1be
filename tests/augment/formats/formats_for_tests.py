"""Datasets written by a format as in an expansion, without rendering: every record's own image."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from augment.datasets import keys
from augment.datasets.dataset import Dataset
from augment.formats.format import FolderFormat, Output, OutputDataset
from augment.samples.annotations import NOTHING, Annotations
from augment.scanning.scan import folder_format, scan
from tests.augment.folders_for_tests import pattern

SIZE = (24, 32)
"""Height and width of images that nobody gives another."""


def output(
    key: str = "a",
    annotations: Annotations = NOTHING,
    *,
    split: str | None = None,
    size: tuple[int, int] = SIZE,
    copy: int | None = None,
) -> Output:
    """Return one output of an expansion, a PNG."""
    return Output(key, split, copy, "png", *size, annotations=annotations)


def whole_of(outputs: list[Output], *, classes: tuple[str, ...], keypoint_names: tuple[str, ...] = ()) -> OutputDataset:
    """Return the facts of a dataset that holds just these outputs."""
    annotated = [each.annotations for each in outputs]
    names = ("boxes", "instance_masks", "keypoints")
    targets = {name for name in names if any(getattr(each, name) is not None for each in annotated)}
    splits = tuple(dict.fromkeys(each.split for each in outputs if each.split is not None))
    return OutputDataset(classes, keypoint_names, frozenset(targets), splits, "elsewhere")


def write(root: Path, format_name: str, outputs: list[Output], whole: OutputDataset) -> Path:
    """Write images of one shade, and all other files of the format."""
    chosen = folder_format(format_name)
    ordered = sorted(outputs, key=lambda each: (each.split or "", each.key.encode(), each.copy or 0))
    for shade, each in enumerate(ordered):
        _put(root, chosen.image_path(each), pattern(shade, height=each.height, width=each.width))
    _describe(root, chosen, ordered, whole)
    return root


def convert(dataset: Dataset, root: Path, format_name: str) -> Dataset:
    """Write every record of a whole dataset in another format, and scan the result."""
    chosen = folder_format(format_name)
    whole = OutputDataset(
        dataset.classes,
        dataset.keypoint_names,
        dataset.targets,
        tuple(dataset.splits),
        dataset.format,
        dataset.details,
    )
    outputs = []
    for record in dataset:
        split, _, key = record.key.rpartition("/") if not dataset.splits else _cut(record.key)
        key, split_name = (key, split) if dataset.splits else (record.key, None)
        extension = keys.extension(record.path.name)
        annotations = Annotations.from_json(record.annotations) if record.annotations else NOTHING
        each = Output(
            key,
            split_name,
            None,
            "" if key.endswith(extension) else extension.removeprefix("."),
            record.height,
            record.width,
            None if record.label is None else dataset.classes[record.label],
            annotations=annotations,
            has_mask=record.mask is not None,
        )
        outputs.append(each)
        _put(root, chosen.image_path(each), dataset.read(record))
        if record.mask is not None:
            _put(root, chosen.mask_path(each), dataset.read_mask(record))
    _describe(root, chosen, outputs, whole)
    return scan(root, format=format_name)


def annotations_by_key(dataset: Dataset) -> dict[str, Annotations]:
    """Return the annotations of each record."""
    return {
        record.key: Annotations.from_json(record.annotations) if record.annotations else NOTHING for record in dataset
    }


def files_of(root: Path) -> Mapping[str, bytes]:
    """Return the bytes of every file by its path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _describe(root: Path, chosen: FolderFormat, outputs: list[Output], whole: OutputDataset) -> None:
    for each in outputs:
        for sidecar in chosen.sidecars(each, whole):
            _put(root, sidecar.path, sidecar.data)

    def again() -> Iterator[Output]:
        return iter(outputs)

    for file in chosen.closing(again, whole):
        _put(root, file.path, b"".join(file.pieces))


def _cut(key: str) -> tuple[str, str, str]:
    return key.partition("/")


def _put(root: Path, path: str, data: bytes) -> None:
    full = root / path
    assert full.resolve().is_relative_to(root.resolve())
    assert not full.exists(), f"{path} is written twice"
    full.parent.mkdir(parents=True, exist_ok=True)
    full.write_bytes(data)
