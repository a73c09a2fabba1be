"""Many tasks, a few of them under way at a time."""

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

from augment.errors import AugmentError
from augment.workers.task import Task, Workers

_TASKS_A_WORKER = 2
"""One that it works on and one that waits."""
_TICK_S = 0.2

T = TypeVar("T")


def submit(workers: Workers | None, task: Task[T]) -> "Future[T]":
    """Give a task to the workers; without any, do it here and now."""
    if workers is not None:
        return workers.submit(task)
    future: Future[T] = Future()
    try:
        future.set_result(task.run(lambda _subject, _key, work: work()))
    except AugmentError as error:
        future.set_exception(error)
    return future


def run_all(
    workers: Workers | None, tasks: Iterable[Task[T]], tick: Callable[[Sequence[Task[T]]], None]
) -> Generator[T, None, None]:
    """Yield the results of tasks as they come; raise what a task raised, after the results that came with it.

    ``tick`` is called a few times a second with the tasks under way. Close the iterator to cancel what is left.
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
