"""Rows of a table of pictures: from text to what is known of each picture."""

import csv
import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from augment.annotations import NOTHING, Annotations
from augment.formats.csv_columns import Columns, columns_of
from augment.formats.format import Described
from augment.formats.named_pictures import Finder, Named

_DELIMITERS = (",", ";", "\t")
_YES, _NO = frozenset({"1", "1.0"}), frozenset({"0", "0.0"})


class Row(NamedTuple):
    """The cells of one row, less the spaces around them, and the number of its last line."""

    line: int
    cells: Sequence[str]


def first(text: str) -> tuple[Columns | None, Row]:
    """The columns of a table whose beginning this is, and its first row; None where no column is of paths."""
    head = text.splitlines()[:1]
    for delimiter in _DELIMITERS:
        columns = columns_of(next(csv.reader(head, delimiter=delimiter), []))
        if columns is not None:
            try:
                return columns, next(_rows(text, delimiter), Row(1, ()))
            except ValueError:
                return columns, Row(1, ())
    return None, Row(1, ())


def is_one_hot(columns: Columns, rows: Sequence[Row]) -> bool:
    """Whether the columns without a meaning are classes: all cells are 0 or 1, and nothing else tells classes."""
    if columns.says_something or not columns.others:
        return False
    return all(row.cells and row.cells[place] in _YES | _NO for row in rows for place in columns.others.values())


def add(named: Named, finder: Finder, table: str, split: str | None, text: str) -> None:
    """Add what a table says of pictures. Raises ValueError, which names the line, where it cannot be read."""
    folder = table.rpartition("/")[0]
    delimiter = next((one for one in _DELIMITERS if columns_of(_header(text, one)) is not None), ",")
    columns = columns_of(_header(text, delimiter))
    if columns is None:
        raise ValueError("its header names no column of paths")
    rows = list(_rows(text, delimiter))
    one_hot = is_one_hot(columns, rows)
    by_path: dict[str, list[Row]] = {}
    for row in rows:
        name, where = row.cells[columns.path], f"line {row.line} of {table}"
        if not name:
            raise ValueError(f"line {row.line} names no picture")
        try:
            path = finder.anywhere(folder, name)
        except ValueError as error:
            named.missing.setdefault(name, f"{error} ({where})")
            continue
        if path is None:
            named.missing.setdefault(name, f"picture missing: {where} names it")
        else:
            by_path.setdefault(path, []).append(row)
    for path, some in by_path.items():
        described, own = _described(columns, some, named.classes, one_hot=one_hot)
        named.add(path, described, table, own or split)


def _header(text: str, delimiter: str) -> list[str]:
    return next(csv.reader(text[: text.find("\n") + 1 or None].splitlines(), delimiter=delimiter), [])


def _rows(text: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    known: dict[str, str] = {}  # most cells recur, and all rows stay in memory
    try:
        width = len(next(reader, []))
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != width:
                raise ValueError(f"line {reader.line_num} has {len(cells)} cells, of {width} columns")
            yield Row(reader.line_num, tuple(known.setdefault(cell, cell) for cell in map(str.strip, cells)))
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} cannot be read ({error})") from error


def _described(columns: Columns, rows: list[Row], classes: set[str], *, one_hot: bool) -> tuple[Described, str | None]:
    """What the rows of one picture say of it, and its split where they say one."""
    try:
        split = _same(rows, columns.split, "split")
        if split is not None and ("/" in split or split.startswith(".")):
            raise ValueError(f"not a split: {split!r} cannot be a folder's name")
        label = _same(rows, columns.label, "class")
        members: dict[str, Any] = {}
        if columns.labels is not None:
            members["labels"] = _labels(row.cells[columns.labels] for row in rows)
        elif one_hot:
            members["labels"] = {name: 1.0 for name, place in columns.others.items() if rows[0].cells[place] in _YES}
        if columns.corners is None:
            if len(rows) > 1:
                raise ValueError(f"named twice: in lines {rows[0].line} and {rows[1].line}")
            extra = {} if one_hot else _others(columns, rows[0])
            members |= {"extra": extra} if extra else {}
    except ValueError as error:
        return Described(problem=str(error)), None
    classes |= {*(() if label is None else (label,)), *(members.get("labels") or ())}
    said = Annotations(**members)
    if columns.corners is None:
        return Described(None if said == NOTHING else said, class_name=label), split
    if columns.box_label is not None:
        classes |= {name for row in rows if (name := row.cells[columns.box_label])}
    return Described(annotate=functools.partial(_boxes, columns, rows, said.labels), class_name=label), split


def _same(rows: list[Row], place: int | None, what: str) -> str | None:
    """What all rows say in this column; None where it is empty."""
    if place is None:
        return None
    values = list(dict.fromkeys(row.cells[place] for row in rows))
    if len(values) > 1:
        plural = {"class": "classes"}.get(what, f"{what}s")
        raise ValueError(f"two {plural}: {values[0]!r} and {values[1]!r}, in the rows of one picture")
    return values[0] or None


def _labels(cells: Iterator[str]) -> dict[str, float]:
    labels: dict[str, float] = {}
    for cell in cells:
        for part in cell.replace("|", ";").split(";"):
            name, equals, share = part.rpartition("=")
            if equals:
                labels[name.strip()] = _number(share, "a share")
            elif part.strip():
                labels[part.strip()] = 1.0
    return labels


def _others(columns: Columns, row: Row) -> dict[str, str]:
    return {name: row.cells[place] for name, place in columns.others.items() if row.cells[place]}


def _boxes(
    columns: Columns, rows: list[Row], labels: Mapping[str, float] | None, height: int, width: int
) -> Annotations:
    boxes: list[tuple[float, ...]] = []
    names: list[str] = []
    attributes: list[dict[str, str]] = []
    for row in rows:
        _check_size(columns, row, height, width)
        cells = [row.cells[place] for place in columns.corners or ()]
        if not any(cells):
            continue
        boxes.append(tuple(_number(cell, f"a corner in line {row.line}") for cell in cells))
        attributes.append(_others(columns, row))
        if columns.box_label is not None:
            if not row.cells[columns.box_label]:
                raise ValueError(f"malformed: the box in line {row.line} has no class")
            names.append(row.cells[columns.box_label])
    return Annotations(
        labels=labels,
        boxes=tuple(boxes),  # type: ignore[arg-type] # four corners each
        box_labels=None if columns.box_label is None else tuple(names),
        box_attributes=tuple(attributes) if any(attributes) else None,
    )


def _check_size(columns: Columns, row: Row, height: int, width: int) -> None:
    """The boxes of a picture that was scaled after they were drawn are wrong, and look plausible."""
    if columns.size is None:
        return
    given = tuple(row.cells[place] for place in columns.size)
    if any(given) and tuple(_number(cell, f"a size in line {row.line}") for cell in given) != (width, height):
        raise ValueError(f"picture of another size: line {row.line} says {' x '.join(given)}, it is {width} x {height}")


def _number(cell: str, what: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise ValueError(f"malformed: {what} is {cell[:40]!r}, not a number") from error
