"""Parquet shards as a scan lists them: what each says of itself, its columns of names and classes; no picture."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from augment import keys, parquet_rows, read
from augment.errors import DatasetError, StorageError
from augment.formats import parquet_layout
from augment.formats.class_values import ClassValues
from augment.formats.dataset_info import DatasetInfo
from augment.formats.parquet_layout import ClassColumn, Layout, LayoutError
from augment.formats.said import HAS_NAMES, parsed
from augment.formats.shards import Shard
from augment.formats.vocabulary import NamesInUse
from augment.parquet_rows import Description, UnreadableRowError

CARRIED_MEAN_BYTES = 1024
"""A row of the first row group, of a column that is carried along without being understood: captions and numbers."""

NAME_MAX_CHARS = 1024
"""Of the path of a picture; a longer one is no name."""

_WINDOWS = re.compile(r"[A-Za-z]:\\|\\\\")


@dataclass(slots=True)
class Shelf:
    """One shard. ``names`` are those beside the pictures, ``values`` the classes as they are written."""

    path: Path
    shard: Shard
    description: Description
    layout: Layout
    names: list[str | None] = field(default_factory=list)
    values: list[int | str | None] = field(default_factory=list)


class Meaning:
    """What the columns with classes mean; ``label``, ``labels`` and ``categories`` tell names, ``names`` is of all."""

    def __init__(self, layout: Layout, info: DatasetInfo) -> None:
        self.layout = layout
        columns = (layout.label, layout.labels, layout.category)
        listed = [_listed(column, info) for column in columns]
        known = [names for column, names in zip(columns, listed, strict=True) if column is not None]
        union = tuple(dict.fromkeys(name for names in known for name in names or ()))
        complete = None not in known if known else info.classes is not None
        if not known and info.classes is not None:
            union = info.classes
        values = ClassValues(union if complete else None)
        for name in () if complete else union:
            values.note(name)
        self.names = NamesInUse(values, info.keypoint_names)
        self.label, self.labels, self.categories = (values if names is None else ClassValues(names) for names in listed)
        self._unlisted = [
            where
            for where, column, names in zip(_places(layout), columns, listed, strict=True)
            if column is not None and names is None
        ]

    def leaves(self) -> list[str]:
        """The columns that are read before any row is: of file names, of classes, and of whatever names more."""
        layout = self.layout
        found = [
            layout.image_path,
            None if layout.label is None else layout.label.column,
            *(column for column, _ in self._unlisted),
        ]
        if layout.annotations is not None and not self.names.complete:
            found.append(layout.annotations)
        return sorted({leaf for leaf in found if leaf is not None})

    def note(self, table: pa.Table) -> None:
        """Take in what these columns name."""
        for column, member in self._unlisted:
            for value in _different(table, column, member):
                self.names.values.note(value)
        if self.layout.annotations is None or self.names.complete:
            return
        for text in table.column(self.layout.annotations).to_pylist():
            if text is not None and HAS_NAMES.search(text):
                try:
                    self.names.note(parsed(text, "its annotations"))
                except ValueError:
                    continue  # it is told when the record is examined


def open_shelf(path: Path, shard: Shard) -> Shelf:
    """Read what a file says of itself. Raises DatasetError, StorageError."""
    with _blaming(path):
        description = parquet_rows.describe(path)
        size_bytes = path.stat().st_size
    try:
        layout = parquet_layout.layout_of(description.schema)
    except LayoutError as error:
        raise DatasetError(f"{_shown(path)}: {error}") from error
    if description.num_rows > size_bytes:
        raise DatasetError(
            f"{_shown(path)} claims {description.num_rows} rows in {size_bytes} bytes; fetch or write it again"
        )
    largest = max(description.group_bytes, default=0)
    if largest > parquet_rows.GROUP_MAX_BYTES:
        raise DatasetError(f"{_shown(path)}: {parquet_rows.too_large(description.group_bytes.index(largest), largest)}")
    return Shelf(path, shard, description, layout)


def common_layout(shelves: Sequence[Shelf]) -> Layout:
    """The layout that all shards have. Raises DatasetError where they differ in more than what is carried along."""
    first = shelves[0]
    carried = dict.fromkeys(name for shelf in shelves for name in shelf.layout.carried)
    left_out = dict.fromkeys(name for shelf in shelves for name in shelf.layout.left_out)
    bare = replace(first.layout, carried=(), left_out=())
    for shelf in shelves:
        if replace(shelf.layout, carried=(), left_out=()) != bare:
            raise DatasetError(
                f"{_shown(shelf.path)} has other columns of pictures, classes or boxes than {_shown(first.path)}, or "
                "other names of classes; give shards of one dataset"
            )
    unread = left_out.keys() | _large(first, list(carried))
    return replace(bare, carried=tuple(name for name in carried if name not in unread), left_out=tuple(sorted(unread)))


def _large(shelf: Shelf, columns: list[str]) -> set[str]:
    """Which of the columns have more bytes a row than are carried along, by a shard's first row group."""
    with _blaming(shelf.path):
        for table in parquet_rows.read_columns(shelf.path, columns) if columns else ():
            return {name for name in table.column_names if table.column(name).nbytes > CARRIED_MEAN_BYTES * len(table)}
    return set()


