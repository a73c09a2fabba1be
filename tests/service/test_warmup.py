"""Workers that are ready before the first request."""

import asyncio
import threading
import time

import psutil
import pytest
from fastapi import FastAPI

from augment.errors import WorkerError
from augment.workers.pool import LocalWorkers
from service import warmup
from service.errors import StartingError
from service.warmup import Warming
from tests.service.folders_for_tests import Run


class _Slow(LocalWorkers):
    """Workers whose start the test controls."""

    def __init__(self, num_refusals: int = 0) -> None:
        super().__init__(1)
        self.let = threading.Event()
        self.num_refusals = num_refusals

    def start(self) -> None:
        if self.num_refusals:
            self.num_refusals -= 1
            raise WorkerError("the system refuses")
        assert self.let.wait(600)


async def _until_ready(made: Warming) -> None:
    while True:
        try:
            made.check()
        except StartingError:
            await asyncio.sleep(0.01)
        else:
            return


def test_it_is_ready_when_the_workers_are_and_not_before() -> None:
    async def scenario(workers: _Slow) -> None:
        made = Warming()
        async with made.of(workers):
            await asyncio.sleep(0.05)
            with pytest.raises(StartingError):
                made.check()
            workers.let.set()
            await asyncio.wait_for(_until_ready(made), 60)

    with _Slow() as workers:
        asyncio.run(scenario(workers))


def test_a_system_that_refuses_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "_RETRY_S", 0.02)

    async def scenario(workers: _Slow) -> None:
        made = Warming()
        async with made.of(workers):
            await asyncio.wait_for(_until_ready(made), 60)

    with _Slow(num_refusals=3) as workers:
        workers.let.set()
        asyncio.run(scenario(workers))


def test_an_end_does_not_wait_for_workers_that_still_start() -> None:
    async def scenario(workers: _Slow) -> None:
        async with Warming().of(workers):
            await asyncio.sleep(0.05)

    with _Slow() as workers:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(scenario(workers))  # waiting for them would take ten minutes
        finally:
            workers.let.set()
            loop.close()


def test_a_service_that_says_ready_has_workers_that_have_imported_what_they_need(run: Run) -> None:
    client = run(workers=2)
    assert isinstance(client.app, FastAPI)
    deadline = time.monotonic() + 60
    while (answer := client.get("/health/ready")).status_code != 200:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert client.get("/health/live").status_code == 200
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = client.app.state.augment.workers
    pids = [each._process.pid for each in workers._slots]
    libraries = [{path.path for path in psutil.Process(pid).memory_maps()} for pid in pids]
    assert len(set(pids)) == 2
    for mapped in libraries:
        assert any("cv2" in path for path in mapped), "the library that renders is in the worker already"
