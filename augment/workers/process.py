"""One worker process, seen from inside: reads tasks from its connection, runs them and sends their outcomes."""

import os
import pickle
import resource
import select
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from augment.errors import WorkerError
from augment.samples.sample import Refusal
from augment.workers import outcome, parent_watch, quarantine

_OOM_SCORE_ADJ = "500"
"""Score that makes the kernel kill a worker, which is replaced, and not the service when memory runs out.

PostgreSQL does likewise.
"""

NICE = 5
"""Niceness of workers, which fill every core.

The service's own process and a trainer on the same machine have priority: with 12 clients on 2 cores the p99 of a
health probe fell from 20-32 ms to 11-17 ms.
"""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Limits of a worker: processor seconds for one record, bytes of private memory (None: no bound).

    ``nice`` is its niceness, as nice(2) counts it.
    """

    record_timeout_s: float
    memory_bytes: int | None
    nice: int = NICE


class RunTask(NamedTuple):
    """To the worker: run this pickled task. ``verdicts`` are those that it does not know yet."""

    number: int
    task: bytes
    quarantine: bool
    verdicts: dict[str, Refusal | None]


class Cancel(NamedTuple):
    """To the worker: stop the task of this number before its next record."""

    number: int


class Verdict(NamedTuple):
    """From the worker, before the task's end: this record is refused from now on, or (None) never for its time."""

    subject: str
    refusal: Refusal | None


class Ended(NamedTuple):
    """From the worker: the task returned or raised; a pickled Outcome.

    ``is_last``: the task left a thread behind, which may do anything, so that this process ends.
    """

    outcome: bytes
    is_last: bool = False


class Dropped(NamedTuple):
    """From the worker: the task was stopped as requested."""


class OutOfMemory(NamedTuple):
    """From the worker, which then ends: the task reached the bound on memory."""


Reply = Ended | Dropped | OutOfMemory


class Worker:
    """Loop of a worker. It runs in the main thread and starts no other, because it forks in quarantine."""

    def __init__(self, connection: Connection, limits: WorkerLimits) -> None:
        self._connection = connection
        self._limits = limits
        self._verdicts: dict[str, Refusal | None] = {}
        self._running = 0
        self._cancelled = 0
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)

    def serve(self) -> NoReturn:
        """Run tasks until the other side sends None or closes; then end the process."""
        try:
            while (message := self._connection.recv()) is not None:
                if isinstance(message, Cancel):  # for a task that has ended, or for the next one
                    self._cancelled = message.number
                    continue
                reply = self._run(message)
                self._connection.send(reply)
                if isinstance(reply, OutOfMemory) or (isinstance(reply, Ended) and reply.is_last):
                    break
        except (EOFError, OSError):  # the service is gone
            pass
        finally:
            with suppress(Exception):  # a task may have closed or replaced them
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(0)

    def _run(self, run: RunTask) -> Reply:
        self._running = run.number
        self._verdicts.update(run.verdicts)
        rules = (self._verdicts, self._limits.record_timeout_s, self._stop_if_cancelled, self._report)
        chosen: quarantine.AlarmGuard | quarantine.QuarantineGuard = quarantine.AlarmGuard(*rules)
        if run.quarantine:
            chosen = quarantine.QuarantineGuard(*rules, private_fds=(self._connection.fileno(),))
        try:
            done = outcome.run_and_dump(lambda: _load_task(run.task).run(chosen))
            return Ended(done, is_last=threading.active_count() > 1)
        except outcome.Cancelled:
            return Dropped()
        except (MemoryError, outcome.Exhausted):
            return OutOfMemory()

    def _report(self, subject: str, refusal: Refusal | None) -> None:
        self._connection.send(Verdict(subject, refusal))

    def _stop_if_cancelled(self) -> None:
        while self._poll.poll(0):
            try:
                message = self._connection.recv()
            except (EOFError, OSError):  # the service is gone; raised here it would count as an error of the record
                os._exit(0)
            if message is None:
                os._exit(0)
            self._cancelled = message.number  # only Cancel and None are sent while a task runs
        if self._cancelled == self._running:
            raise outcome.Cancelled


def serve(connection: Connection, limits: WorkerLimits, zygote_pid: int) -> NoReturn:
    """Run a worker: called once, in a process just forked from the zygote."""
    parent_watch.end_with_parent(zygote_pid)
    parent_watch.name_process("augment-worker")
    _confine(limits)
    Worker(connection, limits).serve()


def _confine(limits: WorkerLimits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(limits.nice)
    if limits.memory_bytes is not None:
        # RLIMIT_DATA (private writable memory, Linux 4.7), not RLIMIT_AS: a dataset's manifest and the decoded-image
        # cache are mapped shared, may be larger than memory and cost a worker nothing.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bound = limits.memory_bytes if hard == resource.RLIM_INFINITY else min(limits.memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))  # a child in quarantine raises it again
    with suppress(OSError):  # not Linux, or /proc is hidden: the kernel then chooses by size alone
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ, encoding="ascii")


def _load_task(data: bytes) -> Any:
    try:
        return pickle.loads(data)  # noqa: S301 - pickled by the process that started this one
    except (AttributeError, ImportError) as error:
        raise WorkerError(
            f"a worker cannot load the task ({error}); define its class in a module that can be imported, "
            "not in a notebook or a script"
        ) from error