def read_shelf(shelf: Shelf, meaning: Meaning) -> None:
    """Fill in a shard's names and values, and note what it names. Raises DatasetError, StorageError."""
    layout, num_rows = meaning.layout, shelf.description.num_rows
    leaves = meaning.leaves()
    with _blaming(shelf.path):
        for table in parquet_rows.read_columns(shelf.path, leaves) if leaves else ():
            with parquet_rows.refusals():
                if layout.image_path is not None:
                    shelf.names += map(_own_name, _leaf(table, layout.image_path).to_pylist())
                if layout.label is not None:
                    shelf.values += table.column(layout.label.column).to_pylist()
                meaning.note(table)
    if layout.image_path is None:
        shelf.names = [None] * num_rows
    if layout.label is None:
        shelf.values = [None] * num_rows
    if (len(shelf.names), len(shelf.values)) != (num_rows, num_rows):
        raise DatasetError(
            f"{_shown(shelf.path)} does not have the {num_rows} rows that it claims; fetch or write it again"
        )


def _listed(column: ClassColumn | None, info: DatasetInfo) -> tuple[str, ...] | None:
    return None if column is None else column.names or info.classes


def _places(layout: Layout) -> tuple[tuple[str, str | None], ...]:
    """Where the classes of ``label``, ``labels`` and boxes stand: a column, and its member."""
    label, labels, category = (
        "" if each is None else each.column for each in (layout.label, layout.labels, layout.category)
    )
    return (label, None), (labels, None), (layout.objects or "", category)


def _leaf(table: pa.Table, leaf: str) -> pa.ChunkedArray:
    column, _, member = leaf.rpartition(".")
    return pc.struct_field(table.column(column), member)


def _different(table: pa.Table, column: str, member: str | None) -> Iterator[int | str]:
    """The different values of a column of classes, whatever lists and structs lie above them."""
    for chunk in table.column(column).chunks:
        values = chunk
        while not (pa.types.is_integer(values.type) or parquet_layout.is_text(values.type)):
            values = pc.struct_field(values, member) if pa.types.is_struct(values.type) else pc.list_flatten(values)
        yield from (value for value in pc.unique(values).to_pylist() if value is not None)


def _own_name(path: str | None) -> str | None:
    """What a record goes by whose picture was called so; None for what is no name."""
    if path is None or len(path) > NAME_MAX_CHARS or "\0" in path:
        return None
    address = "://" in path
    plain = path.partition("::")[0] if address else path  # fsspec's chains: a.png::https://…/pictures.zip
    windows = _WINDOWS.match(plain) is not None
    parts = [part for part in plain.replace("\\", "/" if windows else "\\").split("/") if part not in {"", "."}]
    outside = address or windows or plain.startswith("/") or ".." in parts
    if not parts or parts[-1] == "..":
        return None
    return parts[-1] if outside else "/".join(parts)


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """What cannot be read is the fault of this file, or the machine's."""
    try:
        yield
    except UnreadableRowError as error:
        raise DatasetError(f"{_shown(path)} cannot be read as Parquet ({error}); fetch or write it again") from error
    except OSError as error:
        verdict = read.at_fault(error, _shown(path))
        if isinstance(verdict, StorageError):
            raise verdict from error
        raise DatasetError(f"{_shown(path)} cannot be read: {verdict.detail}; give shards that you may read") from error


def _shown(path: Path) -> str:
    return keys.printable(str(path))
