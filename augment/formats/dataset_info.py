"""``dataset_info.json`` and ``classes.txt``: what stands once for all shards, the names of classes and keypoints.

``dataset_info.json`` is an object with ``classes``, ``keypoint_names`` and ``splits``, as an expansion writes it, or
the file of that name that ``datasets`` writes, in whose ``features`` a ``ClassLabel`` holds the names: the one called
``cls`` or ``label``, else the only one. ``classes.txt`` has a class a line; it is read where the other names none.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from augment import read
from augment.errors import DatasetError, StorageError

NAME = "dataset_info.json"
CLASSES_NAME = "classes.txt"
MAX_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """The names of classes in the order of their indices, None where nothing lists them; of keypoints; of splits."""

    classes: tuple[str, ...] | None = None
    keypoint_names: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()


def text(info: DatasetInfo) -> str:
    """The text of ``dataset_info.json``."""
    return json.dumps(asdict(info), ensure_ascii=False, indent=2) + "\n"


def read_info(root: Path) -> DatasetInfo:
    """What these files in the root say; nothing where there are none. Raises DatasetError, StorageError."""
    described, listed = _read(root / NAME), _read(root / CLASSES_NAME)
    info = DatasetInfo()
    if described is not None:
        try:
            members = json.loads(described)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{root / NAME} is no JSON ({error}); mend or remove it") from error
        info = _info(root / NAME, members)
    if info.classes is None and listed is not None:
        lines = listed.splitlines()
        while lines and not lines[-1].strip():
            lines.pop()
        classes = check_names(root / CLASSES_NAME, "lines", [line.strip() for line in lines])
        return replace(info, classes=classes)
    return info


def check_names(path: Path, what: str, names: object) -> tuple[str, ...]:
    """The names, if they are a list of different texts; else DatasetError."""
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DatasetError(f"{path}: {what} is no list of names; mend it")
    if len(set(names)) < len(names):
        again = next(name for i, name in enumerate(names) if name in names[:i])
        raise DatasetError(f"{path}: {what} has {again!r} twice; an index would have two meanings, rename one")
    try:
        "".join(names).encode()
    except UnicodeEncodeError as error:
        raise DatasetError(f"{path}: {what} has a name with half of a character; mend it") from error
    return tuple(names)


def _info(path: Path, members: object) -> DatasetInfo:
    if not isinstance(members, Mapping):
        raise DatasetError(f"{path} holds no object; mend or remove it")
    classes = members.get("classes")
    if classes is None and isinstance(members.get("features"), Mapping):
        classes = _of_features(members["features"])
    return DatasetInfo(
        None if classes is None else check_names(path, "classes", classes),
        check_names(path, "keypoint_names", members.get("keypoint_names") or []),
        _splits(path, members.get("splits")),
    )


def _splits(path: Path, splits: object) -> tuple[str, ...]:
    """What ``datasets`` has under this name is an object, which describes the splits."""
    return () if splits is None or isinstance(splits, Mapping) else check_names(path, "splits", splits)


def _of_features(features: Mapping[str, Any]) -> object:
    labels = {
        name: feature.get("names")
        for name, feature in features.items()
        if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel"
    }
    for name in ("cls", "label"):
        if name in labels:
            return labels[name]
    return next(iter(labels.values())) if len(labels) == 1 else None


def _read(path: Path) -> str | None:
    try:
        content = read.read_file(path, max_bytes=MAX_BYTES)
    except (FileNotFoundError, read.NotAFileError):
        return None
    except OSError as error:
        verdict = read.at_fault(error, str(path))
        if isinstance(verdict, StorageError):
            raise verdict from error
        raise DatasetError(f"{path} cannot be read: {verdict.detail}") from error
    if len(content.data) > MAX_BYTES:
        raise DatasetError(f"{path} has {content.size_bytes} bytes, of {MAX_BYTES} that are read; shorten it")
    try:
        return content.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
