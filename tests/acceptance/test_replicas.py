"""Replicas of the service that are killed, stopped and restarted while trainers read."""

import contextlib
import http.server
import logging
import os
import pickle
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.client import Client, ClientError, ClientStream, RefusedError, ReplicaWarning
from augment.images.encode import encode_image
from augment.samples.sample import Batch
from tests.acceptance.servers_for_tests import Server, wait_until

PIPELINE = {"transforms": [{"Resize": {"height": 32, "width": 32}}, {"HorizontalFlip": {"p": 0.5}}]}
NUM_RECORDS, BATCH_SIZE = 96, 4
NUM_REPLICAS, NUM_TRAINERS, NUM_EPOCHS = 3, 3, 5


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small images of noise in two classes."""
    root = tmp_path_factory.mktemp("data") / "images"
    generator = np.random.default_rng(0)
    for index in range(NUM_RECORDS):
        path = root / f"class{index % 2}" / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(generator.integers(0, 256, (48, 48, 3), np.uint8), "png"))
    return root


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[list[Server]]:
    """Three replicas with the same dataset."""
    with contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("service")
        servers = [_replica(stack, folder / str(number), images) for number in range(NUM_REPLICAS)]
        yield servers


def _replica(stack: contextlib.ExitStack, home: Path, images: Path, **settings: object) -> Server:
    server = stack.enter_context(Server(home, data_roots=images.parent, port=_free_port(), **settings))
    server.register(images)
    server.wait_ready()
    return server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _declare(client: Client, **options: Any) -> ClientStream:
    return client.stream(dataset="photos", pipeline=PIPELINE, batch_size=BATCH_SIZE, **options)


def _digest(batches: Iterator[Batch]) -> list[tuple[int, list[str], bytes]]:
    return [(batch.index, list(batch.keys), np.asarray(batch.images).tobytes()) for batch in batches]


def _hedged(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if "asking others too" in record.getMessage()]


def test_replicas_give_the_batches_of_one_and_share_the_work(replicas: Sequence[Server]) -> None:
    with Client(replicas[0].url) as one, Client([each.url for each in replicas]) as all_of_them:
        alone, shared = _declare(one, seed=1), _declare(all_of_them, seed=1)
        assert shared.id == alone.id
        for epoch in range(2):
            assert _digest(shared.epoch(epoch)) == _digest(alone.epoch(epoch))
        part = {"rank": 1, "world_size": 2}
        assert _digest(shared.epoch(0, 3, 9, **part)) == _digest(alone.epoch(0, 3, 9, **part))
        status = all_of_them.replicas
        assert {each.state for each in status} <= {"ready", "slow"}
        assert sum(each.num_batches for each in status) == 2 * shared.num_batches + 6
        assert all(each.num_batches for each in status)
        assert len({each.id for each in status}) == NUM_REPLICAS


def test_trainers_ask_the_same_replica_for_the_same_batch(replicas: Sequence[Server]) -> None:
    urls = [each.url for each in replicas]
    misses = 'augment_batch_cache_requests_total{outcome="miss"}'
    before = sum(each.metric(misses) for each in replicas)

    def train(order: list[str]) -> Any:
        with Client(order) as client:
            return _digest(_declare(client, seed=2).epoch(0))

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(train, [urls, urls[::-1], urls[1:] + urls[:1]]))
    assert found[0] == found[1] == found[2]
    rendered = sum(each.metric(misses) for each in replicas) - before
    assert rendered <= 1.25 * NUM_RECORDS / BATCH_SIZE  # but for those that were hedged


def test_a_stalled_replica_is_waited_for_once_and_not_for_each_batch(
    replicas: Sequence[Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "augment.client")
    stalled = replicas[1]
    with Client([each.url for each in replicas]) as client:
        stream = _declare(client, seed=3)
        expected = _digest(stream.epoch(0))
        for _ in range(3):  # its probes answer before the next epoch
            wait_until(lambda: all(each.state == "ready" for each in client.replicas))
            caplog.clear()
            batches = stream.epoch(0)
            found = [next(batches)]
            stalled.process.send_signal(signal.SIGSTOP)
            try:
                found += list(batches)
            finally:
                stalled.process.send_signal(signal.SIGCONT)
            assert _digest(iter(found)) == expected
            assert sum(stalled.url in message for message in _hedged(caplog)) <= 1
            for _ in stream.epoch(0, 0, 2):  # reading starts the probes
                pass


@pytest.mark.harden
def test_a_replica_that_cannot_serve_a_stream_is_passed_over_with_one_warning(
    tmp_path: Path, replicas: Sequence[Server], images: Path
) -> None:
    few = tmp_path / "few" / "images"
    few.mkdir(parents=True)
    for path in sorted(images.rglob("*.png"))[:8]:
        (few / path.name).write_bytes(path.read_bytes())
    with Server(tmp_path / "other", data_roots=few.parent) as other, Server(tmp_path / "empty") as empty:
        other.register(few)
        other.wait_ready()
        empty.wait_ready()
        with Client([replicas[0].url, other.url, empty.url]) as client:
            stream = _declare(client, seed=4)
            with pytest.warns(ReplicaWarning) as caught:
                found = [_digest(stream.epoch(epoch)) for epoch in range(2)]
            messages = sorted(str(each.message) for each in caught)
            assert len(messages) == 2
            assert any(other.url in message and "its dataset or engine differs" in message for message in messages)
            assert any(empty.url in message and "404" in message for message in messages)
            status = client.replicas
            assert [each.share for each in status] == [1.0, 0.0, 0.0]
            assert status[1].problem is not None
        with Client(replicas[0].url) as client:
            stream = _declare(client, seed=4)
            assert found == [_digest(stream.epoch(epoch)) for epoch in range(2)]


class _Broken(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = _answer  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Print nothing."""


