"""The service's home: the folder of all durable state, locked by one service, with a limit on its size.

lock                      held by the one service that runs here
replica.json              the id of this home, by which clients distinguish replicas
datasets/NAME/            dataset.json, manifest.arrow, and for an upload files/
pipelines/NAME.yaml       saved pipelines
streams/ID.json           declared streams
verdicts/SUBJECT.json     records that killed a worker or timed out under a pipeline: refused for ever
jobs.sqlite               the list of jobs
seen-files.sqlite3        status and digest of files that this machine has read; if removed, they are hashed again
outputs/NAME/             output folders of jobs
decoded/                  decoded images that are kept between epochs; emptied at start
tmp/                      uploads under way; emptied at start

A writer reserves bytes of AUGMENT_MAX_HOME_BYTES before it writes, so that two writers never use the same bytes. Only
the unwritten part of a reservation is counted; the written part is measured with all other files.
"""

import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from augment.errors import StorageError
from augment.user_state import read_note, replacing
from augment.validation import quoted
from service.errors import MalformedError, NoRoomError, ServiceError

_log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Home:
    """Home folder, locked by one service at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            for part in ("datasets", "pipelines", "streams", "outputs", "tmp"):
                (self.path / part).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"the home {self.path} cannot be used: {error.strerror}; make it writable or set AUGMENT_HOME"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise ServiceError(
                f"another service uses the home {self.path}; stop it, or set AUGMENT_HOME to another folder"
            ) from error
        for left in (self.path / "decoded", *(self.path / "tmp").iterdir()):
            remove(left)
        self.replica_id = _read_or_write_replica_id(self.path / "replica.json")
        """Random id of this home, 32 hexadecimal digits. A copy of the home has the same."""

    def folder(self, kind: str, name: str) -> Path:
        """Return the path of a named item of a kind. Raises MalformedError if the name is invalid."""
        return self.path / kind / checked_name(name)

    def used_bytes(self) -> int:
        """Return the bytes that AUGMENT_MAX_HOME_BYTES limits: uploads and outputs."""
        return sum(folder_bytes(self.path / kind) for kind in ("datasets", "outputs", "tmp"))

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)


_REPLICA_ID = re.compile(r"[0-9a-f]{32}")


def _read_or_write_replica_id(path: Path) -> str:
    match read_note(path):
        case {"version": 1, "replica": str(stored)} if _REPLICA_ID.fullmatch(stored):
            return stored
    new = secrets.token_hex(16)
    if path.exists():
        _log.warning("%s is damaged or of another version; the replica's new id is %s", path, new)
    try:
        write_json(path, {"version": 1, "replica": new})
    except StorageError as error:
        # The id only distributes requests: a service on a full disk can still answer.
        _log.warning("%s; until then the replica has another id after each start", error)
    return new


def file_bytes(path: Path) -> int:
    """Return the bytes of a file or of all files below a folder; 0 if it does not exist."""
    try:
        return folder_bytes(path) if path.is_dir() else path.lstat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def folder_bytes(root: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for above, _, files in os.walk(root):
        for file in files:
            try:
                total += Path(above, file).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def checked_name(name: str) -> str:
    """Return the name if it is valid, else raise MalformedError."""
    if not NAME.fullmatch(name):
        raise MalformedError(
            f"the name {quoted(name, 100)} is invalid; a name has 1 to 100 letters, digits, '.', '_' and '-', and "
            "begins with a letter or digit"
        )
    return name


@contextmanager
def storing(failure: str) -> Iterator[None]:
    """Raise OSErrors of the block as StorageError, with a message that begins with ``failure``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{failure}: {reason}; free space or make the home writable, and try again"
        raise StorageError(message) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically and wait for the disk, so that it survives a crash."""
    with storing(f"{path.name} cannot be written"), replacing(path, durable=True) as draft:
        draft.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document as ``write_whole`` does."""
    write_whole(path, json.dumps(value, indent=1, sort_keys=True).encode())


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_raise_unless_gone)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Remove something that is no longer needed. A failure is logged, and the next start tries again."""
    try:
        remove(path)
    except OSError as error:
        _log.warning("%s cannot be removed: %s", path, error)


def _raise_unless_gone(_function: object, _path: str, failure: tuple[object, BaseException, object]) -> None:
    if not isinstance(failure[1], FileNotFoundError):  # another thread removes the same folder
        raise failure[1]


class Quota:
    """Limit on the bytes of one home. Thread-safe; every method but ``release`` walks through the home's files."""

    def __init__(self, home: Home, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._home = home
        self._lock = threading.Lock()
        self._kept: set[Reservation] = set()

    def used_bytes(self) -> int:
        """Return the bytes of uploads and outputs, including reserved ones."""
        with self._lock:
            return self._used_bytes()

    def check(self, num_bytes: int = 1) -> None:
        """Raise NoRoomError if so many more bytes have no room now. Nothing is reserved."""
        self._room(self.used_bytes(), num_bytes)

    def reserve(self, path: Path, at_most: int) -> "Reservation":
        """Reserve up to ``at_most`` bytes for a file or folder. Raises NoRoomError if none are left."""
        kept = Reservation(self, path)
        self.grow(kept, 1, at_most)
        return kept

    def grow(self, kept: "Reservation", at_least: int, at_most: int) -> None:
        """Grow a reservation to at most ``at_most`` bytes. Raises NoRoomError if ``at_least`` do not fit."""
        with self._lock:
            self._kept.discard(kept)
            others = self._used_bytes() - file_bytes(kept.path)
            try:
                kept.num_bytes = min(at_most, self._room(others, at_least))
            finally:
                self._kept.add(kept)

    def release(self, kept: "Reservation") -> None:
        """End a reservation; its written part then counts like any other file."""
        with self._lock:
            self._kept.discard(kept)

    def _used_bytes(self) -> int:
        # The unwritten part first: bytes that are written meanwhile are then counted twice instead of never.
        unwritten = sum(max(0, kept.num_bytes - file_bytes(kept.path)) for kept in self._kept)
        return unwritten + self._home.used_bytes()

    def _room(self, used: int, wanted: int) -> int:
        room = self.max_bytes - used
        if room < wanted:
            raise NoRoomError(
                f"the home holds {used} bytes of {self.max_bytes} (AUGMENT_MAX_HOME_BYTES), including uploads under "
                f"way, and {wanted} more are needed; delete datasets or outputs, or raise the limit"
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

    def __exit__(self, *_: object) -> None:
        self._quota.release(self)
