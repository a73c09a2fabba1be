"""Walk a dataset folder once; find, read and refuse files below its root.

- **Left out in silence** is what is not the user's: hidden files and folders, the files of file browsers (``LITTER``),
  and the description and manifest that an expansion writes into its root.
- **Links** are followed, to files and to folders, wherever they lead; one that leads back to a folder it is in is
  refused. Whoever accepts paths from strangers has to confine them.
- A name that is not UTF-8, and a folder that cannot be listed, are refused.
- **Paths in annotation files** are looked up among the files that were found (``Tree``) and never handed to the
  operating system. So none leads out of the root, except through a link.

``Watch`` ends a scan with the name of a file or folder that takes too long: a disk that does not answer would hold it
for ever.
"""

import os
import posixpath
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from augment.datasets import keys, read
from augment.errors import DatasetError, Reason
from augment.formats.format import Described, FileGroup, Listing, RefusedPath


class Watch:
    """Each thread of a scan says what it is at; another thread, which cannot hang, checks how long already."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at: dict[int, tuple[str, float]] = {}

    def at(self, path: str) -> None:
        """This thread begins with a file or folder; ``path`` is relative to the dataset's root."""
        self._at[threading.get_ident()] = (path, time.monotonic())

    def done(self) -> None:
        """This thread is at nothing that could take too long."""
        self._at.pop(threading.get_ident(), None)

    def check(self) -> None:
        """Raise DatasetError, with the path, where something takes too long."""
        now = time.monotonic()
        for path, since in list(self._at.values()):
            if now - since > self.timeout_s:
                raise DatasetError(
                    f"reading {path or 'the root'} has not ended within {self.timeout_s:g} s "
                    "(AUGMENT_RECORD_TIMEOUT_S), so the scan was given up; remove it or see to its disk, then register "
                    "the dataset again"
                )


_listing: ContextVar[Watch | None] = ContextVar("_listing", default=None)


@contextmanager
def watching(watch: Watch | None) -> Iterator[None]:
    """While a format lists files: whatever it reads on the way, ``at`` tells this watch of it."""
    token = _listing.set(watch)
    try:
        yield
    finally:
        _listing.reset(token)
        if watch is not None:
            watch.done()


def at(path: str) -> None:
    """A format begins with a folder, or with a file of annotations; ``path`` is relative to the dataset's root."""
    watch = _listing.get()
    if watch is not None:
        watch.at(path)


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
        detail = read.refusal(error, str(root)).detail
        raise DatasetError(f"{root} cannot be read: {detail}; give a folder that you may list") from error


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
    at(keys.printable(path))
    try:
        identity = _identity(root / path)
        if identity in above:
            refuse(listing, path, Reason.UNREADABLE, "a link that leads back to a folder that it lies in")
            return None
        return _contents(root / path, path), above | {identity}
    except OSError as error:
        verdict = read.refusal(error, keys.printable(path))
        refuse(listing, path, verdict.reason, f"a folder: {verdict.detail}")
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
            refuse(listing, path, Reason.UNREADABLE, "its path is not UTF-8; rename it")


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
            raise ValueError(f"{shown}: {read.refusal(error, path).detail}") from error
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

    They are counted in ``listing``, which is also told what is refused on the way (see ``folders``).
    """
    paths: set[str] = set()
    for folder in folders(root, listing, max_files=max_files):
        paths.update(join(folder.path, name) for name in folder.files)
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


def shown(value: object) -> str:
    """Return a value of a file as it may stand in a message: one line, not long."""
    text = keys.printable(repr(value))
    return text if len(text) <= 60 else f"{text[:59]}…"


def is_picture(path: str) -> bool:
    """Whether a path ends as those of pictures do."""
    return keys.extension(path).lower() in PICTURES


def confined(base: str, path: str) -> str | None:
    """A path that a file in the folder ``base`` writes, relative to the root; None where it leads out of the root."""
    joined = posixpath.normpath(posixpath.join(base, path))
    if joined == ".":
        return ""
    return None if joined == ".." or joined.startswith(("/", "../")) else joined


def named(paths: Collection[str], base: str, name: str) -> str | None:
    """Return the one of these paths that a file in the folder ``base`` calls ``name``, or None.

    Its parts may have backslashes between them, as tools on Windows write them.
    """
    for spelled in (name, name.replace("\\", "/")):
        path = confined(base, spelled)
        if path in paths:
            return path
    return None


def split_of(folders: Iterable[str]) -> str | None:
    """The name of a split among the parts of a path, the first there is; None where there is none."""
    return next((name for name in folders if name.lower() in SPLIT_NAMES), None)


def by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """Return the names in each folder, both in the order of the paths."""
    found: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, []).append(name)
    return found


def above(path: str) -> Iterator[str]:
    """Yield the folders that a path lies in, the innermost first, without the root."""
    while path := path.rpartition("/")[0]:
        yield path


def add_pictures(
    listing: Listing, paths: Iterable[str], split: str | None, describe: Callable[[str], Described]
) -> None:
    """Add pictures of one split, sorted by folder and name; ``describe`` is called with a path when it is its turn."""
    for folder, unsorted in sorted(by_folder(paths).items(), key=lambda item: item[0].encode()):
        names = tuple(sorted(unsorted, key=str.encode))
        prefix = f"{folder}/" if folder else ""
        described = Lazily(len(names), lambda i, names=names, prefix=prefix: describe(prefix + names[i]))  # type: ignore[misc]
        listing.groups.append(FileGroup(folder, names, split, described=described))


def add_described(listing: Listing, pictures: Iterable[tuple[str, str | None, Described]]) -> None:
    """Add pictures in this order, each with its split and what is known of it."""
    groups: dict[tuple[str, str | None], dict[str, Described]] = {}
    for path, split, described in pictures:
        folder, _, name = path.rpartition("/")
        groups.setdefault((folder, split), {})[name] = described
    for (folder, split), by_name in groups.items():
        described_by_place = dict(enumerate(by_name.values()))
        listing.groups.append(FileGroup(folder, tuple(by_name), split, described=described_by_place))


def add_misplaced(listing: Listing, paths: Iterable[str], why: str) -> None:
    """Add files that belong nowhere, sorted by path; ``why`` refuses those that are pictures."""
    folders = by_folder(sorted(paths, key=str.encode))
    listing.groups += [FileGroup(folder, tuple(names), misplaced=why) for folder, names in folders.items()]


def refuse(listing: Listing, path: str, reason: Reason, detail: str) -> None:
    """Add one refused file; what is printed of its path is one line."""
    listing.refused.append(RefusedPath(keys.printable(path), reason, detail))
