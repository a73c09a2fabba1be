"""Workers without processes, for tests that patch a task's code."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Self, TypeVar

from augment.samples.sample import Refusal
from augment.workers.task import InProcessGuard, Task

T = TypeVar("T")


class InProcessWorkers:
    """Workers that run each task in this process as it is submitted, one at a time, without isolation or limits.

    An image that crashes a decoder kills this process.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    @property
    def num_workers(self) -> int:
        """1, the number of tasks that run at once."""
        return 1

    @property
    def verdicts(self) -> Mapping[str, Refusal]:
        """Always empty."""
        return {}

    def submit(self, task: Task[T]) -> "Future[T]":
        """Run a task in the caller's thread; the future that is returned is done."""
        future: Future[T] = Future()
        with self._lock:  # a task may rely on being alone in its process, as it is in a worker
            try:
                future.set_result(task.run(InProcessGuard()))
            except Exception as error:  # noqa: BLE001 - it is raised again by the future, as for any other Workers
                future.set_exception(error)
        return future

    def close(self) -> None:
        """Do nothing: there is nothing to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
