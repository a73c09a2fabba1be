"""The ``csv`` format: a table of images and what is said of them, such as ``labels.csv`` or Kaggle's ``train.csv``.

One table in the root, or one for each split: in the folders of the splits, or named after them (``train.csv``,
``test_labels.csv``). Of several tables in a folder ``labels.csv`` or ``_annotations.csv`` counts. What the columns say
(``Columns``) follows from their values and names:

- **The path** is the column whose values name images: by path, by file name or by stem. Two columns that name different
  images are refused. Paths are relative to the table's folder; a name that leads nowhere is looked for among the images
  in the folders of the table's split, else among all. One that fits several is refused.
- **The class** is the column with a known name, else the only other one if its values can be classes. Two columns with
  a known name are refused.
- **Several classes** are in one cell, ``;`` or ``|`` between them (``cat=0.7;dog=0.3`` gives shares), or each has a
  column of 0 and 1.
- **Boxes** are rows of their own, in absolute pixels (in Open Images as shares); a row without corners means that there
  is none. The columns ``width`` and ``height`` of the image are compared with it.
- **Other columns** are carried along as text: of boxes as their attributes, else of the image. Columns that tell a
  place and are not understood are refused.

A table without a header is read if its columns are those of ``HEADERLESS``.
"""

import csv
import functools
import io
import itertools
import json
import posixpath
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from augment.datasets import keys
from augment.errors import DatasetError
from augment.formats import evidence, files
from augment.formats.format import Described, FolderFormat, Listing, Output, StreamedFile, Whole
from augment.formats.shared import image_paths
from augment.formats.shared.image_paths import Finder, Named
from augment.formats.tree import Tree, is_picture, join
from augment.samples.annotations import NOTHING, Annotations

# Names of columns, as ``_plain`` gives them: in lower case, without separators inside.

PATHS = (
    *("filename", "filepath", "filepaths", "filenames", "file", "path", "imagepath", "imagefile", "imagefilename"),
    *("imagename", "image", "images", "imageindex", "imgpath", "imgname", "imgfile", "img", "photo", "picture"),
    *("imageid", "imgid", "idcode", "id"),
)
LABEL = ("label", "class", "classname", "category", "categoryname", "target", "classlabel", "labelname")
LABEL_IDS = ("classid", "labelid", "categoryid", "classindex", "labelindex")
"""Numbers of classes, which often stand beside their names."""
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
"""Columns that tell places in an image. Those that are no part of a box that is understood are refused."""
NOT_CLASSES = frozenset(
    {"caption", "captions", "comment", "comments", "text", "description", "title", "notes", "prompt", "name", "url"}
    | {"size", "width", "height", "bytes", "md5", "sha1", "sha256", "hash", "date", "time", "timestamp", "datetime"}
    | {"source", "author", "license", "licence", "age", "score", "weight", "price", "latitude", "longitude"}
    | {"index", "channels", "mode", "confidence", "probability"}
)
"""Columns that are no classes, though there may be no other column."""
HEADERLESS = (
    ("path", "label"),
    ("label", "path"),
    ("path", "x1", "y1", "x2", "y2", "class"),  # keras-retinanet
    ("label", "x", "y", "w", "h", "path", "width", "height"),  # makesense
)
"""The columns of tables without a header."""

_KNOWN = frozenset({*PATHS, *LABEL, *LABEL_IDS, *LABELS, *SPLIT, *PLACES} | {name for names in SIZE for name in names})
_UNNAMED = re.compile(r"unnamed:")
"""How pandas calls columns without a name."""
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[\s_.-]+(?=[^\W_])")


def _plain(name: str) -> str:
    """Return a column's name as the names above are written: ``Image ID`` and ``#image_id`` are ``imageid``."""
    return _BETWEEN_WORDS.sub("", name.strip("# \t")).lower()


class Row(NamedTuple):
    """The cells of one row, less the spaces around them, and the number of its last line."""

    line: int
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Box:
    """The places of a box's four columns and how they are meant: ``corners``, ``centre`` or ``sides`` (x, y, w, h)."""

    places: tuple[int, ...]
    meaning: str
    are_shares: bool = False


