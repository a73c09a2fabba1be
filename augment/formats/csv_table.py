"""The ``csv`` format: a table of paths and labels, such as ``labels.csv``, beside or above the pictures.

One table in the root, or one for each split: in the folders of the splits, or named after them (``train.csv``,
``test_labels.csv``). Of several tables in a folder ``labels.csv`` or ``_annotations.csv`` counts. What its columns are
is told by their names (``csv_columns``): the path, the class, several classes, the split, corners of boxes.

- **Paths** are relative to the table's folder. A name that leads nowhere is looked for among all pictures, with and
  without extension; one that fits several is refused.
- **Several classes** stand in one cell, ``;`` or ``|`` between them (``cat=0.7;dog=0.3`` gives shares), or each has a
  column of 0 and 1.
- **Boxes** are rows of their own, in absolute pixels; a row without corners says that there is none. The columns
  ``width`` and ``height`` beside them are the picture's, and are compared with it.
- **Other columns** are carried along as text: of boxes as their attributes, else of the picture.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from augment import keys
from augment.errors import DatasetError
from augment.formats import csv_columns, csv_rows, csv_writing, files, named_pictures, tree
from augment.formats.format import Listing
from augment.formats.named_pictures import Finder, Named
from augment.formats.writing import Output, Packed, StreamedFile, Whole, WrittenFile

NAME = "csv"
WRITES = frozenset({"label", "labels", "boxes"})
PACKS = False

TABLE = "labels.csv"
_PREFERRED = (TABLE, "_annotations.csv", "annotations.csv")
_ANOTHERS = "metadata.csv"
"""The table of the ``imagefolder`` format."""
_OF_SPLIT = re.compile(rf"({'|'.join(sorted(files.SPLIT_NAMES, key=len, reverse=True))})([_-].*)?\.csv", re.IGNORECASE)
_HEAD_BYTES = 65_536


def recognise(root: Path) -> bool:
    """Whether the root, or a folder of a split in it, has a table with paths and something about them."""
    top = files.top(root)
    places = ["", *(name for name in top.folders if name.lower() in files.SPLIT_NAMES)]
    for place in places:
        names = top.files if not place else sorted(path.name for path in (root / place).glob("*.csv"))
        if any(_is_table(root, files.join(place, name)) for name in names if _may_be_table(name)):
            return True
    return False


def find(root: Path, *, max_files: int | None = None) -> Listing:
    """List the pictures that the tables name, and those that they don't. Raises DatasetError, StorageError."""
    listing = Listing()
    found = tree.grow(root, listing, max_files=max_files)
    tables = _tables(found)
    if not tables:
        raise DatasetError(
            f"{root} has no CSV file whose header names a column of paths ({', '.join(csv_columns.PATHS[:3])} …) and "
            f"one of classes or corners; write {TABLE}, or name another format"
        )
    named, finder = Named(found, used=set(tables)), Finder(found.paths - set(tables))
    for table, split in tables.items():
        try:
            csv_rows.add(named, finder, table, split, named_pictures.read_table(found, table))
        except ValueError as error:
            raise DatasetError(f"{root / table}: {error}") from error
    named.fill(listing, ", ".join(tables))
    return listing


def picture_path(output: Output) -> str:
    """In the folder of its split, under its name."""
    return files.join(output.split or "", output.file_name)


def mask_path(output: Output) -> str:
    """Never called: there is no place for one."""
    raise NotImplementedError(output.name)


def sidecars(output: Output, whole: Whole) -> Sequence[WrittenFile]:  # noqa: ARG001 - part of every format
    """None."""
    return ()


def closing(outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:
    """``labels.csv`` in the root."""
    yield StreamedFile(TABLE, csv_writing.pieces(outputs, whole, picture_path))


def pack(outputs: Sequence[Packed], whole: Whole, *, split: str | None, index: int) -> WrittenFile:
    """Never called: pictures are files."""
    raise NotImplementedError(index)


def _may_be_table(name: str) -> bool:
    return name.lower().endswith(".csv") and name.lower() != _ANOTHERS


def _is_table(root: Path, path: str) -> bool:
    head = files.head(root / path, _HEAD_BYTES)
    columns, cells = csv_rows.first(head.decode("utf-8-sig", errors="replace"))
    return columns is not None and (columns.says_something or csv_rows.is_one_hot(columns, [cells]))


def _tables(found: tree.Tree) -> dict[str, str | None]:
    """The tables that count, each with the split that it is of. Raises DatasetError where it is not clear which do."""
    by_folder: dict[str, list[str]] = {}
    for path in sorted(found.paths, key=str.encode):
        folder, _, name = path.rpartition("/")
        if _may_be_table(name) and (not folder or folder.lower() in files.SPLIT_NAMES) and _is_table(found.root, path):
            by_folder.setdefault(folder, []).append(name)
    if "" in by_folder:
        return _chosen(found.root, by_folder[""])
    return {
        files.join(folder, name): folder for folder, names in by_folder.items() for name in _chosen(found.root, names)
    }


def _chosen(root: Path, names: list[str]) -> dict[str, str | None]:
    preferred = next((name for name in _PREFERRED for each in names if each.lower() == name), None)
    if preferred is not None:
        return {next(each for each in names if each.lower() == preferred): None}
    splits = {name: match[1] for name in names if (match := _OF_SPLIT.fullmatch(name))}
    if len(set(splits.values())) == len(names):
        return dict(splits)
    if len(names) == 1:
        return {names[0]: None}
    shown = ", ".join(map(keys.printable, names[:4]))
    raise DatasetError(f"{root} has several tables of pictures ({shown}); name the one that counts {TABLE}")
