"""The output folder of an expansion: ownership check, atomic placing and removal of files, fsync, journal.

The folder is its own durable state. All state is in the root, because readers of class folders would take a
sub-folder for a class:

    expansion.json             what is expanded, and how; no time, host or number of workers
    manifest-00000.parquet …   one for each shard; renamed into place last, so that it marks the shard complete
    .augment-…                 during a run only: temporary files, journals, the run itself

A finished shard survives the death of every process and the loss of power: its images are on the disk before its
manifest part is. A shard that was not finished is undone by the next run, from its journal. The journal lists what the
shard is about to write; it exists from before the shard's first image until after its manifest part. Images of a
journal without a part are removed, because the dataset may have lost their records since.

One syncfs(2) for all files of a file system costs about as much as one fsync(2) of one file: each waits for the disk's
own cache. So a shard's outputs are synced together if that promises the same: if the kernel reports every write that
failed (Linux 5.17), on file systems that keep their files on a disk of this machine. Elsewhere (networks, FUSE,
overlays), and if a sandbox forbids the call, each file is synced. The marker is synced after that (``sync``), which
flushes the disk's cache once more and fails if the file system gave up its own journal. syncfs(2) also waits for what
others wrote to the same file system; the disk has to do that work in any case.
"""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from augment.address import DIGEST_BYTES
from augment.errors import OutputError, StorageError
from augment.user_state import sync

_TELLS_ERRORS = (5, 17)
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x01021994})
"""File system types of statfs(2)'s ``f_type``: ext2, ext3 and ext4, XFS, Btrfs and tmpfs."""
_STATFS_BYTES = 512
"""Size of a buffer larger than ``struct statfs`` on any architecture; ``f_type`` is its first word."""

_NOT_ALLOWED = frozenset({errno.ENOSYS, errno.EPERM, errno.EACCES})
"""Errors with which a sandbox answers an unknown call."""

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def wait(fd: int, root: Path, paths: Collection[str]) -> None:
    """Wait until these files below a folder, and their names, are on the disk.

    Raises OSError with the name of the failed file. ``fd`` is of any file in the folder, opened before the first of
    these was written: from then on errors count.
    """
    if not paths:
        return
    if _syncs_whole(fd) and _sync_file_system(fd, root):
        return
    files = [root / path for path in paths]
    above = {parent for file in files for parent in file.parents if parent.is_relative_to(root)}
    for path in [*files, *sorted(above)]:
        sync(path)


def _syncs_whole(fd: int) -> bool:
    """Return True if syncing the file system of an open file is as safe as syncing each of its files."""
    if _libc is None or not hasattr(_libc, "syncfs"):
        return False
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or (int(release[1]), int(release[2])) < _TELLS_ERRORS:
        return False
    status = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(fd, status):
        return False
    return ctypes.c_long.from_buffer(status).value in _LOCAL


def _sync_file_system(fd: int, root: Path) -> bool:
    """Sync the file system. Return False if the call is not allowed; raise OSError if writing failed."""
    if _libc is None or not _libc.syncfs(fd):
        return _libc is not None
    number = ctypes.get_errno()
    if number in _NOT_ALLOWED:
        return False
    raise OSError(number, os.strerror(number), str(root))


DESCRIPTION = "expansion.json"
HIDDEN = ".augment-"
"""Prefix of all files that belong to a run; none may remain once the folder is complete."""

TEMPORARY = f"{HIDDEN}tmp-"
PREVIOUS = f"{HIDDEN}previous"
"""File with the rows of the folder's outputs before an update, which may be kept."""

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
"""Errors of the system for a file that does not exist and could not."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of the folder; ``digest`` is the BLAKE2b-128 of its bytes (``b2sum -l 128``)."""

    path: str
    size_bytes: int
    digest: str


def storage_error(action: str, path: Path | str, error: OSError) -> StorageError:
    """Return the error with the failed action, the file, the reason and the remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free space"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "make the folder writable"
    elif error.errno == errno.EFBIG:
        remedy = "raise the limit on the size of a file (ulimit -f)"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        remedy = "raise the limit on open files (ulimit -n)"
    elif error.errno == errno.ENAMETOOLONG:
        remedy = "shorten the names in the dataset, which outputs are named after"
    else:
        remedy = "check the disk"
    reason = error.strerror or str(error)
    return StorageError(f"cannot {action} {path}: {reason}; {remedy}, then run the same command again")


@contextlib.contextmanager
def storage_errors(action: str, path: Path | str) -> Iterator[None]:
    """Raise StorageError, with the failed action, in place of an OSError inside the block."""
    try:
        yield
    except OSError as error:
        raise storage_error(action, path, error) from error


class _IfThere:
    """Context manager that ends the block if the file does not exist or is a folder."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        return isinstance(error, OSError) and (error.errno in _ABSENT or error.errno == errno.EISDIR)


