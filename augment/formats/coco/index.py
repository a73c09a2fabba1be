"""Which pictures and objects COCO's files of one split speak of, and where in their texts each of them stands."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from augment import keys
from augment.errors import DatasetError
from augment.formats import coco_json
from augment.formats.coco_objects import Id

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
        image: Mapping[str, Any] = coco_json.element(self.text, entry.start)
        return image

    def objects(self, entry: Entry) -> Iterator[Mapping[str, Any]]:
        """The objects in the picture, in the order of the file."""
        return (coco_json.element(self.text, start) for start in entry.objects)


def index(path: str, text: str) -> Indexed:
    """Go through a file once. Raises DatasetError where it is no strict JSON, or none of COCO's.

    What is wrong with one picture or object is the ``problem`` of its picture: an object of an unknown category, an id
    that two objects or pictures have. Of two objects with one id the later is blamed.
    """
    found = Indexed(path, text)
    by_id: dict[Id, Entry] = {}
    waiting: list[_Waiting] = []
    ids: set[Id] = set()
    for member, start, value in coco_json.elements(text, path, _LISTS):
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
                found.refused.append(f"unknown image: {_named(found, start)} is of image {_shown(image_id)}")
            continue
        entry.objects.append(start)
        entry.problem = entry.problem or wrong
        if category is not None and (not _is_id(category) or category not in known):
            problem = f"unknown category: {_named(found, start)} has category {_shown(category)}"
            entry.problem = entry.problem or problem
        elif category is not None:
            found.used.add(category)
    if num_lost > _MOST_NAMED:
        found.refused.append(f"unknown image: {num_lost - _MOST_NAMED} more annotations are of images that it lacks")


def _add_image(found: Indexed, by_id: dict[Id, Entry], start: int, value: Any) -> None:
    file_name = value.get("file_name") if isinstance(value, dict) else None
    if not _is_name(file_name) or not _is_id(value.get("id")):
        raise DatasetError(
            f"{keys.printable(found.path)}: an image is an object with an id and a file_name, not {_shown(value)}"
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
        problem = f"no id: an annotation of image {_shown(image_id)} has the id {_shown(own)}, not a whole number"
    elif own in ids:
        problem = f"duplicate id: annotation {own!r} is listed twice"
    else:
        ids.add(own)
    if category is None and not isinstance(value.get("caption"), str):
        problem = problem or f"unknown category: annotation {_shown(own)} has none"
    return image_id, category, problem


def _category(found: Indexed, value: Any) -> dict[str, Any]:
    ok = isinstance(value, dict) and _is_id(value.get("id")) and _is_name(value.get("name"))
    points = value.get("keypoints", []) if ok else None
    if not isinstance(points, list) or not all(map(_is_name, points)):
        raise DatasetError(
            f"{keys.printable(found.path)}: a category is an object with an id, a name and perhaps the names of "
            f"keypoints, not {_shown(value)}"
        )
    if len(set(points)) < len(points):
        raise DatasetError(f"{keys.printable(found.path)}: category {value['name']!r} has two keypoints of one name")
    category: dict[str, Any] = value
    return category


def _named(found: Indexed, start: int) -> str:
    value = coco_json.element(found.text, start)
    return f"annotation {_shown(value.get('id') if isinstance(value, dict) else value)}"


def _is_id(value: object) -> TypeGuard[Id]:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and keys.is_utf8(value)


def _shown(value: object) -> str:
    text = keys.printable(repr(value))
    return text if len(text) <= 60 else f"{text[:59]}…"