@dataclass(frozen=True, slots=True)
class Columns:
    """The places of columns in a row; None where there is none. ``others`` are those without a meaning, by name.

    ``are_classes`` is True if each of the others is a class, with 1 in the rows of its images and else 0.
    ``is_only_other`` is True if the label is known by being the only other column. ``names`` are those of classes that
    rows give by codes.
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
        """True if it tells more of an image than where it is."""
        return self.are_classes or not (self.label is None and self.labels is None and self.box is None)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of images: its path, the split it is of, its header (what stands for one if it has none), its rows."""

    path: str
    split: str | None
    header: Sequence[str]
    columns: Columns
    rows: Sequence[Row]


class Images:
    """Finds the images that the cells of tables mean."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._of_split: dict[str | None, Collection[str]] = {}
        self._finders: dict[str | None, Finder] = {}
        self._numbers: dict[str | None, Mapping[int, list[str]]] = {}
        self.padded: dict[str, str] = {}
        """Numbers in tables that are an image's but for leading zeros, and these images."""

    def find(self, folder: str, name: str, split: str | None) -> str | None:
        """Return the image that a table in a folder means, or None. Raises ValueError if it may be several.

        A name that is no path from the table's folder is looked for in the folders of the table's split, if there are.
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
        """Return the images in folders that are called after a split, as ``train_images``; all if there are none."""
        if split not in self._of_split:
            start = None if split is None else split[:3].lower()  # of validation, valid and val
            by_folder = files.by_folder(filter(is_picture, self._paths))
            named = {folder for folder in by_folder if any(word[:3] == start for word in _split_words(folder))}
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


def _split_words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]+", text.lower()) if word in files.SPLIT_NAMES}


# -------------------------------------------------------------------------------------------------------- columns

_LOOKED_AT = 1000
"""Rows that are looked at to find the column of paths."""


def columns_of(header: Sequence[str], rows: Sequence[Row], path: int) -> Columns:
    """Find out what the columns of a table say, whose column ``path`` names images.

    Raises ValueError if columns contradict each other, or tell places and are not understood.
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
    told = [
        name for name, place in found.others.items() if plain[place] in PLACES and any(r.cells[place] for r in rows)
    ]
    if told and not found.are_classes:
        raise ValueError(
            f"its columns {', '.join(map(keys.printable, told))} tell places in images and are not understood; write "
            "boxes as xmin, ymin, xmax, ymax in pixels, or leave such columns out"
        )
    return found


def _path_column(header: Sequence[str], rows: Sequence[Row], find: Callable[[str], str | None]) -> int | None:
    """Return the place of the column that names images, by its values; by its name alone if these lead nowhere.

    Values that end as names of images are stronger evidence than stems. Raises ValueError if two columns name
    different images.
    """

    def found(cell: str) -> str | None:
        try:
            path = find(cell) if cell and "://" not in cell else None
        except ValueError:  # one of several: it names images all the same
            return ""
        return path if path is None or is_picture(path) or not keys.extension(path) else None

    plain = [_plain(name) for name in header]
    rows = rows[:_LOOKED_AT]
    by_column = [{cell: found(cell) for cell in dict.fromkeys(row.cells[i] for row in rows)} for i in range(len(plain))]
    whole, stems, missing = list[int](), list[int](), list[int]()
    for place, by_cell in enumerate(by_column):
        cells = [cell for cell in by_cell if cell]
        named = [cell for cell in cells if by_cell[cell] is not None]
        as_files = [cell for cell in cells if is_picture(cell) and "://" not in cell]
        if set(named) & set(as_files):
            whole.append(place)
        elif named and (plain[place] in PATHS or _may_be_stems(plain[place], named, cells)):
            stems.append(place)
        elif as_files and 2 * len(as_files) >= len(cells):
            missing.append(place)
    by_name = [plain.index(name) for name in PATHS if name in plain]
    by_name = [place for place in by_name if plain[place] != "id" or not _counts([row.cells[place] for row in rows])]
    if any(plain[place] in PATHS for place in stems):  # numbers of classes may be stems of images too
        stems = [i for i in stems if plain[i] in PATHS or not any(_is_number(cell) for cell in by_column[i])]
    candidates = whole or stems or missing or by_name[:1]
    for one, other in itertools.combinations(candidates, 2):
        pairs = {(by_column[one][row.cells[one]], by_column[other][row.cells[other]]) for row in rows}
        if any(first and second and first != second for first, second in pairs):
            raise ValueError(_both(header, (one, other), "name different images", "file_name"))
    return min(candidates, key=lambda i: PATHS.index(plain[i]) if plain[i] in PATHS else len(PATHS), default=None)