def check_place(root: Path, data: Path) -> None:
    """Raise OutputError if output or dataset is inside the other; symbolic links are followed."""
    out, source = root.resolve(), data.resolve()
    if out == source:
        raise OutputError(f"the output folder {root} is the dataset's own folder; choose another one")
    if out.is_relative_to(source):
        raise OutputError(f"the output folder {root} is inside the dataset {data}; choose one outside of it")
    if source.is_relative_to(out):
        raise OutputError(
            f"the dataset {data} is inside the output folder {root}; choose a folder that does not contain it"
        )


def check_ours(root: Path) -> None:
    """Raise OutputError if the folder holds files but no expansion: foreign files are never overwritten."""
    try:
        names = {entry.name for entry in os.scandir(root)}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise OutputError(f"{root} is not a folder; choose another output folder") from None
    except OSError as error:
        raise storage_error("read", root, error) from error
    foreign = sorted(name for name in names if not name.startswith(HIDDEN))
    if foreign and DESCRIPTION not in names:
        raise OutputError(
            f"the output folder {root} holds {foreign[0]!r} and no {DESCRIPTION}, so it is not an expansion's; choose "
            "an empty or a new folder"
        )


def in_the_way(root: Path, relative: str, what: str) -> OutputError:
    """Return the error for a foreign file at the path of an output, or of a folder of outputs."""
    return OutputError(
        f"{root} holds {what} {relative} that this expansion did not write, at the path of an output; move it "
        "elsewhere or remove it, then run the same command again"
    )


def read_text(root: Path, name: str) -> str | None:
    """Return the content of a file in the root, or None if it is missing."""
    with storage_errors("read", root / name), contextlib.suppress(FileNotFoundError):
        return (root / name).read_text(encoding="utf-8", errors="replace")
    return None


def read_bytes(root: Path, relative: str) -> bytes | None:
    """Return the bytes of an output, or None if it is missing."""
    with storage_errors("read", root / relative), _IfThere():
        return _inside(root, relative).read_bytes()
    return None


def walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder with the files in it, as paths relative to the root; links count as files."""
    pending = [""]
    while pending:
        above = pending.pop()
        files: list[str] = []
        with storage_errors("read", root / above), os.scandir(root / above) as entries:
            for entry in entries:
                path = f"{above}/{entry.name}" if above else entry.name
                (pending if entry.is_dir(follow_symlinks=False) else files).append(path)
        yield above, sorted(files)


def place(root: Path, relative: str, data: bytes, *, temporary: str, durable: bool) -> None:
    """Write a file whole or not at all: temporary name in the root, flush, rename.

    ``temporary`` separates concurrent writers; leftovers are removed by the next run. ``durable`` waits for the disk.
    Missing parent folders are created. Raises StorageError.
    """
    draft, target = f"{root}/{TEMPORARY}{temporary}", _text_inside(root, relative)
    with storage_errors("write", target), _drafted(draft) as fd:
        _write(fd, data)
        _bring(fd, draft, target, durable=durable)


def place_stream(root: Path, relative: str, pieces: Iterable[bytes], *, temporary: str) -> bool:
    """Write a file from pieces, durably and as ``place`` does. Return False if it exists already."""
    draft, target = f"{root}/{TEMPORARY}{temporary}", _text_inside(root, relative)
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with storage_errors("write", target), _drafted(draft) as fd:
        for piece in pieces:
            _write(fd, piece)
            hasher.update(piece)
        if _stream_digest(Path(target)) == hasher.hexdigest():
            Path(draft).unlink()
            return False
        _bring(fd, draft, target, durable=True)
    return True


@contextlib.contextmanager
def _drafted(draft: str) -> Iterator[int]:
    """Yield the descriptor of a new file with a temporary name, which is removed if the block fails."""
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        yield fd
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _bring(fd: int, draft: str, target: str, *, durable: bool) -> None:
    if durable:
        os.fsync(fd)
    _rename(draft, target)
    if durable:
        sync(Path(target).parent)


def _stream_digest(path: Path) -> str | None:
    """Return the digest of a file, read piece by piece, or None if it is missing."""
    with _IfThere(), path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()
    return None


def remove(root: Path, relative: str) -> bool:
    """Remove an output and the folders that it leaves empty. Return False if it was missing."""
    target = _inside(root, relative)
    existed = True
    with storage_errors("remove", target):
        try:
            target.unlink()
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            existed = False
        for above in target.parents:
            if above == root or not _remove_folder(above):
                break
    return existed


class Condition(StrEnum):
    """Condition of an output in a manifest: it can stay, or the reason why not."""

    RIGHT = "right"
    """Its files are as they were written, and as requested."""
    MISSING = "missing"
    """A file is missing, or not a regular file."""
    CHANGED = "changed"
    """The bytes of a file differ from those written."""
    OUTDATED = "outdated"
    """It was made from another record or in another way, has another path, or is no longer requested."""


def condition(root: Path, files: Iterable[File], since_ns: int) -> Condition:
    """Compare files with what was written. Return the condition of the first that is not right, else ``RIGHT``."""
    found = (inspect(root, each, since_ns)[0] for each in files)
    return next((each for each in found if each is not Condition.RIGHT), Condition.RIGHT)


def inspect(root: Path, file: File, since_ns: int = 0) -> tuple[Condition, int]:
    """Compare a file with what was written. Return its condition, and its size in bytes.

    A file whose status last changed before ``since_ns`` counts as unchanged; any other is read and compared. (The
    system sets that time, ctime, at every write. Unlike mtime, it cannot be set back.)
    """
    status = _status(_inside(root, file.path))
    if status is None or not stat.S_ISREG(status.st_mode):
        return Condition.MISSING, 0
    is_right = status.st_size == file.size_bytes and (
        status.st_ctime_ns < since_ns or file_digest(read_bytes(root, file.path) or b"") == file.digest
    )
    return Condition.RIGHT if is_right else Condition.CHANGED, status.st_size


def inspect_stream(root: Path, relative: str, pieces: Iterable[bytes]) -> Condition:
    """Compare a file with its expected content, given in pieces."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for piece in pieces:
        hasher.update(piece)
    with storage_errors("read", root / relative):
        found = _stream_digest(_inside(root, relative))
    if found is None:
        return Condition.MISSING
    return Condition.RIGHT if found == hasher.hexdigest() else Condition.CHANGED


