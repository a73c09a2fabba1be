"""The contract between what is to be rendered and the processes it is rendered in.

A task is one batch (online) or one shard (offline). It is a small picklable object: it names files, it carries no
pixels. ``Workers`` runs tasks; nothing above this interface may know whether they run in this process, in a local
pool or elsewhere.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from augment.sample import Refusal

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class Guard(Protocol):
    """How a worker treats one record: what it may cost, and what happens when it kills.

    A task calls ``guard(subject, key, work)`` for each record; ``work`` decodes and renders that record alone and
    returns something picklable. ``subject`` is what a verdict is about: the record and what is done to it. Raises
    RecordError where the record is known to be poisoned or proves to be.
    """

    def __call__(self, subject: str, key: str, work: Callable[[], T]) -> T: ...


class Task(Protocol[R_co]):
    """One unit of work, retry and resume."""

    def run(self, guard: Guard) -> R_co:
        """Do all of it in this process; safe to repeat. The result is small and picklable."""
        ...


class Workers(Protocol):
    """Where tasks run."""

    @property
    def num_workers(self) -> int: ...

    @property
    def verdicts(self) -> Mapping[str, Refusal]:
        """Records that killed or outlived their worker twice, by the subject of the call that did."""
        ...

    def submit(self, task: Task[T]) -> "Future[T]":
        """Queue a task; its future raises what ``run`` raised, or WorkerError where the task cannot be done."""
        ...

    def close(self) -> None:
        """End every worker process; nothing of them is left when this returns."""
        ...


AnyTask = Task[Any]
