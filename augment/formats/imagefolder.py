"""Hugging Face's ``imagefolder`` format: images with ``metadata.jsonl`` or ``metadata.csv``.

Each row describes one image, whose path relative to the table's folder is ``file_name``. A table describes the images
in its folder and below; there is one in the root, or one for each split. The other columns:

- ``label``: the class, by name or number; ``labels``: several, as a list of names or an object of shares.
- ``objects``: ``bbox`` with [x, y, width, height] in pixels, and ``categories`` (or ``category``, ``label``,
  ``labels``), by name or number; every further list of the same length is an attribute of each box. It may also be a
  list with one object for each box.
- ``mask_file_name``: a mask, also relative to the table's folder.
- All others are carried over. In a CSV file they are text, and ``objects`` and ``labels`` are JSON.

Splits are those of the folder format. An image that no row names is refused by name.
"""

import csv
import functools
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from augment.datasets import keys
from augment.errors import DatasetError
from augment.formats import evidence, files
from augment.formats.format import Described, FolderFormat, Listing, MaskPlace, Output, OutputDataset, StreamedFile
from augment.formats.shared import columns, image_paths
from augment.formats.shared.image_paths import TableImages
from augment.formats.tree import Tree, join
from augment.samples import annotations
from augment.samples.annotations import NOTHING, Annotations
from augment.validation import quoted

_OF_IMAGES = ("file_name", "label", "labels", "objects", "mask_file_name")
"""Columns with a meaning; the others are carried over."""
_CATEGORIES = ("categories", "category", "labels", "label")
_DECIMALS = 6


class MetadataRow(NamedTuple):
    """A row: the number of its last line, its columns, and its text if that is JSON."""

    line: int
    columns: Mapping[str, Any]
    text: str | None


def of_jsonl(text: str) -> Iterator[MetadataRow]:
    """Yield the row of each line that is not blank. Raises ValueError with the line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is not JSON ({error}); each line is one object") from error
        if not isinstance(row, dict):
            raise _wrong(f"line {number} is not an object; each line is one, with file_name")
        yield MetadataRow(number, row, line)


def of_csv(text: str) -> Iterator[MetadataRow]:
    """Yield each row, its cells by the names of their columns; empty cells are left out.

    ``objects`` and ``labels`` are read as JSON. Raises ValueError with the line, or with columns of boxes, which would
    otherwise be carried over.
    """
    first = text.partition("\n")[0]
    names = {each: [cell.strip(' "\r') for cell in first.split(each)] for each in ",;\t"}
    delimiter = next((each for each, cells in names.items() if "file_name" in cells), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        if boxes := columns.box_names(header):
            raise ValueError(
                f"its columns {', '.join(boxes)} are boxes, which this format has in objects; rename the table to "
                "labels.csv to read it as csv"
            )
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise ValueError(f"line {reader.line_num} has {len(cells)} cells, of {len(header)} columns")
            row: dict[str, Any] = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
            for name in ("objects", "labels"):
                if name in row:
                    row[name] = json.loads(row[name])
            yield MetadataRow(reader.line_num, row, None)
    except (csv.Error, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"line {reader.line_num} cannot be read ({error})") from error


def read(row: Mapping[str, Any]) -> tuple[str | None, Annotations]:
    """Return the class of a row's image, and its other annotations. Raises ValueError."""
    members: dict[str, Any] = {}
    label, several = row.get("label"), row.get("labels")
    if isinstance(label, list | dict) and several is None:
        label, several = None, label
    if isinstance(several, list):
        members["labels"] = [_name(each, "labels") for each in several]
    elif several is not None:
        members["labels"] = _shares(several)
    if (objects := row.get("objects")) is not None:
        members |= _boxes(objects)
    extra = {name: value for name, value in row.items() if name not in _OF_IMAGES and value is not None}
    if extra:
        members["extra"] = extra
    said = annotations.parse(members) if members else NOTHING
    return None if label is None else _name(label, "label"), said


def read_again(text: str, height: int, width: int) -> Annotations:  # noqa: ARG001 - the signature of ``Described.annotate``
    """Parse a row of which only the text was kept: with five boxes this takes 1 kB instead of 3.3 kB (measured)."""
    return read(json.loads(text))[1]


def written(said: Annotations, whole: OutputDataset, *, soft: bool) -> dict[str, Any]:
    """Return the columns of a row without its paths and its single class. ``soft``: labels are an object of shares."""
    row: dict[str, Any] = {}
    if "labels" in whole.targets and said.labels is not None:
        row["labels"] = dict(sorted(said.labels.items())) if soft else sorted(said.labels)
    if "boxes" in whole.targets and said.boxes is not None:
        row["objects"] = _objects(said)
    for name, value in sorted((said.extra or {}).items()):
        row[f"{name}_" if name in _OF_IMAGES else name] = value
    return row


def _objects(said: Annotations) -> dict[str, Any]:
    boxes = said.boxes or ()
    objects: dict[str, Any] = {
        "bbox": [[round(value, _DECIMALS) for value in (x, y, x_max - x, y_max - y)] for x, y, x_max, y_max in boxes]
    }
    if said.box_labels is not None:
        objects["categories"] = list(said.box_labels)
    attributes = said.box_attributes or ()
    for name in sorted({name for each in attributes for name in each}):
        column = f"{name}_" if name in ("bbox", *_CATEGORIES) else name
        objects[column] = [each.get(name) for each in attributes]
    return objects


