"""Decoded images that are kept between epochs: memory-mapped files, shared by all who render on a machine.

It fills and then stops. Under an order of its own for each epoch a cache that replaces the least recently used hits
15 % at half capacity, and one that keeps what came first 50 % (measured). Nothing is ever replaced or removed, so that
what was read stays where it is, and images are views of the files.

Each process appends pixels to files of its own, in one write and without a lock; then an index in LMDB, where writers
take turns for microseconds, is told where they lie. What a killed writer leaves is bytes that no index knows.
"""

import functools
import logging
import mmap
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb
import numpy as np
from numpy.typing import NDArray

from augment.address import digest_fields
from augment.images import decode

_log = logging.getLogger(__name__)

_ENTRY: Final = struct.Struct("<IQ3I")
"""Number of the file, offset, height, width and number of channels, 0 where there is none of its own."""
_COUNT: Final = struct.Struct("<Q")
_NUM_FILES: Final = b"files"
_NUM_BYTES: Final = b"bytes"
_IMAGE: Final = b"image/"

_FILE_BYTES: Final = 2**30
"""Room of one file of pixels, most of it a hole at first; a larger image has a file of its own."""
_STEP_BYTES: Final = 2**24
_STEPS_MIN: Final = 64
"""Disk is reserved in such steps, and no fewer: ext4 then asks for blocks once, not at each page (250 us an image
became 140). What is left of a step when its process ends is lost to the cache."""
_ALIGNMENT_BYTES: Final = 64

_INDEX_SHARE: Final = 16
_INDEX_MIN_BYTES: Final = 2**17
"""The index may have a 16th of all bytes, enough for images of 32 x 32, and no less than LMDB needs to begin."""

_LEFT_ON_DISK_BYTES: Final = 2**30
"""A disk with less room than this is left to what nobody can make again."""

_READERS_MAX: Final = 4096
"""Processes that may have it open at once."""


@dataclass(frozen=True, slots=True)
class CachePlace:
    """Where a cache lies, and how many bytes of the disk it may take."""

    folder: Path
    max_bytes: int

    def open(self) -> "DecodedCache":
        """The cache of this process for this place; the same one each time."""
        return _opened(self)


