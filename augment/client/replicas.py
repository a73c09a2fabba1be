"""Replicas of the service that share the work of one training run.

Every batch has an address, so any replica can render it. A rendezvous hash (Thaler and Ravishankar, 1998) of the
address and the replica's id chooses one. All trainers therefore ask the same replica for the same batch, and its cache
serves them. If a replica fails, the next in the hash is asked. If it is slow, the request is hedged (Dean and Barroso,
"The Tail at Scale", 2013): the next in the hash is asked too, and the first answer counts.

``Replicas`` knows the replicas of one client and their health. A ``Window`` reads the batches of one pass from them.
"""

import hashlib
import json
import logging
import queue
import statistics
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from augment.client.transport import (
    TRANSIENT,
    ClientError,
    Patience,
    RefusedError,
    ServiceAddress,
    Stop,
    Transport,
    is_fault,
    is_transient,
)
from augment.errors import CallError
from augment.samples.sample import Batch

_LOG = logging.getLogger("augment.client")

_HEDGE_MEDIANS = 3
"""A request is hedged after this multiple of the replica's median latency."""
_HEDGE_LEAST_S = 0.1
"""Earliest hedge: shorter delays may be due to the scheduler of a busy machine."""
_HEDGE_UNKNOWN_S = 5.0
"""Delay before a hedge for a replica that has not answered yet."""
_HEDGES_MAX, _HEDGES_PER_REQUEST = 4.0, 0.05
_HEDGE_ALWAYS_S = 5.0
"""A request that takes so long is hedged even if the budget is used up."""
_PROBE_TIMEOUT_S = 5.0
_FIRST_PROBE_S, _LONGEST_PROBE_S = 0.1, 5.0
_PASSED_OVER_S = 30.0
"""Time after which a replica that could not serve a stream is asked again: its dataset may be registered by then."""
_NUM_LATENCIES = 64
_NUM_AHEAD = 64
"""Batches after the window that are announced to a replica, so that all of its workers have work."""
_TOO_MANY = 429
OF_THIS_REPLICA = frozenset({401, 403, 404, 409})
"""Statuses that another replica may not have: another key, no such dataset, changed files, another engine."""
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.005, 0.5
_NONE = ClientError("")


class ReplicaWarning(UserWarning):
    """A replica cannot serve a stream and is passed over, or two URLs are one replica."""


class ReplicaState(StrEnum):
    """Health of a replica."""

    READY = "ready"
    SLOW = "slow"
    """A request to it was hedged, or answered with 500; it is asked last until a probe answers."""
    DOWN = "down"
    """It failed, or has not answered yet; it is asked again when a probe answers."""
    DUPLICATE = "duplicate"
    """Its id is that of another replica."""


