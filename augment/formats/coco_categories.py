"""The categories of all files of a dataset together, and those that an expansion is written with."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from augment import keys
from augment.errors import DatasetError
from augment.formats.coco.index import Indexed
from augment.formats.coco_objects import Id
from augment.formats.named_objects import NO_CLASS
from augment.formats.writing import Whole


def united(files: Sequence[Indexed]) -> list[dict[str, Any]]:
    """Each category once, in the order of the ids, with the members that any file gives it.

    Raises DatasetError where two files say different things of one id.
    """
    found: dict[Id, tuple[dict[str, Any], str]] = {}
    for file in files:
        for category in file.categories:
            known, path = found.setdefault(category["id"], ({}, file.path))
            for member in ("name", "keypoints"):
                if member in known and known[member] != category.get(member, known[member]):
                    raise DatasetError(
                        f"category {category['id']!r} has the {member} {_shown(known[member])} in "
                        f"{keys.printable(path)} and {_shown(category[member])} in {keys.printable(file.path)}; give "
                        "them ids of their own"
                    )
            known |= {name: value for name, value in category.items() if name not in known}
    return [found[each][0] for each in sorted(found, key=lambda each: (isinstance(each, str), each))]


def details(files: Sequence[Indexed], categories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is kept for writing: the categories, of those with one name one that is used, licences and information."""
    used = {each for file in files for each in file.used}
    by_name: dict[str, Mapping[str, Any]] = {}
    for category in categories:
        if category["name"] not in by_name or (category["id"] in used and by_name[category["name"]]["id"] not in used):
            by_name[category["name"]] = category
    licenses = {json.dumps(each, sort_keys=True): each for file in files for each in file.licenses}
    information = next((file.info for file in files if file.info is not None), None)
    found: dict[str, Any] = {"categories": [dict(each) for each in by_name.values()]}
    found |= {"licenses": list(licenses.values())} if licenses else {}
    return found | ({} if information is None else {"info": information})


def names_of_keypoints(categories: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names of all keypoints, in the order of the categories."""
    return tuple(dict.fromkeys(name for each in categories for name in each.get("keypoints", ())))


def of_output(whole: Whole, with_keypoints: frozenset[str]) -> list[dict[str, Any]]:
    """The categories to be written, as they were in the source where that was COCO.

    Else they count from 1, and those of the classes ``with_keypoints`` have all names of keypoints.
    """
    known: dict[str, dict[str, Any]] = {}
    if whole.source_format == "coco":
        known = {each["name"]: each for each in whole.details.get("categories", ())}
    numbers = (each["id"] for each in known.values() if isinstance(each["id"], int))
    free = max(numbers, default=0) + 1
    written: list[dict[str, Any]] = []
    for name in whole.classes or (NO_CLASS,):
        category = known.get(name)
        if category is None:
            category = {"id": free, "name": name, "supercategory": ""}
            free += 1
            if name in with_keypoints:
                category |= {"keypoints": list(whole.keypoint_names), "skeleton": []}
        written.append(category)
    return written


def _shown(value: object) -> str:
    text = keys.printable(repr(value))
    return text if len(text) <= 60 else f"{text[:59]}…"
