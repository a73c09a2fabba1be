"""Columns of a table of images: their meaning, from their values and names.

The names are data (``PATHS`` … ``HEADERLESS``). ``read`` determines the separator, whether there is a header, and which
column names images. It is an error if two columns could be that one.
"""

import csv
import functools
import io
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from augment.datasets import keys
from augment.formats import files
from augment.formats.shared.image_paths import Finder
from augment.formats.tree import is_image, join
from augment.validation import quoted

# Names of columns, as ``_plain`` gives them: in lower case, without separators inside.

PATHS = (
    *("filename", "filepath", "filepaths", "filenames", "file", "path", "imagepath", "imagefile", "imagefilename"),
    *("imagename", "image", "images", "imageindex", "imgpath", "imgname", "imgfile", "img", "photo"),
    *("imageid", "imgid", "idcode", "id"),
)
LABEL = ("label", "class", "classname", "category", "categoryname", "target", "classlabel", "labelname")
LABEL_IDS = ("classid", "labelid", "categoryid", "classindex", "labelindex")
"""Numbers of classes, which often accompany their names."""
OPEN_IMAGES = frozenset({"imageid", "labelname"})
"""Columns of Open Images, whose boxes are shares of the image."""
LABELS = ("labels", "classes", "tags", "categories", "findinglabels")
SPLIT = ("split", "subset", "set", "partition", "dataset")
CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("left", "top", "right", "bottom"),
    ("xtl", "ytl", "xbr", "ybr"),
    ("bboxx1", "bboxy1", "bboxx2", "bboxy2"),
    ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
    ("roix1", "roiy1", "roix2", "roiy2"),
)
CENTRES = (
    ("xc", "yc", "w", "h"),
    ("xc", "yc", "width", "height"),
    ("cx", "cy", "w", "h"),
    ("cx", "cy", "width", "height"),
    ("xcenter", "ycenter", "w", "h"),
    ("xcenter", "ycenter", "width", "height"),
    ("centerx", "centery", "width", "height"),
)
SIDES = (
    ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
    ("bboxx", "bboxy", "bboxw", "bboxh"),
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("xmin", "ymin", "w", "h"),
    ("xmin", "ymin", "width", "height"),
    ("left", "top", "width", "height"),
)
SIZE = (("width", "height"), ("imagewidth", "imageheight"), ("imgwidth", "imgheight"))
PLACES = frozenset(
    {name for names in (*CORNERS, *CENTRES, *SIDES) for name in names} - {"width", "height"}
    | {f"{axis}{number}" for axis in "xy" for number in range(1, 10)}
    | {"bbox", "bboxes", "box", "boxes", "boundingbox", "boundingboxes", "polygon", "polygons", "points", "keypoints"}
    | {"segmentation", "rle", "rlemask", "maskrle", "encodedpixels", "predictionstring"}
)
"""Columns with positions in an image. They are refused unless they are part of a box that is understood."""
NOT_CLASSES = frozenset(
    {"caption", "captions", "comment", "comments", "text", "description", "title", "notes", "prompt", "name", "url"}
    | {"size", "width", "height", "bytes", "md5", "sha1", "sha256", "hash", "date", "time", "timestamp", "datetime"}
    | {"source", "author", "license", "licence", "age", "score", "weight", "price", "latitude", "longitude"}
    | {"index", "channels", "mode", "confidence", "probability"}
)
"""Columns that are never classes, even if there is no other column."""
HEADERLESS = (
    ("path", "label"),
    ("label", "path"),
    ("path", "x1", "y1", "x2", "y2", "class"),  # keras-retinanet
    ("label", "x", "y", "w", "h", "path", "width", "height"),  # makesense
)
"""Columns of tables without a header."""

_KNOWN = frozenset({*PATHS, *LABEL, *LABEL_IDS, *LABELS, *SPLIT, *PLACES} | {name for names in SIZE for name in names})
BETWEEN = frozenset(";|=")
"""Separators between classes in one cell, and before their shares."""
_UNNAMED = re.compile(r"unnamed:\s*\d+$")
"""Name that pandas gives to a column without a name."""
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[\s_.-]+(?=[^\W_])")


def _plain(name: str) -> str:
    """Return a column's name in the form of the names above: ``Image ID`` and ``#image_id`` are ``imageid``."""
    return _BETWEEN_WORDS.sub("", name.strip("# \t")).lower()


class TableRow(NamedTuple):
    """Cells of one row, without surrounding spaces, and the number of its last line."""

    line: int
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Box:
    """Indices of a box's four columns and their meaning: ``corners``, ``centre`` or ``sides`` (x, y, w, h)."""

    places: tuple[int, ...]
    meaning: str
    are_shares: bool = False


