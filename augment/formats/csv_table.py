"""The ``csv`` format: a table of paths and labels, such as ``labels.csv``, next to the images or above them.

One table in the root, or one for each split: in the folders of the splits, or named after them (``train.csv``,
``test_labels.csv``). Of several tables in a folder ``labels.csv`` or ``_annotations.csv`` counts. The names in its
header, compared without case, give the role of each column (``Columns``): the path, the class, several classes, the
split, corners of boxes.

- **Paths** are relative to the table's folder. A name that leads nowhere is looked for among all images, with and
  without extension; one that fits several is refused.
- **Several classes** are in one cell, ``;`` or ``|`` between them (``cat=0.7;dog=0.3`` gives shares), or each has a
  column of 0 and 1.
- **Boxes** are rows of their own, in absolute pixels; a row without corners means that there is none. The columns
  ``width`` and ``height`` in the same row are the image's, and are compared with it.
- **Other columns** are carried along as text: of boxes as their attributes, else of the image.
"""

import csv
import functools
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from augment.datasets import keys
from augment.errors import DatasetError
from augment.formats import files
from augment.formats.format import Described, FolderFormat, Listing, Output, StreamedFile, Whole
from augment.formats.shared import image_paths
from augment.formats.shared.image_paths import Finder, Named
from augment.formats.tree import Tree, join
from augment.samples.annotations import NOTHING, Annotations

PATHS = (
    *("file_name", "filename", "file", "path", "filepath", "file_path"),
    *("image", "image_path", "image_name", "image_file", "img", "img_path", "image_id", "id"),
)
LABEL = ("label", "class", "class_name", "category", "target", "class_label", "class_id")
LABELS = ("labels", "classes", "tags", "categories")
SPLIT = ("split", "subset", "set", "partition")
CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
SIZE = ("width", "height")


@dataclass(frozen=True, slots=True)
class Columns:
    """The places of columns in a row; None where there is none. ``others`` are those without a meaning, by name."""

    path: int
    label: int | None
    labels: int | None
    split: int | None
    corners: tuple[int, ...] | None
    box_label: int | None
    size: tuple[int, ...] | None
    others: dict[str, int]

    @property
    def says_something(self) -> bool:
        """Whether it tells more of a picture than where it is."""
        return not (self.label is None and self.labels is None and self.corners is None)


