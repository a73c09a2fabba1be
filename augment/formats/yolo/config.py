"""Reading and writing ``data.yaml`` of a YOLO dataset, or a file of names as in darknet.

It is parsed as strictly as pipelines are (``pipelines/document.py``): an untrusted file cannot name code and cannot
expand.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from augment.datasets import keys
from augment.errors import DatasetError, PipelineError
from augment.formats.files import SPLIT_NAMES
from augment.formats.shared.object_rules import NO_CLASS
from augment.formats.tree import Tree
from augment.formats.yolo.labels import Words
from augment.pipelines import document
from augment.samples import annotations
from augment.validation import quoted

MAX_BYTES = 256 * 2**10
"""Largest size of a data.yaml, which takes some two seconds to read; that of LVIS, with 1,203 names, has 30 kB."""

_MAX_NAMES_BYTES = 4 * 2**20
_MOST_PLACES = 1000
_LIMITS = document.DocumentLimits(
    "a data.yaml", "`names`, `train` and `val`", MAX_BYTES, max_depth=14, only_text_keys=False
)
_DIGITS = re.compile(r"\d{1,9}", re.ASCII)
_KEYS = {
    "train": frozenset({"train", "training"}),
    "val": frozenset({"val", "valid", "validation", "dev", "eval", "evaluation"}),
    "test": frozenset({"test", "testing"}),
}


@dataclass(frozen=True, slots=True)
class Config:
    """A dataset's description of itself. ``places`` are the folders, lists and files of each split, as written.

    ``file`` is empty if there is no such file, and then ``words`` have no classes. ``base`` is the file's ``path`` of
    the dataset; ``outlines`` is True if it declares its lines to be outlines.
    """

    file: str
    words: Words
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: str = ""
    outlines: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Folder of the file."""
        return self.file.rpartition("/")[0]

    @property
    def remedy(self) -> str:
        """File into which the missing entries should be written."""
        return self.file if self.file.lower().endswith((".yaml", ".yml")) else "a data.yaml"


def read_yaml(files: Tree, path: str) -> Config:
    """Read a data.yaml. Raises DatasetError with the line or the key that is wrong, StorageError."""
    try:
        root = document.parse(files.read_text(path, max_bytes=MAX_BYTES), limits=_LIMITS).root
        if not isinstance(root, Mapping):
            raise ValueError("it must be a mapping with the keys names, train and val")  # noqa: TRY004 - the file is wrong
        classes = _names(root)
        details = _details(root)
        words = Words(classes, *_keypoints(root, details))
        places = {str(key): _places(str(key), value) for key, value in root.items() if _is_split(key, value)}
        base = root.get("path")
        if base is not None and not isinstance(base, str):
            raise ValueError(f"path is {quoted(base)}, not a folder")
    except PipelineError as error:
        raise DatasetError(f"{keys.printable(path)}: {error.problems[0]}") from error
    except ValueError as error:
        raise DatasetError(f"{keys.printable(path)}: {error}") from error
    return Config(path, words, places, base or "", root.get("task") == "segment", details)


def read_names(files: Tree, path: str) -> Words:
    """Read a file with the name of a class in each line. Raises DatasetError, StorageError."""
    try:
        lines = [line.strip() for line in files.read_text(path, max_bytes=_MAX_NAMES_BYTES).splitlines()]
        while lines and not lines[-1]:
            lines.pop()
        return Words(_distinct(lines, "a line"))
    except ValueError as error:
        raise DatasetError(f"{keys.printable(path)}: {error}") from error


def of_output(classes: Sequence[str], keypoint_names: Sequence[str]) -> Words:
    """Return the names with which a dataset is written."""
    return Words(tuple(classes) or (NO_CLASS,), tuple(keypoint_names))