def _counts(cells: Sequence[str]) -> bool:
    """True if a column counts its rows from 0 or 1, as numbers of classes do too."""
    return any(all(cell == str(start + i) for i, cell in enumerate(cells)) for start in (0, 1))


def _may_be_stems(name: str, named: Sequence[str], cells: Sequence[str]) -> bool:
    """True if these cells, of which some name images, are stems and not classes or numbers that look like them."""
    if name in _KNOWN:  # images of masks may be called target
        return len(named) == len(cells) and not any(map(_is_number, cells))
    return len(named) >= 2 or 2 * len(named) >= len(cells)


def _both(header: Sequence[str], places: Sequence[int], what: str, name: str) -> str:
    one, other = (keys.printable(header[place]) for place in places)
    return f"its columns {one} and {other} {what}; call the one that counts {name} and leave the other out"


def _distinct(header: Sequence[str], plain: Sequence[str], rows: Sequence[Row]) -> dict[str, int]:
    """Return the places of columns by name, without those that have no name and only count or are empty."""
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
    """Take the columns of a box out of ``places``."""
    for meaning, layouts in (("corners", CORNERS), ("centre", CENTRES), ("sides", SIDES)):
        for names in layouts:
            if all(name in places for name in names):
                return Box(tuple(places.pop(name) for name in names), meaning)
    return None


def box_names(header: Iterable[str]) -> list[str]:
    """Return the names of the columns of a box in a header; none if it has no box."""
    by_name = {_plain(name): name for name in header}
    box = _box_columns({name: place for place, name in enumerate(by_name)})
    return [] if box is None else [list(by_name.values())[place] for place in box.places]


def _are_equal(rows: Sequence[Row], one: int, other: int) -> bool:
    """True if each value of one column goes with one of the other."""
    pairs = {(row.cells[one], row.cells[other]) for row in rows}
    return len(pairs) == len({first for first, _ in pairs}) == len({second for _, second in pairs})


def _check_separators(name: str, cells: Collection[str]) -> None:
    """Raise ValueError if several classes in one cell are not separated as they should be."""
    if any(_BETWEEN & set(cell) for cell in cells):
        return
    parts = {cell: frozenset(re.split(r"[,\s]+", cell)) for cell in cells if cell}
    whole = set(parts.values())
    joined = {cell for cell, words in parts.items() if cell[0] in "[{" or any(other < words for other in whole)}
    if joined:
        raise ValueError(
            f"its column {keys.printable(name)} may hold several classes, as in {files.shown(min(joined))}; write ; "
            "between them, or call the column label if each cell is one class"
        )


def _only_others(columns: Columns, plain: Sequence[str], rows: Sequence[Row]) -> Columns:
    """Return the columns with those of a class: all others if they are of 0 and 1, or the only one that there is."""
    others = columns.others.values()
    if len(others) > 1 and rows and all(row.cells[place] in _YES | _NO for row in rows for place in others):
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


def _can_be_classes(rows: Sequence[Row], place: int) -> bool:
    """True if the values of a column recur as classes do; a few may all differ. Fractions and lists are none."""
    values = [row.cells[place] for row in rows if row.cells[place]]
    different = set(values)
    if not values or any(len(each) > _MAX_CLASS_CHARS or _NOT_A_CLASS.fullmatch(each) for each in different):
        return False
    return len(values) <= _FEW or 2 * len(different) <= len(values)


