"""Reading of Parquet shards for a scan: names and classes of each shard, and annotations of a row; no image is read."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from augment.datasets import keys, parquet_rows
from augment.datasets.parquet_rows import Description, UnreadableRowError
from augment.errors import DatasetError
from augment.formats.parquet import columns
from augment.formats.parquet.columns import LayoutError, ParquetLayout
from augment.formats.shared.class_names import ClassValues, NamesInUse
from augment.formats.shared.shards import HAS_NAMES, DatasetInfo, ShardFile, carrying, parsed, unreadable
from augment.samples.annotations import NOTHING, Annotations
from augment.validation import quoted

CARRIED_MEAN_BYTES = 1024
"""Largest mean size of a carried column's values in the first row group: room for captions and numbers."""

NAME_MAX_CHARS = 1024
"""Length of an image's path above which it is not used as a name."""

_WINDOWS = re.compile(r"[A-Za-z]:\\|\\\\")


@dataclass(slots=True)
class Shelf:
    """One shard. ``names`` are those stored with the images, ``values`` the classes as written."""

    path: Path
    shard: ShardFile
    description: Description
    layout: ParquetLayout
    names: list[str | None] = field(default_factory=list)
    values: list[int | str | None] = field(default_factory=list)


class Meaning:
    """Class and keypoint values of all shards; ``label``, ``labels`` and ``categories`` are by role of the column."""

    def __init__(self, layout: ParquetLayout, info: DatasetInfo) -> None:
        self.layout = layout
        columns = (layout.label, layout.labels, layout.category)
        listed = [None if column is None else column.names or info.classes for column in columns]
        known = [names for column, names in zip(columns, listed, strict=True) if column is not None] or [info.classes]
        union = tuple(dict.fromkeys(name for names in known for name in names or ()))
        complete = None not in known
        values = ClassValues(union if complete else None)
        for name in () if complete else union:
            values.note(name)
        self.names = NamesInUse(values, info.keypoint_names)
        self.label, self.labels, self.categories = (values if names is None else ClassValues(names) for names in listed)
        self._unlisted = [
            column for column, names in zip(columns, listed, strict=True) if column is not None and names is None
        ]

    def leaves(self) -> list[str]:
        """Return the columns that are read before any row: those of file names, classes and other names."""
        layout = self.layout
        found = [
            layout.image_path,
            None if layout.label is None else layout.label.column,
            *(each.column for each in self._unlisted),
        ]
        if layout.annotations is not None and not self.names.complete:
            found.append(layout.annotations)
        return sorted({leaf for leaf in found if leaf is not None})

    def note(self, table: pa.Table) -> None:
        """Collect the names in these columns."""
        for each in self._unlisted:
            for value in _different(table, each.column, each.member):
                self.names.values.note(value)
        if self.layout.annotations is None or self.names.complete:
            return
        for text in table.column(self.layout.annotations).to_pylist():
            if text is not None and HAS_NAMES.search(text):
                try:
                    self.names.note(parsed(text, "its annotations"))
                except ValueError:
                    continue  # reported when the record is examined


def open_shelf(path: Path, shard: ShardFile) -> Shelf:
    """Read a shard's footer. Raises DatasetError, StorageError."""
    with _blaming(path):
        description = parquet_rows.describe(path)
        size_bytes = path.stat().st_size
    try:
        layout = columns.layout_of(description.schema)
    except LayoutError as error:
        raise DatasetError(f"{keys.printable(path)}: {error}") from error
    if description.num_rows > size_bytes:
        raise DatasetError(
            f"{keys.printable(path)} claims to have {description.num_rows} rows in {size_bytes} bytes; fetch or write "
            "it again"
        )
    largest = max(description.group_bytes, default=0)
    if largest > parquet_rows.GROUP_MAX_BYTES:
        raise DatasetError(
            f"{keys.printable(path)}: {parquet_rows.too_large(description.group_bytes.index(largest), largest)}"
        )
    return Shelf(path, shard, description, layout)


