"""List of jobs in SQLite, so that an acknowledged job survives a kill at any moment.

Every write waits for the disk (WAL, ``synchronous=FULL``). Rows are few and small, and are all read once at start.
"""

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from augment.errors import StorageError
from augment.expansion.options import ExpansionOptions


class JobState(StrEnum):
    """State of a job. A restart continues the first two; the others are final until a resume."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if only a client's request can change the job."""
        return self not in {JobState.QUEUED, JobState.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWanted(ExpansionOptions):
    """Resolved request of an expansion: everything that its files depend on.

    ``pipeline`` is the canonical document, or None if nothing is augmented. ``references`` are the datasets whose
    images it uses. ``pipeline_notices`` name what was dropped or moved when the pipeline was read.
    """

    dataset: str
    pipeline: Mapping[str, Any] | None
    pipeline_name: str
    output_name: str
    references: Sequence[str] = ()
    pipeline_notices: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the table. ``number`` counts jobs in the order of arrival; times are seconds since 1970."""

    id: str
    number: int
    state: JobState
    wanted: JobWanted
    expansion: str
    """The expansion's digest: equal if all files are equal."""
    total: int
    created_at: float
    done: int = 0
    failed: int = 0
    size_bytes: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    error: Mapping[str, Any] | None = None
    """A problem document."""
    idempotency_key: str | None = None
    fingerprint: str = ""
    """Digest of the request that came with the key."""
    notices: Sequence[str] = ()
    """Notices of the pipeline and of the expansion."""


class JobTable:
    """Rows by id. Thread-safe; every method but ``close`` waits for the disk."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, number INTEGER, content TEXT)")
        except sqlite3.Error as error:
            raise StorageError(f"the list of jobs {path} cannot be opened: {error}; check the disk") from error

    def read(self) -> list[Job]:
        """Return all jobs in the order of their arrival."""
        with self._lock:
            rows = self._db.execute("SELECT content FROM jobs ORDER BY number").fetchall()
        return [_job(json.loads(content)) for (content,) in rows]

    def write(self, job: Job) -> None:
        """Write a new or changed job. Raises StorageError."""
        content = json.dumps(asdict(job), separators=(",", ":"))
        self._execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", (job.id, job.number, content))

    def delete(self, job_id: str) -> None:
        """Delete a job."""
        self._execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            with self._lock:
                self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise StorageError(f"the list of jobs cannot be written: {error}; free space and try again") from error


def _job(content: dict[str, Any]) -> Job:
    wanted = JobWanted(**content.pop("wanted"))
    job = Job(**content, wanted=wanted)
    return replace(job, state=JobState(job.state))
