"""Files between processes: memory files, which a kill cannot leave behind, and a task's progress file."""

import json
import os
import time
from pathlib import Path
from typing import Any, Self

from augment.errors import CallError, StorageError


class MemoryFile:
    """An anonymous file (memfd) that other processes of the same user open by ``path`` while this object is open.

    It is freed with the last process that has it open or mapped, however that process ends. Linux only.
    """

    _close = staticmethod(os.close)  # at the interpreter's end modules are emptied before the last objects are deleted

    def __init__(self, name: str) -> None:
        self._fd = os.memfd_create(f"augment-{name}")
        self.path = Path(f"/proc/{os.getpid()}/fd/{self._fd}")

    def write(self, data: bytes | memoryview) -> None:
        """Append all of the data."""
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        """Close this process's descriptor of the file."""
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
"""Time between two writes: frequent enough to watch, rare enough to cost nothing."""


class ProgressFile:
    """Progress of one task, written whole each time. If its folder is gone the task is abandoned: CallError ends it."""

    def __init__(self, path: Path, stage: str) -> None:
        self._path = path
        self._draft = path.with_name(f"{path.name}.tmp")
        self._stage = stage
        self._written_s = 0.0

    def show(self, done: int, total: int | None = None) -> None:
        """Write that ``done`` of ``total`` are done; may be called as often as the caller likes."""
        now = time.monotonic()
        if now - self._written_s < INTERVAL_S:
            return
        self._written_s = now
        try:
            self._draft.write_text(json.dumps({"stage": self._stage, "done": done, "total": total}), encoding="ascii")
            self._draft.replace(self._path)
        except FileNotFoundError as error:
            raise CallError(f"{self._stage} was abandoned: {self._path.parent} is gone") from error
        except OSError as error:
            raise StorageError(f"progress cannot be written: {error.strerror}; free space and try again") from error


def read(path: Path) -> dict[str, Any] | None:
    """Return what was written last: stage, done, total; or None if nothing was written yet."""
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return said
