"""Shards: files that hold the images of a split with their annotations, and the files that describe all shards.

- **Splits.** A shard's split is that of a folder on its path (``files.SPLIT_NAMES``, in any case, the outermost first),
  or else that of its own name: ``train-000000.tar``, ``imagenet-val-0007.tar`` and ``data/test-00000-of-00001.parquet``
  hold a name of a split between hyphens, dots, underscores, blanks and digits, which is the rule of ``datasets``.
  Splits named in ``dataset_info.json`` take precedence: ``{split}-000000.tar``. Either all shards belong to a split or
  none does.
- **Names.** Within its split a record has the name that the shard gives it. If the name is missing or not unique in the
  split, the record has the path of its shard, relative to the split's folder, and its name or number in the shard.
- **Skipped silently** are, in addition to the files that every format skips, ``README``, ``LICENSE`` and the files that
  describe the dataset. Every other file that is not a shard is refused by name.
- ``dataset_info.json`` is an object with ``classes``, ``keypoint_names`` and ``splits``, as an expansion writes it, or
  the file that ``datasets`` writes under this name. In its ``features`` a ``ClassLabel`` holds the names: the one
  called ``cls`` or ``label``, or else the only one. ``classes.txt`` has a class a line; it is read if the other has no
  names.
- **JSON of an image**: members of ``annotations`` are the image's, all others go into ``extra``.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from augment.datasets import keys, read
from augment.errors import DatasetError, JSONError, Reason
from augment.formats import files
from augment.formats.format import Listing, OutputDataset, StreamedFile
from augment.formats.tree import Tree, join
from augment.samples.annotations import Annotations, parse
from augment.validation import read_json

_BETWEEN_WORDS = re.compile(r"[-._ 0-9]+")
_DESCRIBES = re.compile(r"(readme|license)(\.\w+)?|classes\.txt|dataset_infos?\.json", re.IGNORECASE)
IMAGES = frozenset({"bmp", "gif", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"})
"""Extensions of images that can be decoded, in lower case."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """File of records; ``path`` is relative to the root, ``below`` to the folder of its split."""

    path: str
    split: str | None
    below: str

    def named(self, name: str) -> str:
        """Return a record's name with its split first, if there is one."""
        return f"{self.split}/{name}" if self.split is not None else name


def find(
    tree: Tree, listing: Listing, suffix: str, *, splits: Sequence[str] = (), refused: Sequence[str] = ()
) -> list[ShardFile]:
    """Return the shards of a dataset, sorted by the UTF-8 bytes of their paths; add splits and refusals to the listing.

    ``splits`` are names of splits that the dataset states. ``refused`` are suffixes of compressed shards, which cannot
    be read in place. Raises DatasetError for these and if the splits are ambiguous, StorageError.
    """
    root, found = tree.root, []
    for folder in tree.folders:
        for name in folder.files:
            path = join(folder.path, name)
            if name.lower().endswith(tuple(refused)):
                raise DatasetError(
                    f"{keys.printable(root / path)} is compressed, and images in it cannot be read in place; unpack "
                    f"it to a {suffix} file and remove it"
                )
            if name.endswith(suffix):
                found.append(_shard(root, folder.parts, name, splits))
            elif folder.path or not _DESCRIBES.fullmatch(name):
                detail = f"it is not a shard ({suffix}); move it elsewhere"
                files.refuse(listing, path, Reason.MISPLACED, detail)
    listing.num_files = len(listing.refused)
    _check_splits(root, found)
    listing.splits = tuple(sorted({shard.split for shard in found if shard.split is not None}))
    return sorted(found, key=lambda shard: shard.path.encode())


def recognise(tree: Tree, suffix: str) -> bool:
    """Return True if there are shards, and no separate images."""
    return any(path.endswith(suffix) for path in tree.paths) and not any(tree.images())


def names_of(
    shards: Sequence[ShardFile], wanted: Sequence[Sequence[str | None]], inner: Callable[[int, int], str]
) -> Callable[[int, int], str]:
    """Return a function from (shard number, index in the shard) to the record's name.

    ``wanted`` are the names that the shards give, ``inner`` returns names that are unique in a shard.
    """
    moved: list[set[int]] = [set() for _ in shards]
    for split in {shard.split for shard in shards}:
        here = [number for number, shard in enumerate(shards) if shard.split == split]
        counts = Counter(name for number in here for name in wanted[number])
        met: set[str | None] = {name for name, count in counts.items() if count > 1 or name is None}
        while met:  # a name made of a shard's path may collide with another record's name
            newly = [(number, i) for number in here for i, name in enumerate(wanted[number]) if name in met]
            newly = [(number, i) for number, i in newly if i not in moved[number]]
            for number, i in newly:
                moved[number].add(i)
            met = counts.keys() & {f"{shards[number].below}/{inner(number, i)}" for number, i in newly}

    def name(number: int, i: int) -> str:
        shard, own = shards[number], wanted[number][i]
        if own is None or i in moved[number]:
            own = f"{shard.below}/{inner(number, i)}"
        return shard.named(own)

    return name


