"""The files below a dataset's root, for formats whose annotation files name pictures by their paths.

Whatever such a file says, a picture is only ever one of the files that were found below the root: a path is looked up
among them and never handed to the operating system, so none leads elsewhere (but where a link does: see ``walk``).
"""

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from augment import keys, read
from augment.errors import Reason, StorageError
from augment.formats import files
from augment.formats.files import SPLIT_NAMES
from augment.formats.format import Described, FileGroup, Listing, RefusedPath

PICTURES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
"""What the names of pictures end with, in lower case."""


@dataclass(slots=True)
class Tree:
    """Every file below ``root`` by its path relative to it, ``/`` between parts."""

    root: Path
    paths: set[str]

    def below(self, folder: str) -> Iterator[str]:
        """The files in a folder and its sub-folders; of the root itself where it is empty."""
        prefix = f"{folder}/" if folder else ""
        return (path for path in self.paths if path.startswith(prefix))

    def pictures(self) -> Iterator[str]:
        """The files whose names end as a picture's."""
        return (path for path in self.paths if is_picture(path))

    def read_text(self, path: str, *, max_bytes: int) -> str:
        """One of the files as UTF-8 (a byte order mark is no part of it).

        Raises ValueError where it cannot be read, is longer or is not UTF-8; StorageError where the machine fails.
        """
        try:
            data = self.read_bytes(path, max_bytes=max_bytes)
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{keys.printable(path)} is not UTF-8 at byte {error.start}; save it as UTF-8") from error

    def read_bytes(self, path: str, *, max_bytes: int) -> bytes:
        """The bytes of one of the files; raises as ``read_text``."""
        shown = keys.printable(path)
        try:
            content = read.read_file(self.root / path, max_bytes=max_bytes)
        except read.NotAFileError as error:
            raise ValueError(f"{shown} is {error}") from error
        except OSError as error:
            verdict = read.at_fault(error, path)
            if isinstance(verdict, StorageError):
                raise verdict from error
            raise ValueError(f"{shown}: {verdict.detail}") from error
        if len(content.data) > max_bytes:
            raise ValueError(f"{shown} has {content.size_bytes} bytes, of {max_bytes} allowed; split it")
        return content.data


class Lazily(Mapping[int, Described]):
    """What is known of each of some files, made when it is asked for."""

    def __init__(self, number: int, describe: Callable[[int], Described]) -> None:
        self._number = number
        self._describe = describe

    def __getitem__(self, i: int) -> Described:
        if not 0 <= i < self._number:
            raise KeyError(i)
        return self._describe(i)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._number))

    def __len__(self) -> int:
        return self._number


def grow(root: Path, listing: Listing, *, max_files: int | None = None) -> Tree:
    """Find every file below ``root``; opens none. Raises DatasetError, StorageError.

    They are counted in ``listing``, which is also told what is refused on the way (see ``walk.folders``).
    """
    paths: set[str] = set()
    for folder in files.folders(root, listing, max_files=max_files):
        paths.update(files.join(folder.path, name) for name in folder.files)
    return Tree(root, paths)


def has_file(folder: Path, extension: str, *, depth: int) -> bool:
    """Whether a file with this extension (in lower case) lies in a folder or less than ``depth`` folders below it."""
    try:
        with os.scandir(folder) as entries:
            inner = []
            for entry in entries:
                if entry.name.lower().endswith(extension) and not entry.name.startswith(".") and entry.is_file():
                    return True
                if depth > 1 and entry.is_dir() and not entry.name.startswith("."):
                    inner.append(entry.name)
    except OSError:  # the scan will say what is wrong with it
        return False
    return any(has_file(folder / name, extension, depth=depth - 1) for name in inner)


def is_picture(path: str) -> bool:
    """Whether a path ends as those of pictures do."""
    return keys.extension(path).lower() in PICTURES


def confined(base: str, path: str) -> str | None:
    """A path that a file in the folder ``base`` writes, relative to the root; None where it leads out of the root."""
    joined = posixpath.normpath(posixpath.join(base, path))
    if joined == ".":
        return ""
    return None if joined == ".." or joined.startswith(("/", "../")) else joined


def split_of(folders: Iterable[str]) -> str | None:
    """The name of a split among the parts of a path, the first there is; None where there is none."""
    return next((name for name in folders if name.lower() in SPLIT_NAMES), None)


def add_pictures(
    listing: Listing, paths: Iterable[str], split: str | None, describe: Callable[[str], Described]
) -> None:
    """Add pictures of one split, sorted by folder and name; ``describe`` is called with a path when it is its turn."""
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        by_folder.setdefault(folder, []).append(name)
    for folder, unsorted in sorted(by_folder.items(), key=lambda item: item[0].encode()):
        names = tuple(sorted(unsorted, key=str.encode))
        prefix = f"{folder}/" if folder else ""
        described = Lazily(len(names), lambda i, names=names, prefix=prefix: describe(prefix + names[i]))  # type: ignore[misc]
        listing.groups.append(FileGroup(folder, names, split, described=described))


def refuse(listing: Listing, path: str, reason: Reason, detail: str) -> None:
    """Add one refused file; what is printed of its path is one line."""
    listing.refused.append(RefusedPath(keys.printable(path), reason, detail))
