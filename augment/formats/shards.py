"""Shards: files that hold the pictures of a split together with what is said of them.

- **Splits.** A shard lies in the split that one of the folders on the way to it has the name of (``walk.SPLIT_NAMES``,
  in any case, the outermost first); else in the one that its own name tells: ``train-000000.tar``,
  ``imagenet-val-0007.tar`` and ``data/test-00000-of-00001.parquet`` hold a name of a split between hyphens, dots,
  underscores, blanks and digits, as ``datasets`` looks for it. Where ``dataset_info.json`` names the splits, these
  names count before all others: ``{split}-000000.tar``. Either all shards belong to a split or none does.
- **Names.** Within its split a record goes by the name that the shard gives it. Where that is missing or several
  records of the split have it, each of these goes by the path of its shard, relative to the split's folder, and the
  name or number that it has in there.
- **Left out in silence** are, beside what every format leaves out, ``README``, ``LICENSE`` and the files that describe
  the dataset. Every other file that is no shard is refused by name.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from augment import keys
from augment.errors import DatasetError, Reason, StorageError
from augment.formats import files
from augment.formats.format import Listing, RefusedPath

_BETWEEN_WORDS = re.compile(r"[-._ 0-9]+")
_DESCRIBES = re.compile(r"(readme|license)(\.\w+)?|classes\.txt|dataset_infos?\.json", re.IGNORECASE)
PICTURES = frozenset({"bmp", "gif", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"})
"""Extensions of the pictures that are decoded, in lower case."""

_LOOKED_AT = 64
"""Names that recognising a format looks at in one folder."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of records; ``path`` is relative to the root, ``below`` to the folder of its split."""

    path: str
    split: str | None
    below: str

    def named(self, name: str) -> str:
        """What a record of this name goes by: the split first, if there is one."""
        return f"{self.split}/{name}" if self.split is not None else name


def find(
    root: Path, listing: Listing, suffix: str, *, splits: Sequence[str] = (), refused: Sequence[str] = ()
) -> list[Shard]:
    """The shards below ``root``, by the UTF-8 bytes of their paths; the listing's splits and refusals are filled in.

    ``splits`` are names of splits that the dataset states. ``refused`` are endings of compressed shards, whose parts
    cannot be read in place. Raises DatasetError for these and where the splits are ambiguous, StorageError.
    """
    found = []
    for folder in files.folders(root, listing):
        for name in folder.files:
            path = files.join(folder.path, name)
            if name.lower().endswith(tuple(refused)):
                raise DatasetError(
                    f"{_shown(root / path)} is compressed, and pictures in it cannot be read in place; unpack it to a "
                    f"{suffix} file and remove it"
                )
            if name.endswith(suffix):
                found.append(_shard(root, folder.parts, name, splits))
            elif folder.path or not _DESCRIBES.fullmatch(name):
                detail = f"it is no shard ({suffix}); move it elsewhere"
                listing.refused.append(RefusedPath(keys.printable(path), Reason.MISPLACED, detail))
    listing.num_files = len(listing.refused)
    _check_splits(root, found)
    listing.splits = tuple(sorted({shard.split for shard in found if shard.split is not None}))
    return sorted(found, key=lambda shard: shard.path.encode())


def recognise(root: Path, suffix: str) -> bool:
    """Whether there are shards in the root or in a folder of it, and no picture where shards are."""
    try:
        top = files.top(root)
    except (DatasetError, StorageError):
        return False
    places = [top.files]
    for name in islice(top.folders, _LOOKED_AT):
        try:
            places.append(files.top(root / name).files)
        except (DatasetError, StorageError):
            continue
    some = [name for names in places for name in names[:_LOOKED_AT]]
    return any(name.endswith(suffix) for name in some) and not any(_is_picture(name) for name in some)


def names_of(
    shards: Sequence[Shard], wanted: Sequence[Sequence[str | None]], inner: Callable[[int, int], str]
) -> Callable[[int, int], str]:
    """What record ``i`` of shard ``number`` goes by.

    ``wanted`` are the names that the shards give, ``inner`` those that no two records of a shard share.
    """
    moved: list[set[int]] = [set() for _ in shards]
    for split in {shard.split for shard in shards}:
        here = [number for number, shard in enumerate(shards) if shard.split == split]
        counts = Counter(name for number in here for name in wanted[number])
        met: set[str | None] = {name for name, count in counts.items() if count > 1 or name is None}
        while met:  # a record that goes by its shard's path may meet another that has this very name
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


def _shard(root: Path, folders: Sequence[str], name: str, splits: Sequence[str]) -> Shard:
    path = "/".join((*folders, name))
    if not keys.is_utf8(path):
        raise DatasetError(f"{_shown(root / path)}: its path is not UTF-8; rename it")
    stated = [split for split in splits if name.startswith(f"{split}-")]
    if stated:
        return Shard(path, max(stated, key=len), path)
    for depth, folder in enumerate(folders):
        if folder.lower() in files.SPLIT_NAMES:
            return Shard(path, folder, "/".join((*folders[:depth], *folders[depth + 1 :], name)))
    words = {word for word in _BETWEEN_WORDS.split(name.rpartition(".")[0]) if word.lower() in files.SPLIT_NAMES}
    if len(words) > 1:
        raise DatasetError(f"{_shown(root / path)} has the names of the splits {', '.join(sorted(words))}; rename it")
    return Shard(path, words.pop() if words else None, path)


def _check_splits(root: Path, found: Sequence[Shard]) -> None:
    without = [keys.printable(shard.path) for shard in found if shard.split is None]
    if without and len(without) < len(found):
        example = next(shard for shard in found if shard.split is not None)
        more = " …" if len(without) > 3 else ""
        raise DatasetError(
            f"{_shown(root)} holds {keys.printable(example.path)} of the split {example.split} and shards of none: "
            f"{', '.join(without[:3])}{more}; move or rename these"
        )


def _shown(path: Path) -> str:
    return keys.printable(str(path))


def _is_picture(name: str) -> bool:
    return name.lower().rpartition(".")[2] in PICTURES
