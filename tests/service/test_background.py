"""Background tasks: order, ends, and one contract for both kinds."""

import asyncio
import logging
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service import home
from service.app import create_app
from service.background import Background, run_blocking
from service.errors import ConflictError
from service.jobs.table import JobTable
from service.settings import Settings
from tests.service.archives_for_tests import zipped
from tests.service.folders_for_tests import write_folder

_log = logging.getLogger(__name__)


class TaskKind(ABC):
    """One kind of background task, as a client sees it."""

    under_way: frozenset[str]

    @abstractmethod
    def prepare(self, client: TestClient, data: Path) -> None:
        """Set up what the task needs."""

    @abstractmethod
    def ask(self, client: TestClient) -> int:
        """Request the task, and return the answer's status."""

    @abstractmethod
    def find(self, client: TestClient) -> dict[str, Any] | None:
        """Return the task's document, or None if the service has no such task."""

    @abstractmethod
    def result(self, client: TestClient, root: Path) -> object:
        """Return everything that kills of the service must not change; ``root`` is its home."""


class RegistrationKind(TaskKind):
    under_way = frozenset({"scanning"})

    def prepare(self, client: TestClient, data: Path) -> None:
        pass

    def ask(self, client: TestClient) -> int:
        headers = {"Content-Type": "application/zip"}
        return client.post("/v1/datasets?name=photos", content=zipped(), headers=headers).status_code

    def find(self, client: TestClient) -> dict[str, Any] | None:
        answer = client.get("/v1/datasets/photos")
        return None if answer.status_code == 404 else answer.json()

    def result(self, client: TestClient, root: Path) -> object:
        inside = root / "datasets" / "photos"
        (generation,) = (path for path in inside.iterdir() if path.is_dir())
        names = {path.name for path in inside.iterdir()} - {generation.name}
        return self.find(client), names, sorted(str(path.relative_to(generation)) for path in generation.rglob("*"))


class JobKind(TaskKind):
    under_way = frozenset({"queued", "running"})

    def prepare(self, client: TestClient, data: Path) -> None:
        root = write_folder(data / "photos", "cat/1.png", "dog/2.png")
        assert client.post("/v1/datasets", json={"name": "photos", "path": str(root)}).status_code == 201

    def ask(self, client: TestClient) -> int:
        wanted = {"dataset": "photos", "pipeline": "light", "copies": 2, "seed": 7, "output": {"name": "out"}}
        return client.post("/v1/jobs", json=wanted).status_code

    def find(self, client: TestClient) -> dict[str, Any] | None:
        jobs = client.get("/v1/jobs").json()["jobs"]
        return jobs[0] if jobs else None

    def result(self, client: TestClient, root: Path) -> object:
        job = self.find(client)
        assert job is not None
        files = {path.name: path.read_bytes() for path in (root / "outputs").rglob("*") if path.is_file()}
        return job["state"], job["progress"], job["error"], job["notices"], files


@pytest.mark.harden
@pytest.mark.parametrize("kind", [RegistrationKind(), JobKind()], ids=lambda kind: type(kind).__name__)
def test_killed_between_any_two_steps_is_never_killed(kind: TaskKind, tmp_path: Path) -> None:
    data = tmp_path / "data"
    killed: list[Path] = []

    def run(root: Path) -> TestClient:
        return TestClient(create_app(Settings(home=root, workers=1, data_roots=(data,))))

    def around(write: Callable[..., None]) -> Callable[..., None]:
        """Copy the home before and after a durable write, as a kill at that moment would leave it."""

        def copying(*arguments: Any) -> None:
            copy()
            write(*arguments)
            copy()

        return copying

    def copy() -> None:
        left = tmp_path / f"killed-{len(killed)}"
        # The record of seen files is written in other threads meanwhile; a service does without it.
        shutil.copytree(tmp_path / "home", left, ignore=shutil.ignore_patterns("lock", "seen-files*"))
        killed.append(left)

    def finish(client: TestClient) -> None:
        deadline = time.monotonic() + 120
        while (document := kind.find(client)) is None or document["state"] in kind.under_way:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    with run(tmp_path / "home") as client, pytest.MonkeyPatch.context() as patch:
        kind.prepare(client, data)
        patch.setattr(home, "write_whole", around(home.write_whole))
        patch.setattr(JobTable, "write", around(JobTable.write))
        assert kind.ask(client) in {201, 202}
        finish(client)
        expected = kind.result(client, tmp_path / "home")
    assert len(killed) >= 4
    for root in killed:
        with run(root) as client:
            if kind.find(client) is None:
                assert root == killed[0], "the client was answered, and its task is lost"
                assert kind.ask(client) in {201, 202}
            finish(client)
            assert kind.result(client, root) == expected, root.name


async def _never_fails(key: str, problem: dict[str, Any]) -> None:
    raise AssertionError((key, problem))


def test_tasks_begin_in_their_order_and_no_more_than_allowed() -> None:
    begun: list[str] = []

    async def scenario() -> None:
        ends = {key: asyncio.Event() for key in "abc"}

        async def run(key: str) -> None:
            begun.append(key)
            await ends[key].wait()

        background = Background("task", run, _never_fails, _log, at_once=2)
        for key in "abc":
            background.submit(key)
        assert background.num_waiting == 1
        for _ in range(2):
            assert not await background.ended("c", 0), "it waits while the others run"
        assert begun == ["a", "b"]
        ends["b"].set()
        ends["c"].set()
        assert await background.ended("c")
        assert begun == ["a", "b", "c"]
        await background.aclose()
        assert background.task("a") is None

    asyncio.run(scenario())


def test_a_stop_waits_for_the_call_under_way_however_often_it_is_asked() -> None:
    async def scenario() -> None:
        begun, stopped, may_end = asyncio.Event(), threading.Event(), threading.Event()
        ends: list[str] = []
        loop = asyncio.get_running_loop()

        def block() -> None:
            loop.call_soon_threadsafe(begun.set)
            stopped.wait()
            may_end.wait()
            ends.append("call")

        async def run(_: str) -> None:
            await run_blocking(block, stop=stopped.set)
            ends.append("run")

        background = Background("task", run, _never_fails, _log)
        background.submit("a")
        await begun.wait()
        assert not await background.stop("a", 0)
        assert not await background.stop("a", 0)
        may_end.set()
        assert await background.stop("a")
        assert ends == ["call"], "nothing after the call is done"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "detail"), [(ConflictError("in use"), "in use"), (ZeroDivisionError(), "unexpected error")]
)
def test_a_failure_is_written_down_before_the_task_has_ended(error: Exception, detail: str) -> None:
    written: dict[str, Any] = {}

    async def run(_: str) -> None:
        raise error

    async def fail(key: str, problem: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        written[key] = problem["detail"]

    async def scenario() -> None:
        background = Background("task", run, fail, _log)
        background.submit("a")
        assert await background.ended("a")

    asyncio.run(scenario())
    assert written["a"].startswith(detail)


def test_after_its_end_nothing_is_begun() -> None:
    async def run(key: str) -> None:
        raise AssertionError(key)

    async def scenario() -> None:
        background = Background("task", run, _never_fails, _log)
        background.submit("a")
        await background.aclose()
        background.submit("b")
        assert await background.ended("b")

    asyncio.run(scenario())
