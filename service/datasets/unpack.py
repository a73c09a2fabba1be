"""Unpacking of an uploaded archive, member by member: names confined, links and devices refused, sizes bounded.

No size, order or end that the archive states is trusted. ``extractall`` of the standard library is not used: only
folders and regular files are created here. It runs in a worker process, so that a parser that hangs or grows costs only
a worker.
"""

import gzip
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, cast

from augment.datasets import keys
from augment.errors import DatasetError, StorageError
from augment.formats.files import LITTER, SPLIT_NAMES
from augment.workers.files import ProgressFile
from augment.workers.task import Guard
from service.errors import MalformedError, MediaTypeError, NoRoomError, ServiceError, TooLargeError

MAX_PATH_BYTES = 1024
"""Longest name of a member; Linux allows 4,096 bytes for a whole path."""
MAX_DEPTH = 32

_CHUNK_BYTES = 2**20
_UTF8 = 0x800
"""Flag of a zip member whose name is UTF-8 (APPNOTE 4.4.4, bit 11)."""
_RATIO_GRACE_BYTES = 10 * 2**20
"""Size that any archive may unpack to, at any ratio: small masks of one colour compress a thousandfold."""
_EPOCH_S = 315_532_800
"""1980-01-01, the start of ZIP's time: a file clearly older than its scan is recognised by its time alone."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Limits on the files that an archive unpacks to."""

    max_files: int
    max_bytes: int
    max_ratio: int


class Unpacked(NamedTuple):
    """Result of unpacking; ``folder`` is the dataset's root, relative to the target folder."""

    folder: str
    num_files: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class UnpackTask:
    """Task that unpacks ``archive`` into the folder ``into``, replacing the files of an earlier attempt."""

    archive: Path
    into: Path
    progress: Path
    limits: ArchiveLimits

    def run(self, guard: Guard) -> Unpacked:  # noqa: ARG002 - nothing is decoded, so no guard is needed
        """Unpack. Raises MalformedError, MediaTypeError, TooLargeError, DatasetError or StorageError."""
        if self.into.exists():
            shutil.rmtree(self.into)
        return unpack(self.archive, self.into, self.limits, ProgressFile(self.progress, "unpacking"))


def unpack(archive: Path, into: Path, limits: ArchiveLimits, progress: ProgressFile) -> Unpacked:
    """Unpack a zip, tar or gzipped tar, detected by its first bytes."""
    unpacking = _Unpacking(into, limits, archive.stat().st_size, progress)
    try:
        with archive.open("rb") as file:
            for member in _members(file, unpacking):
                unpacking.take(member)
    except (ServiceError, DatasetError, StorageError):
        raise
    except (
        tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, struct.error, EOFError, ValueError,
        NotImplementedError, OverflowError, KeyError, IndexError, RuntimeError,
    ) as error:  # fmt: skip
        # The parsers raise these for broken archives; their documentation names only the first three.
        raise MalformedError(
            f"the archive is broken or cut short ({error}); create it again and send it whole"
        ) from error
    except OSError as error:
        raise StorageError(f"unpacking failed: {error.strerror or error}; free space and try again") from error
    return Unpacked(unpacking.folder(), unpacking.num_files, unpacking.num_bytes)


class _Member(NamedTuple):
    """A regular file of an archive; ``file`` reads its bytes."""

    name: str
    file: IO[bytes]


class _Unpacking:
    """Writer of one archive's files, with its counts and limits."""

    def __init__(self, into: Path, limits: ArchiveLimits, archive_bytes: int, progress: ProgressFile) -> None:
        self.num_files = 0
        self.num_bytes = 0
        self._into = into
        self._limits = limits
        self._ratio_bytes = limits.max_ratio * archive_bytes + _RATIO_GRACE_BYTES
        self._progress = progress
        self._num_members = 0
        self._tops: set[str] = set()
        self._folders: set[Path] = set()
        self._has_file_below_top = False
        into.mkdir()

    def count_member(self) -> None:
        """Count a member of any kind. Raises TooLargeError for an endless list."""
        self._num_members += 1
        if self._num_members > 2 * self._limits.max_files:
            raise self._too_many()

    def check_size(self, num_bytes: int) -> None:
        """Raise TooLargeError if this archive may not unpack to so many bytes."""
        if num_bytes > self._ratio_bytes:
            raise TooLargeError(
                f"the archive unpacks to more than {self._limits.max_ratio} times its size (AUGMENT_MAX_UNPACK_RATIO); "
                "pack encoded images, not highly compressible files"
            )
        if num_bytes > self._limits.max_bytes:
            raise NoRoomError(
                f"the archive unpacks to more than the {self._limits.max_bytes} bytes that are left in the home "
                "(AUGMENT_MAX_HOME_BYTES); delete datasets or outputs, or raise the limit"
            )

    def take(self, member: _Member) -> None:
        """Write one file."""
        parts = _confined(member.name)
        if not parts or any(part.startswith(".") or part.lower() in LITTER for part in parts):
            return  # hidden files and litter of file browsers, which the scan would skip too
        if self.num_files >= self._limits.max_files:
            raise self._too_many()
        path = self._into.joinpath(*parts)
        shown = keys.printable(member.name)
        try:
            self._make_folders(parts[:-1])
            target = path.open("xb")
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise DatasetError(f"the archive holds {shown} twice, or as a file and a folder; name each once") from error
        with target:
            while chunk := member.file.read(_CHUNK_BYTES):
                self.check_size(self.num_bytes + len(chunk))
                target.write(chunk)
                self.num_bytes += len(chunk)
        os.utime(path, (_EPOCH_S, _EPOCH_S))
        self.num_files += 1
        self._tops.add(parts[0])
        self._has_file_below_top = self._has_file_below_top or len(parts) == 2
        self._progress.show(self.num_files)

    def _make_folders(self, parts: Sequence[str]) -> None:
        # Not with `parents`: if the upload was given up, its folder was removed and must not come back.
        for i in range(1, len(parts) + 1):
            folder = self._into.joinpath(*parts[:i])
            if folder not in self._folders:
                folder.mkdir(exist_ok=True)
                self._folders.add(folder)

    def folder(self) -> str:
        """Return the single top folder if it is only a wrapper (people pack ``photos/`` itself), else "".

        A top folder that holds images directly is a class, and one with the name of a split is a split.
        """
        if len(self._tops) != 1 or self._has_file_below_top:
            return ""
        (top,) = self._tops
        return top if (self._into / top).is_dir() and top.lower() not in SPLIT_NAMES else ""

    def _too_many(self) -> TooLargeError:
        return TooLargeError(
            f"the archive holds more than {self._limits.max_files} files (AUGMENT_MAX_FILES); split it, or raise "
            "the limit"
        )