def written(
    words: Words, splits: Sequence[str | None], flip_idx: Sequence[int] | None, *, has_outlines: bool = False
) -> str:
    """Return a data.yaml: paths are relative to it, names are quoted as in JSON.

    Outlines are declared, because a dataset whose outlines all have four points would be taken for oriented boxes.
    """
    lines = ["# read by Ultralytics and others; paths are relative to this file\n"]
    for key, split in _keys(splits).items():
        lines.append(f"{key}: {_yaml_text('images' if split is None else f'images/{split}')}\n")
    if has_outlines:
        lines.append("\ntask: segment\n")
    lines.append(f"\nnc: {len(words.classes)}\nnames:\n")
    lines += [f"  {i}: {_yaml_text(name)}\n" for i, name in enumerate(words.classes)]
    if words.keypoint_names:
        names = f"[{', '.join(map(_yaml_text, words.keypoint_names))}]"
        lines.append(f"\nkpt_shape: [{len(words.keypoint_names)}, {words.columns}]\n")
        if flip_idx is not None:
            lines.append(f"flip_idx: {list(flip_idx)}\n")
        lines.append("kpt_names:\n")
        lines += [f"  {i}: {names}\n" for i in range(len(words.classes))]
    return "".join(lines)


def mirrored(names: Sequence[str]) -> list[int] | None:
    """Return each keypoint's index after mirroring, by ``left`` and ``right`` in the names; None without pairs."""
    places = {name: i for i, name in enumerate(names)}
    flipped = [places.get(_other_side(name), i) for i, name in enumerate(names)]
    return flipped if flipped != list(range(len(names))) else None


def _other_side(name: str) -> str:
    for left, right in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        if left in name:
            return name.replace(left, right)
        if right in name:
            return name.replace(right, left)
    return name


def _keys(splits: Sequence[str | None]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for split in splits:
        usual = next((key for key, names in _KEYS.items() if split is not None and split.lower() in names), split)
        key = usual or "train"
        found[_yaml_key(key if key not in found else str(split))] = split
    order = list(_KEYS)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def _yaml_key(key: str) -> str:
    return key if key.isidentifier() else _yaml_text(key)


def _yaml_text(text: str) -> str:
    """Return the text as a JSON string, which is also valid YAML; characters that a parser might refuse are escaped."""
    spelled = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in spelled)


def _is_split(key: object, value: object) -> bool:
    """True for a key with the name of a split or of its own folder; other splits are written that way."""
    named = isinstance(key, str) and (key.lower() in SPLIT_NAMES or value == f"images/{key}")
    return named and value not in (None, "", [])


