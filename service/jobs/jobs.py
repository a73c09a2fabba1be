"""The jobs of a home: expansions that run behind the service's back, and go on after any end of it.

    accept (checked, durable) -> queued -> running in a thread -> succeeded | failed | cancelled -> resume -> queued …

The table is the durable list, the output folder the durable state of the work. What was queued or running when the
service ended, however it ended, is taken up again at start.

Jobs render in processes of their own, which the kernel lets run when those of streams and images leave it time. A
shard is one task and takes seconds: in one queue with others it delayed a batch by its whole length (p50 339 ms for
46 ms, one worker), and a worker kept free of jobs was a core that stood still for most of the time.
"""

import asyncio
import logging
import os
import secrets
import time
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from augment.errors import AugmentError
from augment.expansion import lock
from augment.expansion.expand import Expansion
from augment.expansion.progress import Summary
from augment.workers.task import Workers
from service import problems
from service.datasets.registry import Datasets
from service.errors import BusyError, ConflictError, NotFoundError, RepeatedKeyError, ServiceError
from service.home import Home, discard, storing
from service.jobs.run import Room, Run, StoppedRun, describe
from service.jobs.table import Job, JobState, JobTable, JobWanted
from service.settings import Settings

_log = logging.getLogger(__name__)

_CANCEL_WAIT_S = 10.0
"""How long a cancel waits for the workers' last records, so that the folder is quiet when it is answered."""
_ID_BYTES = 16