def _confined(name: str) -> list[str]:
    """Return the parts of a member's path. Raises DatasetError if it may lead out of the archive or is too long."""
    shown = keys.printable(name[:200])
    if not keys.is_utf8(name) or "\0" in name:
        raise DatasetError(f"the archive holds {shown}, whose name is not UTF-8; rename it")
    if "\\" in name:
        raise DatasetError(f"the archive holds {shown}; separate paths with '/', not with a backslash")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts:
        raise DatasetError(
            f"the archive holds {shown}, which leads out of it; pack it with relative paths, without '..'"
        )
    encoded = [part.encode() for part in parts]
    if len(parts) > MAX_DEPTH or sum(map(len, encoded)) > MAX_PATH_BYTES or any(len(part) > 255 for part in encoded):
        raise DatasetError(
            f"the archive holds {shown}…; shorten it: a path has at most {MAX_PATH_BYTES} bytes and {MAX_DEPTH} "
            "folders, a name at most 255 bytes"
        )
    return parts


def _members(file: IO[bytes], unpacking: _Unpacking) -> Iterator[_Member]:
    start = file.read(512)
    file.seek(0)
    if start[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return _zip_members(file, unpacking)
    if start[:2] == b"\x1f\x8b":
        return _tar_members(_Counted(cast("IO[bytes]", gzip.GzipFile(fileobj=file)), unpacking), unpacking)
    if start[257:262] == b"ustar" or _is_old_tar(start):
        return _tar_members(_Counted(file, unpacking), unpacking)
    raise MediaTypeError("the body is not a zip, tar or gzipped tar; pack the folder as one of these")


def _is_old_tar(header: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")  # compares the header's checksum
    except tarfile.HeaderError:
        return False
    return True


def _zip_members(file: IO[bytes], unpacking: _Unpacking) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            unpacking.count_member()
            shown = keys.printable(info.filename[:200])
            if info.flag_bits & 0x1:
                raise DatasetError(f"the archive holds {shown} encrypted; pack it without a password")
            name, kind = _name_in_zip(info), stat.S_IFMT(info.external_attr >> 16)
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise _not_a_file(shown)
            _confined(name)
            if name.endswith("/") or kind == stat.S_IFDIR:
                continue
            if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise MediaTypeError(f"the archive holds {shown} with an unsupported method; use deflate or store")
            with archive.open(info) as opened:
                yield _Member(name, opened)


def _name_in_zip(info: zipfile.ZipInfo) -> str:
    r"""Return a member's path with ``/`` between its parts.

    Some Windows programs separate them by a backslash, against APPNOTE 4.4.17, so no name can hold one. A name without
    the UTF-8 flag is UTF-8 if it can be decoded so (macOS omits the flag), else code page 437 (APPNOTE, D.1).
    """
    name = info.filename
    if not info.flag_bits & _UTF8 and not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


def _tar_members(file: "_Counted", unpacking: _Unpacking) -> Iterator[_Member]:
    stream = cast("IO[bytes]", file)  # this mode only reads
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every member in memory
            unpacking.count_member()
            shown = keys.printable(info.name[:200])
            _confined(info.name)
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                raise _not_a_file(shown)
            opened = archive.extractfile(info)
            if opened is None:
                raise _not_a_file(shown)
            yield _Member(info.name, opened)
    while file.read(_CHUNK_BYTES):  # read to the end, so that gzip verifies its checksum
        pass
    if not file.ends_as_tar:
        raise MalformedError("the archive is cut short: its end marker is missing; send it whole")


def _not_a_file(shown: str) -> DatasetError:
    return DatasetError(
        f"the archive holds {shown}, which is a link, a device or a sparse file; pack regular files (tar --dereference)"
    )


class _Counted:
    """Reader of a tar that bounds its bytes, headers and padding included, and remembers its last block."""

    def __init__(self, file: IO[bytes], unpacking: _Unpacking) -> None:
        self._file = file
        self._unpacking = unpacking
        self._num_bytes = 0
        self._tail = b""

    @property
    def ends_as_tar(self) -> bool:
        """True if the last block is zeros, as at the end of every tar (POSIX.1-2017, pax, two blocks)."""
        return len(self._tail) == 512 and not any(self._tail)

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._num_bytes += len(data)
        self._unpacking.check_size(self._num_bytes)
        self._tail = (self._tail + data[-512:])[-512:]
        return data