class DecodedCache:
    """Images by name. Not safe between threads; a forked child, which LMDB forbids to go on with it, does without.

    What cannot be kept (no room, no rights) is not kept: a cache that fails costs time and no image, and tells the
    log once.
    """

    def __init__(self, place: CachePlace) -> None:
        self._folder = place.folder
        self._process = os.getpid()
        self._is_full = self._is_broken = False
        self._maps: dict[int, mmap.mmap] = {}
        self._file: _OwnFile | None = None
        index_bytes = max(place.max_bytes // _INDEX_SHARE, _INDEX_MIN_BYTES)
        self._max_bytes = place.max_bytes - index_bytes
        self._index: lmdb.Environment | None = None
        try:
            place.folder.mkdir(parents=True, exist_ok=True)
            self._index = lmdb.open(
                str(place.folder),
                map_size=index_bytes,
                max_readers=_READERS_MAX,
                sync=False,  # it is made anew after a crash of the machine
                metasync=False,
                meminit=False,
            )
            self._index.reader_check()  # the slots of readers that were killed
        except (OSError, lmdb.Error) as error:
            self._give_up(error)

    def array(self, name: bytes, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The array of this name, uint8 (H, W) or (H, W, C), maybe read-only; ``make`` makes what is not there.

        What ``make`` raises passes, and nothing is kept.
        """
        if self._index is None or self._is_broken or os.getpid() != self._process:
            return make()
        try:
            found = self._get(self._index, name)
        except (OSError, ValueError, lmdb.Error) as error:
            self._give_up(error)
            found = None
        if found is not None:
            return found
        made = make()
        if made.dtype == np.uint8 and not (self._is_full or self._is_broken):
            try:
                self._put(self._index, name, np.ascontiguousarray(made))
            except lmdb.MapFullError:
                self._is_full = True
            except (OSError, lmdb.Error) as error:
                self._give_up(error)
        return made

    def _get(self, index: lmdb.Environment, name: bytes) -> NDArray[np.uint8] | None:
        with index.begin(buffers=True) as reading:
            value = reading.get(_IMAGE + name)
            if value is None:
                return None
            number, offset, height, width, num_channels = _ENTRY.unpack(value)
        if number not in self._maps:
            self._maps[number] = _mapped(self._path(number))
        shape = (height, width, num_channels) if num_channels else (height, width)
        return np.ndarray(shape, np.uint8, self._maps[number], offset)

    def _put(self, index: lmdb.Environment, name: bytes, array: NDArray[np.uint8]) -> None:
        file = self._file
        if file is None or not file.has_room(array.nbytes):
            file = self._file = self._new_file(index, array.nbytes)
        if (missing := file.missing(array.nbytes)) and not self._reserve(index, file, missing):
            self._is_full = True
            return
        file.write(array)
        entry = _ENTRY.pack(file.number, file.end, *[*array.shape, 0][:3])
        with index.begin(write=True) as writing:  # pixels first: what the index knows is there
            if writing.put(_IMAGE + name, entry, overwrite=False):
                file.advance(array.nbytes)

    def _reserve(self, index: lmdb.Environment, file: "_OwnFile", missing: int) -> bool:
        """Give the file a step more of the disk; False where there is none left to give."""
        if shutil.disk_usage(self._folder).free < _LEFT_ON_DISK_BYTES:
            return False
        with index.begin(write=True) as writing:  # counted before it is taken, and for good, whoever is killed
            num_bytes = _count(writing, _NUM_BYTES)
            left = self._max_bytes - num_bytes
            wanted = max(missing, min(_STEP_BYTES, self._max_bytes // _STEPS_MIN))
            step = min(wanted, left, file.max_bytes - file.reserved)
            if step < missing:
                return False
            writing.put(_NUM_BYTES, _COUNT.pack(num_bytes + step))
        file.reserve(step)
        return True

    def _new_file(self, index: lmdb.Environment, num_bytes: int) -> "_OwnFile":
        with index.begin(write=True) as writing:
            number = _count(writing, _NUM_FILES)
            writing.put(_NUM_FILES, _COUNT.pack(number + 1))
        return _OwnFile(self._path(number), number, max(num_bytes, min(_FILE_BYTES, self._max_bytes)))

    def _path(self, number: int) -> Path:
        return self._folder / f"pixels-{number:06d}"

    def _give_up(self, error: Exception) -> None:
        self._is_broken = True  # its maps stay: with them would go what views show
        _log.warning("decoded images are not kept any more: %s", error)


class _OwnFile:
    """A file that this process alone appends to. It has its full size from the start, so that it is mapped once."""

    def __init__(self, path: Path, number: int, max_bytes: int) -> None:
        self.number = number
        self.max_bytes = max_bytes
        self.end = 0
        self.reserved = 0
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, max_bytes)

    def has_room(self, num_bytes: int) -> bool:
        """Whether so many bytes more fit into the file."""
        return self.end + num_bytes <= self.max_bytes

    def missing(self, num_bytes: int) -> int:
        """How many bytes must be reserved before so many are written."""
        return max(0, self.end + num_bytes - self.reserved)

    def reserve(self, num_bytes: int) -> None:
        """Take so many bytes more of the disk."""
        os.posix_fallocate(self._descriptor, self.reserved, num_bytes)
        self.reserved += num_bytes

    def write(self, array: NDArray[np.uint8]) -> None:
        """Behind the last that counts; what is there now is nobody's."""
        left, at = memoryview(array.data).cast("B"), self.end
        while left:
            num_written = os.pwrite(self._descriptor, left, at)
            left, at = left[num_written:], at + num_written

    def advance(self, num_bytes: int) -> None:
        """What was written counts."""
        self.end += -(-num_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self._close(self._descriptor)

    _close = staticmethod(os.close)  # at the interpreter's end modules are emptied before the last objects go


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def _count(transaction: lmdb.Transaction, name: bytes) -> int:
    value = transaction.get(name)
    return 0 if value is None else int(_COUNT.unpack(value)[0])


def name_of(digest: str, eighths: int) -> bytes:
    """The name of an image: its record, decoded to so many eighths by the decoders that are installed."""
    return _prefix() + bytes.fromhex(digest) + bytes([eighths])


@functools.cache
def _prefix() -> bytes:
    versions = [part for pair in sorted(decode.versions().items()) for part in pair]
    return digest_fields(versions, person=b"augment.decoders")[:8]


@functools.cache
def _opened(place: CachePlace) -> DecodedCache:
    return DecodedCache(place)
