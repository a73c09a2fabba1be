"""Members of a tar: names, positions and sizes, from its headers alone; nothing is unpacked.

Supported are ustar (POSIX.1-1988), pax (POSIX.1-2001) and GNU tar's own format, with long names and sizes in base 256.
Python's ``tarfile`` is not used: it recurses into chains of headers, takes negative sizes, and reads headers of any
length into memory. A member that is not a plain file has its kind; impossible values are an error.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from augment.datasets import read, seen_files
from augment.validation import quoted

BLOCK = 512
EXTENSION_MAX_BYTES = 2**20
"""Largest size of a header that extends the next one. It holds names of up to 4,096 bytes and a few numbers."""

_WINDOW = 2**14
"""Number of bytes that are read at a time while headers are close together."""
_END_MAX_BYTES = 2**20
"""Distance after the end within which other data is an error; tar pads up to 10 kB."""

_FILES = frozenset({b"0", b"\0", b"7"})
_EMPTY = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder",
    b"6": "a named pipe",
}
_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstandard"))
_PAX_RECORD = re.compile(rb"([0-9]{1,7}) ([^=\n]+)=")


class TarError(Exception):
    """Error of a file that is not a tar, is truncated, or has impossible values; the message ends with the remedy."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member. ``name`` is as in the tar; ``kind`` is None for a plain file."""

    name: bytes
    offset: int
    size_bytes: int
    kind: str | None = None


@dataclass(slots=True)
class _Extension:
    """Values of a member from the headers before its own."""

    name: bytes | None = None
    size_bytes: int | None = None
    sparse: bool = False