def _shard(root: Path, folders: Sequence[str], name: str, splits: Sequence[str]) -> ShardFile:
    path = "/".join((*folders, name))
    if not keys.is_utf8(path):
        raise DatasetError(f"{keys.printable(root / path)}: its path is not UTF-8; rename it")
    stated = [split for split in splits if name.startswith(f"{split}-")]
    if stated:
        return ShardFile(path, max(stated, key=len), path)
    for depth, folder in enumerate(folders):
        if folder.lower() in files.SPLIT_NAMES:
            return ShardFile(path, folder, "/".join((*folders[:depth], *folders[depth + 1 :], name)))
    words = {word for word in _BETWEEN_WORDS.split(name.rpartition(".")[0]) if word.lower() in files.SPLIT_NAMES}
    if len(words) > 1:
        raise DatasetError(
            f"{keys.printable(root / path)} has the names of the splits {', '.join(sorted(words))}; rename it"
        )
    return ShardFile(path, words.pop() if words else None, path)


def _check_splits(root: Path, found: Sequence[ShardFile]) -> None:
    without = [keys.printable(shard.path) for shard in found if shard.split is None]
    if without and len(without) < len(found):
        example = next(shard for shard in found if shard.split is not None)
        more = " …" if len(without) > 3 else ""
        raise DatasetError(
            f"{keys.printable(root)} holds {keys.printable(example.path)} of the split {example.split} and shards "
            f"without a split: {', '.join(without[:3])}{more}; move or rename these"
        )


def unreadable(path: Path, error: OSError) -> DatasetError:
    """Return the error of a shard that cannot be read. Raises StorageError if the machine is at fault."""
    detail = read.refusal(error, keys.printable(path)).detail
    return DatasetError(f"{keys.printable(path)} cannot be read: {detail}; give shards that you may read")


INFO_NAME = "dataset_info.json"
CLASSES_NAME = "classes.txt"
MAX_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Names of classes by index (None if they are not listed), of keypoints and of splits."""

    classes: tuple[str, ...] | None = None
    keypoint_names: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()


def info_file(whole: OutputDataset) -> StreamedFile:
    """Return ``dataset_info.json``: names of classes (the shards hold their indices), of keypoints and of splits."""
    info = DatasetInfo(whole.classes, whole.keypoint_names, whole.splits)
    text = json.dumps(asdict(info), ensure_ascii=False, indent=2) + "\n"
    return StreamedFile(INFO_NAME, iter([text.encode()]))


def read_info(root: Path) -> DatasetInfo:
    """Read these files in the root, if they exist. Raises DatasetError, StorageError."""
    described, listed = _read(root / INFO_NAME), _read(root / CLASSES_NAME)
    info = DatasetInfo()
    if described is not None:
        try:
            members = read_json(str(root / INFO_NAME), described)
        except JSONError as error:
            raise DatasetError(f"{error}; repair or remove it") from error
        info = _info(root / INFO_NAME, members)
    if info.classes is None and listed is not None:
        lines = listed.splitlines()
        while lines and not lines[-1].strip():
            lines.pop()
        classes = check_names(root / CLASSES_NAME, "lines", [line.strip() for line in lines])
        return replace(info, classes=classes)
    return info


def check_names(path: Path, what: str, names: object) -> tuple[str, ...]:
    """Return the names. Raises DatasetError unless they are a list of distinct texts."""
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DatasetError(f"{path}: {what} is not a list of names; repair it")
    if len(set(names)) < len(names):
        again = next(name for i, name in enumerate(names) if name in names[:i])
        raise DatasetError(f"{path}: {what} has {again!r} twice; rename one of them")
    try:
        "".join(names).encode()
    except UnicodeEncodeError as error:
        raise DatasetError(f"{path}: {what} has a name with half of a character; repair it") from error
    return tuple(names)


def _info(path: Path, members: object) -> DatasetInfo:
    if not isinstance(members, Mapping):
        raise DatasetError(f"{path} does not hold an object; repair or remove it")
    classes = members.get("classes")
    if classes is None and isinstance(members.get("features"), Mapping):
        classes = _of_features(members["features"])
    return DatasetInfo(
        None if classes is None else check_names(path, "classes", classes),
        check_names(path, "keypoint_names", members.get("keypoint_names") or []),
        _splits(path, members.get("splits")),
    )


def _splits(path: Path, splits: object) -> tuple[str, ...]:
    """Return the names of splits, or none if the member is the object that ``datasets`` writes."""
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
        raise DatasetError(f"{path} cannot be read: {read.refusal(error, str(path)).detail}") from error
    if len(content.data) > MAX_BYTES:
        raise DatasetError(f"{path} has {content.size_bytes} bytes, of {MAX_BYTES} allowed; shorten it")
    try:
        return content.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error


HAS_NAMES = re.compile(r'"(labels|box_labels|keypoint_labels)"')
"""Members of a text that names a class or a keypoint."""

_OURS = frozenset(field.name for field in fields(Annotations))


def parsed(text: str, what: str) -> Annotations:
    """Parse JSON annotations; messages call the text ``what``. A value that is not an object becomes ``extra["json"]``.

    Raises ValueError if ``read_json`` refuses it or a member of ``annotations`` is invalid.
    """
    try:
        members = read_json(what, text)
    except JSONError as error:
        raise ValueError(f"not annotations: {error}") from error
    if not isinstance(members, dict):
        return Annotations(extra={"json": members})
    try:
        said = parse({name: value for name, value in members.items() if name in _OURS})
    except ValueError as error:
        raise ValueError(f"not annotations: of {what}, {error}") from error
    return carrying(said, {name: value for name, value in members.items() if name not in _OURS})


def carrying(said: Annotations, others: Mapping[str, Any]) -> Annotations:
    """Return annotations with more values in ``extra``; existing values are kept."""
    return replace(said, extra={**others, **(said.extra or {})}) if others else said