@dataclass(frozen=True, slots=True)
class Columns:
    """Indices of columns in a row, or None. ``others`` are those without a meaning, by name.

    ``are_classes`` is True if each of the others is a class, with 1 in the rows of its images and 0 elsewhere.
    ``is_only_other`` is True if the label was chosen as the only other column. ``names`` maps the rows' class codes to
    the names of classes.
    """

    path: int
    label: int | None = None
    labels: int | None = None
    split: int | None = None
    box: Box | None = None
    box_label: int | None = None
    size: tuple[int, ...] | None = None
    others: dict[str, int] = field(default_factory=dict)
    are_classes: bool = False
    is_only_other: bool = False
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def says_something(self) -> bool:
        """True if the table has more than the paths of images."""
        return self.are_classes or not (self.label is None and self.labels is None and self.box is None)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of images: its path, its split, its header (or a substitute) and its rows."""

    path: str
    split: str | None
    header: Sequence[str]
    columns: Columns
    rows: Sequence[TableRow]


class ImageFinder:
    """Finder of the images that cells of tables name."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._of_split: dict[str | None, Collection[str]] = {}
        self._finders: dict[str | None, Finder] = {}
        self._numbers: dict[str | None, Mapping[int, list[str]]] = {}
        self.padded: dict[str, str] = {}
        """Numbers in tables that lack an image's leading zeros, and these images."""

    def find(self, folder: str, name: str, split: str | None) -> str | None:
        """Return the image that a table in a folder names, or None. Raises ValueError if it is ambiguous.

        A name that is not a path from the table's folder is searched in the folders of the table's split, if there are
        any.
        """
        found = files.named(self._paths, folder, name)
        if found is not None or not name.strip("./\\"):
            return found
        if split not in self._finders:
            self._finders[split] = Finder(self.of(split))
        found = self._finders[split].anywhere(folder, name)
        if (
            found is None
            and name.isdecimal()
            and len(name) <= _MAX_DIGITS
            and (padded := self._by_number(split).get(int(name)))
        ):
            if len(padded) > 1:
                raise ValueError(f"ambiguous path: {name!r} may be {', '.join(padded[:3])}; write the whole path")
            found = self.padded[name] = padded[0]
        return found

    def of(self, split: str | None) -> Collection[str]:
        """Return the images in folders named after a split, like ``train_images``; all images if there are none."""
        if split not in self._of_split:
            start = None if split is None else split[:3].lower()  # validation, valid and val are one split
            by_folder = files.by_folder(filter(is_image, self._paths))
            named = {folder for folder in by_folder if any(word[:3] == start for word in split_words(folder))}
            chosen = named or by_folder.keys()
            self._of_split[split] = [join(folder, name) for folder in chosen for name in by_folder[folder]]
        return self._of_split[split]

    def _by_number(self, split: str | None) -> Mapping[int, list[str]]:
        if split not in self._numbers:
            numbers: dict[int, list[str]] = {}
            for path in sorted(self.of(split)):
                stem = keys.without_extension(path.rpartition("/")[2])
                if stem.isdecimal() and len(stem) <= _MAX_DIGITS:
                    numbers.setdefault(int(stem), []).append(path)
            self._numbers[split] = numbers
        return self._numbers[split]


_MAX_DIGITS = 18


def split_words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]+", text.lower()) if word in files.SPLIT_NAMES}


# -------------------------------------------------------------------------------------------------------- columns

_LOOKED_AT = 1000
"""Number of rows that are used to find the column of paths."""


