"""The service's home: everything that outlasts a request, held by one service, with a limit on its size.

lock                      held by the one service that runs here
replica.json              the id of this home, by which clients tell replicas apart
datasets/NAME/            dataset.json, manifest.arrow, and for an upload files/
pipelines/NAME.yaml       saved pipelines
streams/ID.json           declared streams
verdicts/SUBJECT.json     records that killed or outlived a worker under a pipeline: refused for ever
jobs.sqlite               the list of jobs
seen-files.sqlite3        what this machine saw of files; may be removed, then they are hashed once more
outputs/NAME/             what jobs write
decoded/                  decoded images that are kept between epochs; emptied at start
tmp/                      uploads under way; emptied at start

A writer reserves what AUGMENT_MAX_HOME_BYTES leaves before it writes, so that two never take the same bytes. A
reservation counts with the part that is not on the disk yet; the rest is measured with all other files.
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
from service.errors import MalformedError, NoRoomError, ServiceError

_log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Home:
    """A folder that one service at a time holds."""

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
        """The path of something named; MalformedError where the name could be anything but a name."""
        return self.path / kind / checked_name(name)

    def used_bytes(self) -> int:
        """Bytes of uploads and outputs, as AUGMENT_MAX_HOME_BYTES bounds them."""
        return sum(folder_bytes(self.path / kind) for kind in ("datasets", "outputs", "tmp"))

    def close(self) -> None:
        """Give the home back."""
        os.close(self._lock)


_REPLICA_ID = re.compile(r"[0-9a-f]{32}")


def _read_or_write_replica_id(path: Path) -> str:
    match read_note(path):
        case {"version": 1, "replica": str(found)} if _REPLICA_ID.fullmatch(found):
            return found
    made = secrets.token_hex(16)
    if path.exists():
        _log.warning("%s is damaged or of another version; the replica's new id is %s", path, made)
    try:
        write_json(path, {"version": 1, "replica": made})
    except StorageError as error:
        # The id only spreads requests: what is on a full disk can still be served.
        _log.warning("%s; until then the replica has another id after each start", error)
    return made


def file_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 where there is none."""
    try:
        return folder_bytes(path) if path.is_dir() else path.lstat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def folder_bytes(root: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for above, _, files in os.walk(root):
        for file in files:
            try:
                total += Path(above, file).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def checked_name(name: str) -> str:
    """The name itself where it is one: letters, digits, '.', '_' and '-', at most 100, not beginning with a sign."""
    if not NAME.fullmatch(name):
        raise MalformedError(
            f"the name {name[:120]!r} is refused; a name has 1 to 100 letters, digits, '.', '_' and '-', and begins "
            "with a letter or digit"
        )
    return name


@contextmanager
def storing(failure: str) -> Iterator[None]:
    """Say what the disk refuses as StorageError, which begins with the words of ``failure``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{failure}: {reason}; free space or make the home writable, and try again"
        raise StorageError(message) from error


def write_whole(path: Path, data: bytes) -> None:
    """Bring a file into place whole or not at all, and wait for the disk: what was acknowledged survives."""
    with storing(f"{path.name} cannot be written"), replacing(path, durable=True) as draft:
        draft.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """``write_whole`` of a JSON document."""
    write_whole(path, json.dumps(value, indent=1, sort_keys=True).encode())


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_raise_unless_gone)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """``remove`` what nobody needs any more; where that fails it is logged, and left to the next start."""
    try:
        remove(path)
    except OSError as error:
        _log.warning("%s cannot be removed: %s", path, error)


def _raise_unless_gone(_function: object, _path: str, failure: tuple[object, BaseException, object]) -> None:
    if not isinstance(failure[1], FileNotFoundError):  # somebody else removes the same folder
        raise failure[1]


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

    def __exit__(self, *_: object) -> None:
        self._quota.release(self)
