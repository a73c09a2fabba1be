"""How far a task in another process is: a small file that whoever started it may read at any time."""

import json
import time
from pathlib import Path
from typing import Any

from augment.errors import CallError, StorageError

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
