"""Notices that a file or folder takes longer than it may: a disk that does not answer would hold a scan for ever."""

import threading
import time

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
