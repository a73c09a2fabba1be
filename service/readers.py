"""Readers of streams: each is handed one batch after another, while the next ones are rendered ahead of it.

What is rendered ahead is bounded twice: all readers together have two batches a worker on the way, so that workers
never wait and others' requests never stand behind a long queue; and each has its share of the cache, so that one who
stops reading keeps his share and no more.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

from service.batch_files import BatchFile
from service.batches import Batches, Wanted

_AHEAD = 2
"""Batches on the way for each worker: one that is rendered and one that waits."""


class Readers:
    """Counts readers and renders ahead of them. Of the event loop's thread only."""

    def __init__(self, batches: Batches, num_workers: int) -> None:
        self._batches = batches
        self._max_ahead = _AHEAD * num_workers
        self._places = asyncio.Semaphore(self._max_ahead)
        self._tasks: set[asyncio.Task[None]] = set()
        self.num_readers = 0

    async def read(self, wanted_at: Callable[[int], Wanted], indices: range) -> AsyncGenerator[BatchFile, None]:
        """The files of these indices in order, each held until the next is asked for.

        Raises what rendering one raised, when its turn comes. Closing it stops what is rendered for it alone.
        """
        self.num_readers += 1
        ahead: dict[int, asyncio.Task[None]] = {}
        following = indices.start
        try:
            for index in indices:
                wanted = wanted_at(index)
                stop = min(indices.stop, index + 1 + self._num_ahead(wanted.expected_bytes))
                for later in range(max(following, index + 1), stop):
                    ahead[later] = self._begin(wanted_at(later))
                    following = later + 1
                early = ahead.pop(index, None)
                async with self._batches.lease(wanted, counted=early is None) as file:
                    yield file
        finally:
            self.num_readers -= 1
            for task in ahead.values():
                task.cancel()

    def _num_ahead(self, num_bytes: int) -> int:
        share = self._batches.max_bytes // (self.num_readers * max(1, num_bytes))
        return max(0, min(self._max_ahead, share - 1))

    def _begin(self, wanted: Wanted) -> asyncio.Task[None]:
        task = asyncio.create_task(self._render(wanted))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _render(self, wanted: Wanted) -> None:
        async with self._places, self._batches.lease(wanted):
            pass

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the reader meets it when he asks for this batch himself
