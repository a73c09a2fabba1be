"""What AUGMENT_MAX_HOME_BYTES leaves, kept for a writer before it writes: two of them never take the same bytes.

A reservation counts with what of it is not on the disk yet; the rest is measured with all other files.
"""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from service.errors import NoRoomError
from service.home import Home, file_bytes


class Quota:
    """The bytes of one home. Safe between threads; every method walks through the home's files."""

    def __init__(self, home: Home, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._home = home
        self._lock = threading.Lock()
        self._kept: set[Reservation] = set()

    def used_bytes(self) -> int:
        """Bytes of uploads and outputs, those that are kept for writers among them."""
        with self._lock:
            return self._used_bytes()

    def check(self, num_bytes: int = 1) -> None:
        """Raise NoRoomError where so many bytes more have no room now; nothing is kept."""
        self._room(self.used_bytes(), num_bytes)

    def reserve(self, path: Path, at_most: int) -> "Reservation":
        """Keep so many bytes, or what is left, for a file or folder; NoRoomError where nothing is."""
        kept = Reservation(self, path)
        self.grow(kept, 1, at_most)
        return kept

    def grow(self, kept: "Reservation", at_least: int, at_most: int) -> None:
        """Keep more for it: as much as there is between the two; NoRoomError where that is too little."""
        with self._lock:
            self._kept.discard(kept)
            others = self._used_bytes() - file_bytes(kept.path)
            try:
                kept.num_bytes = min(at_most, self._room(others, at_least))
            finally:
                self._kept.add(kept)

    def release(self, kept: "Reservation") -> None:
        """What of it was written counts as any other file from now on."""
        with self._lock:
            self._kept.discard(kept)

    def _used_bytes(self) -> int:
        # First what is not written: what is written meanwhile then counts twice, and not nowhere.
        unwritten = sum(max(0, kept.num_bytes - file_bytes(kept.path)) for kept in self._kept)
        return unwritten + self._home.used_bytes()

    def _room(self, used: int, wanted: int) -> int:
        room = self.max_bytes - used
        if room < wanted:
            raise NoRoomError(
                f"the home holds {used} bytes of {self.max_bytes} (AUGMENT_MAX_HOME_BYTES), those of uploads under way "
                f"among them, and {wanted} more are asked for; delete datasets or outputs, or raise the limit"
            )
        return room


class Reservation:
    """Bytes that one writer may write below ``path``; released at the end of its block."""

    def __init__(self, quota: Quota, path: Path) -> None:
        self.path = path
        self.num_bytes = 0
        self._quota = quota

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quota.release(self)

    def grow(self, at_least: int, at_most: int) -> None:
        """As ``Quota.grow``."""
        self._quota.grow(self, at_least, at_most)