# --------------------------------------------------------------------------------------------------------- writing

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
    if others and not {"label", "labels", "boxes"} & targets:
        header.append("label")  # else what is carried along would be read as the class
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
    return {name: f"{name}_" if _plain(name) in _KNOWN else name for name in sorted(names)}, has_names


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


# --------------------------------------------------------------------------------------------------------- reading

_DELIMITERS = (",", ";", "\t")
_YES, _NO = frozenset({"1", "1.0"}), frozenset({"0", "0.0"})
_SEPARATOR_LINE = re.compile(r"sep=.\r?\n")
"""The first line by which Excel is told what separates cells."""


def read(text: str, path: str, split: str | None, images: Images, *, is_cut: bool = False) -> Table | None:
    """Read a table; None if it names no images. Raises ValueError, which names the line or the columns.

    Of the beginning of a table (``is_cut``), what cannot be read is left out.
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
                raise ValueError(
                    "it may name the classes by number, or images; write the names of images with extension"
                )
            return table
        found += [] if table is None else [table]
    if errors:
        raise errors[0]
    return found[0] if found else None


def _read_as(rows: list[Row], path: str, split: str | None, images: Images) -> Table | None:
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
        raise ValueError("its first line may be a header or a row; write a header: file_name,label")
    if OPEN_IMAGES.issubset(map(_plain, first)) and columns.box is None:
        raise ValueError("its labels of whole images may say what is not there; only boxes of Open Images are read")
    return Table(path, split, first, columns, rest)


def _may_number_classes(table: Table, images: Images) -> bool:
    """True if a table counts from 0 or 1 and gives each number a class of its own, and there are more images."""
    place = table.columns.label
    if place is None or len(table.rows) < 2 or not _counts([row.cells[table.columns.path] for row in table.rows]):
        return False
    are_different = len({row.cells[place] for row in table.rows}) == len(table.rows)
    return are_different and len(table.rows) < len(images.of(table.split))


def _is_header(cells: Sequence[str], find: Callable[[str], str | None]) -> bool:
    """True if a first line holds names of columns, and False if it is a row already."""
    plain = [_plain(cell) for cell in cells]
    if any(map(is_picture, cells)):
        return False
    if not set(PATHS).isdisjoint(plain):
        return True
    if any(cell and _names_image(find, cell) for cell in cells):
        return False
    return not _KNOWN.isdisjoint(plain) or not any(map(_is_number, cells))


def _names_image(find: Callable[[str], str | None], cell: str) -> bool:
    try:
        return find(cell) is not None
    except ValueError:  # one of several
        return True


def _read_headerless(rows: list[Row], path: str, split: str | None, find: Callable[[str], str | None]) -> Table | None:
    """Read a table as the only layout of ``HEADERLESS`` that it fits; None if there is none."""
    names = [f"column {place + 1}" for place in range(len(rows[0].cells))]
    place = _path_column(names, rows, find)
    fitting = [
        layout
        for layout in HEADERLESS
        if len(layout) == len(names) and place is not None and layout[place] == "path" and _fits(layout, rows)
    ]
    if len(fitting) != 1 or place is None:
        return None
    named = sum(is_picture(row.cells[place]) or _names_image(find, row.cells[place]) for row in rows)
    columns = columns_of(fitting[0], rows, place)
    if 10 * named < 9 * len(rows) or (columns.label is not None and not _can_be_classes(rows, columns.label)):
        return None
    return Table(path, split, fitting[0], columns, rows)


def _fits(layout: Sequence[str], rows: Iterable[Row]) -> bool:
    numbers = [place for place, name in enumerate(layout) if name in PLACES or name in SIZE[0]]
    return all(not row.cells[place] or _is_number(row.cells[place]) for row in rows for place in numbers)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_rows(text: str, delimiter: str, *, is_cut: bool) -> Iterator[Row]:
    """Yield all rows, the header too, each with as many cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    known: dict[str, str] = {}  # most cells recur, and all rows stay in memory
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
            yield Row(reader.line_num, tuple(known.setdefault(cell, cell) for cell in map(str.strip, cells)))
    except csv.Error as error:
        if not is_cut:
            raise ValueError(f"line {reader.line_num} cannot be read ({error})") from error
    except ValueError:
        if not is_cut:
            raise