_ORDER = {ReplicaState.READY: 0, ReplicaState.SLOW: 1, ReplicaState.DOWN: 2, ReplicaState.DUPLICATE: 3}


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A replica as ``Client.replicas`` shows it. ``share`` is its part of the batches that this client has read."""

    url: str
    id: str | None
    state: str
    latency_s: float | None
    num_batches: int
    share: float
    problem: str | None
    """Error for which it is down, or for which the stream that asked last passes it over; or None."""


@dataclass(eq=False, slots=True)
class Replica:
    """One replica and its health. Written under the lock of ``Replicas`` only."""

    server: ServiceAddress
    id: str | None = None
    state: ReplicaState = ReplicaState.DOWN
    probe_at: float = 0.0
    probe_delay_s: float = _FIRST_PROBE_S
    is_probed: bool = False
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_NUM_LATENCIES))
    num_batches: int = 0
    streams: set[str] = field(default_factory=set)
    passed_over: dict[str, tuple[float, RefusedError | ClientError]] = field(default_factory=dict)
    error: Exception | None = None
    """The latest failure, until it answers again."""

    @property
    def median_s(self) -> float | None:
        """Median time of its latest batches, or None before the first."""
        return statistics.median(self.latencies) if self.latencies else None


class Replicas:
    """The replicas behind a client's URLs. Thread-safe. A pickled copy discovers its replicas again."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._replicas: list[Replica] = []
        self._hedges = _HEDGES_MAX

    def __getstate__(self) -> dict[str, Any]:
        return {"_transport": self._transport}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(**{name.lstrip("_"): value for name, value in state.items()})  # type: ignore[misc]

    def discover(self) -> None:
        """Find the replicas: request the id of every URL, and of every address of a host name that has several.

        A single URL with a single address is not asked. A replica that does not answer in time is probed again later.
        Warns with ReplicaWarning if two URLs are one replica.
        """
        with self._lock:
            if self._replicas:
                return
        found: list[ServiceAddress] = []
        for server in self._transport.servers:
            try:
                found += server.resolve()
            except OSError:
                found.append(server)
        replicas = [Replica(server, is_probed=len(found) > 1) for server in found]
        with self._lock:
            if self._replicas:
                return
            self._replicas = replicas
        self._transport.servers = tuple(found)
        if len(replicas) > 1:
            threads = [threading.Thread(target=self._probe, args=(each,), daemon=True) for each in replicas]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(_PROBE_TIMEOUT_S)
            self._tell()

    def _tell(self) -> None:
        """Let requests begin at a replica that is ready; tell which URLs are not."""
        with self._lock:
            replicas = list(self._replicas)
        ready = [each for each in replicas if each.state is ReplicaState.READY]
        if ready:
            self._transport.prefer(ready[0].server)
        for each in replicas:
            if each.state is ReplicaState.DOWN:
                _LOG.warning(
                    "%s does not answer (%s); it is asked again later", each.server, each.error or "no answer yet"
                )
            elif each.state is ReplicaState.DUPLICATE and each.server.address is None:
                twin = next(other for other in replicas if other.id == each.id and other is not each)
                warnings.warn(
                    f"{each.server} is not asked: it is the same replica as {twin.server} ({each.id}). If one home is "
                    "a copy of the other, delete replica.json of the copy and start it again",
                    ReplicaWarning,
                    stacklevel=3,
                )

    def check(self) -> None:
        """Probe a single server, of which nothing is known yet: several are probed as they are used."""
        with self._lock:
            only = self._replicas[0] if len(self._replicas) == 1 else None
        if only is not None:
            self._probe(only)
        self.probe_due()

    def __len__(self) -> int:
        """Number of replicas, including those that are down."""
        with self._lock:
            return sum(each.state is not ReplicaState.DUPLICATE for each in self._replicas)

    def status(self) -> tuple[ReplicaStatus, ...]:
        """Return state, latency and share of every replica, in the order of the URLs."""
        with self._lock:
            total = sum(each.num_batches for each in self._replicas)
            return tuple(
                ReplicaStatus(
                    url=str(each.server),
                    id=each.id,
                    state=each.state.value,
                    latency_s=each.median_s,
                    num_batches=each.num_batches,
                    share=each.num_batches / total if total else 0.0,
                    problem=_problem(each),
                )
                for each in self._replicas
            )

    def ranked(self, stream_id: str, epoch: int, index: int) -> list[Replica]:
        """Return the replicas that can serve a batch, in the order in which to ask them.

        They are sorted by health, then by the hash. Replicas that are passed over for this stream are left out.
        """
        now = time.monotonic()
        with self._lock:
            able = [
                each
                for each in self._replicas
                if each.id is not None
                and each.state is not ReplicaState.DUPLICATE
                and each.passed_over.get(stream_id, (0.0, None))[0] <= now
            ]
            able.sort(key=lambda each: (_ORDER[each.state], _weight(stream_id, epoch, index, str(each.id))))
            return able

    def refusal(self, stream_id: str) -> Exception | None:
        """Return the latest error for which a stream passes a replica over, or None if a replica can still serve it."""
        with self._lock:
            errors = [
                each.passed_over.get(stream_id) for each in self._replicas if each.state is not ReplicaState.DUPLICATE
            ]
        known = [each for each in errors if each is not None]
        return max(known, key=lambda each: each[0])[1] if known and len(known) == len(errors) else None

    def reconsider(self, stream_id: str) -> None:
        """Ask the replicas that a stream passes over again, if it passes all of them over."""
        if self.refusal(stream_id) is not None:
            with self._lock:
                for each in self._replicas:
                    if stream_id in each.passed_over:
                        each.passed_over[stream_id] = (0.0, each.passed_over[stream_id][1])

    def count(self) -> None:
        """Count a batch of the only server."""
        with self._lock:
            self._replicas[0].num_batches += 1

    def answered(self, replica: Replica, seconds: float | None) -> None:
        """Record that a replica answered with a batch that it rendered in ``seconds``; None if it had it before."""
        with self._lock:
            replica.num_batches += 1
            if seconds is not None:
                replica.latencies.append(seconds)
            replica.probe_delay_s, replica.error = _FIRST_PROBE_S, None
            if replica.state is ReplicaState.DOWN:
                replica.state = ReplicaState.READY

    def failed(self, replica: Replica, error: Exception) -> None:
        """Record that a replica refused or cut a connection, did not answer in time, or answered 5xx.

        After a 500 it is asked last until a probe answers: the batch may be the cause.
        """
        with self._lock:
            if replica.state is not ReplicaState.DOWN:
                _LOG.warning("%s: %s: %s; asking others", replica.server, type(error).__name__, error)
                replica.state = ReplicaState.DOWN if is_transient(error) else ReplicaState.SLOW
                replica.error = error
                self._probe_later(replica)

    def pass_over(self, replica: Replica, stream_id: str, error: RefusedError | ClientError) -> None:
        """Stop asking a replica for this stream for some time, and warn once."""
        with self._lock:
            is_new = stream_id not in replica.passed_over
            replica.passed_over[stream_id] = (time.monotonic() + _PASSED_OVER_S, error)
            replica.streams.discard(stream_id)
        if is_new:
            warnings.warn(f"{replica.server} is passed over: {error}", ReplicaWarning, stacklevel=2)

    def pass_over_all(self, refused: Mapping[ServiceAddress, RefusedError], stream_id: str) -> None:
        """Pass over the replicas at these addresses for a stream."""
        with self._lock:
            replicas = [each for each in self._replicas if each.server in refused]
        for each in replicas:
            self.pass_over(each, stream_id, refused[each.server])

    def declared(self, replica: Replica, stream_id: str) -> None:
        """Record that a replica knows a stream by the same id."""
        with self._lock:
            replica.streams.add(stream_id)
            replica.passed_over.pop(stream_id, None)

    def forgotten(self, replica: Replica, stream_id: str) -> None:
        """Record that a replica no longer knows a stream."""
        with self._lock:
            replica.streams.discard(stream_id)

    def hedge_after_s(self, replica: Replica) -> float:
        """Return the seconds that a request to the replica may take before it is hedged."""
        with self._lock:
            median = replica.median_s
        return _HEDGE_UNKNOWN_S if median is None else max(_HEDGE_LEAST_S, _HEDGE_MEDIANS * median)

    def earn_hedge(self) -> None:
        """Add a request's share to the budget of hedges."""
        with self._lock:
            self._hedges = min(_HEDGES_MAX, self._hedges + _HEDGES_PER_REQUEST)

    def take_hedge(self, replica: Replica, seconds: float) -> bool:
        """Mark a replica as slow if the budget allows a hedge. Return True if its requests are to be hedged now."""
        with self._lock:
            if replica.state is not ReplicaState.READY:
                return True
            if self._hedges < 1 and seconds < _HEDGE_ALWAYS_S:
                return False
            self._hedges = max(0.0, self._hedges - 1)
            _LOG.warning("%s: no answer for %.2f s; asking others too", replica.server, seconds)
            replica.state = ReplicaState.SLOW
            self._probe_later(replica)
        return True

    def _probe_later(self, replica: Replica) -> None:
        """Schedule a probe. The delay doubles until a batch arrives: a replica may answer probes and render nothing."""
        replica.probe_at = time.monotonic() + replica.probe_delay_s
        replica.probe_delay_s = min(2 * replica.probe_delay_s, _LONGEST_PROBE_S)

    def probe_due(self) -> None:
        """Start a probe thread for each replica whose probe is due."""
        now = time.monotonic()
        with self._lock:
            due = [
                each
                for each in self._replicas
                if each.state is not ReplicaState.READY and each.probe_at <= now and not each.is_probed
            ]
            for each in due:
                each.is_probed = True
        for each in due:
            threading.Thread(target=self._probe, args=(each,), name="augment-probe", daemon=True).start()

    def _probe(self, replica: Replica) -> None:
        try:
            self._get(replica, "/health/ready")
            self._found(replica, str(self._get(replica, "/version")["replica"]))
        except (ClientError, KeyError, ValueError, *TRANSIENT) as error:
            _LOG.debug("%s: %s: %s", replica.server, type(error).__name__, error)
            with self._lock:
                replica.error = error
                if replica.state is ReplicaState.DUPLICATE:
                    replica.id, replica.state = None, ReplicaState.DOWN
                self._probe_later(replica)
        finally:
            with self._lock:
                replica.is_probed = False

    def _get(self, replica: Replica, path: str) -> Any:
        with self._transport.open(replica.server, "GET", path, timeout_s=_PROBE_TIMEOUT_S) as answer:
            return json.loads(answer.read())

    def _found(self, replica: Replica, replica_id: str) -> None:
        """Give a replica its id, unless another one that answers has it: homes may move from one address to another."""
        with self._lock:
            twins = [each for each in self._replicas if each is not replica and each.id == replica_id]
        is_duplicate = False
        for twin in twins:
            if twin.state is ReplicaState.DUPLICATE:
                continue
            try:
                twin_id = str(self._get(twin, "/version")["replica"])
            except (ClientError, KeyError, ValueError, *TRANSIENT):
                twin_id = None
            with self._lock:
                if twin_id == replica_id and twin.id == replica_id:
                    is_duplicate = True
                elif twin_id != twin.id:
                    twin.id = twin_id
                    twin.streams.clear()
                    twin.state = ReplicaState.DOWN if twin_id is None else twin.state
        with self._lock:
            if replica.id != replica_id:
                replica.streams.clear()  # another home now answers at this address
            replica.id, replica.error = replica_id, None
            replica.state = ReplicaState.DUPLICATE if is_duplicate else ReplicaState.READY
            if is_duplicate:
                replica.probe_at = time.monotonic() + _LONGEST_PROBE_S


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
        slot.ask_at = time.monotonic() + _FIRST_PROBE_S

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


def _problem(replica: Replica) -> str | None:
    if replica.state is not ReplicaState.READY and replica.error is not None:
        return f"{type(replica.error).__name__}: {replica.error}"
    if not replica.passed_over:
        return None
    return str(max(replica.passed_over.values(), key=lambda each: each[0])[1])


def _weight(stream_id: str, epoch: int, index: int, replica_id: str) -> bytes:
    address = f"{stream_id}/{epoch}/{index}/{replica_id}".encode()
    return hashlib.blake2b(address, digest_size=8, person=b"augment-replica").digest()
