"""Files of a dataset folder: found in one walk, read and refused below its root.

- **Skipped silently** is what is not the user's: hidden files and folders, the files of file browsers (``LITTER``), and
  the description and manifest that an expansion writes into its root.
- **Links** are followed, to files and to folders, wherever they lead. A link that leads back to a folder around it is
  refused. A caller that accepts untrusted paths has to confine them.
- A name that is not UTF-8 is refused, and so is a folder that cannot be listed.
- **Paths in annotation files** are looked up among the files that were found (``Tree``) and never passed to the
  operating system. So none leads out of the root, except through a link.

``Watch`` ends a scan that hangs on a file or folder, such as on a disk that does not answer, and names it.
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
    """Monitor of a scan: each thread reports its current file, and a thread that cannot hang checks for how long."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at: dict[int, tuple[str, float]] = {}

    def at(self, path: str) -> None:
        """Report that this thread begins with a file or folder; ``path`` is relative to the dataset's root."""
        self._at[threading.get_ident()] = (path, time.monotonic())

    def done(self) -> None:
        """Report that this thread is not at a file."""
        self._at.pop(threading.get_ident(), None)

    def check(self) -> None:
        """Raise DatasetError with the path if a file takes too long."""
        now = time.monotonic()
        for path, since in list(self._at.values()):
            if now - since > self.timeout_s:
                raise DatasetError(
                    f"reading {path or 'the root'} has not ended within {self.timeout_s:g} s "
                    "(AUGMENT_RECORD_TIMEOUT_S), so the scan was aborted; remove it or check its disk, then register "
                    "the dataset again"
                )


_listing: ContextVar[Watch | None] = ContextVar("_listing", default=None)


@contextmanager
def watching(watch: Watch | None) -> Iterator[None]:
    """Let ``at`` report to this watch while a format lists files."""
    token = _listing.set(watch)
    try:
        yield
    finally:
        _listing.reset(token)
        if watch is not None:
            watch.done()


def at(path: str) -> None:
    """Report that a format begins with a folder or an annotation file; ``path`` is relative to the dataset's root."""
    watch = _listing.get()
    if watch is not None:
        watch.at(path)


SPLIT_NAMES = frozenset(
    {"train", "training", "val", "valid", "validation", "dev", "eval", "evaluation", "test", "testing"}
)
"""Names of splits, as Hugging Face's ``imagefolder`` knows them."""

LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found"})
"""Names of files that file browsers leave behind, in lower case; hidden files (``.DS_Store``) are skipped anyway."""

OF_EXPANSION = re.compile(r"expansion\.json|manifest-\d{5,}\.parquet")
"""Names of the files that an expansion writes into its root next to the dataset."""


def grow(root: Path, listing: Listing, *, max_files: int | None = None) -> Tree:
    """Find every file below ``root``, outer folders before inner ones, sorted by name; opens none.

    Files are counted in ``listing``, and refused files are added to it; the names in the tree are UTF-8. Files that
    match one of the listing's patterns to ignore are left out. Raises DatasetError if the root cannot be listed or
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
    """Return the beginning of a file; empty if it cannot be read or is a pipe, a device or a folder."""
    try:
        return read.read_file(path, max_bytes=num_bytes - 1).data
    except (OSError, read.NotAFileError):
        return b""


def _enter(
    listing: Listing, tree: Tree, path: str, above: frozenset[tuple[int, int]]
) -> tuple[Folder, frozenset[tuple[int, int]]] | None:
    """List a folder, or refuse it and return None.

    The set holds the identities (device, inode) of the folder and those around it.
    """
    at(keys.printable(path))
    try:
        identity = _identity(tree.root / path)
        if identity in above:
            refuse(listing, path, Reason.UNREADABLE, "a link that leads back to a folder around it")
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
    except OSError:  # a circular link or one through a closed folder: reading it as a file gives the error
        return False


def _in_utf8(listing: Listing, folder: Folder) -> Iterator[str]:
    for name in folder.files:
        path = join(folder.path, name)
        if keys.is_utf8(path):
            yield name
        else:
            refuse(listing, path, Reason.UNREADABLE, "its path is not UTF-8; rename it")


class Lazily(Mapping[int, Described]):
    """Mapping from indices of files to their descriptions, computed on request."""

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
    """Return a path written in a file of folder ``base``, relative to the root; None if it leads out of the root."""
    joined = posixpath.normpath(posixpath.join(base, path))
    if joined == ".":
        return ""
    return None if joined == ".." or joined.startswith(("/", "../")) else joined


def named(paths: Collection[str], base: str, name: str) -> str | None:
    """Return the one of these paths that a file in the folder ``base`` calls ``name``, or None.

    Its parts may be separated by backslashes, as tools on Windows write them.
    """
    for spelled in (name, name.replace("\\", "/")):
        path = confined(base, spelled)
        if path in paths:
            return path
    return None


def split_of(folders: Iterable[str]) -> str | None:
    """Return the first part of a path that is the name of a split, or None."""
    return next((name for name in folders if name.lower() in SPLIT_NAMES), None)


def by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """Return the names in each folder, both in the order of the paths."""
    found: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, []).append(name)
    return found


def above(path: str) -> Iterator[str]:
    """Yield the folders around a path, the innermost first, without the root."""
    while path := path.rpartition("/")[0]:
        yield path


def add_images(listing: Listing, paths: Iterable[str], split: str | None, describe: Callable[[str], Described]) -> None:
    """Add images of one split, sorted by folder and name; ``describe`` is called for each path on request."""
    for folder, unsorted in sorted(by_folder(paths).items(), key=lambda item: item[0].encode()):
        names = tuple(sorted(unsorted, key=str.encode))
        prefix = f"{folder}/" if folder else ""
        described = Lazily(len(names), lambda i, names=names, prefix=prefix: describe(prefix + names[i]))  # type: ignore[misc]
        listing.groups.append(FileGroup(folder, names, split, described=described))


def add_described(listing: Listing, images: Iterable[tuple[str, str | None, Described]]) -> None:
    """Add images in this order, each with its split and description."""
    groups: dict[tuple[str, str | None], dict[str, Described]] = {}
    for path, split, described in images:
        folder, _, name = path.rpartition("/")
        groups.setdefault((folder, split), {})[name] = described
    for (folder, split), by_name in groups.items():
        described_by_place = dict(enumerate(by_name.values()))
        listing.groups.append(FileGroup(folder, tuple(by_name), split, described=described_by_place))


def add_misplaced(listing: Listing, paths: Iterable[str], why: str) -> None:
    """Add files without a place in the layout, sorted by path; those that are images are refused with ``why``."""
    folders = by_folder(sorted(paths, key=str.encode))
    listing.groups += [FileGroup(folder, tuple(names), misplaced=why) for folder, names in folders.items()]


def refuse(listing: Listing, path: str, reason: Reason, detail: str) -> None:
    """Add one refused file; its path is printable and on one line."""
    listing.refused.append(RefusedPath(keys.printable(path), reason, detail))