def columns_of(header: Sequence[str], rows: Sequence[TableRow], path: int) -> Columns:
    """Determine the meaning of a table's columns; the column ``path`` names images.

    Raises ValueError if columns contradict each other, or have positions and are not understood.
    """
    plain = [_plain(name) for name in header]
    places = _distinct(header, plain, rows)
    places = {name: place for name, place in places.items() if place != path}

    def take(names: Sequence[str]) -> int | None:
        return next((places.pop(name) for name in names if name in places), None)

    box = _box_columns(places)
    if box is not None and OPEN_IMAGES.issubset(plain):
        box = replace(box, are_shares=True)
    size_names = next((names for names in SIZE if all(name in places for name in names)), None)
    size = None if size_names is None or box is None else tuple(places.pop(name) for name in size_names)
    ids = {name: places.pop(name) for name in LABEL_IDS if name in places}
    box_label = None if box is None else take(("class", "classname", "category", *LABEL))
    known = [places.pop(name) for name in LABEL if name in places]
    labels, split = take(LABELS), take(SPLIT)
    if len(known) > 1:
        raise ValueError(_both(header, known[:2], "may both be the class", "label"))
    label = known[0] if known else None
    for name, place in ids.items():
        beside = next((each for each in (box_label, label, labels) if each is not None), None)
        if beside is None:
            label, box_label = (place, None) if box is None else (None, place)
        elif _are_equal(rows, beside, place):
            places[name] = place
        else:
            raise ValueError(_both(header, (beside, place), "may both be the class", "label"))
    if labels is not None:
        _check_separators(header[labels].strip(), {row.cells[labels] for row in rows})
    others = {header[place].strip(): place for place in sorted(places.values())}
    found = Columns(path, label, labels, split, box, box_label, size, others)
    if not found.says_something:
        found = _only_others(found, plain, rows)
    positions = [
        name for name, place in found.others.items() if plain[place] in PLACES and any(r.cells[place] for r in rows)
    ]
    if positions and not found.are_classes:
        raise ValueError(
            f"its columns {', '.join(map(keys.printable, positions))} hold positions in images and are not understood; "
            "write boxes as xmin, ymin, xmax, ymax in pixels, or remove these columns"
        )
    return found


def _path_column(header: Sequence[str], rows: Sequence[TableRow], find: Callable[[str], str | None]) -> int | None:
    """Return the index of the column that names images: by its values, or by its name if they match no image.

    Values with an image's suffix are stronger evidence than stems. Raises ValueError if two columns name different
    images.
    """

    def found(cell: str) -> str | None:
        try:
            path = find(cell) if cell and "://" not in cell else None
        except ValueError:  # ambiguous, but it does name images
            return ""
        return path if path is None or is_image(path) or not keys.extension(path) else None

    plain = [_plain(name) for name in header]
    rows = rows[:_LOOKED_AT]
    by_column = [{cell: found(cell) for cell in dict.fromkeys(row.cells[i] for row in rows)} for i in range(len(plain))]
    whole, stems, missing = list[int](), list[int](), list[int]()
    for place, by_cell in enumerate(by_column):
        cells = [cell for cell in by_cell if cell]
        named = [cell for cell in cells if by_cell[cell] is not None]
        as_files = [cell for cell in cells if is_image(cell) and "://" not in cell]
        if set(named) & set(as_files):
            whole.append(place)
        elif named and (plain[place] in PATHS or _may_be_stems(plain[place], named, cells)):
            stems.append(place)
        elif as_files and 2 * len(as_files) >= len(cells):
            missing.append(place)
    by_name = [plain.index(name) for name in PATHS if name in plain]
    by_name = [place for place in by_name if plain[place] != "id" or not _counts([row.cells[place] for row in rows])]
    if any(plain[place] in PATHS for place in stems):  # numbers of classes may also be stems of images
        stems = [i for i in stems if plain[i] in PATHS or not any(_is_number(cell) for cell in by_column[i])]
    candidates = whole or stems or missing or by_name[:1]
    for one, other in itertools.combinations(candidates, 2):
        pairs = {(by_column[one][row.cells[one]], by_column[other][row.cells[other]]) for row in rows}
        if any(first and second and first != second for first, second in pairs):
            raise ValueError(_both(header, (one, other), "name different images", "file_name"))
    return min(candidates, key=lambda i: PATHS.index(plain[i]) if plain[i] in PATHS else len(PATHS), default=None)


def _counts(cells: Sequence[str]) -> bool:
    """True if a column counts its rows from 0 or 1, which numbers of classes also do."""
    return any(all(cell == str(start + i) for i, cell in enumerate(cells)) for start in (0, 1))


def _may_be_stems(name: str, named: Sequence[str], cells: Sequence[str]) -> bool:
    """True if these cells, some of which name images, are stems and not classes or numbers that look like stems."""
    if name in _KNOWN:  # mask images may be called target
        return len(named) == len(cells) and not any(map(_is_number, cells))
    return len(named) >= 2 or 2 * len(named) >= len(cells)


def _both(header: Sequence[str], places: Sequence[int], what: str, name: str) -> str:
    one, other = (keys.printable(header[place]) for place in places)
    return f"its columns {one} and {other} {what}; rename the right one to {name} and remove the other"


def _distinct(header: Sequence[str], plain: Sequence[str], rows: Sequence[TableRow]) -> dict[str, int]:
    """Return the indices of columns by name, without nameless columns that only count or are empty."""
    places: dict[str, int] = {}
    for place, name in enumerate(plain):
        if not name or _UNNAMED.match(name):
            if all(not row.cells[place] or row.cells[place].isdecimal() for row in rows):
                continue
            raise ValueError(f"its column {place + 1} has no name; give it one")
        known = name if name in _KNOWN else header[place].strip()
        if known in places:
            raise ValueError(f"two of its columns are called {keys.printable(header[place].strip())}; rename one")
        places[known] = place
    return places