def add(named: Named, images: Images, table: Table) -> None:
    """Add what a table says of images. Raises ValueError, which names the line, if a row names none."""
    folder, columns = table.path.rpartition("/")[0], table.columns
    by_path: dict[str, list[Row]] = {}
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
            named.missing.setdefault(name, f"picture missing: {where} names it")
        else:
            by_path.setdefault(path, []).append(row)
    for path, some in by_path.items():
        described, own = _described(columns, some, named.classes)
        named.add(path, described, table.path, own or table.split)


def _described(columns: Columns, rows: list[Row], classes: set[str]) -> tuple[Described, str | None]:
    """What the rows of one picture say of it, and its split where they say one."""
    try:
        split = _same(rows, columns.split, "split")
        if split is not None and ("/" in split or split.startswith(".")):
            raise ValueError(f"not a split: {split!r} cannot be a folder's name")
        label = _same(rows, columns.label, "class")
        members: dict[str, Any] = {}
        if columns.labels is not None:
            members["labels"] = _read_labels(row.cells[columns.labels] for row in rows)
        elif columns.are_classes:
            members["labels"] = {name: 1.0 for name, place in columns.others.items() if rows[0].cells[place] in _YES}
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
    boxes: list[tuple[float, float, float, float]] = []
    names: list[str] = []
    attributes: list[dict[str, str]] = []
    if columns.box is None:
        raise TypeError("a table without boxes has none to read")
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
_HUGGING_FACE = "metadata.csv"
"""The table of the ``imagefolder`` format, if it has a column ``file_name``."""
_CLASS_FILES = re.compile(r"class(es)?([_-]?(map|mapping|list|names?|ids?))?\.csv", re.IGNORECASE)
_DESCRIPTIONS = re.compile(r".*class[_-]descriptions.*\.csv", re.IGNORECASE)
_SUBMISSION = re.compile(r".*submission.*", re.IGNORECASE)


