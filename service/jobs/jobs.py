"""Jobs: expansions that run in the background, and resume after a restart of the service.

    accept (checked, durable) -> queued -> running in a thread -> succeeded | failed | cancelled -> resume -> queued …

The table is the durable list, and the output folder is the durable state of the work. A run is
``augment.expansion.expand.Expansion.run``, as the command line calls it. A stopped run leaves a folder from which any
later run resumes, in a job or by command.

Jobs render in separate processes with a lower priority than those of streams and images. A shard is one task and takes
seconds. In a shared queue it delayed a batch by its whole length (p50 339 ms instead of 46 ms, one worker), and a
worker reserved for other tasks was an idle core most of the time.
"""

import logging
import os
import secrets
import tarfile
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from augment.errors import AugmentError, StorageError
from augment.expansion import folder, lock
from augment.expansion.expand import Expansion
from augment.expansion.progress import Progress, Summary
from augment.expansion.spec import ExpansionSpec, check_same
from augment.render.pipeline import Pipeline
from augment.transforms.resolve import resolve
from augment.workers.task import Workers
from service.background import Background, run_blocking
from service.datasets import registry
from service.datasets.registry import Datasets
from service.errors import BusyError, ConflictError, NoRoomError, NotFoundError, RepeatedKeyError
from service.home import Home, Quota, discard, folder_bytes, storing
from service.jobs.table import Job, JobState, JobTable, JobWanted
from service.settings import Settings

_log = logging.getLogger(__name__)

_CANCEL_WAIT_S = 10.0
"""Time that a request waits for a stopped run, whose workers finish the records that they have begun."""
_ID_BYTES = 16
_MEASURE_S = 60.0
"""Interval at which a run measures the home again, because uploads and other jobs fill it too."""
_PIECE_BYTES = 2**20


