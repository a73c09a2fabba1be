"""The folders and files below a dataset's root, as every format that looks for pictures by their names sees them.

- **Left out in silence** is what is not the user's: hidden files and folders, what file browsers leave behind
  (``LITTER``), and the description and manifest that an expansion lays in its root.
- **Links** are followed, to files and to folders, wherever they lead; one that leads back to a folder it lies in is
  refused. Confining them is the affair of whoever accepts paths from strangers.
- A name that is not UTF-8, and a folder that cannot be listed, are refused.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from augment import keys, read
from augment.errors import DatasetError, Reason, StorageError
from augment.formats import watch
from augment.formats.format import Listing, RefusedPath

SPLIT_NAMES = frozenset(
    {"train", "training", "val", "valid", "validation", "dev", "eval", "evaluation", "test", "testing"}
)
"""Those that Hugging Face's ``imagefolder`` knows."""

LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found"})
"""Names, compared without case, that file browsers and systems leave behind; hidden ones (``.DS_Store``) need none."""

OF_EXPANSION = re.compile(r"expansion\.json|manifest-\d{5,}\.parquet")
"""What an expansion lays into its root beside the dataset that it writes."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder: its path relative to the root (empty for the root itself), and the sorted names in it."""

    path: str
    folders: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the folders on the way to it, its own last."""
        return tuple(self.path.split("/")) if self.path else ()


def join(folder: str, name: str) -> str:
    """The path of what is called ``name`` in a folder; the root's path is empty."""
    return f"{folder}/{name}" if folder else name


def top(root: Path) -> Folder:
    """The root itself. Raises DatasetError where it cannot be listed, StorageError where the machine is at fault."""
    try:
        return _contents(root, "")
    except OSError as error:
        verdict = read.at_fault(error, str(root))
        if isinstance(verdict, StorageError):
            raise verdict from error
        raise DatasetError(f"{root} cannot be read: {verdict.detail}; give a folder that you may list") from error


def folders(root: Path, listing: Listing, *, max_files: int | None = None) -> Iterator[Folder]:
    """The root and every folder below it, outer before inner, in the order of their names.

    Files are counted in ``listing``, and what is refused on the way is added to it; the names that come are UTF-8.
    Raises DatasetError where the root cannot be listed or there are more than ``max_files`` files, StorageError.
    """
    first = top(root)
    above: frozenset[tuple[int, int]] = frozenset({_identity(root)})
    pending = [(join("", name), above) for name in reversed(first.folders)]
    yield _counted(root, listing, first, max_files)
    while pending:
        path, above = pending.pop()
        found = _enter(listing, root, path, above)
        if found is not None:
            place, above = found
            yield _counted(root, listing, place, max_files)
            pending += [(join(path, name), above) for name in reversed(place.folders)]


def head(path: Path, num_bytes: int) -> bytes:
    """The beginning of a file, to see what it is; empty where it cannot be read or is a pipe, a device, a folder."""
    try:
        return read.read_file(path, max_bytes=num_bytes - 1).data
    except (OSError, read.NotAFileError):
        return b""


def _counted(root: Path, listing: Listing, found: Folder, max_files: int | None) -> Folder:
    listing.num_files += len(found.files)
    if max_files is not None and listing.num_files > max_files:
        limit = "(max_files, AUGMENT_MAX_FILES)"
        raise DatasetError(f"{root} holds more than {max_files} files {limit}; split it, or raise the limit")
    return Folder(found.path, found.folders, tuple(_in_utf8(listing, found)))


def _enter(
    listing: Listing, root: Path, path: str, above: frozenset[tuple[int, int]]
) -> tuple[Folder, frozenset[tuple[int, int]]] | None:
    """A folder, and the identities (device, inode) of those that it lies in and its own; None where it is refused."""
    watch.at(keys.printable(path))
    try:
        identity = _identity(root / path)
        if identity in above:
            detail = "a link that leads back to a folder that it lies in"
            listing.refused.append(RefusedPath(keys.printable(path), Reason.UNREADABLE, detail))
            return None
        return _contents(root / path, path), above | {identity}
    except OSError as error:
        verdict = read.at_fault(error, keys.printable(path))
        if isinstance(verdict, StorageError):
            raise verdict from error
        listing.refused.append(RefusedPath(keys.printable(path), verdict.reason, f"a folder: {verdict.detail}"))
        return None


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _contents(full: Path, path: str) -> Folder:
    inner: list[str] = []
    files: list[str] = []
    with os.scandir(full) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.lower() in LITTER:
                continue
            if _is_folder(entry):
                inner.append(name)
            elif path or not OF_EXPANSION.fullmatch(name):
                files.append(name)
    return Folder(path, tuple(sorted(inner)), tuple(sorted(files)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in a circle or through a closed folder: reading it as a file will say so
        return False


def _in_utf8(listing: Listing, folder: Folder) -> Iterator[str]:
    for name in folder.files:
        path = join(folder.path, name)
        if keys.is_utf8(path):
            yield name
        else:
            detail = "its path is not UTF-8; rename it"
            listing.refused.append(RefusedPath(keys.printable(path), Reason.UNREADABLE, detail))
