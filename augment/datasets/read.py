"""The encoded bytes of a record, and the proof that they are still those that were scanned."""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from augment.address import DIGEST_BYTES, digest_fields
from augment.datasets import keys, parquet_rows
from augment.errors import CallError, Reason, RecordChangedError, RecordError, StorageError
from augment.samples.sample import Record

RACY_NS = 2_000_000_000
"""A file this much younger than its scan may change once more without a new mtime: FAT keeps time to two seconds. Git
calls such an index entry racy and does not trust its time either."""

_RECORD_ERRNOS = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENXIO,  # a socket, or a device that nobody drives
    }
)
"""What the operating system answers when one path is at fault; any other answer is the machine's."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """All bytes of one file and what the file system said of it after the last was read.

    ``steady`` is False where size or mtime moved while it was read.
    """

    data: bytes
    size_bytes: int
    mtime_ns: int
    steady: bool


class NotAFileError(Exception):
    """The path names a folder, a pipe, a socket or a device; the message says which."""


def read_file(path: str | Path, *, max_bytes: int) -> FileContent:
    """Read a regular file of at most ``max_bytes``; of a longer one, ``max_bytes + 1`` bytes.

    Never waits for a writer: a named pipe is told from a file after an opening that does not block. Raises OSError, or
    NotAFileError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        before = os.fstat(descriptor)
        check_regular(before)
        data = _read_all(descriptor, min(before.st_size, max_bytes) + 1)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    steady = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return FileContent(data, after.st_size, after.st_mtime_ns, steady)


def _read_all(descriptor: int, max_bytes: int) -> bytes:
    """What is there up to so many bytes: one call where the file system gives all it has, as local ones do."""
    data = os.read(descriptor, max_bytes)
    while len(data) < max_bytes and (more := os.read(descriptor, max_bytes - len(data))):
        data += more
    return data


def read_part(path: Path, offset: int, *, size_bytes: int | None) -> FileContent:
    """Read a picture inside of a file: a slice of a tar, or the cell of a Parquet file.

    Of a tar ``offset`` is the place of the first byte. Of a Parquet file it is the number of the row, and ``path`` goes
    on with the name of the column, as if the file were a folder; ``size_bytes`` is not looked at, because the file does
    not tell it. ``size_bytes`` of the content is the picture's, ``mtime_ns`` the file's. Raises OSError, or
    NotAFileError.
    """
    if size_bytes is None or (path.parent.suffix == ".parquet" and not path.parent.is_dir()):
        file, column = path.parent, path.name
        before = file.stat()
        try:
            data = parquet_rows.read_cell(file, column, offset) or b""
        except parquet_rows.UnreadableRowError as error:
            raise NotAFileError(f"a broken Parquet file: {error}") from error
        after = file.stat()
        steady = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        return FileContent(data, len(data), after.st_mtime_ns, steady)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        check_regular(os.fstat(descriptor))
        data = os.pread(descriptor, size_bytes, offset)
        return FileContent(data, len(data), os.fstat(descriptor).st_mtime_ns, steady=True)
    finally:
        os.close(descriptor)


