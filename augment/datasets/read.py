"""Encoded bytes of a record, checked against the scanned digest."""

import errno
import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from augment.address import DIGEST_BYTES, digest_fields
from augment.datasets import keys, parquet_rows, seen_files
from augment.datasets.seen_files import FileStatus
from augment.errors import CallError, Reason, RecordChangedError, RecordError, StorageError
from augment.images.masks import Legend
from augment.samples.sample import Record

_RECORD_ERRNOS = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENXIO,  # a socket, or a device without a driver
    }
)
"""Errors of the operating system that blame one path; all others blame the machine."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """All bytes of one file, or of an image inside a file.

    ``size_bytes`` and ``status`` are those of the open file after the last byte was read. For an image inside a file,
    ``size_bytes`` is the image's. ``steady`` is False if the status changed meanwhile.
    """

    data: bytes
    size_bytes: int
    status: FileStatus
    steady: bool


class NotAFileError(Exception):
    """Error of a path that names a folder, a pipe, a socket or a device; the message says which."""


def read_file(path: str | Path, *, max_bytes: int) -> FileContent:
    """Read a regular file of at most ``max_bytes``; of a longer one, ``max_bytes + 1`` bytes.

    Opens without blocking, so that a named pipe is detected and never waited for. Raises OSError, or NotAFileError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        before = os.fstat(descriptor)
        check_regular(before)
        data = _read_all(descriptor, min(before.st_size, max_bytes) + 1)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    status = FileStatus.of(after)
    return FileContent(data, after.st_size, status, steady=seen_files.packed(before) == status.packed)


def _read_all(descriptor: int, max_bytes: int) -> bytes:
    """Read up to ``max_bytes``: one call if the file system returns everything at once, as local ones do."""
    data = os.read(descriptor, max_bytes)
    while len(data) < max_bytes and (more := os.read(descriptor, max_bytes - len(data))):
        data += more
    return data


