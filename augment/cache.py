"""Decoded pictures that are kept between epochs: one memory-mapped file, shared by all who render on a machine.

It fills and then stops. Under an order of its own for each epoch a cache that replaces the least recently used hits
15 % at half capacity, and one that keeps what came first 50 % (measured). LMDB holds it: any number of processes read
without a lock, writers take turns, and a writer that is killed leaves nothing behind. Nothing is ever replaced or
removed, so that what was read stays where it is, and pictures are views of the file.
"""

import functools
import logging
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb
import numpy as np
from numpy.typing import NDArray

from augment import decode
from augment.address import digest_fields

_log = logging.getLogger(__name__)

_HEADER: Final = struct.Struct("<3I")
"""Height, width and number of channels, 0 where there is none of its own."""
_MOVED_BELOW_BYTES: Final = 4096
"""LMDB moves small values when it writes beside them; larger ones have pages of their own."""

_LEFT_ON_DISK_BYTES: Final = 2**30
"""A disk with less room than this is left to what nobody can make again."""

_READERS_MAX: Final = 4096
"""Processes that may have it open at once."""


@dataclass(frozen=True, slots=True)
class CachePlace:
    """Where a cache lies, and how many bytes its file may have."""

    folder: Path
    max_bytes: int

    def open(self) -> "DecodedCache":
        """The cache of this process for this place; the same one each time."""
        return _opened(self)


class DecodedCache:
    """Pictures by name. Not safe between threads; a forked child, which LMDB forbids to go on with it, does without.

    What cannot be kept (no room, no rights) is not kept: a cache that fails costs time and no picture, and tells the
    log once.
    """

    def __init__(self, place: CachePlace) -> None:
        self._folder = place.folder
        self._process = os.getpid()
        self._is_full = self._is_broken = False
        self._environment: lmdb.Environment | None = None  # once open it stays: with it would go what views show
        try:
            place.folder.mkdir(parents=True, exist_ok=True)
            self._environment = lmdb.open(
                str(place.folder),
                map_size=place.max_bytes,
                max_readers=_READERS_MAX,
                readahead=False,
                sync=False,  # it is made anew after a crash of the machine
                metasync=False,
                meminit=False,
            )
            self._environment.reader_check()  # the slots of readers that were killed
        except (OSError, lmdb.Error) as error:
            self._give_up(error)

    def array(self, name: bytes, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The array of this name, uint8 (H, W) or (H, W, C), maybe read-only; ``make`` makes what is not there.

        What ``make`` raises passes, and nothing is kept.
        """
        if os.getpid() != self._process:
            return make()
        found = self._get(name)
        if found is not None:
            return found
        made = make()
        self._put(name, made)
        return made

    def _get(self, name: bytes) -> NDArray[np.uint8] | None:
        if self._environment is None or self._is_broken:
            return None
        try:
            with self._environment.begin(buffers=True) as reading:
                value = reading.get(name)
        except lmdb.Error as error:
            self._give_up(error)
            return None
        if value is None:
            return None
        # The memory outlives the transaction, because nothing that was written is ever written over (see above).
        height, width, num_channels = _HEADER.unpack_from(value)
        shape = (height, width, num_channels) if num_channels else (height, width)
        pixels: NDArray[np.uint8] = np.ndarray(shape, np.uint8, value, _HEADER.size)
        return pixels if len(value) >= _MOVED_BELOW_BYTES else pixels.copy()

    def _put(self, name: bytes, array: NDArray[np.uint8]) -> None:
        if self._is_full or self._is_broken or self._environment is None or array.dtype != np.uint8:
            return
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < _LEFT_ON_DISK_BYTES:
            self._is_full = True
            return
        shape = _HEADER.pack(*[*array.shape, 0][:3])
        try:
            with self._environment.begin(write=True) as writing:
                writing.put(name, b"".join((shape, np.ascontiguousarray(array).data)), overwrite=False)
        except lmdb.MapFullError:
            self._is_full = True
        except (OSError, lmdb.Error) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._is_broken = True
        _log.warning("decoded pictures are not kept any more: %s", error)


def name_of(digest: str, eighths: int) -> bytes:
    """The name of a picture: its record, decoded to so many eighths by the decoders that are installed."""
    return _prefix() + bytes.fromhex(digest) + bytes([eighths])


@functools.cache
def _prefix() -> bytes:
    versions = [part for pair in sorted(decode.versions().items()) for part in pair]
    return digest_fields(versions, person=b"augment.decoders")[:8]


@functools.cache
def _opened(place: CachePlace) -> DecodedCache:
    return DecodedCache(place)