def columns_of(header: Sequence[str]) -> Columns | None:
    """Find the columns; None where none is of paths. With corners, ``class`` is the box's and ``label`` the picture's.

    Where there is only one of these two beside corners, it is the box's.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(header):
        places.setdefault(name.strip().lower(), place)

    def take(names: Sequence[str]) -> int | None:
        return next((places.pop(name) for name in names if name in places), None)

    path = take(PATHS)
    if path is None:
        return None
    corners = next((names for names in CORNERS if all(name in places for name in names)), None)
    taken = None if corners is None else tuple(places.pop(name) for name in corners)
    box_label, size = None, None
    if taken is not None:
        box_label = take(("class", "class_name", "category", *LABEL))
        size = tuple(places.pop(name) for name in SIZE) if all(name in places for name in SIZE) else None
    label, labels, split = take(LABEL), take(LABELS), take(SPLIT)
    others = {header[place].strip(): place for place in places.values()}
    return Columns(path, label, labels, split, taken, box_label, size, others)


_KNOWN = frozenset({*PATHS, *LABEL, *LABELS, *SPLIT, *SIZE} | {name for names in CORNERS for name in names})
_BETWEEN = frozenset(";|=")


def pieces(outputs: Callable[[], Iterator[Output]], whole: Whole, path_of: Callable[[Output], str]) -> Iterator[bytes]:
    """The header, then the row of each output; of one with boxes, a row for each.

    Raises DatasetError where the name of a class cannot stand among several.
    """
    targets = whole.targets
    others, has_names = _first_pass(outputs, boxes="boxes" in targets)
    if "labels" in targets:
        _check_names(whole.classes)
    header = ["file_name", *(["split"] if whole.splits else [])]
    header += [name for name in ("label", "labels") if name in targets]
    if "boxes" in targets:
        header += ["width", "height", *(["class"] if has_names else []), "xmin", "ymin", "xmax", "ymax"]
    yield _line([*header, *others.values()])
    for output in outputs():
        row: dict[str, object] = {
            "file_name": path_of(output),
            "split": output.split,
            "label": output.class_name,
            "labels": _labels(output.annotations.labels),
        }
        for extra in _rows(output, boxes="boxes" in targets):
            cells = row | extra
            yield _line([*(cells.get(name) for name in header), *(_text(cells.get(f"+{name}")) for name in others)])


def _first_pass(outputs: Callable[[], Iterator[Output]], *, boxes: bool) -> tuple[dict[str, str], bool]:
    """The columns of what is carried along, by name, and whether boxes have classes."""
    names: set[str] = set()
    has_names = False
    for output in outputs():
        said = output.annotations
        has_names = has_names or bool(said.box_labels)
        for each in (said.box_attributes or ()) if boxes else (said.extra or {},):
            names |= each.keys()
    return {name: f"{name}_" if name.strip().lower() in _KNOWN else name for name in sorted(names)}, has_names


def _rows(output: Output, *, boxes: bool) -> Iterator[dict[str, object]]:
    said = output.annotations
    if not boxes:
        yield {f"+{name}": value for name, value in (said.extra or {}).items()}
        return
    size: dict[str, object] = {"width": output.width, "height": output.height}
    if not said.boxes:
        yield size
    for i, box in enumerate(said.boxes or ()):
        row = size | dict(zip(("xmin", "ymin", "xmax", "ymax"), map(_coordinate, box), strict=True))
        if said.box_labels is not None:
            row["class"] = said.box_labels[i]
        attributes = {} if said.box_attributes is None else said.box_attributes[i]
        yield row | {f"+{name}": value for name, value in attributes.items()}


def _coordinate(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _labels(labels: Mapping[str, float] | None) -> str:
    return ";".join(name if share == 1 else f"{name}={share!r}" for name, share in sorted((labels or {}).items()))


def _check_names(classes: tuple[str, ...]) -> None:
    for name in classes:
        if _BETWEEN & set(name) or name != name.strip():
            raise DatasetError(
                f"class {name!r} cannot stand among several in one cell of a CSV file; choose another format "
                "(imagefolder)"
            )


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _line(cells: list[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(["" if cell is None else cell for cell in cells])
    return line.getvalue().encode()


_DELIMITERS = (",", ";", "\t")
_YES, _NO = frozenset({"1", "1.0"}), frozenset({"0", "0.0"})


class Row(NamedTuple):
    """The cells of one row, less the spaces around them, and the number of its last line."""

    line: int
    cells: Sequence[str]


def first(text: str) -> tuple[Columns | None, Row]:
    """The columns of a table whose beginning this is, and its first row; None where no column is of paths."""
    columns, delimiter = _read_header(text)
    try:
        return columns, Row(1, ()) if columns is None else next(_read_rows(text, delimiter), Row(1, ()))
    except ValueError:
        return columns, Row(1, ())


def is_one_hot(columns: Columns, rows: Sequence[Row]) -> bool:
    """Whether the columns without a meaning are classes: all cells are 0 or 1, and nothing else tells classes."""
    if columns.says_something or not columns.others:
        return False
    return all(row.cells and row.cells[place] in _YES | _NO for row in rows for place in columns.others.values())


def add(named: Named, finder: Finder, table: str, split: str | None, text: str) -> None:
    """Add what a table says of pictures. Raises ValueError, which names the line, where it cannot be read."""
    folder = table.rpartition("/")[0]
    columns, delimiter = _read_header(text)
    if columns is None:
        raise ValueError("its header names no column of paths")
    rows = list(_read_rows(text, delimiter))
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


def _read_header(text: str) -> tuple[Columns | None, str]:
    """The columns of a table and what separates them; None where no column is of paths."""
    head = text[: text.find("\n") + 1 or None].splitlines()
    for delimiter in _DELIMITERS:
        columns = columns_of(next(csv.reader(head, delimiter=delimiter), []))
        if columns is not None:
            return columns, delimiter
    return None, _DELIMITERS[0]


def _read_rows(text: str, delimiter: str) -> Iterator[Row]:
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
            members["labels"] = _read_labels(row.cells[columns.labels] for row in rows)
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


def _read_labels(cells: Iterator[str]) -> dict[str, float]:
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


TABLE = "labels.csv"
_PREFERRED = (TABLE, "_annotations.csv", "annotations.csv")
_ANOTHERS = "metadata.csv"
"""The table of the ``imagefolder`` format."""
_OF_SPLIT = re.compile(rf"({'|'.join(sorted(files.SPLIT_NAMES, key=len, reverse=True))})([_-].*)?\.csv", re.IGNORECASE)
_HEAD_BYTES = 65_536


class CsvTable(FolderFormat):
    """One table with a row for each image, label or box."""

    name = "csv"
    writes = frozenset({"label", "labels", "boxes"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if the root, or a folder of a split, has a table with paths and something about them."""
        return any(_is_table(tree.root, path) for path in tree.paths)

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the pictures that the tables name, and those that they don't. Raises DatasetError, StorageError."""
        found, root = tree, tree.root
        tables = _tables(found)
        if not tables:
            raise DatasetError(
                f"{root} has no CSV file whose header names a column of paths ({', '.join(PATHS[:3])} …) and "
                f"one of classes or corners; write {TABLE}, or name another format"
            )
        named, finder = Named(found, used=set(tables)), Finder(found.paths - set(tables))
        for table, split in tables.items():
            try:
                add(named, finder, table, split, image_paths.read_table(found, table))
            except ValueError as error:
                raise DatasetError(f"{root / table}: {error}") from error
        named.fill(listing, ", ".join(tables))

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:
        """``labels.csv`` in the root."""
        yield StreamedFile(TABLE, pieces(outputs, whole, self.picture_path))


def _is_table(root: Path, path: str) -> bool:
    """True if a file in the root or in the folder of a split is a table with paths and something about them."""
    folder, _, name = path.lower().rpartition("/")
    if not name.endswith(".csv") or name == _ANOTHERS or (folder and folder not in files.SPLIT_NAMES):
        return False
    head = files.head(root / path, _HEAD_BYTES)
    columns, cells = first(head.decode("utf-8-sig", errors="replace"))
    return columns is not None and (columns.says_something or is_one_hot(columns, [cells]))


def _tables(found: Tree) -> dict[str, str | None]:
    """The tables that count, each with the split that it is of. Raises DatasetError where it is not clear which do."""
    tables = files.by_folder(path for path in sorted(found.paths, key=str.encode) if _is_table(found.root, path))
    if "" in tables:
        return _chosen(found.root, tables[""])
    return {join(folder, name): folder for folder, names in tables.items() for name in _chosen(found.root, names)}


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