class CsvTable(FolderFormat):
    """One table with a row for each image, label or box."""

    name = "csv"
    writes = frozenset({"label", "labels", "boxes"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if a table names images and says something of them, or may do so in two ways."""
        candidates = list(_candidates(tree))
        images = Images(tree.paths - set(candidates) if candidates else ())
        for path in candidates:
            try:
                table = _look(tree, path, images)
            except ValueError:
                return True
            if table is not None and table.columns.says_something:
                return True
        return False

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the images that the tables name, and those that they don't. Raises DatasetError, StorageError."""
        candidates = list(_candidates(tree))
        images = Images(tree.paths - set(candidates))
        looks: dict[str, Table] = {}
        for path in candidates:
            try:
                if (table := _look(tree, path, images)) is not None:
                    looks[path] = table
            except ValueError as error:
                raise _not_understood(tree, path, str(error)) from error
        tables = [_read_whole(tree, each, images) for each in _chosen(tree, looks)]
        tables = [_less_guess(table, tables) for table in tables]
        images.padded.clear()  # of what was only tried
        named = Named(tree, used={table.path for table in tables})
        names = _class_descriptions(tree, tables, named.used, listing)
        for table in tables:
            if not table.columns.says_something:
                listing.notices.append(f"{keys.printable(table.path)} names images and tells no class: they have none")
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
                listing.notices.append(f"{keys.printable(path)} was not read: what a submission says is no truth")
        order = _class_order(tree, tables, named)
        named.fill(listing, ", ".join(table.path for table in tables))
        listing.classes = order or listing.classes

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:
        """``labels.csv`` in the root."""
        yield StreamedFile(TABLE, pieces(outputs, whole, self.picture_path))


def _with_suffix(tree: Tree, *suffixes: str) -> list[str]:
    return sorted((path for path in tree.paths if keys.extension(path).lower() in suffixes), key=str.encode)


def _top(tree: Tree) -> str:
    """Return the innermost folder that all files lie in or below."""
    holders = [folder.path for folder in tree.folders if folder.files]
    return posixpath.commonpath(holders) if holders else ""


def _candidates(tree: Tree) -> Iterator[str]:
    """Yield tables in the outermost folder with files, in that of a split or one that only structures below it.

    Those of other tools are none.
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


def _look(tree: Tree, path: str, images: Images) -> Table | None:
    """Read the beginning of a table; None if it is none of images. Raises ValueError as ``read``."""
    if _SUBMISSION.fullmatch(path.rpartition("/")[2]):
        return None
    head = files.head(tree.root / path, evidence.HEAD_BYTES)
    text = evidence.decoded(head)
    if len(head) >= evidence.HEAD_BYTES - 1:
        text = text.rpartition("\n")[0]
    return read(text, path, _split_of(path), images, is_cut=True)


def _split_of(path: str) -> str | None:
    """Return the split that a table is of: its folder if that is one, else the one word for a split in its name."""
    folder, _, name = path.rpartition("/")
    innermost = folder.rpartition("/")[2]
    if innermost.lower() in files.SPLIT_NAMES:
        return innermost
    found = [word for word in re.findall(r"[A-Za-z]+", keys.without_extension(name)) if _split_words(word)]
    return found[0] if len(found) == 1 else None


def _chosen(tree: Tree, looks: Mapping[str, Table]) -> list[Table]:
    """Return the tables that count. Raises DatasetError if there is none, or it is not clear which do."""
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
            raise DatasetError(f"{tree.root} has several tables of images ({shown}); name the one that counts {TABLE}")
    splits = [table.split for table in chosen]
    for path, table in looks.items():
        # Kaggle's test.csv names images and says no more
        if path not in telling and None not in splits and table.split is not None and table.split not in splits:
            chosen.append(table)
    return chosen


def _read_whole(tree: Tree, look: Table, images: Images) -> Table:
    try:
        table = read(image_paths.read_table(tree, look.path), look.path, look.split, images)
    except ValueError as error:
        raise DatasetError(f"{tree.root / look.path}: {error}") from error
    if table is None or (look.columns.says_something and not table.columns.says_something):
        raise _not_understood(tree, look.path, _columns_told(tree, look.path, table))
    return table


def _less_guess(table: Table, tables: Collection[Table]) -> Table:
    """Return a table without its class if that was taken for one as the only other column and is none elsewhere."""
    columns = table.columns
    if columns.label is None or not columns.is_only_other:
        return table
    name = table.header[columns.label]
    if not any(name in each.columns.others for each in tables):
        return table
    return replace(table, columns=replace(columns, label=None, others=columns.others | {name: columns.label}))


def _columns_told(tree: Tree, path: str, table: Table | None) -> str:
    if _SUBMISSION.fullmatch(path.rpartition("/")[2]):
        return "what a submission says is no truth; if it is, call the table labels.csv"
    if table is None:
        first = evidence.decoded(files.head(tree.root / path, evidence.HEAD_BYTES)).strip().partition("\n")[0]
        return f"no column names images of this folder; its first line is {files.shown(first.strip())}"
    others = ", ".join(map(keys.printable, list(table.columns.others)[:8])) or "none"
    return (
        f"column {keys.printable(table.header[table.columns.path])} names images, and of its other columns ({others}) "
        "none is known as a class or a box; call the class label, and the corners of boxes xmin, ymin, xmax, ymax"
    )


def _not_understood(tree: Tree, path: str, why: str) -> DatasetError:
    name = path.rpartition("/")[2]
    return DatasetError(
        f"{tree.root / path}: read as a table of images (csv): {why}; or name another format (--format; for an "
        f"expansion --from-format), or ignore the table (--ignore {shlex.quote(name)})"
    )


def _class_descriptions(tree: Tree, tables: Iterable[Table], used: set[str], listing: Listing) -> dict[str, str]:
    """Return the names of Open Images' codes of classes, where a table has such codes."""
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


def _class_order(tree: Tree, tables: Iterable[Table], named: Named) -> tuple[str, ...] | None:
    """Return the classes in the order of a file ``classes.csv`` (name,number) beside a table, if it has them all."""
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
