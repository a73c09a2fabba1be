"""Batches of one pass from several replicas: asked ahead, in order, each exactly once, hedged if one is late."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from augment.client.replicas import FIRST_PROBE_S, OF_THIS_REPLICA, Replica, Replicas, ReplicaState
from augment.client.transport import (
    TRANSIENT,
    ClientError,
    Patience,
    RefusedError,
    Stop,
    is_fault,
    is_transient,
)
from augment.errors import CallError
from augment.samples.sample import Batch

_NUM_AHEAD = 64
"""Batches after the window that are announced to a replica, so that all of its workers have work."""
_TOO_MANY = 429
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.005, 0.5
_NONE = ClientError("")


@dataclass(eq=False, slots=True)
class _Attempt:
    replica: Replica
    started: float
    stop: Stop = field(default_factory=Stop)


@dataclass(eq=False, slots=True)
class _Slot:
    """One batch of a window: its requests, and the batch once it has arrived."""

    index: int
    ask_at: float = 0.0
    attempts: list[_Attempt] = field(default_factory=list)
    failures: dict[Replica, Exception] = field(default_factory=dict)
    stays_with: Replica | None = None
    batch: Batch | None = None
    partial: Batch | None = None
    """A batch of which a replica could not read some records now: taken if no other replica has a better one."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A batch as a replica gave it.

    ``is_final`` is False if the replica could not read some of its records now, ``was_cached`` True if the replica had
    rendered it before.
    """

    batch: Batch
    is_final: bool = True
    was_cached: bool = False


Fetch = Callable[[Replica, int, Sequence[int], Stop], Fetched]
"""Function that reads batch ``index`` from a replica, and announces the batches that it will ask for next."""


class Window:
    """Batches of one pass over an epoch, in order, each exactly once, from several replicas. For one thread only.

    At most ``size`` batches are requested or wait for their turn. ``epoch`` and ``indices`` are the batches' addresses.
    Iterating raises UnreachableError after ``deadline_s`` without any batch, and the last refusal if no replica can
    serve the stream.
    """

    def __init__(
        self,
        replicas: Replicas,
        fetch: Fetch,
        stream_id: str,
        epoch: int,
        indices: range,
        *,
        size: int,
        deadline_s: float,
        stop: Stop,
    ) -> None:
        self._replicas = replicas
        self._fetch = fetch
        self._stream_id = stream_id
        self._epoch = epoch
        self._indices = indices
        self._size = size
        self._patience = Patience(deadline_s)
        self._stop = stop
        self._events: queue.Queue[tuple[_Slot, _Attempt, Fetched | Exception] | None] = queue.Queue()
        self._slots: dict[int, _Slot] = {}
        self._firsts: dict[int, Replica] = {}
        self._failure: Exception = ClientError("no replica has answered yet")
        self._has_begun = False

    def __iter__(self) -> Iterator[Batch]:
        self._stop.watch(lambda: self._events.put(None))
        self._replicas.reconsider(self._stream_id)
        try:
            for index in self._indices:
                self._take_all(0)  # what arrived while the reader was busy is not late
                self._extend(index)
                slot = self._slots[index]
                while slot.batch is None:
                    self._replicas.probe_due()
                    self._ask()
                    self._hedge()
                    self._take_all(self._next_due_s())
                    if self._stop:
                        return
                    if slot.batch is None:
                        self._patience.check(self._failure, "the replicas")
                del self._slots[index]
                if not self._has_begun:
                    self._has_begun = True
                    self._extend(index + 1)
                yield slot.batch
                self._patience.renew()
        finally:
            self._stop.watch(None)
            for slot in self._slots.values():
                for attempt in slot.attempts:
                    attempt.stop.set()

    def _extend(self, index: int) -> None:
        """Take batches into the window and ask for them. The first batch is asked for alone, so that it comes soon."""
        size = self._size if self._has_begun else 1
        for later in range(index, min(self._indices.stop, index + size)):
            self._slots.setdefault(later, _Slot(later))
        if not self._has_begun:
            self._ask()
            return
        self._firsts.pop(index - 1, None)
        for later in range(index + self._size, min(self._indices.stop, index + self._size + _NUM_AHEAD)):
            if later not in self._firsts and (ranked := self._replicas.ranked(self._stream_id, self._epoch, later)):
                self._firsts[later] = ranked[0]
        self._ask()

    def _ask(self) -> None:
        now = time.monotonic()
        for slot in self._slots.values():
            if slot.batch is None and not slot.attempts and slot.ask_at <= now:
                self._ask_for(slot)

    def _ask_for(self, slot: _Slot) -> None:
        replica = slot.stays_with or self._next(slot)
        slot.stays_with = None
        if replica is not None:
            self._replicas.earn_hedge()
            self._begin(slot, replica)
            return
        if slot.partial is not None:
            self._finish(slot, slot.partial)
            self._events.put(None)  # nothing is to be waited for
            return
        able = self._replicas.ranked(self._stream_id, self._epoch, slot.index)
        if able and all(is_fault(error := slot.failures.get(each, _NONE)) and not is_transient(error) for each in able):
            raise slot.failures[able[0]]
        if not able and (refusal := self._replicas.refusal(self._stream_id)) is not None:
            raise refusal
        self._patience.check(self._failure, "the replicas")
        slot.failures.clear()
        slot.ask_at = time.monotonic() + FIRST_PROBE_S

    def _next(self, slot: _Slot) -> Replica | None:
        """Return the next replica that is up, has not failed for this batch and is not being asked, or None."""
        asked = {attempt.replica for attempt in slot.attempts}
        for replica in self._replicas.ranked(self._stream_id, self._epoch, slot.index):
            if replica.state is not ReplicaState.DOWN and replica not in asked and replica not in slot.failures:
                return replica
        return None

    def _begin(self, slot: _Slot, replica: Replica) -> None:
        attempt = _Attempt(replica, time.monotonic())
        slot.attempts.append(attempt)
        ahead = [index for index, first in self._firsts.items() if first is replica]
        threading.Thread(target=self._read, args=(slot, attempt, ahead), name="augment-batch", daemon=True).start()

    def _read(self, slot: _Slot, attempt: _Attempt, ahead: Sequence[int]) -> None:
        try:
            result: Fetched | Exception = self._fetch(attempt.replica, slot.index, ahead, attempt.stop)
        except Exception as error:  # noqa: BLE001 - the reader's thread handles it
            result = error
        if isinstance(result, Fetched):
            seconds = None if result.was_cached else time.monotonic() - attempt.started
            self._replicas.answered(attempt.replica, seconds)
        self._events.put((slot, attempt, result))

    def _hedge(self) -> None:
        now = time.monotonic()
        for slot in list(self._slots.values()):
            if slot.batch is not None or not slot.attempts:
                continue
            attempt = slot.attempts[-1]
            is_late = now - attempt.started >= self._replicas.hedge_after_s(attempt.replica)
            if attempt.replica.state is not ReplicaState.SLOW and not is_late:
                continue
            other = self._next(slot)
            if other is None or other.state is not ReplicaState.READY:
                continue
            if self._replicas.take_hedge(attempt.replica, now - attempt.started):
                self._begin(slot, other)

    def _next_due_s(self) -> float:
        """Return the seconds until something other than an answer needs attention."""
        now = time.monotonic()
        due = [now + _LONGEST_WAIT_S]
        for slot in self._slots.values():
            if slot.attempts:
                latest = slot.attempts[-1]
                due.append(latest.started + self._replicas.hedge_after_s(latest.replica))
            elif slot.batch is None:
                due.append(slot.ask_at)
        return max(_SHORTEST_WAIT_S, min(due) - now)

    def _take_all(self, timeout_s: float) -> None:
        """Wait for an answer at most so long, and take all that have arrived."""
        while True:
            try:
                event = self._events.get(timeout=timeout_s) if timeout_s else self._events.get_nowait()
            except queue.Empty:
                return
            if event is None:
                return
            self._take(*event)
            timeout_s = 0

    def _take(self, slot: _Slot, attempt: _Attempt, result: Fetched | Exception) -> None:
        slot.attempts.remove(attempt)
        if slot.batch is not None or attempt.stop:
            return
        if isinstance(result, Fetched):
            if result.is_final:
                self._finish(slot, result.batch)
            else:
                slot.partial = slot.partial or result.batch
                slot.failures[attempt.replica] = _NONE
            return
        self._failure = result
        if isinstance(result, RefusedError) and result.status == _TOO_MANY:
            slot.stays_with = attempt.replica
            slot.ask_at = time.monotonic() + self._patience.delay_s(result)
            self._patience.check(result, str(attempt.replica.server))
        elif isinstance(result, (CallError, *TRANSIENT)) or is_fault(result):
            slot.failures[attempt.replica] = result
            self._replicas.failed(attempt.replica, result)
        elif isinstance(result, ClientError) and (
            not isinstance(result, RefusedError) or result.status in OF_THIS_REPLICA
        ):
            self._replicas.pass_over(attempt.replica, self._stream_id, result)
        else:
            raise result

    def _finish(self, slot: _Slot, batch: Batch) -> None:
        slot.batch = batch
        for other in slot.attempts:
            other.stop.set()
