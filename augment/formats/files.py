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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath

from augment.datasets import keys, read
from augment.errors import DatasetError, Reason
from augment.formats.format import Described, FileGroup, Listing, RefusedPath
from augment.formats.tree import Folder, Tree, join


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


def grow(root: Path, listing: Listing, *, max_files: int | None = None) -> Tree:
    """Find every file below ``root``, outer folders before inner ones, in the order of their names; opens none.

    Files are counted in ``listing``, and what is refused on the way is added to it; the names that come are UTF-8.
    What fits one of the listing's patterns to ignore is left out. Raises DatasetError if the root cannot be listed or
    there are more than ``max_files`` files, StorageError.
    """
    tree = Tree(root)
    try:
        first = _contents(tree, "", listing.ignore)
    except OSError as error:
        detail = read.refusal(error, str(root)).detail
        raise DatasetError(f"{root} cannot be read: {detail}; give a folder that you may list") from error
    pending = [(first, frozenset({_identity(root)}))]
    while pending:
        folder, above = pending.pop()
        listing.num_files += len(folder.files)
        if max_files is not None and listing.num_files > max_files:
            limit = "(max_files, AUGMENT_MAX_FILES)"
            raise DatasetError(f"{root} holds more than {max_files} files {limit}; split it, or raise the limit")
        tree.folders.append(Folder(folder.path, folder.folders, tuple(_in_utf8(listing, folder))))
        inner = (_enter(listing, tree, join(folder.path, name), above) for name in folder.folders)
        pending += reversed([found for found in inner if found is not None])
    return tree


def head(path: Path, num_bytes: int) -> bytes:
    """The beginning of a file, to see what it is; empty where it cannot be read or is a pipe, a device, a folder."""
    try:
        return read.read_file(path, max_bytes=num_bytes - 1).data
    except (OSError, read.NotAFileError):
        return b""


def _enter(
    listing: Listing, tree: Tree, path: str, above: frozenset[tuple[int, int]]
) -> tuple[Folder, frozenset[tuple[int, int]]] | None:
    """A folder, and the identities (device, inode) of those that it lies in and its own; None where it is refused."""
    at(keys.printable(path))
    try:
        identity = _identity(tree.root / path)
        if identity in above:
            refuse(listing, path, Reason.UNREADABLE, "a link that leads back to a folder that it lies in")
            return None
        return _contents(tree, path, listing.ignore), above | {identity}
    except OSError as error:
        verdict = read.refusal(error, keys.printable(path))
        refuse(listing, path, verdict.reason, f"a folder: {verdict.detail}")
        return None


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _contents(tree: Tree, path: str, ignore: Sequence[str]) -> Folder:
    inner: list[str] = []
    files: list[str] = []
    with os.scandir(tree.root / path) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.lower() in LITTER:
                continue
            if ignore and any(PurePosixPath(join(path, name)).match(pattern) for pattern in ignore):
                tree.num_ignored += 1
            elif _is_folder(entry):
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


def add_images(listing: Listing, paths: Iterable[str], split: str | None, describe: Callable[[str], Described]) -> None:
    """Add images of one split, sorted by folder and name; ``describe`` is called with a path when it is its turn."""
    for folder, unsorted in sorted(by_folder(paths).items(), key=lambda item: item[0].encode()):
        names = tuple(sorted(unsorted, key=str.encode))
        prefix = f"{folder}/" if folder else ""
        described = Lazily(len(names), lambda i, names=names, prefix=prefix: describe(prefix + names[i]))  # type: ignore[misc]
        listing.groups.append(FileGroup(folder, names, split, described=described))


def add_described(listing: Listing, images: Iterable[tuple[str, str | None, Described]]) -> None:
    """Add images in this order, each with its split and what is known of it."""
    groups: dict[tuple[str, str | None], dict[str, Described]] = {}
    for path, split, described in images:
        folder, _, name = path.rpartition("/")
        groups.setdefault((folder, split), {})[name] = described
    for (folder, split), by_name in groups.items():
        described_by_place = dict(enumerate(by_name.values()))
        listing.groups.append(FileGroup(folder, tuple(by_name), split, described=described_by_place))


def add_misplaced(listing: Listing, paths: Iterable[str], why: str) -> None:
    """Add files that belong nowhere, sorted by path; ``why`` refuses those that are images."""
    folders = by_folder(sorted(paths, key=str.encode))
    listing.groups += [FileGroup(folder, tuple(names), misplaced=why) for folder, names in folders.items()]


def refuse(listing: Listing, path: str, reason: Reason, detail: str) -> None:
    """Add one refused file; what is printed of its path is one line."""
    listing.refused.append(RefusedPath(keys.printable(path), reason, detail))
