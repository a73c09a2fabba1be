"""CSV format: a table of images and their annotations, such as ``labels.csv`` or Kaggle's ``train.csv``.

There is one table in the root, or one for each split: in the folders of the splits, or named after them (``train.csv``,
``test_labels.csv``). Of several tables in a folder ``labels.csv`` or ``_annotations.csv`` is read. The meaning of the
columns (``Columns``) follows from their values and names:

- **The path** is the column whose values name images: by path, by file name or by stem. Two columns that name different
  images are refused. Paths are relative to the table's folder. Other names are searched among the images in the folders
  of the table's split, or else among all. A name that fits several images is refused.
- **The class** is the column with a known name, or else the only other column if its values can be classes. Two columns
  with a known name are refused.
- **Several classes** are in one cell, separated by ``;`` or ``|`` (``cat=0.7;dog=0.3`` gives shares), or each has a
  column of 0 and 1.
- **Boxes** are one row each, in absolute pixels (in Open Images as shares); a row without corners means that there are
  no boxes. The columns ``width`` and ``height`` of the image are compared with it.
- **Other columns** are carried over as text: as attributes of boxes, or else into the image's ``extra``. Columns that
  contain positions and are not understood are refused.

A table without a header is read if its columns are those of ``HEADERLESS``.
"""

import csv
import functools
import io
import json
import posixpath
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from augment.datasets import keys
from augment.errors import DatasetError
from augment.formats import evidence, files
from augment.formats.format import Described, FolderFormat, Listing, Output, OutputDataset, StreamedFile
from augment.formats.shared import image_paths
from augment.formats.shared.columns import (
    BETWEEN,
    YES,
    Columns,
    ImageFinder,
    Table,
    TableRow,
    has_meaning,
    read,
    split_words,
)
from augment.formats.shared.image_paths import TableImages
from augment.formats.tree import Tree, join
from augment.samples.annotations import NOTHING, Annotations
from augment.validation import quoted

# --------------------------------------------------------------------------------------------------------- writing


