"""Notices that a file or folder takes longer than it may: a disk that does not answer would hold a scan for ever."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from augment.errors import DatasetError


class Watch:
    """Each thread of a scan says what it is at; another thread, which cannot hang, checks how long already."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at: dict[int, tuple[str, float]] = {}

    def at(self, path: str) -> None:
        """This thread begins with a file or folder; ``path`` is relative to the dataset's root."""
        self._at[threading.get_ident()] = (path, time.monotonic())

    def done(self) -> None:
        """This thread is at nothing that could take too long."""
        self._at.pop(threading.get_ident(), None)

    def check(self) -> None:
        """Raise DatasetError, with the path, where something takes too long."""
        now = time.monotonic()
        for path, since in list(self._at.values()):
            if now - since > self.timeout_s:
                raise DatasetError(
                    f"reading {path or 'the root'} has not ended within {self.timeout_s:g} s "
                    "(AUGMENT_RECORD_TIMEOUT_S), so the scan was given up; remove it or see to its disk, then register "
                    "the dataset again"
                )


_listing: ContextVar[Watch | None] = ContextVar("_listing", default=None)


@contextmanager
def watching(watch: Watch | None) -> Iterator[None]:
    """While a format lists files: whatever it reads on the way, ``at`` tells this watch of it."""
    token = _listing.set(watch)
    try:
        yield
    finally:
        _listing.reset(token)
        if watch is not None:
            watch.done()


def at(path: str) -> None:
    """A format begins with a folder, or with a file of annotations; ``path`` is relative to the dataset's root."""
    watch = _listing.get()
    if watch is not None:
        watch.at(path)
