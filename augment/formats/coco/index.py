"""Index of COCO's files of one split: every image and object with its position in the JSON text.

A file of a million annotations is some 450 MB of text, and five times that as Python objects. So only the text is kept:
the elements of the long lists are read one after another with their positions, and each is read again when its image is
processed (``element``). Reading is strict: UTF-8, one outer object, no duplicate name in an object, no NaN and no
infinity, whole numbers of at most 18 digits, nothing after the end.
"""

import json
import math
import re
import shlex
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeGuard

from augment.datasets import keys
from augment.errors import DatasetError
from augment.formats import files
from augment.formats.coco.objects import Id, identity, is_caption
from augment.formats.tree import Tree
from augment.validation import abridged, quoted

MAX_BYTES = 2 * 2**30
"""Largest size of a file; LVIS, the largest in wide use, has 1.1 GB."""

_MAX_DIGITS = 18
_HEAD_BYTES = 64 * 2**10
_SPACE = re.compile(r"[ \t\n\r]*")
_LOOKS_LIKE = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')


class Element(NamedTuple):
    """A member of the outer object, or one element of a member that is a list.

    ``start`` is its position in the text; None marks the beginning of the list.
    """

    member: str
    start: int | None
    value: Any = None


class _NotStrictError(ValueError):
    """Input that Python's reader would accept and this one does not."""


def looks_like(path: Path) -> bool:
    """True if the beginning of a file could be COCO's."""
    head = files.head(path, _HEAD_BYTES)
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and _LOOKS_LIKE.search(head) is not None


def read_text(files: Tree, path: str) -> str:
    """Return the text of one of the files. Raises DatasetError, StorageError."""
    try:
        return files.read_text(path, max_bytes=MAX_BYTES)
    except ValueError as error:
        raise DatasetError(str(error)) from error


def elements(text: str, name: str, lists: Collection[str]) -> Iterator[Element]:
    """Yield every member of the outer object; of the members named in ``lists``, yield each element.

    Raises DatasetError with line and column if the text is not strict JSON or such a member is not a list.
    """
    seen: set[str] = set()
    at = _expect(text, name, 0, "{", "an object,")
    while not seen or text[at : at + 1] == ",":
        at = _skip(text, at + 1 if seen else at)
        if not seen and text[at : at + 1] == "}":
            break
        start = at
        member, at = _decoded(text, name, start)
        if not isinstance(member, str):
            _refuse(text, name, start, "expected a name in quotes")
        if member in seen:
            _refuse(text, name, start, f"{abridged(member)} is written twice; keep one")
        seen.add(member)
        at = _expect(text, name, at, ":", "a colon")
        if member in lists:
            at = _expect(text, name, at, "[", f"the list {member},")
            yield Element(member, None)
            while text[at : at + 1] != "]":
                value, end = _decoded(text, name, at)
                yield Element(member, at, value)
                at = _skip(text, end)
                if text[at : at + 1] == ",":
                    at = _skip(text, at + 1)
                    if text[at : at + 1] == "]":
                        _refuse(text, name, at, "a comma before the end of a list")
                elif text[at : at + 1] != "]":
                    _refuse(text, name, at, "expected a comma or the end of a list")
            at += 1
        else:
            value, end = _decoded(text, name, at)
            yield Element(member, at, value)
            at = end
        at = _skip(text, at)
    at = _expect(text, name, at, "}", "a comma or the end of the object,")
    if at < len(text):
        _refuse(text, name, at, "text after the end of the object")


def element(text: str, start: int) -> Any:
    """Read again the value that ``elements`` found at this position."""
    return _DECODER.raw_decode(text, start)[0]