def pieces(
    outputs: Callable[[], Iterator[Output]], whole: OutputDataset, path_of: Callable[[Output], str]
) -> Iterator[bytes]:
    """Yield the header, then one row for each output, or one for each box of an output.

    Raises DatasetError if the name of a class cannot be one of several in a cell.
    """
    targets = whole.targets
    others, has_names = _first_pass(outputs, boxes="boxes" in targets)
    if "labels" in targets:
        _check_names(whole.classes)
    header = ["file_name", *(["split"] if whole.splits else [])]
    header += [name for name in ("label", "labels") if name in targets]
    if others and not {"label", "labels", "boxes"} & targets:
        header.append("label")  # otherwise a carried column would be read as the class
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
    """Return the columns that are carried over, by name, and True if boxes have classes."""
    names: set[str] = set()
    has_names = False
    for output in outputs():
        said = output.annotations
        has_names = has_names or bool(said.box_labels)
        for each in (said.box_attributes or ()) if boxes else (said.extra or {},):
            names |= each.keys()
    return {name: f"{name}_" if has_meaning(name) else name for name in sorted(names)}, has_names


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
        if BETWEEN & set(name) or name != name.strip():
            raise DatasetError(
                f"class {name!r} cannot be one of several in a cell of a CSV file; choose another format (imagefolder)"
            )


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _line(cells: list[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(["" if cell is None else cell for cell in cells])
    return line.getvalue().encode()


# --------------------------------------------------------------------------------------------------------- rows


def add(named: TableImages, images: ImageFinder, table: Table) -> None:
    """Add a table's rows to the images. Raises ValueError with the line if a row names no image."""
    folder, columns = table.path.rpartition("/")[0], table.columns
    by_path: dict[str, list[TableRow]] = {}
    for row in table.rows:
        name, where = row.cells[columns.path], f"line {row.line} of {table.path}"
        if not name:
            raise ValueError(f"line {row.line} names no image")
        try:
            path = images.find(folder, name, table.split)
        except ValueError as error:
            named.missing.setdefault(name, f"{error} ({where})")
            continue
        if path is None:
            named.missing.setdefault(name, f"image missing: {where} names it")
        else:
            by_path.setdefault(path, []).append(row)
    for path, some in by_path.items():
        described, own = _described(columns, some, named.classes)
        named.add(path, described, table.path, own or table.split)


def _described(columns: Columns, rows: list[TableRow], classes: set[str]) -> tuple[Described, str | None]:
    """Return the annotations of one image from its rows, and its split, or None if they have none."""
    try:
        split = _same(rows, columns.split, "split")
        if split is not None and ("/" in split or split.startswith(".")):
            raise ValueError(f"not a split: {split!r} cannot be a folder's name")
        label = _same(rows, columns.label, "class")
        members: dict[str, Any] = {}
        if columns.labels is not None:
            members["labels"] = _read_labels(row.cells[columns.labels] for row in rows)
        elif columns.are_classes:
            members["labels"] = {name: 1.0 for name, place in columns.others.items() if rows[0].cells[place] in YES}
        if columns.box is None:
            if len(rows) > 1:
                raise ValueError(f"named twice: in lines {rows[0].line} and {rows[1].line}")
            extra = {} if columns.are_classes else _others(columns, rows[0])
            members |= {"extra": extra} if extra else {}
    except ValueError as error:
        return Described(problem=str(error)), None
    classes |= {*(() if label is None else (label,)), *(members.get("labels") or ())}
    said = Annotations(**members)
    if columns.box is None:
        return Described(None if said == NOTHING else said, class_name=label), split
    if columns.box_label is not None:
        classes |= {columns.names.get(name, name) for row in rows if (name := row.cells[columns.box_label])}
    return Described(annotate=functools.partial(_boxes, columns, rows, said.labels), class_name=label), split


def _same(rows: list[TableRow], place: int | None, what: str) -> str | None:
    """Return the value that all rows have in this column, or None if it is empty."""
    if place is None:
        return None
    values = list(dict.fromkeys(row.cells[place] for row in rows))
    if len(values) > 1:
        plural = {"class": "classes"}.get(what, f"{what}s")
        raise ValueError(f"two {plural}: {values[0]!r} and {values[1]!r}, in the rows of one image")
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


def _others(columns: Columns, row: TableRow) -> dict[str, str]:
    return {name: row.cells[place] for name, place in columns.others.items() if row.cells[place]}


def _boxes(
    columns: Columns, rows: list[TableRow], labels: Mapping[str, float] | None, height: int, width: int
) -> Annotations:
    boxes: list[tuple[float, float, float, float]] = []
    names: list[str] = []
    attributes: list[dict[str, str]] = []
    if columns.box is None:
        raise TypeError("the table has no boxes")
    for row in rows:
        _check_size(columns, row, height, width)
        cells = [row.cells[place] for place in columns.box.places]
        if not any(cells):
            continue
        numbers = [_number(cell, f"a corner in line {row.line}") for cell in cells]
        if columns.box.are_shares:
            numbers = [number * side for number, side in zip(numbers, (width, height) * 2, strict=True)]
        boxes.append(_corners(columns.box.meaning, *numbers))
        attributes.append(_others(columns, row))
        if columns.box_label is not None:
            if not row.cells[columns.box_label]:
                raise ValueError(f"malformed: the box in line {row.line} has no class")
            name = row.cells[columns.box_label]
            names.append(columns.names.get(name, name))
    return Annotations(
        labels=labels,
        boxes=tuple(boxes),
        box_labels=None if columns.box_label is None else tuple(names),
        box_attributes=tuple(attributes) if any(attributes) else None,
    )


def _corners(meaning: str, a: float, b: float, c: float, d: float) -> tuple[float, float, float, float]:
    if meaning == "centre":
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return (a, b, a + c, b + d) if meaning == "sides" else (a, b, c, d)


def _check_size(columns: Columns, row: TableRow, height: int, width: int) -> None:
    """Raise ValueError if a row has another size: boxes drawn before scaling are wrong but look plausible."""
    if columns.size is None:
        return
    given = tuple(row.cells[place] for place in columns.size)
    if any(given) and tuple(_number(cell, f"a size in line {row.line}") for cell in given) != (width, height):
        raise ValueError(
            f"image of another size: line {row.line} has {' x '.join(given)}, the image {width} x {height}"
        )


def _number(cell: str, what: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise ValueError(f"malformed: {what} is {quoted(cell)}, not a number") from error


TABLE = "labels.csv"
_PREFERRED = (TABLE, "_annotations.csv", "annotations.csv")
_HUGGING_FACE = "metadata.csv"
"""Table of the ``imagefolder`` format, if it has a column ``file_name``."""
_CLASS_FILES = re.compile(r"class(es)?([_-]?(map|mapping|list|names?|ids?))?\.csv", re.IGNORECASE)
_DESCRIPTIONS = re.compile(r".*class[_-]descriptions.*\.csv", re.IGNORECASE)
_SUBMISSION = re.compile(r".*submission.*", re.IGNORECASE)


class CsvTable(FolderFormat):
    """One table with a row for each image, label or box."""

    name = "csv"
    writes = frozenset({"label", "labels", "boxes"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if a table names images and annotates them, even if its columns are ambiguous."""
        candidates = list(_candidates(tree))
        images = ImageFinder(tree.paths - set(candidates) if candidates else ())
        for path in candidates:
            try:
                table = _look(tree, path, images)
            except ValueError:
                return True
            if table is not None and table.columns.says_something:
                return True
        return False

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """Add the images that the tables name, and refuse the others. Raises DatasetError, StorageError."""
        candidates = list(_candidates(tree))
        images = ImageFinder(tree.paths - set(candidates))
        looks: dict[str, Table] = {}
        for path in candidates:
            try:
                if (table := _look(tree, path, images)) is not None:
                    looks[path] = table
            except ValueError as error:
                raise _not_understood(tree, path, str(error)) from error
        tables = [_read_whole(tree, each, images) for each in _chosen(tree, looks)]
        tables = [_less_guess(table, tables) for table in tables]
        images.padded.clear()  # left over from the attempts above
        named = TableImages(tree, used={table.path for table in tables})
        names = _class_descriptions(tree, tables, named.used, listing)
        for table in tables:
            if not table.columns.says_something:
                listing.notices.append(f"{keys.printable(table.path)} names images but no classes: they have none")
            try:
                add(named, images, replace(table, columns=replace(table.columns, names=names)))
            except ValueError as error:
                raise DatasetError(f"{tree.root / table.path}: {error}") from error
        if images.padded:
            one, path = next(iter(images.padded.items()))
            number = f"{len(images.padded):,} numbers were" if len(images.padded) > 1 else "1 number was"
            listing.notices.append(f"{number} completed with leading zeros: {one} is {keys.printable(path)}")
        for path in candidates:
            if _SUBMISSION.fullmatch(path.rpartition("/")[2]):
                named.used.add(path)
                listing.notices.append(f"{keys.printable(path)} was not read: a submission has predictions, not labels")
        order = _class_order(tree, tables, named)
        named.fill(listing, ", ".join(table.path for table in tables))
        listing.classes = order or listing.classes

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Yield ``labels.csv`` in the root."""
        yield StreamedFile(TABLE, pieces(outputs, whole, self.image_path))


def _with_suffix(tree: Tree, *suffixes: str) -> list[str]:
    return sorted(tree.of_suffixes(suffixes), key=str.encode)


def _top(tree: Tree) -> str:
    """Return the innermost folder that contains all files."""
    holders = [folder.path for folder in tree.folders if folder.files]
    return posixpath.commonpath(holders) if holders else ""


def _candidates(tree: Tree) -> Iterator[str]:
    """Yield the tables in the outermost folder with files, or in the folder of a split or a structural folder below it.

    Tables of other tools are skipped.
    """
    top = _top(tree)
    for path in _with_suffix(tree, ".csv", ".tsv"):
        folder, _, name = path.rpartition("/")
        inside = folder.removeprefix(top).strip("/")
        if inside and inside.lower() not in files.SPLIT_NAMES and not evidence.is_structural(inside):
            continue
        sign = evidence.sign_of(tree, path)
        if sign is None or sign.format == CsvTable.name or (sign.format is not None and name != _HUGGING_FACE):
            yield path


def _look(tree: Tree, path: str, images: ImageFinder) -> Table | None:
    """Read the beginning of a table; None if it is not about images. Raises ValueError as ``read`` does."""
    if _SUBMISSION.fullmatch(path.rpartition("/")[2]):
        return None
    head = files.head(tree.root / path, evidence.HEAD_BYTES)
    text = evidence.decoded(head)
    if len(head) >= evidence.HEAD_BYTES - 1:
        text = text.rpartition("\n")[0]
    table = read(text, path, _split_of(path), images, is_cut=True)
    is_whole = len(head) < evidence.HEAD_BYTES - 1
    return None if table is not None and is_whole and _names_few(table, images) else table


def _names_few(table: Table, images: ImageFinder) -> bool:
    """True if a table without a known class column has less than half of the images; it may have another subject."""
    columns = table.columns
    num_named = len({row.cells[columns.path] for row in table.rows})
    return (columns.is_only_other or columns.are_classes) and 2 * num_named < len(images.of(table.split))


def _split_of(path: str) -> str | None:
    """Return the split of a table: that of its folder, or else the one split in its name."""
    folder, _, name = path.rpartition("/")
    innermost = folder.rpartition("/")[2]
    if innermost.lower() in files.SPLIT_NAMES:
        return innermost
    found = [word for word in re.findall(r"[A-Za-z]+", keys.without_extension(name)) if split_words(word)]
    return found[0] if len(found) == 1 else None


def _chosen(tree: Tree, looks: Mapping[str, Table]) -> list[Table]:
    """Return the tables to read. Raises DatasetError if there are none or the choice is ambiguous."""
    telling = {path for path, table in looks.items() if table.columns.says_something}
    if not telling:
        path = next(iter(looks or _candidates(tree)), None)
        if path is None:
            raise DatasetError(
                f"{tree.root} has no CSV file with a column of paths and one of classes or corners; write {TABLE} "
                "(file_name,label), or name another format"
            )
        raise _not_understood(tree, path, _columns_told(tree, path, looks.get(path)))
    by_folder = files.by_folder(sorted(telling, key=str.encode))
    chosen: list[Table] = []
    top = _top(tree)
    for folder in [top] if top in by_folder else by_folder:
        names = by_folder[folder]
        of_folder = [looks[join(folder, name)] for name in names]
        preferred = next((name for name in _PREFERRED for each in names if each.lower() == name), None)
        splits = [table.split for table in of_folder]
        if preferred is not None:
            chosen.append(next(table for table in of_folder if table.path.lower().endswith(preferred)))
        elif len(of_folder) == 1 or (None not in splits and len(set(splits)) == len(splits)):
            chosen += of_folder
        else:
            shown = ", ".join(map(keys.printable, names[:4]))
            raise DatasetError(f"{tree.root} has several tables of images ({shown}); rename the right one to {TABLE}")
    splits = [table.split for table in chosen]
    for path, table in looks.items():
        # Kaggle's test.csv names images only
        if path not in telling and None not in splits and table.split is not None and table.split not in splits:
            chosen.append(table)
    return chosen


def _read_whole(tree: Tree, look: Table, images: ImageFinder) -> Table:
    try:
        table = read(image_paths.read_table(tree, look.path), look.path, look.split, images)
    except ValueError as error:
        raise DatasetError(f"{tree.root / look.path}: {error}") from error
    if table is None or (look.columns.says_something and not table.columns.says_something):
        raise _not_understood(tree, look.path, _columns_told(tree, look.path, table))
    if _names_few(table, images):
        raise _not_understood(tree, look.path, "it has less than half of the images; call the column of classes label")
    return table


def _less_guess(table: Table, tables: Collection[Table]) -> Table:
    """Return the table without its class if that was only guessed and the other tables do not take it for a class."""
    columns = table.columns
    if columns.label is None or not columns.is_only_other:
        return table
    name = table.header[columns.label]
    if not any(name in each.columns.others for each in tables):
        return table
    return replace(table, columns=replace(columns, label=None, others=columns.others | {name: columns.label}))


def _columns_told(tree: Tree, path: str, table: Table | None) -> str:
    if _SUBMISSION.fullmatch(path.rpartition("/")[2]):
        return "a submission has predictions, not labels; if these are labels, rename the table to labels.csv"
    if table is None:
        first = evidence.decoded(files.head(tree.root / path, evidence.HEAD_BYTES)).strip().partition("\n")[0]
        return f"no column names images of this folder; its first line is {quoted(first.strip())}"
    others = ", ".join(map(keys.printable, list(table.columns.others)[:8])) or "none"
    return (
        f"column {keys.printable(table.header[table.columns.path])} names images, but none of its other columns "
        f"({others}) is known as a class or a box; call the class label and the corners of boxes xmin, ymin, xmax, ymax"
    )


def _not_understood(tree: Tree, path: str, why: str) -> DatasetError:
    name = path.rpartition("/")[2]
    return DatasetError(
        f"{tree.root / path}: read as a table of images (csv): {why}; or name another format (--format; for an "
        f"expansion --from-format), or ignore the table (--ignore {shlex.quote(name)})"
    )


def _class_descriptions(tree: Tree, tables: Iterable[Table], used: set[str], listing: Listing) -> dict[str, str]:
    """Return the names for Open Images' class codes, if a table has such codes."""
    if not any(table.columns.box and table.columns.box.are_shares for table in tables):
        return {}
    names: dict[str, str] = {}
    for path in _with_suffix(tree, ".csv"):
        if _DESCRIPTIONS.fullmatch(path.rpartition("/")[2]):
            used.add(path)
            rows = csv.reader(io.StringIO(image_paths.read_table(tree, path), newline=""))
            names |= {row[0].strip(): row[1].strip() for row in rows if len(row) == 2 and row[0].startswith("/")}
    if not names:
        listing.notices.append(
            "classes are codes (LabelName): class-descriptions-boxable.csv, which names them, is missing"
        )
    return names


def _class_order(tree: Tree, tables: Iterable[Table], named: TableImages) -> tuple[str, ...] | None:
    """Return the classes in the order of a ``classes.csv`` (name,number) next to a table, or None if it lacks any."""
    folders = {table.path.rpartition("/")[0] for table in tables}
    for path in _with_suffix(tree, ".csv"):
        folder, _, name = path.rpartition("/")
        if folder not in folders or not _CLASS_FILES.fullmatch(name) or path in named.used:
            continue
        rows = [row for row in csv.reader(io.StringIO(image_paths.read_table(tree, path), newline="")) if row]
        by_number = {int(row[1]): row[0].strip() for row in rows if len(row) == 2 and row[1].strip().isdecimal()}
        classes = tuple(by_number[number] for number in sorted(by_number))
        if sorted(by_number) == list(range(len(classes))) and named.classes <= set(classes) == set(
            filter(None, classes)
        ):
            named.used.add(path)
            return classes
    return None
