"""Locks of an output folder: one run at a time, and the workers of that run only.

Both locks are the system's (``flock``), so that any death of a process frees them: the run locks the folder, and each
worker locks the run's file while it works on a shard.
"""

import contextlib
import fcntl
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Self

from augment.errors import OutputError
from augment.expansion import folder

_RUN = f"{folder.HIDDEN}run-"
_ENDED = f"{folder.HIDDEN}ended-"

LOCK_WAIT_S = 2.0
"""Time that a run waits for the folder's lock: children of a killed run may need it to notice its end."""
STRAGGLERS_WAIT_S = 60.0
"""Time that a run waits for workers of a killed run; they stop at their next record."""
_POLL_S = 0.02

_COUNTS = struct.Struct("<QQQQ")


@dataclass(frozen=True, slots=True)
class Counts:
    """Progress of a shard: outputs settled, bytes written, records refused and the index of one of these."""

    num_outputs: int = 0
    size_bytes: int = 0
    num_refused: int = 0
    refused: int = 0


@contextlib.contextmanager
def locked(root: Path, *, shared: bool = False) -> Iterator[None]:
    """Lock the folder against other runs, or ``shared`` with other readers. Creates it if missing.

    The lock is the system's (``flock`` on the folder itself): it ends with the process that holds it.
    """
    try:
        if not shared:
            root.mkdir(parents=True, exist_ok=True)
        held = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{error.filename} is not a folder; choose another output folder") from None
    except FileNotFoundError:
        raise OutputError(f"the folder {root} does not exist; give the folder of an expansion") from None
    except OSError as error:
        raise folder.storage_error("open the output folder", root, error) from error
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if not _flock(held, kind, LOCK_WAIT_S, root):
            raise OutputError(f"another run works in {root}; wait until it has ended, or stop it")
        try:
            yield
        finally:  # explicit: a child process that inherited the folder would keep the lock after a close
            fcntl.flock(held, fcntl.LOCK_UN)
    finally:
        os.close(held)


class Run:
    """One run in the folder: a hidden file that lives as long as the run, with a slot for each shard's progress.

    A worker holds a shared lock on the file while it works on a shard, and stops when the file's name has changed. To
    end a run, rename its file and wait for the exclusive lock; the next run ends the workers of a killed one in the
    same way. The file itself is removed last, so that no remaining worker is missed.
    """

    def __init__(self, root: Path, num_shards: int) -> None:
        self.is_over = False
        """True if the run has ended and no worker works in it any more."""
        with folder.storage_errors("write into", root):
            self._fd, path = tempfile.mkstemp(prefix=_RUN, dir=root)
        self.path = Path(path)
        try:  # written, not truncated to this length: on a full disk a hole could not be filled later
            os.write(self._fd, bytes(_COUNTS.size * num_shards))
        except OSError as error:
            self.end()
            raise folder.storage_error("write", self.path, error) from error

    def counts(self, index: int) -> Counts:
        """Return the progress of the worker on this shard."""
        data = os.pread(self._fd, _COUNTS.size, index * _COUNTS.size)
        return Counts(*_COUNTS.unpack(data)) if len(data) == _COUNTS.size else Counts()

    def end(self) -> None:
        """Stop all workers of this run, and wait for them; a straggler is left to the next run."""
        if self._fd < 0:
            return
        try:
            self.is_over = _end(self._fd, self.path)
        finally:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def end_runs(root: Path) -> None:
    """End runs that were killed: their surviving workers stop at their next record."""
    for name in (*folder.names(root, _ENDED), *folder.names(root, _RUN)):
        path = root / name
        with folder.storage_errors("open", path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not _end(fd, path):
                raise OutputError(
                    f"a worker of an earlier run still writes into {root} after {STRAGGLERS_WAIT_S:.0f} s; end that "
                    "process and run the same command again"
                )
        finally:
            os.close(fd)


class Seat:
    """A worker's part in a run, for one shard. ``fd`` is of the run's file, opened before the shard's first write."""

    def __init__(self, fd: int, index: int, path: Path) -> None:
        self.fd = fd
        self._offset = index * _COUNTS.size
        self._path = path

    def check(self) -> None:
        """Raise OutputError once the run has ended."""
        if not self._path.exists():
            raise _ended(self._path)

    def report(self, counts: Counts) -> None:
        """Record the progress of the shard."""
        with contextlib.suppress(OSError):  # a count for a progress bar must never fail a shard
            os.pwrite(self.fd, _COUNTS.pack(*astuple(counts)), self._offset)


@contextlib.contextmanager
def seat(root: Path, run: str, index: int) -> Iterator[Seat]:
    """Join a run to work on one of its shards. Raises OutputError if the run has ended."""
    path = root / run
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _ended(path) from None
    except OSError as error:
        raise folder.storage_error("open", path, error) from error
    try:
        taken = Seat(fd, index, path)
        if not _flock(fd, fcntl.LOCK_SH, 0, path):
            raise _ended(path)
        taken.check()
        yield taken
    finally:
        os.close(fd)


def _end(fd: int, path: Path) -> bool:
    """End the run of this file. Return False if a worker still works in it after the wait."""
    ended = path.with_name(path.name.replace(_RUN, _ENDED))
    with folder.storage_errors("remove", path):
        path.rename(ended)
        if not _flock(fd, fcntl.LOCK_EX, STRAGGLERS_WAIT_S, path):
            return False
        ended.unlink()
    return True


def _ended(path: Path) -> OutputError:
    return OutputError(f"the run in {path.parent} that requested this shard has ended; run the same command again")


def _flock(fd: int, kind: int, wait_s: float, path: Path) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        except OSError as error:
            raise folder.storage_error("lock", path, error) from error
        else:
            return True
