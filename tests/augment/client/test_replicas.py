"""Order, completeness and bounds of a window over replicas that fail, refuse and stall at random."""

import http.server
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.client.replicas import Replica, Replicas, ReplicaState
from augment.client.transport import ClientError, RefusedError, Stop, Transport, UnreachableError
from augment.client.window import Fetched, Window
from augment.samples.sample import Batch

NUM_REPLICAS = 3
STREAM, EPOCH = "0" * 32, 4


class _Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"status": "ready", "replica": f"replica-{self.server.server_port}"}).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Print nothing."""


@pytest.fixture(scope="module")
def urls() -> Iterator[list[str]]:
    """Servers that answer probes; a function of the test fetches the batches."""
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answering) for _ in range(NUM_REPLICAS)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [f"http://127.0.0.1:{server.server_port}" for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


def _discover(urls: Sequence[str]) -> Replicas:
    replicas = Replicas(Transport(urls, None, timeout_s=5, deadline_s=5))
    replicas.discover()
    return replicas


def _batch(index: int) -> Batch:
    return Batch(EPOCH, index, np.zeros((1, 1, 1, 3), np.uint8), [str(index)], np.zeros(1, np.int64))


def _window(
    replicas: Replicas, fetch: Any, indices: range, *, size: int = 6, deadline_s: float = 30
) -> Iterator[Batch]:
    return iter(Window(replicas, fetch, STREAM, EPOCH, indices, size=size, deadline_s=deadline_s, stop=Stop()))


class _Troubles:
    """Fetch function that fails a few times for each batch, in drawn ways, and then succeeds."""

    def __init__(self, troubles: Sequence[str]) -> None:
        self._troubles = dict(enumerate(troubles))
        self._lock = threading.Lock()
        self._calls = 0
        self.in_flight: set[int] = set()
        self.most_in_flight = 0

    def __call__(self, _replica: Replica, index: int, _ahead: Sequence[int], stop: Stop) -> Fetched:
        with self._lock:
            trouble = self._troubles.get(self._calls, "none")
            self._calls += 1
            self.in_flight.add(index)
            self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        try:
            match trouble:
                case "cut":
                    raise ConnectionResetError("cut")
                case "fault":
                    raise RefusedError(500, {"title": "fault"})
                case "full":
                    raise RefusedError(429, {"title": "full"}, retry_after_s=0.01)
                case "slow":
                    stop.sleep(0.2)
            return Fetched(_batch(index))
        finally:
            with self._lock:
                self.in_flight.discard(index)


@given(
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(1, 6),
    st.lists(st.sampled_from(["none", "none", "cut", "fault", "full", "slow"]), max_size=12).filter(
        lambda each: each.count("fault") < NUM_REPLICAS  # one batch that all of them fail is a fault of the batch
    ),
)
def test_batches_come_in_order_and_once_whatever_happens(
    urls: list[str], start: int, num: int, size: int, troubles: list[str]
) -> None:
    fetch = _Troubles(troubles)
    found = list(_window(_discover(urls), fetch, range(start, start + num), size=size))
    assert [batch.index for batch in found] == list(range(start, start + num))
    assert fetch.most_in_flight <= size


def test_all_replicas_that_answer_500_to_the_same_batch_are_believed(urls: list[str]) -> None:
    def fetch(*_: object) -> Fetched:
        raise RefusedError(500, {"title": "fault"})

    with pytest.raises(RefusedError, match="500"):
        list(_window(_discover(urls), fetch, range(3)))


def test_a_refusal_by_all_replicas_is_raised_and_each_is_warned_of_once(urls: list[str]) -> None:
    def fetch(*_: object) -> Fetched:
        raise RefusedError(409, {"title": "changed", "detail": "the dataset is another"})

    with pytest.warns(UserWarning, match="passed over") as caught, pytest.raises(RefusedError, match="409"):
        list(_window(_discover(urls), fetch, range(20)))
    assert len(caught) == NUM_REPLICAS


def test_replicas_that_are_all_down_are_waited_for_until_the_deadline(urls: list[str]) -> None:
    def fetch(*_: object) -> Fetched:
        raise ConnectionRefusedError("down")

    with pytest.raises(UnreachableError, match=r"no progress for 0\.5 s"):
        list(_window(_discover(urls), fetch, range(3), deadline_s=0.5))


def test_a_fault_of_ours_is_raised_as_it_is(urls: list[str]) -> None:
    def fetch(*_: object) -> Fetched:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(_window(_discover(urls), fetch, range(3)))


def test_a_replica_that_hangs_is_hedged_once_and_its_requests_are_cancelled(urls: list[str]) -> None:
    replicas = _discover(urls)
    hanging = replicas.ranked(STREAM, EPOCH, 0)[0]
    stopped: list[int] = []

    def fetch(replica: Replica, index: int, _: Sequence[int], stop: Stop) -> Fetched:
        if replica is hanging:
            stop.sleep(60)
            stopped.append(index)
            raise ConnectionResetError("aborted")
        return Fetched(_batch(index))

    with replicas._lock:
        for each in replicas._replicas:
            each.median_s = 0.01
    started = time.monotonic()
    found = list(_window(replicas, fetch, range(40)))
    assert [batch.index for batch in found] == list(range(40))
    assert time.monotonic() - started < 30  # one that was waited for alone would take 60 s
    assert stopped


def test_batches_that_come_next_are_announced_to_the_replica_that_will_be_asked(urls: list[str]) -> None:
    replicas = _discover(urls)
    announced: dict[int, Replica] = {}

    def fetch(replica: Replica, index: int, ahead: Sequence[int], _: Stop) -> Fetched:
        announced.update(dict.fromkeys(ahead, replica))
        return Fetched(_batch(index))

    list(_window(replicas, fetch, range(30)))
    assert set(announced) >= set(range(9, 30))
    assert all(replicas.ranked(STREAM, EPOCH, index)[0] is replica for index, replica in announced.items())


def test_addresses_are_spread_evenly_and_mostly_stay_if_a_replica_leaves(urls: list[str]) -> None:
    replicas = _discover(urls)
    before = [replicas.ranked(STREAM, 0, index)[0] for index in range(3000)]
    shares = [before.count(each) / 3000 for each in replicas._replicas]
    assert all(abs(share - 1 / 3) < 0.05 for share in shares)
    gone = replicas._replicas[1]
    gone.state = ReplicaState.DOWN
    after = [replicas.ranked(STREAM, 0, index)[0] for index in range(3000)]
    assert all(one is other or one is gone for one, other in zip(before, after, strict=True))


def test_nothing_is_discovered_for_one_url() -> None:
    replicas = Replicas(Transport(["http://127.0.0.1:9"], None, timeout_s=5, deadline_s=5))
    replicas.discover()
    assert len(replicas) == 1


@pytest.mark.parametrize("url", ["http://host:port", "host", "http://[::1", ""])
def test_a_url_that_is_none_is_refused_with_the_form(url: str) -> None:
    with pytest.raises(ClientError, match="http://host:port"):
        Transport([url], None, timeout_s=5, deadline_s=5)


def test_a_display_gives_up_sooner_than_a_training() -> None:
    transport = Transport(["http://127.0.0.1:9"], None, timeout_s=60, deadline_s=120)
    transport._has_answered = True
    assert (transport.deadline_s, transport.impatient().deadline_s) == (120, 5)