def common_layout(shelves: Sequence[Shelf]) -> ParquetLayout:
    """Return the layout of all shards. Raises DatasetError if they differ in more than carried columns."""
    first = shelves[0]
    carried = dict.fromkeys(name for shelf in shelves for name in shelf.layout.carried)
    left_out = dict.fromkeys(name for shelf in shelves for name in shelf.layout.left_out)
    bare = replace(first.layout, carried=(), left_out=())
    for shelf in shelves:
        if replace(shelf.layout, carried=(), left_out=()) != bare:
            raise DatasetError(
                f"{keys.printable(shelf.path)} differs from {keys.printable(first.path)} in its columns of images, "
                "classes or boxes, or in the names of classes; give shards of one dataset"
            )
    unread = left_out.keys() | _large(first, list(carried))
    return replace(bare, carried=tuple(name for name in carried if name not in unread), left_out=tuple(sorted(unread)))


def _large(shelf: Shelf, columns: list[str]) -> set[str]:
    """Return the columns with more bytes a row than are carried over, in a shard's first row group."""
    with _blaming(shelf.path):
        for table in parquet_rows.read_columns(shelf.path, columns) if columns else ():
            return {name for name in table.column_names if table.column(name).nbytes > CARRIED_MEAN_BYTES * len(table)}
    return set()


def read_shelf(shelf: Shelf, meaning: Meaning) -> None:
    """Fill in a shard's names and values, and collect its names. Raises DatasetError, StorageError."""
    layout, num_rows = meaning.layout, shelf.description.num_rows
    leaves = meaning.leaves()
    with _blaming(shelf.path):
        for table in parquet_rows.read_columns(shelf.path, leaves) if leaves else ():
            with parquet_rows.refusals():
                if layout.image_path is not None:
                    column, _, member = layout.image_path.rpartition(".")
                    shelf.names += map(_own_name, pc.struct_field(table.column(column), member).to_pylist())
                if layout.label is not None:
                    shelf.values += table.column(layout.label.column).to_pylist()
                meaning.note(table)
    if layout.image_path is None:
        shelf.names = [None] * num_rows
    if layout.label is None:
        shelf.values = [None] * num_rows
    if (len(shelf.names), len(shelf.values)) != (num_rows, num_rows):
        raise DatasetError(
            f"{keys.printable(shelf.path)} does not have the {num_rows} rows that it claims to have; fetch or write "
            "it again"
        )


def _different(table: pa.Table, column: str, member: str | None) -> Iterator[int | str]:
    """Yield the different values of a column of classes, inside any lists and structs."""
    for chunk in table.column(column).chunks:
        values = chunk
        while not (pa.types.is_integer(values.type) or columns.is_text(values.type)):
            values = pc.struct_field(values, member) if pa.types.is_struct(values.type) else pc.list_flatten(values)
        yield from (value for value in pc.unique(values).to_pylist() if value is not None)