def read_part(path: Path, offset: int, *, size_bytes: int | None) -> FileContent:
    """Read an image inside a file: a slice of a tar, or the cell of a Parquet file.

    In a tar, ``offset`` is the position of the first byte. In a Parquet file it is the number of the row, and ``path``
    ends with the name of the column, as if the file were a folder. ``size_bytes`` is then ignored, because the file
    does not state it. Raises OSError, or NotAFileError.
    """
    if size_bytes is None or is_parquet_cell(path):
        try:
            data, status = parquet_rows.read_cell(path.parent, path.name, offset)
        except parquet_rows.UnreadableRowError as error:
            raise NotAFileError(f"a broken Parquet file: {error}") from error
        return FileContent(data or b"", len(data or b""), status, steady=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        before = os.fstat(descriptor)
        check_regular(before)
        data = os.pread(descriptor, size_bytes, offset)
        status = FileStatus.of(os.fstat(descriptor))
        return FileContent(data, len(data), status, steady=seen_files.packed(before) == status.packed)
    finally:
        os.close(descriptor)


def is_parquet_cell(path: Path) -> bool:
    """True if the path is that of a Parquet file, followed by the name of a column."""
    return path.parent.suffix == ".parquet" and not path.parent.is_dir()


def check_regular(status: os.stat_result) -> None:
    """Raise NotAFileError unless the status is that of a regular file."""
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
    """Hash encoded bytes to 16 bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def record_digest(
    content: bytes, class_name: str | None = None, annotations: str | None = None, mask: bytes | None = None
) -> bytes:
    """Hash a record: the digest of its encoded bytes, and its annotations.

    Classes are hashed by name, so that other classes may come and go. ``annotations`` is their JSON, ``mask`` is the
    mask's digest.
    """
    fields: list[str | bytes] = [content]
    fields += () if class_name is None else ("class", class_name)
    fields += () if annotations is None else ("annotations", annotations)
    fields += () if mask is None else ("mask", mask)
    return digest_fields(fields, person=b"augment.record")


def read_record(record: Record, class_name: str | None, *, root: Path) -> bytes:
    """Return the encoded bytes of a record, checked to be the scanned ones.

    The digest decides. It is taken from the table of seen files if that has a row for the file's status. Raises
    RecordChangedError, RecordError (unreadable), or StorageError if no file can be blamed.
    """
    data, digest = _read_known(record.path, record.offset, record.size_bytes, record.key, root)
    if not _is_scanned(record, class_name, digest):
        raise RecordChangedError(record.key)
    return data


def is_unchanged(record: Record, class_name: str | None) -> bool:
    """True if the record's file is known to have the scanned bytes; the file is not read.

    False if this is not known; reading the file then gives the reason.
    """
    in_parquet = record.offset is not None and is_parquet_cell(record.path)
    try:
        status = (record.path.parent if in_parquet else record.path).stat()
    except OSError:
        return False
    place = seen_files.place_of(record.path, record.offset)
    digest = seen_files.table().digest(place, seen_files.packed(status))
    return digest is not None and _is_scanned(record, class_name, digest)


def mask_digest(content: bytes, legend: Legend) -> bytes:
    """Hash a mask: the digest of its encoded bytes and, unless empty, the legend of its indices."""
    if not legend:
        return content
    return digest_fields([content, json.dumps(legend)], person=b"augment.legend")


def read_mask(record: Record, *, root: Path, legend: Legend = ()) -> bytes:
    """Return the encoded bytes of a record's mask, checked to be the scanned ones. Raises as ``read_record`` does."""
    mask = record.mask
    if mask is None:
        raise CallError(f"record {record.key} has no mask")
    data, digest = _read_known(mask.path, mask.offset, mask.size_bytes, record.key, root)
    if mask.digest not in {digest.hex(), mask_digest(digest, legend).hex()}:
        raise RecordChangedError(record.key, detail="its mask changed since the scan; scan the dataset again")
    return data


def _is_scanned(record: Record, class_name: str | None, digest: bytes) -> bool:
    mask = None if record.mask is None else bytes.fromhex(record.mask.digest)
    return record_digest(digest, class_name, record.annotations, mask).hex() == record.digest


def _read_known(path: Path, offset: int | None, size_bytes: int, key: str, root: Path) -> tuple[bytes, bytes]:
    """Return the bytes, whose number is checked, and their digest."""
    try:
        if offset is None:
            content = read_file(path, max_bytes=size_bytes)
        else:
            content = read_part(path, offset, size_bytes=size_bytes)
    except NotAFileError as error:
        raise RecordChangedError(key, detail=f"it became {error}; scan the dataset again") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        if not root.is_dir():
            raise StorageError(f"the dataset's folder {root} is gone; is its file system mounted?") from error
        raise RecordChangedError(key, detail="the file was deleted after the scan; scan the dataset again") from error
    except OSError as error:
        raise at_fault(error, key) from error
    if len(content.data) != size_bytes or content.size_bytes != size_bytes:
        raise RecordChangedError(
            key, detail=f"it has {content.size_bytes} bytes, but had {size_bytes} at the scan; scan the dataset again"
        )
    place, seen = seen_files.place_of(path, offset), seen_files.table()
    known = seen.digest(place, content.status.packed) if content.steady else None
    if known is not None:
        return content.data, known
    digest = content_digest(content.data)
    if content.steady and content.status.is_settled:
        seen.confirm(place, content.status.packed, digest)
    return content.data, digest


def refusal(error: OSError, key: str) -> RecordError:
    """Return the error of a record whose path is at fault. Raises StorageError if the machine is at fault."""
    verdict = at_fault(error, key)
    if isinstance(verdict, StorageError):
        raise verdict from error
    return verdict


def at_fault(error: OSError, key: str) -> RecordError | StorageError:
    """Return the error to raise: the record's if its path is at fault, else the machine's."""
    what = error.strerror or str(error)
    if error.errno in _RECORD_ERRNOS:
        return RecordError(key, Reason.UNREADABLE, what.lower())
    return StorageError(
        f"reading {keys.printable(key)} failed: {what} ({errno.errorcode.get(error.errno or 0, '?')}); try again"
    )
