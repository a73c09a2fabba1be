"""The ``imagefolder`` format of Hugging Face's ``datasets``: pictures beside ``metadata.jsonl`` or ``metadata.csv``.

Each row describes one picture, whose path relative to the table's folder is ``file_name``. A table describes what lies
in its folder and below; there is one in the root, or one for each split. Of the other columns:

- ``label``: the class, by name or number; ``labels``: several, as a list of names or an object of shares.
- ``objects``: ``bbox`` with [x, y, width, height] in pixels, and ``categories`` (or ``category``, ``label``,
  ``labels``), by name or number; every further list of the same length is an attribute of each box. Or one object for
  each box.
- ``mask_file_name``: a mask, relative to the table's folder too.
- Everything else is carried along. In a CSV file it is text, and ``objects`` and ``labels`` are JSON.

Splits are those of the folder format. A picture that no row names is refused by name.
"""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from augment import keys
from augment.annotations import NOTHING
from augment.errors import DatasetError
from augment.formats import files, metadata_rows, named_pictures, tree
from augment.formats.format import Described, Listing, MaskPlace
from augment.formats.metadata_rows import Row
from augment.formats.named_pictures import Finder, Named
from augment.formats.writing import Output, Packed, StreamedFile, Whole, WrittenFile

NAME = "imagefolder"
WRITES = frozenset({"label", "labels", "boxes", "mask"})
PACKS = False

TABLES = ("metadata.jsonl", "metadata.csv")
_HEAD_BYTES = 65_536


def recognise(root: Path) -> bool:
    """Whether there is such a table in the root or in a folder in it, that names files."""
    top = files.top(root)
    places = [root, *(root / name for name in top.folders)]
    return any(_names_files(place / table) for place in places for table in TABLES)


def find(root: Path, *, max_files: int | None = None) -> Listing:
    """List the pictures that the tables name, and those that they don't. Raises DatasetError, StorageError."""
    listing = Listing()
    found = tree.grow(root, listing, max_files=max_files)
    tables = sorted(path for path in found.paths if path.rpartition("/")[2] in TABLES)
    if not tables:
        raise DatasetError(f"{root} has no {' or '.join(TABLES)}; write one, or name another format")
    folders = [table.rpartition("/")[0] for table in tables]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise DatasetError(f"{root / twice} holds {' and '.join(TABLES)}; leave one of them")
    named, finder = Named(found, used=set(tables)), Finder(found.paths)
    for table, folder in zip(tables, folders, strict=True):
        for row in _rows(found, table):
            _add(named, finder, folder, row, f"line {row.line} of {keys.printable(table)}")
    named.fill(listing, tables[0].rpartition("/")[2])
    return listing


def picture_path(output: Output) -> str:
    """In the folder of its split, under its name."""
    return files.join(output.split or "", output.file_name)


def mask_path(output: Output) -> str:
    """Beside its picture."""
    return files.join(output.split or "", _mask_name(output))


def sidecars(output: Output, whole: Whole) -> Sequence[WrittenFile]:  # noqa: ARG001 - part of every format
    """None."""
    return ()


def closing(outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:
    """``metadata.jsonl``, one for each split that has an output."""
    soft = "labels" in whole.targets and any(
        share != 1 for output in outputs() for share in (output.annotations.labels or {}).values()
    )
    splits = list(dict.fromkeys(output.split for output in outputs()))
    for split in splits:
        lines = (_line(output, whole, soft=soft) for output in outputs() if output.split == split)
        yield StreamedFile(files.join(split or "", TABLES[0]), lines)


def pack(outputs: Sequence[Packed], whole: Whole, *, split: str | None, index: int) -> WrittenFile:
    """Never called: pictures are files."""
    raise NotImplementedError(index)


def _names_files(table: Path) -> bool:
    return b"file_name" in files.head(table, _HEAD_BYTES).partition(b"\n")[0]


def _mask_name(output: Output) -> str:
    return f"{output.name}.mask.png"


def _rows(found: tree.Tree, table: str) -> Iterator[Row]:
    text = named_pictures.read_table(found, table)
    try:
        yield from metadata_rows.of_csv(text) if table.endswith(".csv") else metadata_rows.of_jsonl(text)
    except ValueError as error:
        raise DatasetError(f"{found.root / table}: {error}") from error


def _add(named: Named, finder: Finder, folder: str, row: Row, where: str) -> None:
    name = row.columns.get("file_name")
    if not isinstance(name, str) or not name:
        raise DatasetError(f"{named.tree.root}: {where} has no file_name; each row names a picture")
    path = finder.exact(folder, name)
    if path is None:
        named.missing.setdefault(files.join(folder, name), f"picture missing: {where} names it")
        return
    named.add(path, _described(named, finder, folder, row), where)


def _described(named: Named, finder: Finder, folder: str, row: Row) -> Described:
    try:
        class_name, said = metadata_rows.read(row.columns)
    except ValueError as error:
        return Described(problem=f"malformed: {error}")
    mask_name, mask = row.columns.get("mask_file_name"), None
    if mask_name is not None:
        mask = finder.exact(folder, mask_name) if isinstance(mask_name, str) else None
        if mask is None:
            return Described(problem=f"mask missing: there is no {mask_name!r}")
        named.used.add(mask)
    named.classes |= {*(() if class_name is None else (class_name,)), *(said.labels or ()), *(said.box_labels or ())}
    place = None if mask is None else MaskPlace(mask)
    if said == NOTHING:
        return Described(mask=place, class_name=class_name)
    if row.text is None:
        return Described(said, mask=place, class_name=class_name)
    annotate = functools.partial(metadata_rows.read_again, row.text)
    return Described(annotate=annotate, mask=place, class_name=class_name)


def _line(output: Output, whole: Whole, *, soft: bool) -> bytes:
    row: dict[str, Any] = {"file_name": output.file_name}
    if output.class_name is not None:
        row["label"] = output.class_name
    if output.has_mask:
        row["mask_file_name"] = _mask_name(output)
    row |= metadata_rows.written(output.annotations, whole, soft=soft)
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
