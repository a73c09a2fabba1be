"""The contract between work and the processes that run it: Task, Guard, Workers, and ``run_all``.

A task is one batch (online) or one shard (offline). It is a small picklable object with names of files and no pixels.
``Workers`` runs tasks; callers must not depend on where: in this process, in a local pool or elsewhere.
``InProcessGuard`` guards work in the caller's own process; ``run_all`` keeps a few of many tasks in flight.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol, TypeVar

from augment.errors import AugmentError
from augment.samples.sample import Refusal

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class Guard(Protocol):
    """Treatment of one record in a worker: its limits, and the response if it kills the worker.

    A task calls ``guard(subject, key, work)`` for each record; ``work`` decodes and renders that record alone and
    returns something picklable. ``subject`` is the subject of a verdict: the record and what is done to it. Raises
    RecordError if the record is known to be poisoned or proves to be.
    """

    def __call__(self, subject: str, key: str, work: Callable[[], T]) -> T: ...


class Task(Protocol[R_co]):
    """One unit of work, retry and resume."""

    def run(self, guard: Guard) -> R_co:
        """Do the whole task in this process; safe to repeat. The result is small and picklable."""
        ...


class Workers(Protocol):
    """Interface of a pool that runs tasks."""

    @property
    def num_workers(self) -> int: ...

    @property
    def verdicts(self) -> Mapping[str, Refusal]:
        """Records that killed or outlived their worker twice, by the subject of the call that did."""
        ...

    def submit(self, task: Task[T]) -> "Future[T]":
        """Queue a task; its future raises what ``run`` raised, or WorkerError if the task cannot be done."""
        ...

    def close(self) -> None:
        """End every worker process; none is left when this returns."""
        ...


class InProcessGuard:
    """Guard that runs each record in the calling process, without time limit or verdicts; a crash ends the caller.

    The guards of worker processes are in ``quarantine.py``.
    """

    def __call__(self, subject: str, key: str, work: Callable[[], T]) -> T:  # noqa: ARG002 - Guard's own names
        """Do the work."""
        return work()


_TASKS_A_WORKER = 2
"""Tasks in flight for each worker: one running and one waiting."""
_TICK_S = 0.2


def submit(workers: Workers | None, task: Task[T]) -> "Future[T]":
    """Give a task to the workers; without any, run it in this process before returning."""
    if workers is not None:
        return workers.submit(task)
    future: Future[T] = Future()
    try:
        future.set_result(task.run(InProcessGuard()))
    except AugmentError as error:
        future.set_exception(error)
    return future


def run_all(
    workers: Workers | None, tasks: Iterable[Task[T]], tick: Callable[[Sequence[Task[T]]], None]
) -> Generator[T, None, None]:
    """Yield the results of tasks as they come. Raise what a task raised, after the results that came with it.

    ``tick`` is called a few times a second with the tasks under way. Close the iterator to cancel the others.
    """
    waiting = iter(tasks)
    pending: dict[Future[T], Task[T]] = {}
    most = max(1, _TASKS_A_WORKER * workers.num_workers) if workers is not None else 1
    try:
        while True:
            while len(pending) < most and (task := next(waiting, None)) is not None:
                pending[submit(workers, task)] = task
            if not pending:
                return
            done, _ = wait(pending, timeout=_TICK_S, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=_failed):
                del pending[future]
                yield future.result()
            tick(list(pending.values()))
    finally:
        for future in pending:
            future.cancel()


def _failed(future: "Future[T]") -> bool:
    return future.cancelled() or future.exception() is not None
