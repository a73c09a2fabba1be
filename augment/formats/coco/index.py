"""Index of COCO's files of one split: every image and object with its position in the JSON text.

A file of a million annotations is some 450 MB of text, and five times that as objects of Python. So the text stays as
it is: the elements of the long lists are read one after another with their positions, and each is read again when its
image is due (``element``). Reading is strict: UTF-8, one object outside, no name twice in one object, no NaN and no
infinity, whole numbers of at most 18 digits, nothing after the end.
"""

import json
import math
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeGuard

from augment.datasets import keys
from augment.errors import DatasetError
from augment.formats import files
from augment.formats.coco.objects import Id
from augment.formats.files import shown
from augment.formats.tree import Tree

MAX_BYTES = 2 * 2**30
"""Of one file; LVIS, the largest in wide use, has 1.1 GB."""

_MAX_DIGITS = 18
_HEAD_BYTES = 64 * 2**10
_SPACE = re.compile(r"[ \t\n\r]*")
_LOOKS_LIKE = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')


class Element(NamedTuple):
    """A member of the object outside, or one element of a member that is a list.

    ``start`` is its place in the text; None says that the list begins.
    """

    member: str
    start: int | None
    value: Any = None


class _NotStrictError(ValueError):
    """Something that Python's reader would accept."""


def looks_like(path: Path) -> bool:
    """Whether the beginning of a file could be COCO's."""
    head = files.head(path, _HEAD_BYTES)
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and _LOOKS_LIKE.search(head) is not None


def read_text(files: Tree, path: str) -> str:
    """The text of one of the files. Raises DatasetError, StorageError."""
    try:
        return files.read_text(path, max_bytes=MAX_BYTES)
    except ValueError as error:
        raise DatasetError(str(error)) from error


