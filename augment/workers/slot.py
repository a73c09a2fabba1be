"""Slots of a pool, each with a worker process and the thread that feeds it, and the state they share."""

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from augment.errors import AugmentError, CallError, StorageError, WorkerError
from augment.samples.sample import Refusal
from augment.workers import launcher, outcome, parent_watch
from augment.workers.process import Dropped, Ended, RunTask
from augment.workers.verdicts import Verdicts

_MAX_DEATHS = 3

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class QueuedTask:
    """A task in the queue or on a worker."""

    number: int
    module: str
    name: str
    task: bytes
    pool: object
    """Keeps the pool alive until its jobs are done, so that a caller may drop the pool and keep a future."""
    future: "Future[Any]" = field(default_factory=Future)
    process: launcher.WorkerHandle | None = None


class Shared:
    """State shared by the threads of one pool.

    ``lock`` guards all but the queue and the launcher, which are thread-safe.
    """

    def __init__(self, launch: launcher.Launcher, max_tasks: int | None, verdicts: Verdicts) -> None:
        self.launcher = launch
        self.max_tasks = max_tasks
        self.verdicts = verdicts
        self.queue: SimpleQueue[QueuedTask | None] = SimpleQueue()
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.owner_pid = os.getpid()
        self.restarts: Counter[str] = Counter()
        self.num_tasks_done = 0

    def put(self, job: QueuedTask) -> None:
        if os.getpid() != self.owner_pid:
            raise CallError(
                f"these workers belong to process {self.owner_pid}, this is {os.getpid()}; start other workers here"
            )
        with self.lock:
            if self.closing.is_set():
                raise CallError("these workers are closed; start new ones")
            self.queue.put(job)


class Slot:
    """One worker process and the thread that feeds it; a task starts the process, unless ``start`` did."""

    def __init__(self, shared: Shared, index: int) -> None:
        self.busy = False
        self._shared = shared
        self._process: launcher.WorkerHandle | None = None
        self._starting = threading.Lock()
        # A daemon, because the interpreter joins all other threads before the pool can be closed.
        self.thread = threading.Thread(target=self._serve, name=f"augment-worker-{index}", daemon=True)
        self.thread.start()

    def start(self) -> None:
        """Start the process now; any thread may. Raises WorkerError if the system refuses."""
        with self._starting:
            if self._process is None:
                self._process = self._shared.launcher.launch()

    def _serve(self) -> None:
        while (job := self._shared.queue.get()) is not None:
            self._finish(job)
            del job  # its result may be large and the next job may come much later
        if self._process is not None:
            self._process.retire()

    def _finish(self, job: QueuedTask) -> None:
        """Run a job and settle its future."""
        self.busy = True
        value: Any = None
        error: BaseException | None = None
        try:
            ended = self._do(job)
            if ended is None:
                job.future.cancel()
            else:
                value = outcome.load(ended.outcome).value()
        except BaseException as raised:  # noqa: BLE001 - the caller's to handle; this thread must continue
            error = raised
        job.pool = None
        self.busy = False
        # Not before, because a running future cannot be cancelled.
        if not job.future.set_running_or_notify_cancel():
            return
        with self._shared.lock:
            self._shared.num_tasks_done += 1
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(value)

    def _do(self, job: QueuedTask) -> Ended | None:
        """Return how the task ended, or None if it was cancelled.

        Raises WorkerError if it kills process after process.
        """
        how, reasons = "", list[str]()
        while len(reasons) < _MAX_DEATHS:
            if job.future.cancelled() or (process := self._ready_process(job.module)) is None:
                return None
            job.process = process
            if job.future.cancelled():  # after the line above: a canceller checks in the opposite order
                return None
            new_verdicts = self._shared.verdicts.after(process.num_verdicts)
            process.num_verdicts += len(new_verdicts)
            # One kill from outside does not incriminate the task; a second may be memory that one of its records takes.
            quarantine = len(reasons) > 1 or any(reason != "killed" for reason in reasons)
            run = RunTask(job.number, job.task, quarantine, new_verdicts)
            keeper = _Keeper(self._shared.verdicts)
            try:
                reply = process.run(run, keeper.keep)
            except launcher.WorkerDied as death:
                reason, how = _reason(death.exit_code), parent_watch.describe_end(death.exit_code)
            else:
                if keeper.error is not None:  # the result relies on a verdict that does not hold
                    process.retire()
                    self._replace("crashed")
                    raise keeper.error
                if isinstance(reply, Ended):
                    if reply.is_last:
                        self._replace("threads")
                    return reply
                if isinstance(reply, Dropped):
                    return None
                reason, how = "memory", "ran out of the memory it may use (AUGMENT_WORKER_MEMORY_BYTES)"
            if self._shared.closing.is_set():
                return None
            _log.warning("worker %d %s in %s; the task runs again", process.pid, how, job.name)
            self._replace(reason)
            reasons.append(reason)
        raise WorkerError(
            f"{job.name}: its worker {how} ({_MAX_DEATHS} attempts), and no record can be blamed; "
            "if memory is short use fewer workers (AUGMENT_WORKERS), smaller batches or more memory"
        )

    def _ready_process(self, module: str) -> launcher.WorkerHandle | None:
        """Return this slot's process, a new one if it has none or its last is used up, or None once closed."""
        if self._process is not None and self._process.num_tasks == self._shared.max_tasks:
            self._process.retire()
            self._replace("max_tasks")
        with self._starting:
            if self._process is None:
                self._process = self._shared.launcher.launch(module)
            return self._process

    def _replace(self, reason: str) -> None:
        with self._shared.lock:
            self._shared.restarts[reason] += 1
        if self._process is not None:
            self._process.forget()
            self._process = None


class _Keeper:
    """Keeps the verdicts of one run; ``error`` is set if one of them does not hold."""

    def __init__(self, verdicts: Verdicts) -> None:
        self.error: AugmentError | None = None
        self._verdicts = verdicts

    def keep(self, subject: str, refusal: Refusal | None) -> None:
        """Keep a verdict. Returns when it is on the disk."""
        if refusal is not None:
            _log.warning("record refused: %s: %s: %s", refusal.key, refusal.reason, refusal.detail)
        try:
            decided = self._verdicts.add(subject, refusal)
        except StorageError as error:
            self.error = error
            return
        if decided is None and refusal is not None:
            self.error = WorkerError(
                f"{refusal.key}: {refusal.detail}, but the record was rendered elsewhere, so it is not refused: the "
                "machine is too busy; try again"
            )


def _reason(exit_code: int) -> str:
    names = {-signal.SIGPROF: "timeout", -signal.SIGALRM: "timeout", -signal.SIGKILL: "killed"}
    return names.get(exit_code, "crashed")


def stop_if_cancelled(job: QueuedTask, future: "Future[Any]") -> None:
    """Callback of a job's future: tell the worker that runs the job, if any, to stop."""
    if future.cancelled() and (process := job.process) is not None:
        process.cancel(job.number)


def close(shared: Shared, slots: Sequence[Slot]) -> None:
    """Cancel what is queued or running, and end the processes and threads of a pool."""
    if os.getpid() != shared.owner_pid:  # at exit of a forked child of the owner: it owns nothing here
        return
    with shared.lock:
        shared.closing.set()  # from here on nothing is put into the queue
    with suppress(Empty):
        while (job := shared.queue.get_nowait()) is not None:
            job.future.cancel()
            job.future.set_running_or_notify_cancel()
    shared.launcher.close()
    for _ in slots:
        shared.queue.put(None)
    for slot in slots:
        if slot.thread is not threading.current_thread():  # a future's callback may close the pool
            slot.thread.join()
