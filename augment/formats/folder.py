"""The folder format: pictures in class folders, or in one folder, or either below ``train/ val/ test/``.

Layout, from the folders' names alone:

- **Splits.** Where every folder in the root has the name of a split (``SPLIT_NAMES``, in any case), each is a split
  under its own name. Two or more such folders beside others are ambiguous, which is an error; one alone beside others
  (the class *train* among vehicles) is a class like them.
- **Classes.** The first folder below the split (or the root) that a picture lies in is its class, however deep it
  lies. A folder without a usable picture is no class: empty folders survive neither git nor most archives. A picture
  beside class folders has no class; where no picture has one, the dataset has none. Pictures beside splits are refused.
- **Left out in silence** is what is not the user's: hidden files and folders, what file browsers leave behind
  (``LITTER``), and the description and manifest that an expansion lays in its root. Every other file that is no usable
  picture is refused by name.
- **Links** are followed, to files and to folders, wherever they lead; one that leads back to a folder it lies in is
  refused. Confining them is the affair of whoever accepts paths from strangers.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from augment import keys, read
from augment.errors import DatasetError, Reason, StorageError
from augment.formats.listing import FileGroup, Listing, RefusedPath
from augment.formats.watch import Watch
from augment.sample import Record

NAME = "folder"

SPLIT_NAMES = frozenset(
    {"train", "training", "val", "valid", "validation", "dev", "eval", "evaluation", "test", "testing"}
)
"""Those that Hugging Face's ``imagefolder`` knows."""

LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found"})
"""Names, compared without case, that file browsers and systems leave behind; hidden ones (``.DS_Store``) need none."""

_OF_EXPANSION = re.compile(r"expansion\.json|manifest-\d{5,}\.parquet")


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder on the way down. ``above`` are the identities (device, inode) of the folders it lies in, and its own."""

    path: str
    split: str | None
    class_name: str | None
    above: frozenset[tuple[int, int]]

    def child(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


def find(root: Path, *, max_files: int | None = None, watch: Watch | None = None) -> Listing:
    """List what may be a record below ``root``; opens no file. Raises DatasetError, StorageError."""
    try:
        status = root.stat()
        folders, files = _contents(root)
    except OSError as error:
        verdict = read.at_fault(error, str(root))
        if isinstance(verdict, StorageError):
            raise verdict from error
        raise DatasetError(f"{root} cannot be read: {verdict.detail}; give a folder that you may list") from error
    listing = Listing(splits=_splits(root, folders))
    top = _Place("", None, None, frozenset({(status.st_dev, status.st_ino)}))
    misplaced = f"it lies beside the splits {', '.join(listing.splits)}; move it into one" if listing.splits else None
    _add(listing, top, [name for name in files if not _OF_EXPANSION.fullmatch(name)], misplaced)
    pending = _below(listing, root, top, folders)
    while pending:
        place = pending.pop()
        if watch is not None:
            watch.at(keys.printable(place.path))
        try:
            folders, files = _contents(root / place.path)
        except OSError as error:
            listing.refused.append(_refused_folder(place.path, error))
            continue
        _add(listing, place, files)
        pending += _below(listing, root, place, folders)
        if max_files is not None and listing.num_files > max_files:
            raise DatasetError(f"{root} holds more than {max_files} files (max_files, AUGMENT_MAX_FILES); split it, or raise the limit")
    return listing


def output_path(key: str, copy: int, extension: str) -> str:
    """Where a copy of a record lies below the output folder; ``extension`` is without its dot.

    Two different (key, copy) never share a path.
    """
    return f"{key}__{copy}.{extension}"


def original_path(record: Record) -> str:
    """Where the original of a record lies below the output folder: under its key, with the extension that it has."""
    named_whole = record.key.rpartition("/")[2] == record.path.name
    return record.key if named_whole else record.key + keys.extension(record.path.name)


def _contents(folder: Path) -> tuple[list[str], list[str]]:
    """The names of folders and of everything else in a folder, sorted, less what is left out in silence."""
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name.lower() not in LITTER:
                (folders if _is_folder(entry) else files).append(entry.name)
    return sorted(folders), sorted(files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in a circle or through a closed folder: reading it as a file will say so
        return False


def _splits(root: Path, folders: list[str]) -> tuple[str, ...]:
    splits = tuple(name for name in folders if name.lower() in SPLIT_NAMES)
    others = [keys.printable(name) for name in folders if name not in splits]
    if len(splits) > 1 and others:
        raise DatasetError(
            f"{root} holds the splits {', '.join(splits)} and beside them {', '.join(others[:3])}"
            f"{' …' if len(others) > 3 else ''}: move these elsewhere, or give the folder of one split"
        )
    return () if others else splits


def _add(listing: Listing, place: _Place, names: list[str], misplaced: str | None = None) -> None:
    listing.num_files += len(names)
    good = []
    for name in names:
        path = place.child(name)
        if keys.is_utf8(path):
            good.append(name)
        else:
            listing.refused.append(
                RefusedPath(keys.printable(path), Reason.UNREADABLE, "its path is not UTF-8; rename it")
            )
    if good:
        listing.groups.append(FileGroup(place.path, tuple(good), place.split, place.class_name, misplaced))


def _below(listing: Listing, root: Path, place: _Place, folders: list[str]) -> list[_Place]:
    return [inner for name in folders for inner in _enter(listing, root, place, name)]


def _enter(listing: Listing, root: Path, place: _Place, name: str) -> Iterator[_Place]:
    path = place.child(name)
    try:
        status = (root / path).stat()
    except OSError as error:
        listing.refused.append(_refused_folder(path, error))
        return
    identity = (status.st_dev, status.st_ino)
    if identity in place.above:
        detail = "a link that leads back to a folder that it lies in"
        listing.refused.append(RefusedPath(keys.printable(path), Reason.UNREADABLE, detail))
        return
    if not place.path and name in listing.splits:
        yield _Place(path, name, None, place.above | {identity})
    else:
        yield _Place(path, place.split, place.class_name or name, place.above | {identity})


def _refused_folder(path: str, error: OSError) -> RefusedPath:
    verdict = read.at_fault(error, keys.printable(path))
    if isinstance(verdict, StorageError):
        raise verdict from error
    return RefusedPath(keys.printable(path), verdict.reason, f"a folder: {verdict.detail}")
