"""A file in memory without a name: what one process writes for another, and nothing that a kill could leave behind."""

import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class MemoryFile:
    """An anonymous file (memfd) that other processes of the same user open by ``path`` while this object is open.

    It is gone with the last process that has it open or mapped, however that process ends. Linux only.
    """

    _close = staticmethod(os.close)  # at the interpreter's end modules are emptied before the last objects go

    def __init__(self, name: str) -> None:
        self._fd = os.memfd_create(f"augment-{name}")
        self.path = Path(f"/proc/{os.getpid()}/fd/{self._fd}")

    def write(self, data: bytes | memoryview) -> None:
        """Append all of the data."""
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(self._fd, view) :]

    def map(self) -> mmap.mmap:
        """The content, read-only; stays readable after ``close``. The file must not be empty."""
        return mmap.mmap(self._fd, 0, prot=mmap.PROT_READ)

    def close(self) -> None:
        """Give up this process's hold on the file."""
        if self._fd >= 0:
            self._close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
