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
import statistics
import threading
import time
import warnings
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from augment.client.transport import (
    TRANSIENT,
    ClientError,
    RefusedError,
    ServiceAddress,
    Transport,
    is_transient,
)

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
FIRST_PROBE_S, _LONGEST_PROBE_S = 0.1, 5.0
_PASSED_OVER_S = 30.0
"""Time after which a replica that could not serve a stream is asked again: its dataset may be registered by then."""
_NUM_LATENCIES = 64
OF_THIS_REPLICA = frozenset({401, 403, 404, 409})
"""Statuses that another replica may not have: another key, no such dataset, changed files, another engine."""


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
    probe_delay_s: float = FIRST_PROBE_S
    is_probed: bool = False
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_NUM_LATENCIES))
    median_s: float | None = None
    """Median time of its latest renderings, or None before the first."""
    num_batches: int = 0
    streams: set[str] = field(default_factory=set)
    passed_over: dict[str, tuple[float, RefusedError | ClientError]] = field(default_factory=dict)
    error: Exception | None = None
    """The latest failure, until it answers again."""


class Replicas:
    """The replicas behind a client's URLs. Thread-safe. A pickled copy discovers its replicas again."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._finding = threading.Lock()  # two probes at once would not see that they found one replica
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
                twins = ", ".join(str(other.server) for other in replicas if other.id == each.id and other is not each)
                warnings.warn(
                    f"{each.server} is not asked: it is the same replica as {twins} ({each.id}). If one home is a copy "
                    "of the other, delete replica.json of the copy and start it again",
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
                replica.median_s = statistics.median(replica.latencies)
            replica.probe_delay_s, replica.error = FIRST_PROBE_S, None
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

    def declared_at(
        self, server: ServiceAddress, refused: Mapping[ServiceAddress, RefusedError], stream_id: str
    ) -> None:
        """Record that a stream was declared at one address, and pass over the replicas at those that refused it."""
        with self._lock:
            replicas = {each.server: each for each in self._replicas}
        if server in replicas:
            self.declared(replicas[server], stream_id)
        for address, error in refused.items():
            self.pass_over(replicas[address], stream_id, error)

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
            replica_id = self._replica_id(replica)
            with self._finding:
                self._found(replica, replica_id)
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

    def _replica_id(self, replica: Replica) -> str:
        """Return the id of the replica at an address. Raises if it is not ready."""
        with self._transport.open(replica.server, "GET", "/health/ready", timeout_s=_PROBE_TIMEOUT_S) as answer:
            return str(json.loads(answer.read())["replica"])

    def _found(self, replica: Replica, replica_id: str) -> None:
        """Give a replica its id, unless another one that answers has it: homes may move from one address to another."""
        with self._lock:
            twins = [each for each in self._replicas if each is not replica and each.id == replica_id]
        is_duplicate = False
        for twin in twins:
            if twin.state is ReplicaState.DUPLICATE:
                continue
            try:
                twin_id = self._replica_id(twin)
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


def _problem(replica: Replica) -> str | None:
    if replica.state is not ReplicaState.READY and replica.error is not None:
        return f"{type(replica.error).__name__}: {replica.error}"
    if not replica.passed_over:
        return None
    return str(max(replica.passed_over.values(), key=lambda each: each[0])[1])


def _weight(stream_id: str, epoch: int, index: int, replica_id: str) -> bytes:
    address = f"{stream_id}/{epoch}/{index}/{replica_id}".encode()
    return hashlib.blake2b(address, digest_size=8, person=b"augment-replica").digest()