def _expect(text: str, name: str, at: int, char: str, what: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != char:
        _refuse(text, name, at, f"expected {what} {char}")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _decoded(text: str, name: str, at: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        _refuse(text, name, error.pos, error.msg[:1].lower() + error.msg[1:])
    except _NotStrictError as error:
        _refuse(text, name, at, f"in the value that begins here, {error}")
    except RecursionError:
        _refuse(text, name, at, "the value that begins here is nested too deep")
    return value, end


def _refuse(text: str, name: str, at: int, what: str) -> NoReturn:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    found = "the file ends" if at >= len(text) else f"found {text[at : at + 12]!r}"
    raise DatasetError(f"{keys.printable(name)} is not JSON: line {line}, column {column}: {what} ({found})")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise _NotStrictError(f"{abridged(twice)} is written twice")
    return found


def _constant(text: str) -> NoReturn:
    raise _NotStrictError(f"{text} is not a JSON number")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise _NotStrictError(f"a whole number has {len(text)} digits, of {_MAX_DIGITS} allowed")
    return int(text)


def _decimal(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotStrictError(f"the number {abridged(text)} is too large")
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer, parse_float=_decimal, strict=True
)


_MOST_NAMED = 3
"""Number of annotations without an image that a message names; all are counted."""

_LISTS = ("images", "annotations", "categories", "licenses")


class _Waiting(NamedTuple):
    """An annotation whose image is not known yet; the ids of image and category are as in the file."""

    start: int
    image_id: Any
    category: Any
    problem: str | None
    is_caption: bool


@dataclass(slots=True)
class ImageEntry:
    """One image in one file: the positions of its entry, objects and captions in the text.

    ``num_captions`` of the objects are captions.
    """

    start: int
    objects: "array[int]" = field(default_factory=lambda: array("q"))
    num_captions: int = 0
    problem: str | None = None


@dataclass(slots=True)
class Indexed:
    """One file. ``entries`` are by ``file_name``, ``used`` are the ids of categories that objects have.

    ``lost`` describes the annotations without an image, ``num_lost`` counts the objects among them. ``says_boxes`` is
    False if the file has no list of annotations, or only captions.
    """

    path: str
    text: str
    entries: dict[str, ImageEntry] = field(default_factory=dict)
    categories: list[dict[str, Any]] = field(default_factory=list)
    licenses: list[Any] = field(default_factory=list)
    info: Any = None
    used: set[Id] = field(default_factory=set)
    says_boxes: bool = False
    lost: str | None = None
    num_lost: int = 0

    def image(self, entry: ImageEntry) -> Mapping[str, Any]:
        """Return the entry as the file has it."""
        image: Mapping[str, Any] = element(self.text, entry.start)
        return image

    def objects(self, entry: ImageEntry) -> Iterator[Mapping[str, Any]]:
        """Yield the objects in the image, in the order of the file."""
        return (element(self.text, start) for start in entry.objects)


def index_file(path: str, text: str) -> Indexed:
    """Index a file in one pass. Raises DatasetError if it is not strict JSON, or not COCO's.

    Errors of one image or object become the ``problem`` of its image: an object of an unknown category, an id shared by
    two objects or images. Of two objects with one id, the later is blamed.
    """
    found = Indexed(path, text)
    by_id: dict[Id, ImageEntry] = {}
    waiting: list[_Waiting] = []
    ids: set[Id] = set()
    has_annotations = False
    for member, start, value in elements(text, path, _LISTS):
        if start is None:
            has_annotations = has_annotations or member == "annotations"
        elif member == "images":
            _add_image(found, by_id, start, value)
        elif member == "annotations":
            waiting.append(_annotation(path, start, value, ids))
        elif member == "categories":
            found.categories.append(_category(found, value))
        elif member == "licenses":
            found.licenses.append(value)
        elif member == "info":
            found.info = value
        else:
            _check_other(path, member, value, "image_id", "annotations")
    found.says_boxes = has_annotations and (not waiting or not all(each.is_caption for each in waiting))
    _attach(found, by_id, waiting)
    return found


def _attach(found: Indexed, by_id: Mapping[Id, ImageEntry], annotations: Sequence[_Waiting]) -> None:
    """Assign each annotation to its image, once all images and categories are known."""
    known = {identity(each["id"]) for each in found.categories}
    lost: list[str] = []
    num_lost = 0
    for each in annotations:
        image = identity(each.image_id)
        entry = None if image is None else by_id.get(image)
        if entry is None:
            num_lost += 1
            found.num_lost += not each.is_caption
            if num_lost <= _MOST_NAMED:
                lost.append(f"{_named(found, each.start)} is of image {quoted(each.image_id)}")
            continue
        entry.objects.append(each.start)
        entry.num_captions += each.is_caption
        entry.problem = entry.problem or each.problem
        category = identity(each.category)
        if each.is_caption or each.category is None:
            continue
        if category is None or category not in known:
            problem = f"unknown category: {_named(found, each.start)} has category {quoted(each.category)}"
            entry.problem = entry.problem or problem
        else:
            found.used.add(category)
    if num_lost:
        number = "1 annotation is" if num_lost == 1 else f"{num_lost:,} annotations are"
        more = ", …" if num_lost > len(lost) else ""
        found.lost = f"unknown image: {number} of images that are not listed ({', '.join(lost)}{more})"


def _add_image(found: Indexed, by_id: dict[Id, ImageEntry], start: int, value: Any) -> None:
    file_name = value.get("file_name") if isinstance(value, dict) else None
    own = identity(value.get("id")) if isinstance(value, dict) else None
    if not _is_name(file_name) or own is None:
        raise DatasetError(
            f"{keys.printable(found.path)}: an image is an object with an id and a file_name, not {quoted(value)}"
        )
    for member, inner in value.items():
        _check_other(found.path, f"{member} of an image", inner, "bbox", "annotations, a list next to images")
    entry = ImageEntry(start)
    same = by_id.setdefault(own, entry)
    for other in (same, found.entries.setdefault(file_name, entry)):
        if other is not entry:
            problem = f"duplicate id: image {value['id']!r} ({keys.printable(file_name)}) is listed twice"
            if other is same and (id_of_other := found.image(other)["id"]) != value["id"]:
                problem = (
                    f"ambiguous id: images {id_of_other!r} and {value['id']!r} differ only by their quotes; give one "
                    "of them another id"
                )
            entry.problem = other.problem = problem


def _check_other(path: str, member: str, value: Any, sign: str, name: str) -> None:
    """Raise DatasetError if a member unknown to COCO holds objects, which would be lost."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and sign in value[0]:
        raise DatasetError(
            f"{keys.printable(path)}: {abridged(member)} holds objects, which COCO keeps in {name}; rename or move it"
        )


def _annotation(path: str, start: int, value: Any, ids: set[Id]) -> _Waiting:
    """Return the annotation's image, category and problem."""
    if not isinstance(value, dict):
        return _Waiting(start, None, None, None, is_caption=False)
    if "segments_info" in value and "category_id" not in value:
        raise DatasetError(
            f"{keys.printable(path)} is a panoptic file of COCO, which cannot be read: ignore it (--ignore "
            f"{shlex.quote(keys.printable(path.rpartition('/')[2]))}), and read its instances from a file of objects"
        )
    image_id, given, category = value.get("image_id"), value.get("id"), value.get("category_id")
    own, caption = identity(given), is_caption(value)
    problem = None
    if own is None:
        problem = f"no id: an annotation of image {quoted(image_id)} has the id {quoted(given)}, not a whole number"
    elif own in ids:
        problem = f"duplicate id: annotation {given!r} is listed twice"
    else:
        ids.add(own)
    if category is None and not caption:
        problem = problem or f"unknown category: annotation {quoted(given)} has none"
    return _Waiting(start, image_id, category, problem, caption)


def _category(found: Indexed, value: Any) -> dict[str, Any]:
    ok = isinstance(value, dict) and identity(value.get("id")) is not None and _is_name(value.get("name"))
    points = value.get("keypoints", []) if ok else None
    if not isinstance(points, list) or not all(map(_is_name, points)):
        raise DatasetError(
            f"{keys.printable(found.path)}: a category is an object with an id, a name and perhaps the names of "
            f"keypoints, not {quoted(value)}"
        )
    if len(set(points)) < len(points):
        raise DatasetError(
            f"{keys.printable(found.path)}: category {value['name']!r} has two keypoints with the same name"
        )
    category: dict[str, Any] = value
    return category


def _named(found: Indexed, start: int) -> str:
    value = element(found.text, start)
    return f"annotation {quoted(value.get('id') if isinstance(value, dict) else value)}"


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and keys.is_utf8(value)