def members(path: Path) -> Iterator[Member]:
    """Yield each member in the order of the tar; they are complete only if the iteration ends without an error.

    Raises TarError, NotAFileError, OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        before = os.fstat(descriptor)
        read.check_regular(before)
        yield from _Walk(descriptor, before.st_size).members()
        after = os.fstat(descriptor)
        if seen_files.packed(before) != seen_files.packed(after):
            raise TarError("was written to during the read; scan the dataset again")
    finally:
        os.close(descriptor)


class _Walk:
    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes
        self._window = b""
        self._window_start = 0
        self._at = 0

    def members(self) -> Iterator[Member]:
        for magic, name in _COMPRESSED:
            if self._bytes(0, 6).startswith(magic):
                raise TarError(f"is compressed ({name}), and images in it cannot be read in place; unpack it to a .tar")
        extension = _Extension()
        while (header := self._header()) is not None:
            kind = header[156:157]
            size_bytes = self._number(header[124:136])
            if kind in {b"L", b"K", b"x", b"X", b"g"}:
                self._extend(extension, kind, self._content(size_bytes))
                continue
            if extension.size_bytes is not None:
                size_bytes = extension.size_bytes
            yield self._member(header, kind, size_bytes, extension)
            extension = _Extension()
        if extension != _Extension():
            raise TarError(f"ends at byte {self._at} after a header that belongs to a member: {_CUT}")

    def _header(self) -> bytes | None:
        """Return the next header, or None at the end of the tar."""
        header = self._bytes(self._at, BLOCK)
        if len(header) < BLOCK:
            raise TarError(f"ends at byte {self._size_bytes} without the empty blocks that close a tar: {_CUT}")
        if not any(header):
            rest = self._bytes(self._at, _END_MAX_BYTES)
            if any(rest):
                raise TarError(
                    f"has more data after its end at byte {self._at}: join tars with `tar --concatenate`, not `cat`"
                )
            return None
        if not _is_right(header, self._number(header[148:156])):
            raise TarError(
                f"has no tar header at byte {self._at}: it is damaged, or not a tar; fetch or write it again"
            )
        self._at += BLOCK
        return header

    def _member(self, header: bytes, kind: bytes, size_bytes: int, extension: _Extension) -> Member:
        name = _text(header[:100])
        if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
            name = prefix + b"/" + name
        if extension.name is not None:
            name = extension.name
        offset = self._at
        if kind in _EMPTY or (kind == b"\0" and name.endswith(b"/")):
            return Member(name, offset, 0, _EMPTY.get(kind, "a folder"))
        if kind == b"S":
            self._skip_sparse_map(header)
        self._skip(size_bytes, name)
        if kind == b"S" or extension.sparse:
            return Member(name, offset, size_bytes, "a sparse file")
        return Member(name, offset, size_bytes, None if kind in _FILES else f"of the unknown type {kind!r}")

    def _skip(self, size_bytes: int, name: bytes) -> None:
        end = self._at + size_bytes
        if end > self._size_bytes:
            shown = quoted(name.decode(errors="backslashreplace"))
            raise TarError(f"ends at byte {self._size_bytes}, its member {shown} would end at {end}: {_CUT}")
        self._at = end + -size_bytes % BLOCK

    def _skip_sparse_map(self, header: bytes) -> None:
        more = header[482]
        while more:
            block = self._bytes(self._at, BLOCK)
            if len(block) < BLOCK:
                raise TarError(f"ends at byte {self._size_bytes} within the map of a sparse file: {_CUT}")
            self._at += BLOCK
            more = block[504]

    def _content(self, size_bytes: int) -> bytes:
        if size_bytes > EXTENSION_MAX_BYTES:
            raise TarError(
                f"has a header of {size_bytes} bytes at byte {self._at - BLOCK}, of {EXTENSION_MAX_BYTES} "
                "allowed; write it again without extended attributes"
            )
        start = self._at
        self._skip(size_bytes, b"of a long name")
        return self._bytes(start, size_bytes)

    def _extend(self, extension: _Extension, kind: bytes, content: bytes) -> None:
        if kind == b"L":
            extension.name = extension.name or _text(content)
        elif kind in {b"x", b"X"}:
            for keyword, value in self._pax(content):
                if keyword in {b"path", b"GNU.sparse.name"}:
                    extension.name = value
                elif keyword == b"size":
                    if not value.isdigit() or len(value) > 19:
                        raise TarError(f"has a member of {quoted(value)} bytes at byte {self._at}: it is damaged")
                    extension.size_bytes = int(value)
                extension.sparse |= keyword.startswith(b"GNU.sparse.")
        elif kind == b"g" and any(keyword in {b"path", b"size"} for keyword, _ in self._pax(content)):
            raise TarError(f"gives all members the same name or size at byte {self._at}: it is damaged; write it again")

    def _pax(self, content: bytes) -> Iterator[tuple[bytes, bytes]]:
        start = 0
        while start < len(content):
            match = _PAX_RECORD.match(content, start)
            end = start + int(match[1]) if match is not None else 0
            if match is None or not match.end() < end <= len(content) or content[end - 1 : end] != b"\n":
                raise TarError(f"has an invalid pax header before byte {self._at}: it is damaged; write it again")
            yield match[2], content[match.end() : end - 1]
            start = end

    def _number(self, field: bytes) -> int:
        if field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        digits = field.partition(b"\0")[0].strip(b" ")
        if digits.strip(b"01234567"):
            raise TarError(f"has an invalid number ({field!r}) at byte {self._at}: it is damaged, or not a tar")
        return int(digits or b"0", 8)

    def _bytes(self, start: int, number: int) -> bytes:
        inside = start - self._window_start
        if not 0 <= inside <= len(self._window) - number:
            self._window = os.pread(self._descriptor, max(number, _WINDOW), start)
            self._window_start = start
            inside = 0
        return self._window[inside : inside + number]


_CUT = "it is truncated; fetch or write it again"


def _is_right(header: bytes, checksum: int) -> bool:
    """True if the checksum is that of the header with blanks in its place; some old tars summed signed bytes."""
    unsigned = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    return checksum == unsigned or checksum == unsigned - 256 * sum(byte > 127 for byte in header[:148] + header[156:])


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