def check_regular(status: os.stat_result) -> None:
    """Raise NotAFileError unless the status is a regular file's."""
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(f"{_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a file")


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def content_digest(data: bytes) -> bytes:
    """Hash encoded bytes: 16 bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def record_digest(
    content: bytes, class_name: str | None = None, annotations: str | None = None, mask: bytes | None = None
) -> bytes:
    """Hash a record: the digest of its encoded bytes, and its annotations.

    Classes count with their names, so that the classes beside them may come and go. ``annotations`` is their JSON,
    ``mask`` the digest of the mask's encoded bytes.
    """
    fields: list[str | bytes] = [content]
    fields += () if class_name is None else ("class", class_name)
    fields += () if annotations is None else ("annotations", annotations)
    fields += () if mask is None else ("mask", mask)
    return digest_fields(fields, person=b"augment.record")


def is_settled(mtime_ns: int, scanned_ns: int) -> bool:
    """Whether a file with this mtime, seen by a scan that began at ``scanned_ns``, cannot change and keep its mtime."""
    return mtime_ns < scanned_ns - RACY_NS


def read_record(record: Record, class_name: str | None, *, root: Path, scanned_ns: int) -> bytes:
    """The encoded bytes of a record, which are those that were scanned.

    Size and mtime decide where they are the scan's and old enough; else the bytes that are returned are hashed.
    Raises RecordChangedError, RecordError (unreadable), or StorageError where no file can be blamed.
    """
    wanted = _Wanted(record.path, record.offset, record.size_bytes, record.mtime_ns)
    data, unmoved = _read_wanted(wanted, record.key, root, scanned_ns)
    if not unmoved:
        mask = None if record.mask is None else bytes.fromhex(record.mask.digest)
        digest = record_digest(content_digest(data), class_name, record.annotations, mask)
        if digest.hex() != record.digest:
            raise RecordChangedError(record.key)
    return data


def is_unmoved(record: Record, scanned_ns: int) -> bool:
    """Whether size and mtime of the record's file are the scan's, and old enough to tell that it is the same.

    False where it cannot be told: whoever reads it then finds out why.
    """
    in_parquet = record.offset is not None and record.path.parent.suffix == ".parquet"
    try:
        file = record.path.parent if in_parquet and record.path.parent.is_file() else record.path
        status = file.stat()
    except OSError:
        return False
    same_size = record.offset is not None or status.st_size == record.size_bytes
    same = same_size and status.st_mtime_ns == record.mtime_ns and stat.S_ISREG(status.st_mode)
    return same and is_settled(record.mtime_ns, scanned_ns)


def read_mask(record: Record, *, root: Path, scanned_ns: int) -> bytes:
    """The encoded bytes of a record's mask, which are those that were scanned; raises as ``read_record``."""
    mask = record.mask
    if mask is None:
        raise CallError(f"record {record.key} has no mask")
    wanted = _Wanted(mask.path, mask.offset, mask.size_bytes, mask.mtime_ns)
    data, unmoved = _read_wanted(wanted, record.key, root, scanned_ns)
    if not unmoved and content_digest(data).hex() != mask.digest:
        raise RecordChangedError(record.key, detail="its mask changed since the scan; scan the dataset again")
    return data


class _Wanted(NamedTuple):
    path: Path
    offset: int | None
    size_bytes: int
    mtime_ns: int


def _read_wanted(wanted: _Wanted, key: str, root: Path, scanned_ns: int) -> tuple[bytes, bool]:
    """The bytes, of the right number, and whether their file cannot have changed since the scan."""
    try:
        if wanted.offset is None:
            content = read_file(wanted.path, max_bytes=wanted.size_bytes)
        else:
            content = read_part(wanted.path, wanted.offset, size_bytes=wanted.size_bytes)
    except NotAFileError as error:
        raise RecordChangedError(key, detail=f"it became {error}; scan the dataset again") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        if not root.is_dir():
            raise StorageError(f"the dataset's folder {root} is gone; is its file system mounted?") from error
        raise RecordChangedError(key, detail="the file is gone since the scan; scan the dataset again") from error
    except OSError as error:
        raise at_fault(error, key) from error
    if len(content.data) != wanted.size_bytes or content.size_bytes != wanted.size_bytes:
        raise RecordChangedError(
            key, detail=f"it has {content.size_bytes} bytes, of {wanted.size_bytes} at the scan; scan the dataset again"
        )
    unmoved = content.steady and content.mtime_ns == wanted.mtime_ns and is_settled(wanted.mtime_ns, scanned_ns)
    return content.data, unmoved


def refusal(error: OSError, key: str) -> RecordError:
    """The error of a record whose path is at fault; raises StorageError where the machine is."""
    verdict = at_fault(error, key)
    if isinstance(verdict, StorageError):
        raise verdict from error
    return verdict


def at_fault(error: OSError, key: str) -> RecordError | StorageError:
    """Whom an error of opening or reading blames: the record where its path is at fault, else the machine."""
    what = error.strerror or str(error)
    if error.errno in _RECORD_ERRNOS:
        return RecordError(key, Reason.UNREADABLE, what.lower())
    return StorageError(
        f"reading {keys.printable(key)} failed: {what} ({errno.errorcode.get(error.errno or 0, '?')}); try again"
    )
