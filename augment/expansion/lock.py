"""Locks of an output folder: one run at a time, and the workers of that run only.

Two locks, both the system's (``flock``), so that a death of any kind gives them back: the run holds the folder, each
worker holds the run's own file while it works on a shard.
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
"""How long a run waits for the folder's lock: what children of a killed run may need to notice its end."""
STRAGGLERS_WAIT_S = 60.0
"""How long a run waits for workers that outlived theirs; they stop at their next record."""
_POLL_S = 0.02

_COUNTS = struct.Struct("<QQQQ")


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a shard is: outputs settled, bytes written, records refused and the place of one of these."""

    num_outputs: int = 0
    size_bytes: int = 0
    num_refused: int = 0
    refused: int = 0


@contextlib.contextmanager
def locked(root: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the folder against other runs, or ``shared`` with other readers; it is made where it does not exist.

    The lock is the system's (``flock`` on the folder itself): it ends with the process that holds it.
    """
    try:
        if not shared:
            root.mkdir(parents=True, exist_ok=True)
        held = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{error.filename} is not a folder; choose another output folder") from None
    except FileNotFoundError:
        raise OutputError(f"there is no folder {root}; give the folder of an expansion") from None
    except OSError as error:
        raise folder.storage_error("open the output folder", root, error) from error
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if not _flock(held, kind, LOCK_WAIT_S, root):
            raise OutputError(f"another run works in {root}; wait until it has ended, or stop it")
        try:
            yield
        finally:  # said, not left to the close: a child process may have inherited the folder
            fcntl.flock(held, fcntl.LOCK_UN)
    finally:
        os.close(held)


class Run:
    """One run in the folder: a hidden file that lives as long as the run, with a place for each shard's progress.

    Whoever works on a shard holds the file's shared lock while it works and stops when the file's name has changed. So
    ending a run is renaming its file and waiting for the exclusive lock; and a worker that outlived a killed run is
    ended by the next run in the same way. The file itself goes last, so that none is forgotten who still works.
    """

    def __init__(self, root: Path, num_shards: int) -> None:
        self.is_over = False
        """Whether it has ended and nobody works in it any more."""
        with folder.storage_errors("write into", root):
            self._fd, path = tempfile.mkstemp(prefix=_RUN, dir=root)
        self.path = Path(path)
        try:  # written, not truncated to this length: on a full disk a hole could not be filled later
            os.write(self._fd, bytes(_COUNTS.size * num_shards))
        except OSError as error:
            self.end()
            raise folder.storage_error("write", self.path, error) from error

    def counts(self, index: int) -> Counts:
        """How far whoever works on this shard is."""
        data = os.pread(self._fd, _COUNTS.size, index * _COUNTS.size)
        return Counts(*_COUNTS.unpack(data)) if len(data) == _COUNTS.size else Counts()

    def end(self) -> None:
        """Tell all who work in this run to stop, and wait for them; a straggler is left to the next run."""
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
    """End runs that were killed: their workers, where some still live, stop at their next record."""
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
    """A worker's place in a run, for one shard. ``fd`` is of the run's file, opened before the shard's first write."""

    def __init__(self, fd: int, index: int, path: Path) -> None:
        self.fd = fd
        self._offset = index * _COUNTS.size
        self._path = path

    def check(self) -> None:
        """Raise OutputError once the run has ended."""
        if not self._path.exists():
            raise _ended(self._path)

    def report(self, counts: Counts) -> None:
        """Say how far the shard is."""
        with contextlib.suppress(OSError):  # a count for a progress bar must never cost a shard
            os.pwrite(self.fd, _COUNTS.pack(*astuple(counts)), self._offset)


@contextlib.contextmanager
def seat(root: Path, run: str, index: int) -> Iterator[Seat]:
    """Take part in a run by working on one of its shards; OutputError where it has ended."""
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
    """End the run of this file; False where somebody still works in it after the wait."""
    ended = path.with_name(path.name.replace(_RUN, _ENDED))
    with folder.storage_errors("remove", path):
        path.rename(ended)
        if not _flock(fd, fcntl.LOCK_EX, STRAGGLERS_WAIT_S, path):
            return False
        ended.unlink()
    return True


def _ended(path: Path) -> OutputError:
    return OutputError(f"the run in {path.parent} that asked for this shard has ended; run the same command again")


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