def _box_columns(places: dict[str, int]) -> Box | None:
    """Remove the columns of a box from ``places`` and return them, or None."""
    for meaning, layouts in (("corners", CORNERS), ("centre", CENTRES), ("sides", SIDES)):
        for names in layouts:
            if all(name in places for name in names):
                return Box(tuple(places.pop(name) for name in names), meaning)
    return None


def has_meaning(name: str) -> bool:
    """True if a column of this name has a meaning here, so that it would not simply be carried over."""
    plain = _plain(name)
    return not plain or plain in _KNOWN or _UNNAMED.match(plain) is not None


def box_names(header: Iterable[str]) -> list[str]:
    """Return the names of a box's columns in a header; empty without a box."""
    by_name = {_plain(name): name for name in header}
    box = _box_columns({name: place for place, name in enumerate(by_name)})
    return [] if box is None else [list(by_name.values())[place] for place in box.places]


def _are_equal(rows: Sequence[TableRow], one: int, other: int) -> bool:
    """True if the values of the two columns correspond one to one."""
    pairs = {(row.cells[one], row.cells[other]) for row in rows}
    return len(pairs) == len({first for first, _ in pairs}) == len({second for _, second in pairs})


def _check_separators(name: str, cells: Collection[str]) -> None:
    """Raise ValueError if several classes in one cell have the wrong separator."""
    if any(BETWEEN & set(cell) for cell in cells):
        return
    parts = {cell: frozenset(re.split(r"[,\s]+", cell)) for cell in cells if cell}
    whole = set(parts.values())
    joined = {cell for cell, words in parts.items() if cell[0] in "[{" or any(other < words for other in whole)}
    if joined:
        raise ValueError(
            f"its column {keys.printable(name)} may hold several classes, as in {quoted(min(joined))}; write ; "
            "between them, or rename the column to label if each cell is one class"
        )


def _only_others(columns: Columns, plain: Sequence[str], rows: Sequence[TableRow]) -> Columns:
    """Return the columns with the classes: all others if they hold 0 and 1, or the only other column."""
    others = columns.others.values()
    if len(others) > 1 and rows and all(row.cells[place] in YES | _NO for row in rows for place in others):
        return replace(columns, are_classes=True)
    left = [place for place in others if plain[place] not in {name for names in SIZE for name in names}]
    if len(left) != 1 or plain[left[0]] in PLACES | NOT_CLASSES or not _can_be_classes(rows, left[0]):
        return columns
    kept = {name: place for name, place in columns.others.items() if place != left[0]}
    return replace(columns, label=left[0], others=kept, is_only_other=True)


_FEW = 10
_MAX_CLASS_CHARS = 100
_NOT_A_CLASS = re.compile(
    r"[-+]?\d*\.\d*[1-9]\d*(e[-+]?\d+)?|[\[{].*|\w+://.*|\d+([\s,;|]+\d+)+", re.IGNORECASE | re.DOTALL
)


def _can_be_classes(rows: Sequence[TableRow], place: int) -> bool:
    """True if values repeat as classes do; a few may all differ. Fractions and lists are not classes."""
    values = [row.cells[place] for row in rows if row.cells[place]]
    different = set(values)
    if not values or any(len(each) > _MAX_CLASS_CHARS or _NOT_A_CLASS.fullmatch(each) for each in different):
        return False
    return len(values) <= _FEW or 2 * len(different) <= len(values)


# --------------------------------------------------------------------------------------------------------- reading

_DELIMITERS = (",", ";", "\t")
YES, _NO = frozenset({"1", "1.0"}), frozenset({"0", "0.0"})
_SEPARATOR_LINE = re.compile(r"sep=.\r?\n")
"""First line that tells Excel the separator."""


def read(text: str, path: str, split: str | None, images: ImageFinder, *, is_cut: bool = False) -> Table | None:
    """Read a table; None if it names no images. Raises ValueError with the line or the columns.

    If only the beginning is read (``is_cut``), unreadable rows are left out.
    """
    text = _SEPARATOR_LINE.sub("", text, count=1) if text.startswith("sep=") else text
    first = text.lstrip().partition("\n")[0]
    widths = {each: len(next(csv.reader([first], delimiter=each), [])) for each in _DELIMITERS}
    found: list[Table] = []
    errors: list[ValueError] = []
    for delimiter in sorted(_DELIMITERS, key=lambda each: -widths[each]):
        if widths[delimiter] == 1 and (found or errors):
            break
        try:
            table = _read_as(list(_read_rows(text, delimiter, is_cut=is_cut)), path, split, images)
        except ValueError as error:
            errors.append(error)
            continue
        if table is not None and table.columns.says_something:
            if not is_cut and _may_number_classes(table, images):
                raise ValueError("its numbers may be classes or images; write the names of images with extension")
            return table
        found += [] if table is None else [table]
    if errors:
        raise errors[0]
    return found[0] if found else None


