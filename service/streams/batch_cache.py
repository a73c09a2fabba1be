"""Cache of rendered batches: one file each by address, shared by all requests, rendered ahead of readers.

Requests for one address share one rendering, which is cancelled only when the last of them leaves. Finished batches are
kept within AUGMENT_BATCH_CACHE_BYTES and the least recently used is removed first. A batch that is being read is never
removed and always counted. Failures are not kept: the next request tries again.

A reader gets one batch after another while the next ones are rendered, within two bounds. All readers together have two
unfinished batches for each worker, so that workers never wait and other requests do not queue behind many. Each reader
has an equal share of the cache, so that one that stops reading holds no more than its share.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from augment.errors import StorageError
from augment.render.result_file import Laid
from service.observe import Metrics
from service.streams.batch_files import BatchFile, BatchFiles

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """Request of a batch: its address, the function that writes it, and its estimated size.

    ``produce`` writes the file and returns None if its folder has no room.
    """

    address: Hashable
    produce: Callable[[Path], Awaitable[Laid | None]]
    expected_bytes: int


@dataclass(eq=False, slots=True)
class _Entry:
    num_bytes: int
    num_holders: int = 0
    path: Path | None = None
    file: BatchFile | None = None
    is_forgotten: bool = False
    work: "asyncio.Task[BatchFile]" = field(init=False)


class Batches:
    """The rendered batches of one service. For the event loop's thread only."""

    def __init__(self, files: BatchFiles, max_bytes: int, metrics: Metrics) -> None:
        self._files = files
        files.reclaim = self._reclaim
        self.max_bytes = max_bytes
        self._metrics = metrics
        self._entries: dict[Hashable, _Entry] = {}  # least recently used first
        self._works: set[asyncio.Task[BatchFile]] = set()
        self._num_bytes = 0

    @asynccontextmanager
    async def lease(self, wanted: BatchRequest, *, counted: bool = True) -> AsyncIterator[BatchFile]:
        """Yield the file of a batch, which is rendered unless it is kept or under way. It is held while the block runs.

        Raises the error of the rendering, or StorageError if there is no room.
        """
        entry = self._entries.pop(wanted.address, None)
        outcome = "miss" if entry is None else "shared" if entry.file is None else "hit"
        if counted:
            self._metrics.batch_cache.labels(outcome).inc()
        if entry is None:
            entry = self._begin(wanted)
        self._entries[wanted.address] = entry  # at the end: most recently used
        entry.num_holders += 1
        try:
            yield await asyncio.shield(entry.work)
        finally:
            entry.num_holders -= 1
            if not entry.num_holders:
                self._let_go(wanted.address, entry)

    def is_kept(self, address: Hashable) -> bool:
        """True if a batch is rendered and kept."""
        entry = self._entries.get(address)
        return entry is not None and entry.file is not None

    def holds(self, address: Hashable) -> bool:
        """True if a batch is kept or under way."""
        return address in self._entries

    def close(self) -> None:
        """Cancel all renderings and remove all files."""
        for work in list(self._works):
            work.cancel()
        self._entries.clear()
        self._files.close()

    def _begin(self, wanted: BatchRequest) -> _Entry:
        entry = _Entry(num_bytes=wanted.expected_bytes)
        self._count(entry.num_bytes)
        entry.work = _begun(self._render(entry, wanted), self._works)
        return entry

    async def _render(self, entry: _Entry, wanted: BatchRequest) -> BatchFile:
        try:
            laid, on_disk = None, False
            while laid is None:
                self._make_room()
                path = entry.path = self._files.new(wanted.expected_bytes, on_disk=on_disk)
                laid = await wanted.produce(path)
                if laid is None:
                    path.unlink(missing_ok=True)
                    on_disk = self._files.is_in_memory(path)
                    # If neither has room, idle batches are removed, and both are tried again.
                    if not on_disk and not self._reclaim(2 * wanted.expected_bytes):
                        raise StorageError(
                            "no room for a rendered batch in memory or on the home's disk; free space, or lower "
                            "AUGMENT_BATCH_CACHE_BYTES"
                        )
        except BaseException:
            self._forget(wanted.address, entry)
            raise
        if entry.is_forgotten:  # finished just as the last holder left
            path.unlink(missing_ok=True)
        else:
            self._count(laid.num_bytes - entry.num_bytes)
            entry.num_bytes = laid.num_bytes
        entry.file = BatchFile(path, laid, in_memory=self._files.is_in_memory(path))
        return entry.file

    def _let_go(self, address: Hashable, entry: _Entry) -> None:
        """Release a batch without holders: cancel its rendering, or keep it if it is finished and may be kept."""
        if entry.file is None:
            self._forget(address, entry)
            entry.work.cancel()
        elif any(refusal.reason.is_read_failure for refusal in entry.file.laid.refusals):
            self._forget(address, entry)
        else:
            self._make_room()

    def _make_room(self) -> None:
        while self._num_bytes > self.max_bytes and (idle := self._idle()) is not None:
            self._forget(*idle)

    def _reclaim(self, num_bytes: int) -> int:
        """Remove idle batches until ``num_bytes`` are freed, and return the bytes freed."""
        freed = 0
        while freed < num_bytes and (idle := self._idle()) is not None:
            freed += idle[1].num_bytes
            self._forget(*idle)
        return freed

    def _idle(self) -> "tuple[Hashable, _Entry] | None":
        return next((one for one in self._entries.items() if not one[1].num_holders), None)

    def _forget(self, address: Hashable, entry: _Entry) -> None:
        if entry.is_forgotten:
            return
        entry.is_forgotten = True
        if self._entries.get(address) is entry:
            del self._entries[address]
        self._count(-entry.num_bytes)
        if entry.path is not None:
            entry.path.unlink(missing_ok=True)

    def _count(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        self._metrics.batch_cache_bytes.set(self._num_bytes)


def _begun(work: Coroutine[Any, Any, T], works: "set[asyncio.Task[T]]") -> "asyncio.Task[T]":
    """Start a task that is in ``works`` until it ends. Its error is marked as retrieved."""

    def ended(task: "asyncio.Task[T]") -> None:
        works.discard(task)
        if not task.cancelled():
            task.exception()

    task = asyncio.create_task(work)
    works.add(task)
    task.add_done_callback(ended)
    return task


_AHEAD = 2
"""Unfinished batches for each worker: one that is rendered and one that waits."""


class Readers:
    """Readers of streams, for which batches are rendered ahead. For the event loop's thread only."""

    def __init__(self, batches: Batches, num_workers: int) -> None:
        self._batches = batches
        self.max_ahead = _AHEAD * num_workers
        """Batches to render ahead for all readers together."""
        self._places = asyncio.Semaphore(self.max_ahead)
        self._tasks: set[asyncio.Task[None]] = set()
        self._announced: set[Hashable] = set()
        self.num_readers = 0

    async def read(self, wanted_at: Callable[[int], BatchRequest], indices: range) -> AsyncGenerator[BatchFile, None]:
        """Yield the files of the indices in order, each held until the next is requested.

        An error of a rendering is raised in its turn. Closing the generator cancels renderings that only it needs.
        """
        self.num_readers += 1
        ahead: dict[int, asyncio.Task[None]] = {}
        following = indices.start
        try:
            for index in indices:
                wanted = wanted_at(index)
                stop = min(indices.stop, index + 1 + self._num_ahead(wanted.expected_bytes))
                for later in range(max(following, index + 1), stop):
                    ahead[later] = _begun(self._render(wanted_at(later)), self._tasks)
                    following = later + 1
                early = ahead.pop(index, None)
                async with self._batches.lease(wanted, counted=early is None) as file:
                    yield file
        finally:
            self.num_readers -= 1
            for task in ahead.values():
                task.cancel()

    def announce(self, announced: Iterable[BatchRequest]) -> None:
        """Start to render batches that will be requested soon, as many as workers and cache allow."""
        for each in announced:
            if len(self._announced) >= self._num_ahead(each.expected_bytes):
                return
            if each.address not in self._announced and not self._batches.holds(each.address):
                self._announced.add(each.address)
                _begun(self._render_announced(each), self._tasks)

    async def _render_announced(self, wanted: BatchRequest) -> None:
        try:
            await self._render(wanted)
        finally:
            self._announced.discard(wanted.address)

    def _num_ahead(self, num_bytes: int) -> int:
        share = self._batches.max_bytes // (max(1, self.num_readers) * max(1, num_bytes))
        return max(0, min(self.max_ahead, share - 1))

    async def _render(self, wanted: BatchRequest) -> None:  # an error is raised when the reader requests the batch
        async with self._places, self._batches.lease(wanted):
            pass