def test_the_second_replica_serves_if_the_first_answers_500_to_everything(replicas: Sequence[Server]) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Broken) as broken:
        threading.Thread(target=broken.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{broken.server_port}"
        with Client([url, replicas[0].url]) as client, Client(replicas[0].url) as good:
            stream = _declare(client, seed=5)
            assert _digest(stream.epoch(0)) == _digest(_declare(good, seed=5).epoch(0))
            assert client.version["engine"] == good.version["engine"]
        with Client([url, url + "/"]) as client, pytest.raises(RefusedError, match="500"):
            _declare(client)
        broken.shutdown()


def test_one_service_under_two_names_is_one_replica(replicas: Sequence[Server]) -> None:
    port = replicas[0].url.rsplit(":", 1)[1]
    with Client([replicas[0].url, f"http://localhost:{port}"]) as client:
        with pytest.warns(ReplicaWarning, match="it is the same replica as"):
            stream = _declare(client, seed=6)
        assert len(_digest(stream.epoch(0))) == stream.num_batches
        assert sorted(each.state for each in client.replicas) == ["duplicate", "ready"]


@pytest.mark.harden
def test_a_name_with_several_addresses_is_several_replicas(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, hosts, resolve = _free_port(), ("127.0.0.2", "127.0.0.3"), socket.getaddrinfo

    def resolve_ours(host: Any, *options: Any, **more: Any) -> Any:
        names = hosts if host == "replicas.test" else (host,)
        return [found for name in names for found in resolve(name, *options, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_ours)
    with contextlib.ExitStack() as stack:
        for host in hosts:
            server = stack.enter_context(Server(tmp_path / host, data_roots=images.parent, port=port, host=host))
            server.register(images)
            server.wait_ready()
        with Client(f"http://replicas.test:{port}") as client:
            stream = _declare(client, seed=7)
            assert len(_digest(stream.epoch(0))) == stream.num_batches
            assert [each.url for each in client.replicas] == [
                f"http://replicas.test:{port} at {host}" for host in hosts
            ]
            assert all(each.num_batches for each in client.replicas)


@pytest.mark.harden
def test_a_full_replica_is_asked_again_and_not_left(tmp_path: Path, images: Path) -> None:
    with contextlib.ExitStack() as stack:
        servers = [_replica(stack, tmp_path / name, images, queue_limit=1) for name in ("a", "b")]
        urls = [each.url for each in servers]
        with ThreadPoolExecutor(4) as pool, Client(urls) as client:
            stream = _declare(client, seed=8)
            found = list(pool.map(lambda _: _digest(stream.epoch(0, 0, 8)), range(4)))
        assert all(each == found[0] for each in found)
        assert len(found[0]) == 8


def test_an_argument_that_is_wrong_does_not_cost_others_the_stream(replicas: Sequence[Server]) -> None:
    with Client([each.url for each in replicas]) as client:
        stream = _declare(client, seed=11)
        with pytest.raises(RefusedError, match="422"):
            list(stream.epoch(0, world_size=3))
        assert len(_digest(stream.epoch(0))) == stream.num_batches
        for wrong in ({"epoch": -1}, {"epoch": 0, "world_size": 0}, {"epoch": 0, "rank": "0"}):
            with pytest.raises(ClientError, match=f"{list(wrong)[-1]} is "):
                stream.epoch(**wrong)


def test_a_reader_of_a_closed_client_learns_that_its_epoch_is_not_whole(replicas: Sequence[Server]) -> None:
    for urls in ([replicas[0].url], [each.url for each in replicas]):
        with Client(urls) as client:
            batches = _declare(client, seed=12, prefetch=2).epoch(0)
            next(batches)
        with pytest.raises(ClientError, match="closed before the end"):
            list(batches)


def test_the_first_url_may_lack_the_dataset(tmp_path: Path, replicas: Sequence[Server]) -> None:
    with Server(tmp_path / "empty") as empty:
        empty.wait_ready()
        with Client([empty.url, replicas[0].url]) as client:
            with pytest.warns(ReplicaWarning, match="is passed over"):
                stream = _declare(client, seed=13)
            assert len(_digest(stream.epoch(0))) == stream.num_batches
        with Client([empty.url, empty.url + "/"]) as client, pytest.raises(RefusedError, match="404"):
            _declare(client, seed=13)


def test_a_refused_call_leaves_later_calls_where_they_were(replicas: Sequence[Server]) -> None:
    with Client([each.url for each in replicas]) as client:
        first = client.version["replica"]
        with pytest.raises(RefusedError, match="422"):
            client.stream(dataset="photos", pipeline={"transforms": [{"HorizontalFlop": {}}]})
        assert client.version["replica"] == first


def test_a_trainer_that_pauses_hedges_nothing(replicas: Sequence[Server], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "augment.client")
    with Client([each.url for each in replicas]) as client:
        stream = _declare(client, seed=14, prefetch=1)
        list(stream.epoch(0))  # the medians are known
        caplog.clear()
        batches = stream.epoch(0)
        next(batches)
        time.sleep(3)
        list(batches)
        assert not any("no answer for 3" in message for message in _hedged(caplog))


@pytest.mark.harden
def test_homes_may_move_from_one_address_to_another(tmp_path: Path, images: Path) -> None:
    with contextlib.ExitStack() as stack:
        one, other = (_replica(stack, tmp_path / name, images) for name in ("one", "other"))
        with Client([one.url, other.url], deadline_s=60) as client:
            stream = _declare(client, seed=15)
            expected = _digest(stream.epoch(0))
            for server in (one, other):
                server.kill()
            moved = [
                stack.enter_context(Server(home, data_roots=images.parent, port=int(server.url.rsplit(":", 1)[1])))
                for home, server in ((other.home, one), (one.home, other))
            ]
            for server in moved:
                server.wait_ready()
            assert _digest(stream.epoch(0)) == expected
            wait_until(lambda: [each.state for each in client.replicas] == ["ready", "ready"])


@pytest.mark.harden
def test_a_file_that_changed_on_one_replica_changes_no_batch(tmp_path: Path, images: Path) -> None:
    with contextlib.ExitStack() as stack:
        folders = [tmp_path / name for name in ("a", "b")]
        servers = []
        for folder in folders:
            shutil.copytree(images, folder / "data" / "images")
            server = Server(folder / "home", data_roots=folder / "data", port=_free_port(), batch_cache_bytes=1 << 20)
            servers.append(stack.enter_context(server))
            server.register(folder / "data" / "images")
        with Client(servers[0].url) as client:
            expected = _digest(_declare(client, seed=16).epoch(0))
        for path in sorted((folders[1] / "data" / "images").rglob("*.png"))[::5]:
            path.write_bytes(path.read_bytes() + b"changed")
        with Client([each.url for each in servers]) as client:
            assert _digest(_declare(client, seed=16).epoch(0)) == expected


def test_a_pickled_stream_reads_on(replicas: Sequence[Server]) -> None:
    with Client([each.url for each in replicas]) as client:
        stream = _declare(client, seed=9)
        assert pickle.loads(pickle.dumps(client)).version == client.version  # noqa: S301 - our own
        copy = pickle.loads(pickle.dumps(stream))  # noqa: S301 - our own
        assert _digest(copy.epoch(1)) == _digest(stream.epoch(1))
        assert len(copy._replicas) == NUM_REPLICAS


@pytest.mark.harden
@pytest.mark.filterwarnings("ignore::augment.client.ReplacedRowsWarning")
def test_trainers_notice_nothing_of_kills_restarts_and_stalls(
    tmp_path: Path, images: Path, request: pytest.FixtureRequest
) -> None:
    """Two hundred with HARDEN_KILLS=200; each is a moment and a kind of its own."""
    num_events = int(os.environ.get("HARDEN_KILLS", "20"))
    chance = random.Random(request.config.getoption("hypothesis_seed", None))
    with contextlib.ExitStack() as stack:
        servers = [_replica(stack, tmp_path / str(number), images) for number in range(NUM_REPLICAS)]
        with Client(servers[0].url) as client:
            stream = _declare(client, seed=10)
            expected = {epoch: _digest(stream.epoch(epoch)) for epoch in range(NUM_EPOCHS)}
        urls = [each.url for each in servers]
        is_over, rounds = threading.Event(), [0] * NUM_TRAINERS

        def train(number: int) -> None:
            with Client(urls, deadline_s=60) as client:
                stream = _declare(client, seed=10, prefetch=1)
                while not is_over.is_set() or not rounds[number]:
                    for epoch in range(NUM_EPOCHS):
                        found = []
                        for batch in stream.epoch(epoch):
                            found.append(batch)
                            time.sleep(0.01)  # a step of the trainer, so that an epoch lasts long enough to be hit
                        assert _digest(iter(found)) == expected[epoch]
                    rounds[number] += 1

        with ThreadPoolExecutor(NUM_TRAINERS) as pool:
            trainers = [pool.submit(train, number) for number in range(NUM_TRAINERS)]
            try:
                for _ in range(num_events):
                    server = chance.choice(servers)
                    time.sleep(chance.uniform(0, 0.5))
                    if chance.random() < 0.5:
                        server.kill()
                        time.sleep(chance.uniform(0, 0.5))
                        server.restart()
                    else:
                        server.process.send_signal(signal.SIGSTOP)
                        time.sleep(chance.uniform(0, 5))
                        server.process.send_signal(signal.SIGCONT)
                    if any(trainer.done() for trainer in trainers):
                        break
            finally:
                is_over.set()
            for trainer in trainers:
                trainer.result()
        assert all(rounds)