def _boxes(objects: object) -> dict[str, Any]:
    if isinstance(objects, list):
        objects = _as_columns(objects)
    if not isinstance(objects, dict):
        raise _wrong(f"objects is an object of lists, not {type(objects).__name__}")
    columns = {name: values for name, values in objects.items() if values is not None}
    given = columns.pop("bbox", [])
    if not isinstance(given, list):
        raise _wrong("objects.bbox is a list of [x, y, width, height]")
    boxes = [_corners(box) for box in given]
    for name, values in columns.items():
        if not isinstance(values, list) or len(values) != len(boxes):
            raise ValueError(f"objects.{name} is a list with a value for each of the {len(boxes)} boxes")
    members: dict[str, Any] = {"boxes": boxes}
    category = next((name for name in _CATEGORIES if name in columns), None)
    if category is not None:
        members["box_labels"] = [_name(value, f"objects.{category}") for value in columns.pop(category)]
    if columns:
        members["box_attributes"] = [
            {name: values[i] for name, values in columns.items() if values[i] is not None} for i in range(len(boxes))
        ]
    return members


def _as_columns(objects: list[Any]) -> dict[str, list[Any]]:
    for each in objects:
        if not isinstance(each, dict) or "bbox" not in each:
            raise ValueError("each of objects is an object with a bbox")
    names = dict.fromkeys(name for each in objects for name in each)
    return {name: [each.get(name) for each in objects] for name in names}


def _corners(box: object) -> list[float]:
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"a bbox is [x, y, width, height], not {quoted(box)}")
    numbers = [annotations.number(each, "objects.bbox") for each in box]
    x, y, width, height = numbers
    return [x, y, x + width, y + height]


def _shares(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong("labels is a list of names, or an object with the share of each")
    return {name: share for name, share in value.items() if share is not None}


def _name(value: object, what: str) -> str:
    """Return the name of a class that is given by name or number."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{what} is the name or the number of a class, not {quoted(value)}")


def _wrong(text: str) -> ValueError:
    return ValueError(text)


TABLES = ("metadata.jsonl", "metadata.csv")


class ImageFolder(FolderFormat):
    """Hugging Face `imagefolder`: images with metadata.csv or metadata.jsonl."""

    name = "imagefolder"
    writes = frozenset({"label", "labels", "boxes", "mask"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if a table of this name names files."""
        return evidence.has(
            tree,
            self.name,
            (path for path in tree.of_suffixes([".jsonl", ".csv"]) if path.rpartition("/")[2] in TABLES),
        )

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """Add the images that the tables name, and refuse the others. Raises DatasetError, StorageError."""
        found, root = tree, tree.root
        tables = sorted(path for path in found.paths if path.rpartition("/")[2] in TABLES)
        if not tables:
            raise DatasetError(f"{root} has no {' or '.join(TABLES)}; write one, or name another format")
        folders = [table.rpartition("/")[0] for table in tables]
        twice = next((folder for folder, number in Counter(folders).items() if number > 1), None)
        if twice is not None:
            raise DatasetError(f"{root / twice} holds {' and '.join(TABLES)}; remove one of them")
        named = TableImages(found, used=set(tables))
        for table, folder in zip(tables, folders, strict=True):
            for row in _rows(found, table):
                _add(named, folder, row, f"line {row.line} of {keys.printable(table)}")
        named.fill(listing, tables[0].rpartition("/")[2])

    def mask_path(self, output: Output) -> str:
        """Return a path next to its image."""
        return join(output.split or "", _mask_name(output))

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Yield ``metadata.jsonl``, one for each split with outputs."""
        soft = "labels" in whole.targets and any(
            share != 1 for output in outputs() for share in (output.annotations.labels or {}).values()
        )
        splits = list(dict.fromkeys(output.split for output in outputs()))
        for split in splits:
            lines = (_line(output, whole, soft=soft) for output in outputs() if output.split == split)
            yield StreamedFile(join(split or "", TABLES[0]), lines)


def _mask_name(output: Output) -> str:
    return f"{output.name}.mask.png"


def _rows(found: Tree, table: str) -> Iterator[MetadataRow]:
    text = image_paths.read_table(found, table)
    try:
        yield from of_csv(text) if table.endswith(".csv") else of_jsonl(text)
    except ValueError as error:
        raise DatasetError(f"{found.root / table}: {error}") from error


def _add(named: TableImages, folder: str, row: MetadataRow, where: str) -> None:
    name = row.columns.get("file_name")
    if not isinstance(name, str) or not name:
        raise DatasetError(f"{named.tree.root}: {where} has no file_name; each row names an image")
    path = files.named(named.tree.paths, folder, name)
    if path is None:
        named.missing.setdefault(join(folder, name), f"image missing: {where} names it")
        return
    named.add(path, _described(named, folder, row), where)


def _described(named: TableImages, folder: str, row: MetadataRow) -> Described:
    try:
        class_name, said = read(row.columns)
    except ValueError as error:
        return Described(problem=f"malformed: {error}")
    mask_name, mask = row.columns.get("mask_file_name"), None
    if mask_name is not None:
        mask = files.named(named.tree.paths, folder, mask_name) if isinstance(mask_name, str) else None
        if mask is None:
            return Described(problem=f"mask missing: there is no {mask_name!r}")
        named.used.add(mask)
    named.classes |= {*(() if class_name is None else (class_name,)), *(said.labels or ()), *(said.box_labels or ())}
    place = None if mask is None else MaskPlace(mask)
    if said == NOTHING:
        return Described(mask=place, class_name=class_name)
    if row.text is None:
        return Described(said, mask=place, class_name=class_name)
    annotate = functools.partial(read_again, row.text)
    return Described(annotate=annotate, mask=place, class_name=class_name)


def _line(output: Output, whole: OutputDataset, *, soft: bool) -> bytes:
    row: dict[str, Any] = {"file_name": output.file_name}
    if output.class_name is not None:
        row["label"] = output.class_name
    if output.has_mask:
        row["mask_file_name"] = _mask_name(output)
    row |= written(output.annotations, whole, soft=soft)
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