def changed_ns(root: Path, name: str) -> int:
    """Return when the status of a file in the root last changed, in nanoseconds since 1970; 0 if it is missing."""
    status = _status(root / name)
    return 0 if status is None else status.st_ctime_ns


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a file, not following a link, or None if it is missing."""
    with storage_errors("look at", path), _IfThere():
        return path.lstat()
    return None


def file_digest(data: bytes) -> str:
    """Return the digest of a file's bytes: 32 hexadecimal digits, as ``b2sum -l 128`` prints them."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def names(root: Path, prefix: str) -> list[str]:
    """Return the names in the root with this prefix, sorted."""
    with storage_errors("read", root), os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.name.startswith(prefix))


def remove_temporaries(root: Path) -> None:
    """Remove the unfinished files of a killed run. Needs the lock and the end of every earlier run."""
    for name in names(root, TEMPORARY):
        remove(root, name)


def _inside(root: Path, relative: str) -> Path:
    """Return the path below the root. Raises OutputError if a forged manifest leads out of it."""
    return Path(_text_inside(root, relative))


def _text_inside(root: Path, relative: str) -> str:
    """Return the same as text, ten times as fast as making a Path: it is called for each image that is written."""
    if relative.startswith("/") or (".." in relative and ".." in relative.split("/")):
        raise OutputError(f"the manifest in {root} names {relative!r}, which is outside of it; choose another folder")
    return f"{root}/{relative}"


def _rename(draft: str, target: str) -> None:
    # Retry, because another worker may be removing a folder that a refused record left empty.
    for _ in range(100):
        try:
            os.rename(draft, target)  # noqa: PTH104 - as above, without a Path
        except FileNotFoundError:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        else:
            return
    Path(draft).rename(target)


def _remove_folder(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOTDIR):
            return False
        raise
    return True


_JOURNAL = f"{HIDDEN}journal-"


def begin(root: Path, index: int, paths: Sequence[str]) -> None:
    """Record durably which outputs the shard is about to write."""
    place(root, _name(index), json.dumps(list(paths)).encode(), temporary=f"journal-{index:05d}", durable=True)


def end(root: Path, index: int) -> None:
    """Remove the journal: the shard's manifest part is in place."""
    remove(root, _name(index))


def recover(root: Path, is_finished: Callable[[int], bool]) -> None:
    """Remove the files of unfinished shards. Needs the lock and the end of every earlier run."""
    for name in names(root, _JOURNAL):
        if not is_finished(int(name.removeprefix(_JOURNAL))):
            for path in json.loads(read_text(root, name) or "[]"):
                remove(root, path)
        remove(root, name)


def _name(index: int) -> str:
    return f"{_JOURNAL}{index:05d}"