def _own_name(path: str | None) -> str | None:
    """Return the record name for an image path, or None if the path is unusable."""
    if path is None or len(path) > NAME_MAX_CHARS or "\0" in path:
        return None
    address = "://" in path
    plain = path.partition("::")[0] if address else path  # fsspec's chains: a.png::https://…/images.zip
    windows = _WINDOWS.match(plain) is not None
    parts = [part for part in plain.replace("\\", "/" if windows else "\\").split("/") if part not in {"", "."}]
    outside = address or windows or plain.startswith("/") or ".." in parts
    if not parts or parts[-1] == "..":
        return None
    return parts[-1] if outside else "/".join(parts)


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn errors of reading into those of this file, or of the machine."""
    try:
        yield
    except UnreadableRowError as error:
        raise DatasetError(
            f"{keys.printable(path)} cannot be read as Parquet ({error}); fetch or write it again"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


CARRIED_MAX_CHARS = 16_384
"""Largest length of a carried value, as JSON."""


@dataclass(frozen=True, slots=True)
class RowReader:
    """Converter of rows to annotations."""

    meaning: Meaning

    def annotations(self, row: Mapping[str, Any]) -> Annotations | None:
        """Return the annotations in a row, or None if it has none. Raises ValueError if it is invalid."""
        said = self._written(row)
        boxes = self._boxes(row)
        if boxes is not None:
            said = replace(boxes, **_members(said))
        if (labels := self._labels(row)) is not None:
            said = replace(said, labels=labels)
        others = {name: value for name in self.meaning.layout.carried if (value := row.get(name)) is not None}
        said = carrying(said, {name: self._carried(name, value) for name, value in others.items()})
        return None if said == NOTHING else said

    def _written(self, row: Mapping[str, Any]) -> Annotations:
        text = None if self.meaning.layout.annotations is None else row.get(self.meaning.layout.annotations)
        return NOTHING if text is None else parsed(text, "its annotations")

    def _labels(self, row: Mapping[str, Any]) -> dict[str, float] | None:
        values = None if self.meaning.layout.labels is None else row.get(self.meaning.layout.labels.column)
        if values is None:
            return None
        weights = None if self.meaning.layout.label_weights is None else row.get(self.meaning.layout.label_weights)
        if weights is None:
            weights = [1.0] * len(values)
        if not isinstance(weights, list) or len(weights) != len(values):
            raise ValueError(f"lengths differ: label_weights does not have one for each of {len(values)} labels")
        found = {}
        for value, weight in zip(values, weights, strict=True):
            name = None if value is None else self.meaning.labels.name(value)
            if name is None or not _is_number(weight):
                raise ValueError(f"unknown class: its labels include {value!r} with the share {weight!r}")
            found[name] = float(weight)
        return found

    def _boxes(self, row: Mapping[str, Any]) -> Annotations | None:
        if self.meaning.layout.objects is None:
            return None
        category = None if self.meaning.layout.category is None else self.meaning.layout.category.member
        found = _columns(row.get(self.meaning.layout.objects), ("bbox", category))
        members = {member: values for member, values in found.items() if values is not None}
        if "bbox" not in members:
            return None
        boxes = members.pop("bbox")
        for member, values in members.items():
            if not isinstance(values, list) or len(values) != len(boxes):
                raise ValueError(
                    f"lengths differ: {member} of its objects does not have one value for each of {len(boxes)} boxes"
                )
        names = members.pop(category, None) if category is not None else None
        attributes = tuple(
            {member: self._carried(member, values[i]) for member, values in members.items()} for i in range(len(boxes))
        )
        return Annotations(
            boxes=tuple(map(_corners, boxes)),
            box_labels=None if names is None else tuple(map(self._category, names)),
            box_attributes=attributes if members else None,
        )

    def _category(self, value: object) -> str:
        name = self.meaning.categories.name(value) if isinstance(value, int | str) else None
        if name is None:
            raise ValueError(f"unknown class: a box has the class {value!r}")
        return name

    def _carried(self, name: str, value: object) -> Any:
        finite = _finite(value)
        length = len(json.dumps(finite))
        if length > CARRIED_MAX_CHARS:
            raise ValueError(f"too long: its {name} has {length} characters, of {CARRIED_MAX_CHARS} that are carried")
        return finite


def _members(said: Annotations) -> dict[str, Any]:
    """Return the fields that are not None, for ``replace``."""
    return {name: getattr(said, name) for name in said.members()}


def _columns(objects: object, of_none: Sequence[str | None]) -> dict[str, Any]:
    """Return the members of objects as lists, from a struct of lists or a list of structs.

    ``of_none`` are the members of an empty list.
    """
    if isinstance(objects, Mapping):
        return dict(objects)
    if not isinstance(objects, list):
        return {}
    if any(each is None for each in objects):
        raise ValueError("not a box: one of its objects is null")
    names = objects[0] if objects else of_none
    return {name: [each[name] for each in objects] for name in names if name is not None}


def _corners(box: object) -> tuple[float, float, float, float]:
    if not isinstance(box, Sequence) or len(box) != 4 or not all(map(_is_number, box)):
        raise ValueError(f"not a box: {quoted(box)} is not [x_min, y_min, width, height]")
    x_min, y_min, width, height = map(float, box)
    return x_min, y_min, x_min + width, y_min + height


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: Any) -> Any:
    """Return the value with null for every number that JSON cannot express."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return value
