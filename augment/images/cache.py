"""Cache of decoded images, kept between epochs in memory-mapped files that all processes of a machine share.

The cache fills and then stops. Each epoch has its own order, and under such an order an LRU cache hits 15 % at half
capacity, while one that keeps the first images hits 50 % (measured). Nothing is replaced or removed, so images are
views of the files and stay valid.

Each process appends pixels to its own files, in one write and without a lock. Then it writes their place into an index
in LMDB, whose writers take turns for microseconds. The leftovers of a killed writer are bytes that no index names.
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
"""Number of the file, offset, height, width and number of channels (0 for an array of two axes)."""
_COUNT: Final = struct.Struct("<Q")
_NUM_FILES: Final = b"files"
_NUM_BYTES: Final = b"bytes"
_IMAGE: Final = b"image/"

_FILE_BYTES: Final = 2**30
"""Size of one file of pixels, sparse at first. A larger image has a file to itself."""
_STEP_BYTES: Final = 2**24
_STEPS_MIN: Final = 64
"""Disk is reserved in steps of this size, and at least this many at a time: ext4 then allocates blocks once and not
for each page (140 us an image instead of 250). The rest of a step is lost to the cache when its process ends."""
_ALIGNMENT_BYTES: Final = 64

_INDEX_SHARE: Final = 16
_INDEX_MIN_BYTES: Final = 2**17
"""The index may have a 16th of all bytes, enough for images of 32 x 32, and at least what LMDB needs to start."""

_LEFT_ON_DISK_BYTES: Final = 2**30
"""Free space that the cache leaves on the disk, because other data cannot be made again."""

_READERS_MAX: Final = 4096
"""Largest number of processes that may have the index open at once."""


@dataclass(frozen=True, slots=True)
class CachePlace:
    """Folder of a cache and its limit of bytes on the disk."""

    folder: Path
    max_bytes: int

    def open(self) -> "DecodedCache":
        """Return this process's cache for this place, the same one each time."""
        return _opened(self)


class DecodedCache:
    """Decoded images by name.

    Not safe between threads. LMDB forbids a forked child to use the index, so a child decodes without the cache. A
    failure (disk full, no permission) costs time but no image, and is logged once.
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
                sync=False,  # after a crash of the machine the cache is rebuilt
                metasync=False,
                meminit=False,
            )
            self._index.reader_check()  # frees the slots of killed readers
        except (OSError, lmdb.Error) as error:
            self._give_up(error)

    def array(self, name: bytes, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return the array of this name, uint8 (H, W) or (H, W, C), possibly read-only; ``make`` makes a missing one.

        An error raised by ``make`` passes through, and nothing is kept.
        """
        if self._index is None or self._is_broken or os.getpid() != self._process:
            return make()
        try:
            cached = self._get(self._index, name)
        except (OSError, ValueError, lmdb.Error) as error:
            self._give_up(error)
            cached = None
        if cached is not None:
            return cached
        decoded = make()
        if decoded.dtype == np.uint8 and not (self._is_full or self._is_broken):
            try:
                self._put(self._index, name, np.ascontiguousarray(decoded))
            except lmdb.MapFullError:
                self._is_full = True
            except (OSError, lmdb.Error) as error:
                self._give_up(error)
        return decoded

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
        with index.begin(write=True) as writing:  # pixels first: the index names only bytes that exist
            if writing.put(_IMAGE + name, entry, overwrite=False):
                file.advance(array.nbytes)

    def _reserve(self, index: lmdb.Environment, file: "_OwnFile", missing: int) -> bool:
        """Reserve one more step of disk for the file, or return False if the limit or the disk is reached."""
        if shutil.disk_usage(self._folder).free < _LEFT_ON_DISK_BYTES:
            return False
        with index.begin(write=True) as writing:  # counted before it is reserved, and for good, in case of a kill
            num_bytes = _count(writing, _NUM_BYTES)
            left = self._max_bytes - num_bytes
            step_bytes = max(missing, min(_STEP_BYTES, self._max_bytes // _STEPS_MIN))
            step = min(step_bytes, left, file.max_bytes - file.reserved)
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
        self._is_broken = True  # its maps stay open, because views of them are in use
        _log.warning("decoded images are no longer kept: %s", error)


class _OwnFile:
    """File to which only this process appends. It has its full size from the start, so it is mapped once."""

    def __init__(self, path: Path, number: int, max_bytes: int) -> None:
        self.number = number
        self.max_bytes = max_bytes
        self.end = 0
        self.reserved = 0
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, max_bytes)

    def has_room(self, num_bytes: int) -> bool:
        """Return True if this many more bytes fit into the file."""
        return self.end + num_bytes <= self.max_bytes

    def missing(self, num_bytes: int) -> int:
        """Return the number of bytes to reserve before this many are written."""
        return max(0, self.end + num_bytes - self.reserved)

    def reserve(self, num_bytes: int) -> None:
        """Reserve this many more bytes of the disk."""
        os.posix_fallocate(self._descriptor, self.reserved, num_bytes)
        self.reserved += num_bytes

    def write(self, array: NDArray[np.uint8]) -> None:
        """Write after the last committed byte, over the leftovers of a failed write."""
        left, at = memoryview(array.data).cast("B"), self.end
        while left:
            num_written = os.pwrite(self._descriptor, left, at)
            left, at = left[num_written:], at + num_written

    def advance(self, num_bytes: int) -> None:
        """Commit the bytes that were written."""
        self.end += -(-num_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self._close(self._descriptor)

    _close = staticmethod(os.close)  # at exit the interpreter empties modules before it deletes the last objects


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def _count(transaction: lmdb.Transaction, name: bytes) -> int:
    value = transaction.get(name)
    return 0 if value is None else int(_COUNT.unpack(value)[0])


def name_of(digest: str, eighths: int) -> bytes:
    """Return the name of a record decoded to this many eighths by the installed decoders."""
    return _prefix() + bytes.fromhex(digest) + bytes([eighths])


@functools.cache
def _prefix() -> bytes:
    versions = [part for pair in sorted(decode.versions().items()) for part in pair]
    return digest_fields(versions, person=b"augment.decoders")[:8]


@functools.cache
def _opened(place: CachePlace) -> DecodedCache:
    return DecodedCache(place)
