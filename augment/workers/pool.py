"""Pool of worker processes on this machine.

    submit -> queue -> one thread a worker -> its process            cost of a task: bench/workers.py
                                |
                                +-- the process died: again in a fresh one, in quarantine (quarantine.py)

Each worker has its own connection and shares no lock with another, so that a process may be killed at any moment and
only its own task is affected.
"""

import functools
import itertools
import math
import os
import pickle
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Self, TypeVar

from augment import validation
from augment.errors import CallError
from augment.samples.sample import Refusal
from augment.workers import launcher, process, slot
from augment.workers.task import Task
from augment.workers.verdicts import Verdicts

T = TypeVar("T")

DEFAULT_RECORD_TIMEOUT_S = 30.0
"""AUGMENT_RECORD_TIMEOUT_S, in processor seconds: three times imgproxy's IMGPROXY_TIMEOUT (10 s)."""

DEFAULT_MEMORY_BYTES = 4 << 30
"""AUGMENT_WORKER_MEMORY_BYTES: seven float32 copies of an image of 50 megapixels (AUGMENT_MAX_PIXELS).

It is the same on every machine, because it decides which records are refused.
"""

BACKGROUND_NICE = 8
"""Niceness of workers for background jobs.

Competing with other processes they get about a third of a core (the kernel's weights are 172 and 335), alone all of it.
At much lower priority they made no progress on a busy machine.
"""

DEFAULT_MAX_TASKS = 1000
"""Tasks after which a worker is replaced, to bound the memory that libraries leak."""


NUM_MAX = 1024
"""Most processes of a pool: more than any machine has CPUs; each costs a process and a thread."""


class LocalWorkers:
    """Pool of worker processes on this machine; thread-safe, for one process only.

    ``num_workers`` None means one for each CPU this process may use. ``preload`` names modules to import before the
    first task; the module of a task's class is imported in any case. Processes start with the first tasks, or when
    ``start`` is called. ``verdicts`` are shared with other pools and outlive this one; by default they end with it.
    ``environment`` is added to that of this process. ``record_timeout_s`` are processor seconds. ``in_background``
    gives priority to the processes of other pools, even in the middle of a task.

    A task's future can be cancelled at any time, because it never reports that it is running. A running task then stops
    before its next record and its worker is kept; ``concurrent.futures.wait`` on the cancelled future returns when it
    has stopped.

    Close it or use it as a context manager; left open it ends with its last reference or with the interpreter. Ctrl-C,
    SIGTERM and SIGHUP are left to this process; workers end with it, however it ends.
    """

    def __init__(
        self,
        num_workers: int | None = None,
        *,
        record_timeout_s: float = DEFAULT_RECORD_TIMEOUT_S,
        memory_bytes: int | None = DEFAULT_MEMORY_BYTES,
        max_tasks: int | None = DEFAULT_MAX_TASKS,
        preload: Sequence[str] = (),
        in_background: bool = False,
        verdicts: Verdicts | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        num_workers = num_cpus() if num_workers is None else validation.integer("num_workers", num_workers, 1, NUM_MAX)
        record_timeout_s = validation.seconds("record_timeout_s", record_timeout_s)
        for name, bound in (("memory_bytes", memory_bytes), ("max_tasks", max_tasks)):
            if bound is not None:
                validation.integer(name, bound, 1)
        for module in validation.many("preload", preload):
            validation.text("preload", module, "a list of names of modules")
        limits = process.WorkerLimits(
            record_timeout_s, memory_bytes, BACKGROUND_NICE if in_background else process.NICE
        )
        self._num_workers = num_workers
        self._shared = slot.Shared(launcher.Launcher(limits, preload, environment), max_tasks, verdicts or Verdicts())
        self._numbers = itertools.count(1)
        self._slots: list[slot.Slot] = []
        try:
            for i in range(num_workers):
                self._slots.append(slot.Slot(self._shared, i))
        except RuntimeError as error:  # Python's error if the system has no more threads (ulimit -u, cgroups)
            slot.close(self._shared, self._slots)
            raise CallError(
                f"num_workers is {num_workers} and this machine starts {len(self._slots)} ({error}); give fewer"
            ) from error
        # The threads know _shared but not this object: when its last reference is deleted, or at exit, the pool closes.
        self._finalizer = weakref.finalize(self, slot.close, self._shared, self._slots)

    @property
    def num_workers(self) -> int:
        """Number of tasks that run at once."""
        return self._num_workers

    @property
    def verdicts(self) -> Mapping[str, Refusal]:
        """Records that killed or outlived their worker twice, by the subject of the guard's call: a copy."""
        return self._shared.verdicts.refusals()

    @property
    def queue_depth(self) -> int:
        """Number of tasks that wait for a worker."""
        return self._shared.queue.qsize()

    @property
    def num_busy(self) -> int:
        """Number of workers that run a task."""
        return sum(each.busy for each in self._slots)

    @property
    def num_tasks_done(self) -> int:
        """Number of tasks that returned or raised, without cancelled ones."""
        return self._shared.num_tasks_done

    @property
    def restarts(self) -> Mapping[str, int]:
        """Number of replaced workers, by reason: crashed, timeout, killed, memory, max_tasks, threads."""
        with self._shared.lock:
            return self._shared.restarts.copy()

    def prepare(self) -> None:
        """Start the imports in the background, and return at once.

        Raises WorkerError if the system refuses; it may be called again, from any thread.
        """
        self._shared.launcher.prepare()

    def start(self) -> None:
        """Start every process now, and return when all can work, so that the first task need not wait for imports.

        Raises WorkerError if the system refuses; it may be called again, from any thread.
        """
        for each in self._slots:
            each.start()

    def submit(self, task: Task[T]) -> "Future[T]":
        """Queue a task; its future raises what ``run`` raised, or WorkerError if the task cannot be done.

        The task is pickled now, in this thread, so that a pickling error is raised here.
        """
        kind = type(task)
        job = slot.QueuedTask(
            next(self._numbers), kind.__module__, kind.__qualname__, pickle.dumps(task, protocol=5), self
        )
        job.future.add_done_callback(functools.partial(slot.stop_if_cancelled, job))
        self._shared.put(job)
        return job.future

    def close(self) -> None:
        """End every worker process at once and cancel what is queued or running. Safe to repeat.

        No process is left when this returns.
        """
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def num_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the CPUs this process may use: its affinity, and the quota of its container (cgroup v2) rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return count if quota == "max" else min(count, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return count