def _places(key: str, value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if len(values) > _MOST_PLACES:
        raise ValueError(f"{key} has {len(values)} places, of {_MOST_PLACES} allowed; list the images in a .txt file")
    for each in values:
        if not isinstance(each, str) or not each or not keys.is_utf8(each):
            raise ValueError(f"{key} is a folder, a list of images (.txt), or several of them, not {quoted(value)}")
    return tuple(values)


def _names(root: Mapping[Any, Any]) -> tuple[str, ...]:
    names, number = root.get("names"), root.get("nc")
    if isinstance(number, str) and _DIGITS.fullmatch(number):
        number = int(number)
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise ValueError(f"nc is the number of classes, not {quoted(number)}")
    if isinstance(names, Mapping):
        by_number = {int(key) if _DIGITS.fullmatch(str(key)) else key: name for key, name in names.items()}
        if len(by_number) < len(names) or set(by_number) != set(range(len(names))):
            raise ValueError(f"names must be numbered from 0 without gaps, not {quoted(list(names))}")
        names = [by_number[i] for i in range(len(names))]
    if isinstance(names, str):
        names = _separated(names, number)
    if names is None and number is not None and 0 <= number <= MAX_BYTES:
        names = [f"class_{i}" for i in range(number)]  # as Ultralytics calls them
    if not isinstance(names, list) or not names:
        raise ValueError("names must be a list of class names, or a mapping from class numbers to names")
    if number is not None and number != len(names):
        raise ValueError(f"nc is {number}, but there are {len(names)} names")
    return _distinct(names, "names")


def _separated(names: str, number: int | None) -> list[str]:
    """Split a text of names at its commas. A text without commas is a name only if ``nc`` is 1."""
    is_one = "," not in names and number == 1 and not names.endswith((".txt", ".names"))
    if ("," not in names and not is_one) or set(names) & set("[]{}'\"\n"):
        raise ValueError(f"names is the text {quoted(names)}; write them as a list: [cat, dog]")
    return [name.strip() for name in names.split(",")]


def _distinct(names: Sequence[object], what: str) -> tuple[str, ...]:
    texts: dict[str, int] = {}
    for i, name in enumerate(names):
        if isinstance(name, bool) or not isinstance(name, str | int) or name == "" or not keys.is_utf8(str(name)):
            raise ValueError(f"{what}: the name of class {i} is {quoted(name)}; write it in quotes")
        if str(name) in texts:
            raise ValueError(f"{what}: classes {texts[str(name)]} and {i} are both called {quoted(name)}; rename one")
        texts[str(name)] = i
    return tuple(texts)


def _details(root: Mapping[Any, Any]) -> dict[str, Any]:
    shape, flip, task = root.get("kpt_shape"), root.get("flip_idx"), root.get("task")
    if task == "obb":
        raise ValueError("task is obb: oriented boxes cannot be read; export them as outlines or as boxes")
    if shape is None:
        if task == "pose" or flip is not None or root.get("kpt_names") is not None:
            raise ValueError("kpt_shape is missing, which keypoints need; write kpt_shape: [number, 2 or 3]")
        return {}
    ok = isinstance(shape, list) and len(shape) == 2 and all(type(each) is int for each in shape)
    if not ok or not 1 <= shape[0] <= MAX_BYTES or shape[1] not in {2, 3}:
        raise ValueError(f"kpt_shape must be [number of keypoints, 2 or 3], not {quoted(shape)}")
    found: dict[str, Any] = {"kpt_shape": list(shape)}
    if flip is not None:
        if not isinstance(flip, list) or sorted(map(_index, flip)) != list(range(shape[0])):
            raise ValueError(f"flip_idx must name each of the {shape[0]} keypoints once, not {quoted(flip)}")
        found["flip_idx"] = list(flip)
    return found


def _index(value: object) -> float:
    return value if type(value) is int else math.nan


def _keypoints(root: Mapping[Any, Any], details: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    if not details:
        return (), 3
    number, columns = details["kpt_shape"]
    names = root.get("kpt_names")
    if isinstance(names, Mapping):
        names = next(iter(names.values()), None)
    flip = details.get("flip_idx", list(range(number)))
    if names is None:
        return _by_sides(flip), columns
    if not isinstance(names, list) or len(names) != number:
        raise ValueError(f"kpt_names must be the {number} names of the keypoints, not {quoted(names)}")
    found = _distinct(names, "kpt_names")
    if "flip_idx" in details and flip != (by_names := annotations.partners(found).tolist()):
        i = next(i for i, other in enumerate(flip) if other != by_names[i])
        raise ValueError(
            f"flip_idx mirrors {found[i]!r} to {found[flip[i]]!r}, but by kpt_names it is {found[by_names[i]]!r}; let "
            "the names of a pair differ only in left and right, or remove kpt_names"
        )
    return found, columns


def _by_sides(flip: Sequence[int]) -> tuple[str, ...]:
    """Return names for nameless keypoints, so that mirroring by name has the effect of ``flip_idx``."""
    if any(flip[other] != i for i, other in enumerate(flip)):
        raise ValueError(f"flip_idx must exchange keypoints in pairs, unlike {quoted(list(flip))}")
    return tuple(
        str(i) if other == i else f"left_{i}" if i < other else f"right_{other}" for i, other in enumerate(flip)
    )