class Jobs:
    """The list of jobs and who runs them. Of the event loop's thread, but for ``user_of`` and ``counts``."""

    def __init__(self, home: Home, datasets: Datasets, workers: Workers, settings: Settings) -> None:
        self._home = home
        self._datasets = datasets
        self._settings = settings
        self._workers = workers
        self._threads = ThreadPoolExecutor(settings.jobs_running, thread_name_prefix="job")
        self._table = JobTable(home.path / "jobs.sqlite")
        self._jobs = {job.id: job for job in self._table.read()}
        self._number = max((job.number for job in self._jobs.values()), default=0)
        self._queue: deque[str] = deque()
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._accepting = asyncio.Lock()
        """Held by a client's word (accept, cancel, resume, delete) from its look at a job's state to its deed."""
        self._writing = asyncio.Lock()
        """Held from a look at a job's row to its change, by runs as well; taken last."""
        self._closing = False
        datasets.users.append(self.user_of)

    def open(self) -> None:
        """Take up what was queued or running when the last service ended."""
        self._queue.extend(job.id for job in self._jobs.values() if not job.state.is_final)
        self._start_next()

    def stop(self) -> None:
        """Begin no run, and end those under way at a point from which the next service goes on."""
        self._closing = True
        for run in self._runs.values():
            run.stop()

    async def aclose(self) -> None:
        """``stop``, and wait a little for the runs; in the table they stay running."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=min(_CANCEL_WAIT_S, self._settings.grace_s / 4))
        self._threads.shutdown(wait=False, cancel_futures=True)
        await to_thread.run_sync(self._table.close)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    def ids(self) -> list[str]:
        """All ids in order, which is that in which the jobs came."""
        return sorted(self._jobs)

    def get(self, job_id: str) -> Job:
        """A job as it is now, its progress too; NotFoundError where there is none."""
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFoundError(f"there is no job {job_id[:100]!r}; GET /v1/jobs lists them")
        run = self._runs.get(job_id)
        if run is None or run.progress is None or job.state.is_final:
            return job
        now = run.progress
        return replace(job, done=now.done, total=now.total, failed=now.failed, size_bytes=now.size_bytes)

    def output(self, job: Job) -> Path:
        """The folder that a job writes."""
        return self._home.folder("outputs", job.wanted.output_name)

    def counts(self) -> Mapping[str, float]:
        """How many jobs are in each state."""
        counted = Counter(str(job.state) for job in list(self._jobs.values()))
        return {str(state): counted[str(state)] for state in JobState}

    def user_of(self, dataset: str) -> str | None:
        """Which unfinished job needs the dataset of this name; None where none does."""
        for job in list(self._jobs.values()):
            if dataset in (job.wanted.dataset, *job.wanted.references) and not job.state.is_final:
                return f"job {job.id}"
        return None

    def repeated(self, key: str | None, fingerprint: str) -> Job | None:
        """The job that this very request began before; RepeatedKeyError where the key came with another one."""
        if key is None:
            return None
        known = next((job for job in self._jobs.values() if job.idempotency_key == key), None)
        if known is not None and known.fingerprint != fingerprint:
            raise RepeatedKeyError(
                f"the Idempotency-Key {key[:100]!r} came with another request before (job {known.id}); send a new key "
                "with a new request"
            )
        return None if known is None else self.get(known.id)

    async def accept(self, wanted: JobWanted, *, idempotency_key: str | None, fingerprint: str) -> Job:
        """A job that is durable and whose every checkable mistake was refused.

        The same key with the same request is the same job. RepeatedKeyError where it came with another request,
        ConflictError where the output's name is in use, BusyError where too many jobs wait, and what
        ``run.describe`` raises.
        """
        async with self._accepting:
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
        """Stop a job for good; its folder stays as it is, and ``resume`` goes on. Repeating it is harmless.

        ConflictError where the job has ended otherwise.
        """
        async with self._accepting, self._writing:
            job = self.get(job_id)
            if job.state is JobState.CANCELLED:
                return job
            if job.state.is_final:
                raise ConflictError(f"job {job_id} has {job.state}; there is nothing left to cancel")
            await self._write(replace(job, state=JobState.CANCELLED, finished_at=time.time()))
            if (run := self._runs.get(job_id)) is not None:
                run.stop()
            with suppress(ValueError):
                self._queue.remove(job_id)
        await self._ended(job_id)
        return self.get(job_id)

    async def resume(self, job_id: str, *, update: bool) -> Job:
        """Go on with a job that was cancelled or failed; with ``update`` although dataset or engine have changed.

        ConflictError where it has succeeded; a job that is under way is left alone.
        """
        async with self._accepting:
            job = self.get(job_id)
            if job.state is JobState.SUCCEEDED:
                raise ConflictError(f"job {job_id} has succeeded; send a new one with update: true to renew its output")
            if not job.state.is_final:
                return job
            await self._ended(job_id)
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
        """Forget a job that has ended; with ``output`` its files go too.

        ConflictError while it runs, or while another job has the same output.
        """
        async with self._accepting:  # nobody resumes it meanwhile
            job = self.get(job_id)
            if not job.state.is_final:
                raise ConflictError(f"job {job_id} is {job.state}; cancel it first")
            await self._ended(job_id)
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
                    await to_thread.run_sync(self._remove_output, self.output(job))
            async with self._writing:
                await to_thread.run_sync(self._table.delete, job_id)
                self._jobs.pop(job_id, None)

    def _start_next(self) -> None:
        while self._queue and len(self._tasks) < self._settings.jobs_running and not self._closing:
            job_id = self._queue.popleft()
            self._runs[job_id] = Run()
            task = self._tasks[job_id] = asyncio.create_task(self._carry_out(job_id), name=job_id)
            task.add_done_callback(self._has_ended)

    def _has_ended(self, task: "asyncio.Task[None]") -> None:
        job_id = task.get_name()
        self._tasks.pop(job_id, None)
        self._runs.pop(job_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a defect of ours in job %s", job_id, exc_info=error)
        self._start_next()

    async def _carry_out(self, job_id: str) -> None:
        run = self._runs[job_id]
        try:
            async with self._writing:
                run.check()
                job = replace(self._jobs[job_id], state=JobState.RUNNING, started_at=time.time())
                await self._write(job)
            summary = await asyncio.get_running_loop().run_in_executor(self._threads, self._run, run, job)
        except StoppedRun:
            ended = None
        except Exception as error:  # noqa: BLE001 - the job has failed, whatever it was, and says so
            ended = self._failed(job_id, error)
        else:
            ended = replace(
                self.get(job_id),
                state=JobState.SUCCEEDED,
                done=self._jobs[job_id].total,
                failed=summary.num_refused,
                size_bytes=summary.size_bytes,
                finished_at=time.time(),
            )
        async with self._writing:
            cancelled = self._jobs[job_id].state is JobState.CANCELLED
            if cancelled:  # it stays so, however far the run came
                now = run.progress
                ended = None if now is None else replace(self._jobs[job_id], done=now.done, failed=now.failed)
            if ended is None or (self._closing and not cancelled):
                return
            _log.info("job %s has %s", job_id, "been cancelled" if cancelled else ended.state)
            try:
                await self._write(ended)
            except AugmentError as error:  # it is true all the same; after a restart it runs again, with nothing to do
                _log.error("the end of job %s is not in the list: %s", job_id, error)
                self._jobs[job_id] = ended

    def _run(self, run: Run, job: Job) -> Summary:
        out = self.output(job)
        expansion = describe(self._datasets, out, job.wanted)
        return run(expansion, self._workers, Room(self._datasets.quota, out))

    def _failed(self, job_id: str, error: Exception) -> Job:
        if not isinstance(error, AugmentError | ServiceError):
            _log.error("a defect of ours in job %s", job_id, exc_info=error)
        told = problems.kept(error, job_id)
        return replace(self.get(job_id), state=JobState.FAILED, error=told, finished_at=time.time())

    async def _admit(self, wanted: JobWanted) -> Expansion:
        """The job's expansion, where its every checkable mistake was refused and the home and the queue have room."""
        out = self._home.folder("outputs", wanted.output_name)
        if len(self._queue) >= self._settings.queue_limit:
            raise BusyError(
                f"{len(self._queue)} jobs wait, as many as may (AUGMENT_QUEUE_LIMIT); ask again when one has ended",
                retry_after_s=60,
            )
        for job in self._jobs.values():
            if job.wanted.output_name == out.name and not job.state.is_final:
                raise ConflictError(
                    f"job {job.id}, which is {job.state}, writes the output {out.name!r}; choose another"
                )
        expansion = await to_thread.run_sync(describe, self._datasets, out, wanted)
        await to_thread.run_sync(self._datasets.quota.check)
        return expansion

    async def _enqueue(self, job: Job) -> None:
        async with self._writing:
            await self._write(job)
        self._queue.append(job.id)
        self._start_next()

    async def _write(self, job: Job) -> None:
        """Make a job known to clients once it is durable.

        Whoever calls it holds ``_writing``, so that the list and the table change in one order.
        """
        await to_thread.run_sync(self._table.write, job)
        self._jobs[job.id] = job

    async def _ended(self, job_id: str) -> None:
        """Wait until a job that was stopped has left its folder."""
        if (task := self._tasks.get(job_id)) is not None:
            await asyncio.wait({task}, timeout=_CANCEL_WAIT_S)
            if not task.done():
                raise ConflictError(f"job {job_id} still ends: a worker is busy with its last record; ask again soon")

    def _remove_output(self, out: Path) -> None:
        if not out.is_dir():
            return
        gone = self._home.path / "tmp" / f"{out.name}.{os.urandom(8).hex()}"
        with lock.locked(out):  # OutputError while the command line works in it, or somebody fetches it
            out.rename(gone)  # in one step; what is left of it after a kill is removed at start
        discard(gone)
