"""Which files of a folder are COCO's, which split each is about, and in which folder its pictures lie; see ``coco``."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from augment import keys
from augment.errors import DatasetError
from augment.formats import coco_json, files, tree
from augment.formats.files import SPLIT_NAMES, join
from augment.formats.tree import Tree

_KIND = re.compile(r"(instances|person_keypoints|captions|image_info|stuff)[_-](.+)", re.IGNORECASE)
_YEAR = re.compile(r"[ _-]?(?:19|20)\d\d$")
_NOT_LETTERS = re.compile(r"[^a-z]+")
_NO_SPLIT = "default"
"""What CVAT calls the only part of a dataset."""

_MOST_LOOKED_AT = 50
"""Files whose beginning is read before a folder is taken for another format's: some write one JSON file a picture."""

_FIRST_PICTURES = 50


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One file: its path, what it holds (``instances`` and so on, empty where its name does not say) and its split.

    ``words`` are what the folder of its pictures may be called by.
    """

    path: str
    kind: str
    split: str | None
    words: tuple[str, ...]


def recognise(root: Path) -> bool:
    """Whether a JSON file in one of the usual places begins as COCO's do."""
    top = files.top(root)
    splits = [name for name in top.folders if name.lower() in SPLIT_NAMES]
    for folder in ("", *(name for name in top.folders if name.lower() == "annotations"), *splits):
        with os.scandir(root / folder) as entries:
            found = (Path(entry.path) for entry in entries if _is_json(entry.name))
            if any(coco_json.looks_like(path) for path in islice(found, _MOST_LOOKED_AT)):
                return True
    return False


def find(files: Tree) -> list[CocoFile]:
    """The files, by split; of one split those of instances first. Raises DatasetError where some are of no split."""
    found = [
        _described(path)
        for path in sorted(files.paths)
        if _is_json(path.rpartition("/")[2]) and _has_place(path) and coco_json.looks_like(files.root / path)
    ]
    with_things = {each.split for each in found if each.kind != "stuff"}
    found = [each for each in found if each.kind != "stuff" or each.split not in with_things]
    root = keys.printable(str(files.root))
    if not found:
        raise DatasetError(
            f"{root} holds no COCO file: put one into annotations/ (instances_train.json), or name another format"
        )
    loose = [each for each in found if each.split is None]
    if loose and len(loose) < len(found):
        other = next(each for each in found if each.split is not None)
        raise DatasetError(
            f"{root}: {keys.printable(loose[0].path)} names no split and {keys.printable(other.path)} does: rename the "
            "first (instances_train.json), or move it elsewhere"
        )
    return sorted(found, key=lambda each: (each.split or "", each.kind != "instances", each.path))


def folder_of_pictures(files: Tree, described: CocoFile, names: Iterable[str]) -> str:
    """The folder below which most of the first pictures of a file lie by these names."""
    folder = described.path.rpartition("/")[0]
    base = folder.rpartition("/")[0] if folder.rpartition("/")[2].lower() == "annotations" else folder
    candidates = [join(base, word) for word in described.words]
    candidates += [join(base, f"images/{word}") for word in described.words]
    candidates += [join(base, "images"), folder, base, ""]
    first = list(islice(names, _FIRST_PICTURES))
    return max(candidates, key=lambda each: sum(resolve(files, each, name) is not None for name in first))


def resolve(files: Tree, folder: str, name: str) -> str | None:
    """The path of the file that goes by this name in a folder; None where it leads out of the root or to no file."""
    path = tree.confined(folder, name)
    if path not in files.paths and "\\" in name:
        path = tree.confined(folder, name.replace("\\", "/"))
    return path if path in files.paths else None


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json") and not name.startswith(".") and not files.OF_EXPANSION.fullmatch(name)


def _has_place(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    last = folder.rpartition("/")[2].lower()
    return (folder == "" or last == "annotations" or last in SPLIT_NAMES) and not name.lower().startswith("panoptic")


def _described(path: str) -> CocoFile:
    folder, _, name = path.rpartition("/")
    stem = keys.without_extension(name)
    kind = _KIND.fullmatch(stem)
    if kind is not None and kind[2].lower() != _NO_SPLIT:
        word = kind[2]
        split = _YEAR.sub("", word) or word
        return CocoFile(path, kind[1].lower(), split, tuple(dict.fromkeys((word, split))))
    word = next((each for each in _NOT_LETTERS.split(stem.lower()) if each in SPLIT_NAMES), "")
    last = folder.rpartition("/")[2]
    split = word or (last if last.lower() in SPLIT_NAMES else None)
    words = (_NO_SPLIT,) if kind is not None else tuple(_words(word, stem))
    return CocoFile(path, "" if kind is None else kind[1].lower(), split, words)


def _words(word: str, stem: str) -> Iterator[str]:
    if word:
        yield from dict.fromkeys((stem, word))
