"""Durable background tasks, which continue after the request is answered and after a restart of the service.

    write document -> submit -> wait for a place -> run -> write end

Registrations of datasets (by name) and jobs (by id) are such tasks. Each kind keeps its own documents and follows three
rules, so that a task that was interrupted at any point ends as one that was not:

- A task is written to disk before it is submitted, and submitted before the client is answered.
- A run writes its own end to disk. A run that is stopped writes nothing: the next service finds the task unfinished and
  submits it again, as it does after ``kill -9``.
- A run blocks in ``run_blocking`` only. Stopping a task waits for the current call; the task's documents may then be
  changed or removed.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
from anyio import to_thread

from augment.errors import AugmentError
from service import problems
from service.errors import ServiceError

T = TypeVar("T")


class Background(Generic[T]):
    """Tasks of one kind by key. At most ``at_once`` run, in the order of submission. For the event loop only.

    ``run`` does a task's work. If it raises, ``fail`` stores the problem document. Neither is called again for a key
    before its task has ended.
    """

    def __init__(
        self,
        kind: str,
        run: Callable[[str], Awaitable[T]],
        fail: Callable[[str, dict[str, Any]], Awaitable[None]],
        log: logging.Logger,
        at_once: float = math.inf,
    ) -> None:
        self.accepting = asyncio.Lock()
        """Lock to hold while a request reads and changes a task's state."""
        self._kind = kind
        self._run = run
        self._fail = fail
        self._log = log
        self._places = anyio.CapacityLimiter(at_once)
        self._tasks: dict[str, asyncio.Task[T]] = {}
        self._closing = False

    @property
    def num_waiting(self) -> int:
        """Number of tasks that wait for a place."""
        return int(max(0, len(self._tasks) - self._places.total_tokens))

    def submit(self, key: str) -> None:
        """Start a stored task as soon as it has a place. After ``close`` the next service starts it."""
        task = self._tasks[key] = asyncio.create_task(self._carry_out(key), name=f"{self._kind} {key}")
        task.add_done_callback(partial(self._forget, key))
        if self._closing:
            task.cancel()

    def task(self, key: str) -> "asyncio.Task[T] | None":
        """Return the asyncio task of a key, or None if it has ended. It raises what ``run`` raised."""
        return self._tasks.get(key)

    async def stop(self, key: str, timeout_s: float | None = None) -> bool:
        """Stop a task that waits or runs, without storing an end. Returns as ``ended`` does."""
        if (task := self._tasks.get(key)) is not None:
            task.cancel()
        return await self.ended(key, timeout_s)

    async def ended(self, key: str, timeout_s: float | None = None) -> bool:
        """Wait until a task has ended; return False if it has not after ``timeout_s`` seconds."""
        task = self._tasks.get(key)
        return task is None or bool((await asyncio.wait({task}, timeout=timeout_s))[0])

    def close(self) -> None:
        """Start no further task and stop those under way. The next service continues them."""
        self._closing = True
        for task in self._tasks.values():
            task.cancel()

    async def aclose(self, timeout_s: float | None = None) -> None:
        """Close, and wait at most ``timeout_s`` seconds until all tasks have ended."""
        self.close()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=timeout_s)

    async def _carry_out(self, key: str) -> T:
        async with self._places:
            try:
                return await self._run(key)
            except Exception as error:
                await self._fail(key, problems.kept(error, key))
                raise

    def _forget(self, key: str, task: "asyncio.Task[T]") -> None:
        if self._tasks.get(key) is task:  # else it was submitted again in the meantime
            del self._tasks[key]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._log.info("%s has succeeded", task.get_name())
        elif isinstance(error, AugmentError | ServiceError):
            self._log.warning("%s has failed: %s", task.get_name(), error)
        else:
            self._log.error("%s has failed with an unexpected error", task.get_name(), exc_info=error)


async def run_blocking(
    function: Callable[..., T],
    *arguments: Any,
    stop: Callable[[], None] | None = None,
    limiter: anyio.CapacityLimiter | None = None,
) -> T:
    """Call a function in a thread and wait for its end, even if the waiting task is cancelled meanwhile.

    On cancellation ``stop`` is called, which may end the function early. CancelledError is raised once it has ended.
    """
    call = asyncio.ensure_future(to_thread.run_sync(partial(function, *arguments), limiter=limiter))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        while not call.done():
            with suppress(asyncio.CancelledError):  # a task may be stopped several times
                await asyncio.wait({call})
        if not call.cancelled():
            call.exception()  # marks it as retrieved: the task ends as cancelled in any case
        raise