def _read_as(rows: list[TableRow], path: str, split: str | None, images: ImageFinder) -> Table | None:
    if not rows:
        return None
    first, rest = rows[0].cells, rows[1:]
    find = functools.partial(images.find, path.rpartition("/")[0], split=split)
    if not _is_header(first, find):
        return _read_headerless(rows, path, split, find)
    place = _path_column(first, rest, find)
    if place is None:
        return None
    columns = columns_of(first, rest, place)
    may_be_of_others = columns.is_only_other and split is None and _plain(first[place]) == "id"
    if may_be_of_others and not any(_names_image(find, row.cells[place]) for row in rest[:_LOOKED_AT]):
        return None
    if columns.is_only_other and any(row.cells[columns.label or 0] == first[columns.label or 0] for row in rest):
        raise ValueError("its first line may be a header or a row; add a header: file_name,label")
    return Table(path, split, first, columns, rest)


def _may_number_classes(table: Table, images: ImageFinder) -> bool:
    """True if a table counts from 0 or 1, each number has its own class, and there are more images."""
    place = table.columns.label
    if place is None or len(table.rows) < 2 or not _counts([row.cells[table.columns.path] for row in table.rows]):
        return False
    are_different = len({row.cells[place] for row in table.rows}) == len(table.rows)
    return are_different and len(table.rows) < len(images.of(table.split))


def _is_header(cells: Sequence[str], find: Callable[[str], str | None]) -> bool:
    """True if a first line holds names of columns, False if it is a row."""
    plain = [_plain(cell) for cell in cells]
    if any(map(is_image, cells)):
        return False
    if not set(PATHS).isdisjoint(plain):
        return True
    if any(cell and _names_image(find, cell) for cell in cells):
        return False
    return not _KNOWN.isdisjoint(plain) or not any(map(_is_number, cells))


def _names_image(find: Callable[[str], str | None], cell: str) -> bool:
    try:
        return find(cell) is not None
    except ValueError:  # ambiguous
        return True


def _read_headerless(
    rows: list[TableRow], path: str, split: str | None, find: Callable[[str], str | None]
) -> Table | None:
    """Read a table with the only layout of ``HEADERLESS`` that fits, or return None."""
    names = [f"column {place + 1}" for place in range(len(rows[0].cells))]
    place = _path_column(names, rows, find)
    fitting = [
        layout
        for layout in HEADERLESS
        if len(layout) == len(names) and place is not None and layout[place] == "path" and _fits(layout, rows)
    ]
    if len(fitting) != 1 or place is None:
        return None
    named = sum(is_image(row.cells[place]) or _names_image(find, row.cells[place]) for row in rows)
    columns = columns_of(fitting[0], rows, place)
    if 10 * named < 9 * len(rows) or (columns.label is not None and not _can_be_classes(rows, columns.label)):
        return None
    return Table(path, split, fitting[0], columns, rows)


def _fits(layout: Sequence[str], rows: Iterable[TableRow]) -> bool:
    numbers = [place for place, name in enumerate(layout) if name in PLACES or name in SIZE[0]]
    return all(not row.cells[place] or _is_number(row.cells[place]) for row in rows for place in numbers)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_rows(text: str, delimiter: str, *, is_cut: bool) -> Iterator[TableRow]:
    """Yield all rows, including the header, each with the same number of cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    known: dict[str, str] = {}  # most cells are repeated, and all rows stay in memory
    header: list[str] = []
    try:
        for cells in reader:
            if not any(cells):
                continue
            header = header or cells
            while len(cells) > len(header) and not cells[-1].strip():
                cells.pop()
            if len(cells) == len(header) - 1 and not header[-1].strip():
                cells.append("")
            if len(cells) != len(header):
                raise ValueError(f"line {reader.line_num} has {len(cells)} cells, of {len(header)} columns")
            yield TableRow(reader.line_num, tuple(known.setdefault(cell, cell) for cell in map(str.strip, cells)))
    except csv.Error as error:
        if not is_cut:
            raise ValueError(f"line {reader.line_num} cannot be read ({error})") from error
    except ValueError:
        if not is_cut:
            raise
