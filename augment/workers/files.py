"""Files between processes: a file in memory without a name, which a kill cannot leave behind, and a task's progress."""

import json
import os
import time
from pathlib import Path
from typing import Any, Self

from augment.errors import CallError, StorageError


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

    def close(self) -> None:
        """Give up this process's hold on the file."""
        if self._fd >= 0:
            self._close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


INTERVAL_S = 0.25
"""Between two writes: often enough for eyes, seldom enough to cost nothing."""


class ProgressFile:
    """Written by one task, whole each time. Where its folder is gone, nobody waits for the task: CallError ends it."""

    def __init__(self, path: Path, stage: str) -> None:
        self._path = path
        self._draft = path.with_name(f"{path.name}.tmp")
        self._stage = stage
        self._written_s = 0.0

    def show(self, done: int, total: int | None = None) -> None:
        """Say that ``done`` of ``total`` are done; may be called as often as the caller likes."""
        now = time.monotonic()
        if now - self._written_s < INTERVAL_S:
            return
        self._written_s = now
        try:
            self._draft.write_text(json.dumps({"stage": self._stage, "done": done, "total": total}), encoding="ascii")
            self._draft.replace(self._path)
        except FileNotFoundError as error:
            raise CallError(f"{self._stage} was given up: {self._path.parent} is gone") from error
        except OSError as error:
            raise StorageError(f"progress cannot be written: {error.strerror}; free space and try again") from error


def read(path: Path) -> dict[str, Any] | None:
    """What was said last: stage, done, total; None where nothing was yet."""
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return said