def elements(text: str, name: str, lists: Collection[str]) -> Iterator[Element]:
    """Every member of the object outside; of those called as in ``lists`` each element of the list that they are.

    Raises DatasetError with line and column where the text is not strict JSON or such a member is no list.
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
            _refuse(text, name, start, "a name in quotes should stand here")
        if member in seen:
            _refuse(text, name, start, f"{_shown_text(member)} is written twice; keep one")
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
                        _refuse(text, name, at, "a comma stands before the end of a list")
                elif text[at : at + 1] != "]":
                    _refuse(text, name, at, "a comma or the end of a list should stand here")
            at += 1
        else:
            value, end = _decoded(text, name, at)
            yield Element(member, at, value)
            at = end
        at = _skip(text, at)
    at = _expect(text, name, at, "}", "a comma or the end of the object,")
    if at < len(text):
        _refuse(text, name, at, "something stands behind the end of the object")


def element(text: str, start: int) -> Any:
    """Read again what ``elements`` found at this place."""
    return _DECODER.raw_decode(text, start)[0]


def _expect(text: str, name: str, at: int, char: str, what: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != char:
        _refuse(text, name, at, f"{what} {char} should stand here")
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
        _refuse(text, name, at, f"in what begins here, {error}")
    except RecursionError:
        _refuse(text, name, at, "what begins here nests too deep")
    return value, end


def _refuse(text: str, name: str, at: int, what: str) -> NoReturn:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    found = "the file ends" if at >= len(text) else f"{text[at : at + 12]!r} stands there"
    raise DatasetError(f"{keys.printable(name)} is not JSON: line {line}, column {column}: {what} ({found})")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise _NotStrictError(f"{_shown_text(twice)} is written twice")
    return found


def _constant(text: str) -> NoReturn:
    raise _NotStrictError(f"{text} is no number of JSON")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise _NotStrictError(f"a whole number has {len(text)} digits, of {_MAX_DIGITS} allowed")
    return int(text)


def _decimal(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotStrictError(f"the number {_shown_text(text)} is too large")
    return number


def _shown_text(text: str) -> str:
    return keys.printable(text if len(text) <= 40 else f"{text[:39]}…")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer, parse_float=_decimal, strict=True
)


_MOST_NAMED = 20
"""Annotations without a picture that are named one by one."""

_LISTS = ("images", "annotations", "categories", "licenses")


_Waiting = tuple[int, Any, Any, str | None]
"""Of an object its place, the ids of its image and category as they stand there, and what is wrong with it."""


@dataclass(slots=True)
class Entry:
    """One picture in one file: where its entry stands in the text, and where its objects do."""

    start: int
    objects: "array[int]" = field(default_factory=lambda: array("q"))
    problem: str | None = None


@dataclass(slots=True)
class Indexed:
    """One file. ``entries`` are by ``file_name``, ``used`` are the ids of categories that objects have.

    ``refused`` says what belongs to no picture.
    ``says_boxes`` is False where it has no list of annotations at all: it lists pictures only.
    """

    path: str
    text: str
    entries: dict[str, Entry] = field(default_factory=dict)
    categories: list[dict[str, Any]] = field(default_factory=list)
    licenses: list[Any] = field(default_factory=list)
    info: Any = None
    used: set[Id] = field(default_factory=set)
    says_boxes: bool = False
    refused: list[str] = field(default_factory=list)

    def image(self, entry: Entry) -> Mapping[str, Any]:
        """The entry as the file has it."""
        image: Mapping[str, Any] = element(self.text, entry.start)
        return image

    def objects(self, entry: Entry) -> Iterator[Mapping[str, Any]]:
        """The objects in the picture, in the order of the file."""
        return (element(self.text, start) for start in entry.objects)


def index_file(path: str, text: str) -> Indexed:
    """Go through a file once. Raises DatasetError where it is no strict JSON, or none of COCO's.

    What is wrong with one picture or object is the ``problem`` of its picture: an object of an unknown category, an id
    that two objects or pictures have. Of two objects with one id the later is blamed.
    """
    found = Indexed(path, text)
    by_id: dict[Id, Entry] = {}
    waiting: list[_Waiting] = []
    ids: set[Id] = set()
    for member, start, value in elements(text, path, _LISTS):
        if start is None:
            found.says_boxes = found.says_boxes or member == "annotations"
        elif member == "images":
            _add_image(found, by_id, start, value)
        elif member == "annotations":
            waiting.append((start, *_object(value, ids)))
        elif member == "categories":
            found.categories.append(_category(found, value))
        elif member == "licenses":
            found.licenses.append(value)
        elif member == "info":
            found.info = value
    _attach(found, by_id, waiting)
    return found


def _attach(found: Indexed, by_id: Mapping[Id, Entry], objects: Sequence[_Waiting]) -> None:
    """Give each object to its picture, once all pictures and categories are known."""
    known = {each["id"] for each in found.categories}
    num_lost = 0
    for start, image_id, category, wrong in objects:
        entry = by_id.get(image_id) if _is_id(image_id) else None
        if entry is None:
            num_lost += 1
            if num_lost <= _MOST_NAMED:
                found.refused.append(f"unknown image: {_named(found, start)} is of image {shown(image_id)}")
            continue
        entry.objects.append(start)
        entry.problem = entry.problem or wrong
        if category is not None and (not _is_id(category) or category not in known):
            problem = f"unknown category: {_named(found, start)} has category {shown(category)}"
            entry.problem = entry.problem or problem
        elif category is not None:
            found.used.add(category)
    if num_lost > _MOST_NAMED:
        found.refused.append(f"unknown image: {num_lost - _MOST_NAMED} more annotations are of images that it lacks")


def _add_image(found: Indexed, by_id: dict[Id, Entry], start: int, value: Any) -> None:
    file_name = value.get("file_name") if isinstance(value, dict) else None
    if not _is_name(file_name) or not _is_id(value.get("id")):
        raise DatasetError(
            f"{keys.printable(found.path)}: an image is an object with an id and a file_name, not {shown(value)}"
        )
    entry = Entry(start)
    for other in (by_id.setdefault(value["id"], entry), found.entries.setdefault(file_name, entry)):
        if other is not entry:
            problem = f"duplicate id: image {value['id']!r} ({keys.printable(file_name)}) is listed twice"
            entry.problem = other.problem = problem


def _object(value: Any, ids: set[Id]) -> tuple[Any, Any, str | None]:
    """The image and the category of an object, and what is wrong with it."""
    if not isinstance(value, dict):
        return None, None, None
    image_id, own, category = value.get("image_id"), value.get("id"), value.get("category_id")
    problem = None
    if not _is_id(own):
        problem = f"no id: an annotation of image {shown(image_id)} has the id {shown(own)}, not a whole number"
    elif own in ids:
        problem = f"duplicate id: annotation {own!r} is listed twice"
    else:
        ids.add(own)
    if category is None and not isinstance(value.get("caption"), str):
        problem = problem or f"unknown category: annotation {shown(own)} has none"
    return image_id, category, problem


def _category(found: Indexed, value: Any) -> dict[str, Any]:
    ok = isinstance(value, dict) and _is_id(value.get("id")) and _is_name(value.get("name"))
    points = value.get("keypoints", []) if ok else None
    if not isinstance(points, list) or not all(map(_is_name, points)):
        raise DatasetError(
            f"{keys.printable(found.path)}: a category is an object with an id, a name and perhaps the names of "
            f"keypoints, not {shown(value)}"
        )
    if len(set(points)) < len(points):
        raise DatasetError(f"{keys.printable(found.path)}: category {value['name']!r} has two keypoints of one name")
    category: dict[str, Any] = value
    return category


def _named(found: Indexed, start: int) -> str:
    value = element(found.text, start)
    return f"annotation {shown(value.get('id') if isinstance(value, dict) else value)}"


def _is_id(value: object) -> TypeGuard[Id]:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and keys.is_utf8(value)
