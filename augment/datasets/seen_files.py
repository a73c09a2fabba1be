"""Files that this machine has read: the status that the file system gave, and the digest of the bytes.

A file counts as unchanged if its digest is the scanned one. Hashing every file each time would cost too much, so this
table remembers the digest of a file by its status (size, mtime, ctime, inode, device). Tools set size and mtime as they
like (``cp -p``, ``rsync -t``, ``tar``); none of them sets ctime. A file with another status is hashed again.

The table also holds the results of scans, so that the next scan does not read unchanged files again. Losing it costs
only time. It is an SQLite file below ``user_state.state_path()``; if that cannot be written, it is in memory.
"""

import logging
import os
import socket
import sqlite3
import struct
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from augment import user_state
from augment.images import decode

_log = logging.getLogger(__name__)

_VERSION = 3
"""Version of the table, raised when the columns or the results of a scan change."""

NAME = "seen-files.sqlite3"
"""Name of the table's file in a home."""

_STATUS = struct.Struct("<qqqQQ")
_MAX_KEYS = 500
"""SQLite allows 999 parameters in one statement before version 3.32."""

RACY_NS = 2_000_000_000
"""Age below which a file may change without a new ctime: FAT keeps time to two seconds. Git calls such an index entry
racy and does not trust its time either."""

_SCHEMA = """
CREATE TABLE about (version TEXT NOT NULL, num_hashed INTEGER NOT NULL);
CREATE TABLE roots (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE files (
    place BLOB PRIMARY KEY, status BLOB NOT NULL, digest BLOB NOT NULL, size_bytes INTEGER, height INTEGER,
    width INTEGER, encoding TEXT, mask_bits INTEGER, mask_largest INTEGER, conversions TEXT
) WITHOUT ROWID;
"""


class FileStatus(NamedTuple):
    """Packed status of a file from the file system; ``is_settled`` if any later change must give another status."""

    packed: bytes
    is_settled: bool

    @classmethod
    def of(cls, status: os.stat_result) -> "FileStatus":
        """Pack what ``os.stat`` or ``os.fstat`` returned just now."""
        return cls(packed(status), status.st_ctime_ns < time.time_ns() - RACY_NS)


def packed(status: os.stat_result) -> bytes:
    """Pack the fields that identify a file's state; different files or states never have equal ones."""
    inode, device = status.st_ino % 2**64, status.st_dev % 2**64
    return _STATUS.pack(status.st_size, status.st_mtime_ns, status.st_ctime_ns, inode, device)


class SeenFile(NamedTuple):
    """Result of scanning an image or a mask.

    ``digest`` and ``size_bytes`` are of its bytes. ``encoding`` is an image's, as ``decode.encoding`` names it, and
    empty for a mask. ``mask_bits`` are the bits of a mask's values, 0 for an image; ``mask_largest`` is the largest
    value, not counting ``masks.IGNORED``. ``conversions`` are an image's, as in the manifest's column; for a mask,
    ``binary`` if it has the values 0 and 255 and no other.
    """

    place: bytes
    status: bytes
    digest: bytes
    size_bytes: int
    height: int
    width: int
    encoding: str = ""
    mask_bits: int = 0
    mask_largest: int = 0
    conversions: str = ""


def place_of(path: Path | str, offset: int | None = None) -> bytes:
    """Return the table's key for a file, or for an image inside a file; the path must be absolute."""
    place = os.fsencode(path)
    return place if offset is None else b"%b\0%d" % (place, offset)


