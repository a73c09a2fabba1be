"""Fetching ahead: one background thread and a bounded queue, which end when the reader does."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Stop:
    """Tells the thread to end: it wakes whoever sleeps and aborts what waits for the network."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._abort: Callable[[], None] | None = None

    def __bool__(self) -> bool:
        return self._event.is_set()

    def sleep(self, seconds: float) -> None:
        """Sleep, unless it ends."""
        self._event.wait(seconds)

    def watch(self, abort: Callable[[], None] | None) -> None:
        """What to call when it ends; called now if it has ended."""
        with self._lock:
            self._abort = abort
            if self._event.is_set() and abort is not None:
                abort()

    def set(self) -> None:
        """End."""
        with self._lock:
            self._event.set()
            if self._abort is not None:
                self._abort()


class Prefetch(Generic[T]):
    """Iterates over what ``produce(stop)`` yields, at most ``depth`` items ahead of its reader."""

    def __init__(self, produce: Callable[[Stop], Iterator[T]], depth: int) -> None:
        self._produce = produce
        self._items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(max(1, depth))
        self._stop = Stop()
        self._thread = threading.Thread(target=self._run, name="augment-prefetch", daemon=True)

    def __iter__(self) -> Generator[T, None, None]:
        self._thread.start()
        try:
            while True:
                item, error = self._items.get()
                if error is not None:
                    raise error
                if item is None:
                    return
                yield item
        finally:
            self.close()

    def close(self) -> None:
        """End the thread and wait for it. May be called from any thread, twice, and before the first item."""
        self._stop.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with_room = self._items  # a reader in another thread that waits for an item learns of the end
        if with_room.empty():
            with_room.put_nowait((None, None))

    def _run(self) -> None:
        last: tuple[T | None, BaseException | None] = (None, None)
        try:
            for item in self._produce(self._stop):
                if not self._put((item, None)):
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised again in the reader's thread
            last = (None, error)
        self._put(last)

    def _put(self, item: tuple[T | None, BaseException | None]) -> bool:
        while not self._stop:
            try:
                self._items.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False