class Jobs:
    """The list of jobs, and their runs. For the event loop only, except ``user_of`` and ``counts``."""

    def __init__(self, home: Home, datasets: Datasets, workers: Workers, settings: Settings) -> None:
        self._home = home
        self._datasets = datasets
        self._settings = settings
        self._workers = workers
        self._threads = anyio.CapacityLimiter(settings.jobs_running)
        self._table = JobTable(home.path / "jobs.sqlite")
        self._jobs = {job.id: job for job in self._table.read()}
        self._number = max((job.number for job in self._jobs.values()), default=0)
        self._runs: dict[str, _Run] = {}
        self._background = Background("job", self._run, self._fail, _log, settings.jobs_running)
        datasets.users.append(self.user_of)

    def open(self) -> None:
        """Continue the jobs that were queued or running when the last service ended."""
        for job in self._jobs.values():
            if not job.state.is_final:
                self._background.submit(job.id)

    def stop(self) -> None:
        """Start no further run, and stop those under way. The next service continues them."""
        self._background.close()

    async def aclose(self) -> None:
        """Stop, and wait a little for the runs. In the table they stay running."""
        await self._background.aclose(min(_CANCEL_WAIT_S, self._settings.grace_s / 4))
        await to_thread.run_sync(self._table.close)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    def ids(self) -> list[str]:
        """Return all ids in the order of creation."""
        return sorted(self._jobs)

    def get(self, job_id: str) -> Job:
        """Return a job with its current progress. Raises NotFoundError."""
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFoundError(f"there is no job {job_id[:100]!r}; GET /v1/jobs lists them")
        run = self._runs.get(job_id)
        if run is None or run.progress is None:
            return job
        now = run.progress
        return replace(job, done=now.done, total=now.total, failed=now.failed, size_bytes=now.size_bytes)

    def output(self, job: Job) -> Path:
        """Return the folder that a job writes."""
        return self._home.folder("outputs", job.wanted.output_name)

    def counts(self) -> Mapping[str, float]:
        """Return the number of jobs in each state."""
        counted = Counter(str(job.state) for job in list(self._jobs.values()))
        return {str(state): counted[str(state)] for state in JobState}

    def user_of(self, dataset: str) -> str | None:
        """Return the description of an unfinished job that needs this dataset, or None."""
        for job in list(self._jobs.values()):
            if dataset in (job.wanted.dataset, *job.wanted.references) and not job.state.is_final:
                return f"job {job.id}"
        return None

    def repeated(self, key: str | None, fingerprint: str) -> Job | None:
        """Return the job that this request started before, or None.

        Raises RepeatedKeyError if the key was used for another request.
        """
        if key is None:
            return None
        known = next((job for job in self._jobs.values() if job.idempotency_key == key), None)
        if known is not None and known.fingerprint != fingerprint:
            raise RepeatedKeyError(
                f"the Idempotency-Key {key[:100]!r} was used for another request (job {known.id}); send a new key with "
                "a new request"
            )
        return None if known is None else self.get(known.id)

    async def accept(self, wanted: JobWanted, *, idempotency_key: str | None, fingerprint: str) -> Job:
        """Check a job, store it, and return it. The same key with the same request is the same job.

        Raises RepeatedKeyError if the key was used for another request, ConflictError if the output's name is in use,
        BusyError if too many jobs wait; and NotFoundError, PipelineError, CallError and OutputError for an invalid
        request.
        """
        async with self._background.accepting:
            if (known := self.repeated(idempotency_key, fingerprint)) is not None:
                return known
            expansion = await self._admit(wanted)
            self._number += 1
            job = Job(
                # Time-ordered, as a UUIDv7 is (RFC 9562): lists and pages come in the order of the ids.
                id=f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(_ID_BYTES - 6)}",
                number=self._number,
                state=JobState.QUEUED,
                wanted=wanted,
                expansion=expansion.id,
                total=expansion.spec.num_outputs,
                created_at=time.time(),
                idempotency_key=idempotency_key,
                fingerprint=fingerprint,
                notices=(*wanted.pipeline_notices, *expansion.notices),
            )
            await self._enqueue(job)
        return job

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job. Its folder is kept, and ``resume`` continues it. Cancelling again has no effect.

        Raises ConflictError if the job has succeeded or failed. Also raises it if the run does not end in time: the job
        is then cancelled, but its folder may still change.
        """
        if self._cancellable(job_id).state is not JobState.CANCELLED:
            await self._background.stop(job_id, _CANCEL_WAIT_S)  # other requests need not wait for it
            async with self._background.accepting:
                has_ended = await self._background.stop(job_id, 0)  # another request may have resumed it
                job = self._cancellable(job_id)  # it may have ended before it was stopped
                if job.state is not JobState.CANCELLED:
                    await self._write(replace(job, state=JobState.CANCELLED, finished_at=time.time()))
            _log.info("job %s has been cancelled", job_id)
            if not has_ended:
                raise _still_ends(job_id)
        return self.get(job_id)

    async def resume(self, job_id: str, *, update: bool) -> Job:
        """Resume a job that was cancelled or failed; with ``update`` even if dataset or engine have changed.

        Raises ConflictError if it has succeeded. An unfinished job is returned unchanged.
        """
        async with self._background.accepting:
            job = self.get(job_id)
            if job.state is JobState.SUCCEEDED:
                raise ConflictError(f"job {job_id} has succeeded; send a new one with update: true to renew its output")
            if not job.state.is_final:
                return job
            await self._check_ended(job_id)
            wanted = replace(job.wanted, update=job.wanted.update or update)
            expansion = await self._admit(wanted)
            job = replace(
                job,
                state=JobState.QUEUED,
                wanted=wanted,
                expansion=expansion.id,
                total=expansion.spec.num_outputs,
                finished_at=None,
                error=None,
                notices=(*wanted.pipeline_notices, *expansion.notices),
            )
            await self._enqueue(job)
        return job

    async def delete(self, job_id: str, *, output: bool) -> None:
        """Delete a job that has ended, and with ``output`` its files.

        Raises ConflictError while it runs, or if another job has the same output.
        """
        async with self._background.accepting:
            job = self.get(job_id)
            if not job.state.is_final:
                raise ConflictError(f"job {job_id} is {job.state}; cancel it first")
            await self._check_ended(job_id)
            if output:
                others = [
                    each.id
                    for each in self._jobs.values()
                    if each.id != job_id and each.wanted.output_name == job.wanted.output_name
                ]
                if others:
                    raise ConflictError(
                        f"the output {job.wanted.output_name!r} is also that of job {others[0]}; delete that one first"
                    )
                with storing(f"the output {job.wanted.output_name} cannot be removed"):
                    await run_blocking(self._remove_output, self.output(job))
            await run_blocking(self._table.delete, job_id)
            del self._jobs[job_id]

    async def stream_output(self, job: Job) -> AsyncGenerator[bytes, None]:
        """Yield a job's output as a tar, in pieces of about a MiB that a thread reads.

        The same folder gives the same tar: members are sorted by path, and headers (POSIX.1-2001 if a name is long)
        hold no time and no owner. The folder has a shared lock while it is read. Raises OutputError while a run writes.
        """
        pieces = _tar_pieces(self.output(job))
        try:
            while (piece := await to_thread.run_sync(next, pieces, None)) is not None:
                yield piece
        finally:
            await to_thread.run_sync(pieces.close)

    async def _run(self, job_id: str) -> None:
        job = replace(self._jobs[job_id], state=JobState.RUNNING, started_at=time.time())
        await self._write(job)
        run = self._runs[job_id] = _Run(self._datasets.quota, self.output(job))
        summary = await run_blocking(self._expand, run, job.wanted, stop=run.stop, limiter=self._threads)
        failed, size_bytes = summary.num_refused, summary.size_bytes
        await self._end(job_id, state=JobState.SUCCEEDED, done=job.total, failed=failed, size_bytes=size_bytes)

    async def _fail(self, job_id: str, problem: Mapping[str, Any]) -> None:
        await self._end(job_id, state=JobState.FAILED, error=problem)

    async def _end(self, job_id: str, **changes: Any) -> None:
        job = replace(self.get(job_id), finished_at=time.time(), **changes)
        try:
            await self._write(job)
        except AugmentError as error:  # the job has ended anyway; after a restart it runs again, with nothing to do
            _log.error("the end of job %s cannot be stored: %s", job_id, error)
            self._keep(job)

    def _expand(self, run: "_Run", wanted: JobWanted) -> Summary:
        expansion = self._describe(wanted)
        run.check()
        return expansion.run(self._workers, progress=run.note)

    def _describe(self, wanted: JobWanted) -> Expansion:
        """Return the expansion, checked against dataset, pipeline and folder. Reads the disk but does not write."""
        out = self._home.folder("outputs", wanted.output_name)
        pipeline = None if wanted.pipeline is None else Pipeline(resolve(wanted.pipeline))
        if pipeline is not None:
            registry.check(self._datasets, pipeline.spec)
        references = {name: self._datasets.get(name) for name in wanted.references}
        expansion = Expansion(self._datasets.get(wanted.dataset), out, pipeline, wanted, references=references)
        text = folder.read_text(out, folder.DESCRIPTION)
        if text is not None:
            check_same(ExpansionSpec.from_json(text, folder.DESCRIPTION), expansion.spec, out, update=wanted.update)
        return expansion

    async def _admit(self, wanted: JobWanted) -> Expansion:
        """Return the job's expansion, checked, if the home and the queue have room."""
        if (num_waiting := self._background.num_waiting) >= self._settings.queue_limit:
            raise BusyError(
                f"{num_waiting} jobs wait, the most that are allowed (AUGMENT_QUEUE_LIMIT); try again when one ends",
                retry_after_s=60,
            )
        for job in self._jobs.values():
            if job.wanted.output_name == wanted.output_name and not job.state.is_final:
                raise ConflictError(
                    f"job {job.id}, which is {job.state}, writes the output {wanted.output_name!r}; choose another"
                )
        expansion = await to_thread.run_sync(self._describe, wanted)
        await to_thread.run_sync(self._datasets.quota.check)
        return expansion

    async def _enqueue(self, job: Job) -> None:
        await self._write(job)
        self._background.submit(job.id)

    async def _write(self, job: Job) -> None:
        """Make a job visible to clients once it is durable."""
        await run_blocking(self._table.write, job)
        self._keep(job)

    def _keep(self, job: Job) -> None:
        self._jobs[job.id] = job
        if job.state.is_final:  # its progress is in the row from now on
            self._runs.pop(job.id, None)

    def _cancellable(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job.state.is_final and job.state is not JobState.CANCELLED:
            raise ConflictError(f"job {job_id} has {job.state}; there is nothing left to cancel")
        return job

    async def _check_ended(self, job_id: str) -> None:
        """Raise ConflictError if a job that was stopped does not leave its folder in time."""
        if not await self._background.ended(job_id, _CANCEL_WAIT_S):
            raise _still_ends(job_id)

    def _remove_output(self, out: Path) -> None:
        if not out.is_dir():
            return
        gone = self._home.path / "tmp" / f"{out.name}.{os.urandom(8).hex()}"
        with lock.locked(out):  # OutputError while the command line writes it or a client fetches it
            out.rename(gone)  # atomic; after a kill the rest is removed at start
        discard(gone)


def _still_ends(job_id: str) -> ConflictError:
    return ConflictError(f"job {job_id} is still stopping: a worker finishes its last record; try again soon")


class _StoppedRun(BaseException):
    """Raised in the thread of a stopped run. Like KeyboardInterrupt it is not an Exception, because nothing failed."""


class _Run:
    """One run of a job: its progress, and its early end by ``stop`` or by the home's limit. Thread-safe."""

    def __init__(self, quota: Quota, out: Path) -> None:
        self.progress: Progress | None = None
        self._quota = quota
        self._out = out
        self._others = 0
        self._measure_at = 0.0
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ask the run to end. It checks a few times a second, and its workers stop before their next record."""
        self._stopped.set()

    def check(self) -> None:
        """Raise _StoppedRun after ``stop``."""
        if self._stopped.is_set():
            raise _StoppedRun

    def note(self, progress: Progress) -> None:
        """Store the progress. Raises _StoppedRun, or NoRoomError if AUGMENT_MAX_HOME_BYTES is reached."""
        self.progress = progress
        self.check()
        now = time.monotonic()
        if now >= self._measure_at:
            self._others = self._quota.used_bytes() - folder_bytes(self._out)
            self._measure_at = now + _MEASURE_S
        if self._others + progress.size_bytes >= self._quota.max_bytes:
            raise NoRoomError(
                f"the home would hold more than {self._quota.max_bytes} bytes (AUGMENT_MAX_HOME_BYTES): "
                f"{progress.size_bytes} in this output and {self._others} in other files; delete datasets or outputs, "
                "or raise the limit, then resume"
            )


def _tar_pieces(root: Path) -> Generator[bytes, None, None]:
    with lock.locked(root, shared=True):
        piece = bytearray()
        for part in _tar_parts(root):
            piece += part
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece) + bytes(2 * tarfile.BLOCKSIZE)


def _tar_parts(root: Path) -> Generator[bytes, None, None]:
    paths = sorted(path for _, inside in folder.walk(root) for path in inside)
    for path in paths:
        if path.startswith(folder.HIDDEN):
            continue
        try:
            with (root / path).open("rb") as file:
                header = tarfile.TarInfo(path)
                header.size = left = file.seek(0, 2)
                file.seek(0)
                yield header.tobuf(tarfile.PAX_FORMAT)
                while left:
                    data = file.read(min(left, _PIECE_BYTES))
                    if not data:
                        raise StorageError(f"{path} was truncated while the output was read; try again")
                    left -= len(data)
                    yield data
                yield bytes(-header.size % tarfile.BLOCKSIZE)
        except OSError as error:
            raise folder.storage_error("read", path, error) from error