class SeenFiles:
    """Table of seen files, open in this process. Safe between threads; several processes may have the file open.

    Never raises: a failure is logged once, and the table continues in memory.
    """

    def __init__(self, path: Path | None) -> None:
        """Open or create the file; None means a table in memory."""
        self._lock = Lock()
        self._db = _in_memory()
        if path is not None:
            try:
                self._db = _open(path)
            except (OSError, sqlite3.Error) as error:
                _log.info("%s cannot be used (%s); the table of seen files is kept in memory", path, error)

    def digest(self, place: bytes, status: bytes) -> bytes | None:
        """Return the digest of a file, or None if none is known under this status."""
        rows = self._run("SELECT status, digest FROM files WHERE place = ?", (place,))
        return rows[0][1] if rows and rows[0][0] == status else None

    def find(self, places: Sequence[bytes]) -> dict[bytes, SeenFile]:
        """Return the scan results for these places, as far as they are known."""
        found: dict[bytes, SeenFile] = {}
        for start in range(0, len(places), _MAX_KEYS):
            some = places[start : start + _MAX_KEYS]
            marks = ",".join("?" * len(some))
            rows = self._run(f"SELECT * FROM files WHERE place IN ({marks}) AND height > 0", some)  # noqa: S608
            found.update((row[0], SeenFile._make(row)) for row in rows)
        return found

    def add(self, rows: Iterable[SeenFile]) -> None:
        """Write rows of scan results, replacing those of the same places."""
        self._run_many("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def confirm(self, place: bytes, status: bytes, digest: bytes) -> None:
        """Record that a file with an unknown status was hashed. Scan results of equal bytes stay valid."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                with self._db:
                    changed = "UPDATE files SET status = ? WHERE place = ? AND digest = ?"
                    if not self._db.execute(changed, (status, place, digest)).rowcount:
                        replace = "INSERT OR REPLACE INTO files (place, status, digest) VALUES (?, ?, ?)"
                        self._db.execute(replace, (place, status, digest))
                    self._db.execute("UPDATE about SET num_hashed = num_hashed + 1")
            except sqlite3.Error as error:
                self._give_up(error)

    @property
    def num_hashed(self) -> int:
        """Return the number of files hashed because their status was unknown, by all processes that used the table."""
        rows = self._run("SELECT num_hashed FROM about", ())
        return int(rows[0][0]) if rows else 0

    def end_scan(self, root: Path, places: Collection[bytes]) -> None:
        """Drop the rows below a scanned root that are not in ``places``, and those of deleted roots."""
        below = _range_below(os.fsencode(root))
        ((num_rows,),) = self._run("SELECT count(*) FROM files WHERE place >= ? AND place < ?", below) or ((0,),)
        if num_rows > len(places):
            wanted = set(places)
            rows = self._run("SELECT place FROM files WHERE place >= ? AND place < ?", below)
            self._run_many("DELETE FROM files WHERE place = ?", [row for row in rows if row[0] not in wanted])
        self._run_many("INSERT OR IGNORE INTO roots VALUES (?)", [(os.fsencode(root),)])
        lost = [path for (path,) in self._run("SELECT path FROM roots", ()) if not Path(os.fsdecode(path)).is_dir()]
        self._run_many("DELETE FROM files WHERE place >= ? AND place < ?", [_range_below(path) for path in lost])
        self._run_many("DELETE FROM roots WHERE path = ?", [(path,) for path in lost])

    def _run(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                self._give_up(error)
                return []

    def _run_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                with self._db:
                    self._db.executemany(statement, rows)
            except sqlite3.Error as error:
                self._give_up(error)

    def _give_up(self, error: sqlite3.Error) -> None:
        _log.warning("the table of seen files is kept in memory from now on: %s", error)
        self._db = _in_memory()


def _range_below(folder: bytes) -> tuple[bytes, bytes]:
    return folder + b"/", folder + b"0"  # the next character


def _in_memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    _create(db)
    return db


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, or no permission: the file may be intact
            raise
    path.unlink()  # damaged
    return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")  # readers and one writer do not wait for each other
        db.execute("PRAGMA synchronous = NORMAL")
        version = _version()
        if _is_current(db, version):
            return db
        db.execute("BEGIN IMMEDIATE")
        with db:
            if not _is_current(db, version):
                for table in ("about", "roots", "files"):
                    db.execute(f"DROP TABLE IF EXISTS {table}")
                _create(db)
    except BaseException:
        db.close()
        raise
    return db


def _is_current(db: sqlite3.Connection, version: str) -> bool:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    return "about" in tables and db.execute("SELECT version FROM about").fetchone() == (version,)


def _create(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
    db.execute("INSERT INTO about VALUES (?, 0)", (_version(),))


def _version() -> str:
    """Return the version of the rows: ours and those of the decoders, which decide the results of a scan."""
    return " ".join([str(_VERSION), *(f"{name} {number}" for name, number in sorted(decode.versions().items()))])


def state_file() -> Path:
    """Return the path of this machine's table. Raises RuntimeError without a home and ``AUGMENT_HOME``.

    A user's home may be shared by many machines, and SQLite is not for files that several machines write. A service's
    home belongs to one machine at a time.
    """
    if os.environ.get("AUGMENT_HOME"):
        return user_state.state_path() / NAME
    return user_state.state_path() / f"{socket.gethostname()}-{NAME}"


_opened: dict[int, tuple[str | None, SeenFiles]] = {}
"""Table of each process, with its home. SQLite forbids using or closing a parent's connection after a fork."""


def table() -> SeenFiles:
    """Return the table of this process and environment, opened at the first call."""
    home = os.environ.get("AUGMENT_HOME")
    opened = _opened.get(os.getpid())
    if opened is None or opened[0] != home:
        try:
            path = state_file()
        except RuntimeError:
            path = None
        _opened[os.getpid()] = opened = (home, SeenFiles(path))
    return opened[1]
