"""Records, workers and users that fail: messages, and the state of the folder."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest

from augment.errors import DatasetError, Reason, RecordError, WorkerError
from augment.expansion import spec
from augment.expansion.expand import Expansion, expand_dataset
from augment.expansion.progress import Progress
from augment.expansion.shard import ShardTask
from augment.workers.pool import LocalWorkers
from augment.workers.task import Task
from tests.augment.expansion.expansions_for_tests import (
    PIPELINE,
    CrashingShard,
    DyingShard,
    SlowShard,
    broken,
    content,
    lay_noise,
)
from tests.augment.workers.in_process import InProcessWorkers

T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("nothing_left")


class Wrapping:
    """Workers that get other tasks than were submitted."""

    def __init__(self, workers: LocalWorkers, wrap: Callable[[Task[Any]], Task[Any]]) -> None:
        self._workers = workers
        self._wrap = wrap
        self.num_workers = workers.num_workers
        self.verdicts = workers.verdicts
        self.close = workers.close

    def submit(self, task: Task[Any]) -> Future[Any]:
        return self._workers.submit(self._wrap(task))


def test_file_that_changed_since_the_scan_is_refused_by_name(data: Path, out: Path) -> None:
    expansion = Expansion(data, out, PIPELINE, copies=2)
    (data / "cat/3.jpg").write_bytes(broken("cat/3.jpg"))
    (data / "dog/3.jpg").unlink()
    summary = expansion.run()
    assert [(each.key, each.reason) for each in summary.refusals] == [
        ("cat/3", Reason.CHANGED),
        ("dog/3", Reason.CHANGED),
    ]
    assert summary.num_rendered == 28


def test_record_is_there_with_all_its_copies_or_with_none(data: Path, out: Path) -> None:
    class FailsAtTheLastCopy(InProcessWorkers):
        def submit(self, task: Task[Any]) -> Future[Any]:
            seen: list[str] = []

            def guard(subject: str, key: str, work: Callable[[], T]) -> T:  # noqa: ARG001 - Guard's own name
                seen.append(key)
                if seen.count("cat/5") == 3 and key == "cat/5":
                    raise RecordError(key, Reason.CRASHED, "it did")
                return work()

            future: Future[Any] = Future()
            future.set_result(task.run(guard))
            return future

    summary = expand_dataset(data, out, PIPELINE, copies=3, include_originals=True, workers=FailsAtTheLastCopy())
    assert [(each.key, each.reason) for each in summary.refusals] == [("cat/5", Reason.CRASHED)]
    assert not list(out.glob("cat/5*"))
    assert summary.num_rendered == 45


@pytest.mark.harden
def test_record_that_kills_workers_is_left_out_and_the_rest_is_complete(
    data: Path, tmp_path: Path, one_worker: LocalWorkers, three_workers: LocalWorkers
) -> None:
    lay_noise(data, ["dog/fatal.jpg"])

    def crashing(task: Task[Any]) -> Task[Any]:
        return CrashingShard(task, "dog/fatal")

    found = []
    for name, workers in [("one", one_worker), ("three", three_workers)]:
        summary = expand_dataset(data, tmp_path / name, PIPELINE, copies=2, workers=Wrapping(workers, crashing))
        assert [(each.key, each.reason) for each in summary.refusals] == [("dog/fatal", Reason.CRASHED)]
        assert "SIGABRT" in summary.refusals[0].detail
        found.append(content(tmp_path / name))
    assert found[0] == found[1]
    assert len([name for name in found[0] if name.endswith(".jpg")]) == 32


def test_max_failures_ends_the_run(data: Path, out: Path) -> None:
    for i in range(3):
        (data / f"cat/broken {i}.jpg").write_bytes(broken(f"broken {i}"))
    expected = r"records and files are left out and max_failures is 2; the first is cat/broken 0 \(undecodable"
    with pytest.raises(DatasetError, match=expected):
        expand_dataset(data, out, PIPELINE, max_failures=2)
    with pytest.raises(DatasetError, match=r"max_failures is 0\.1"):
        expand_dataset(data, out, PIPELINE, max_failures=0.1)
    assert expand_dataset(data, out, PIPELINE, max_failures=0.16).num_refused == 3
    assert expand_dataset(data, out, PIPELINE, max_failures=3).nothing_to_do


def test_progress_counts_outputs_to_the_total(data: Path, out: Path, three_workers: LocalWorkers) -> None:
    (data / "cat/broken.jpg").write_bytes(broken("broken"))
    seen: list[Progress] = []
    summary = expand_dataset(data, out, PIPELINE, copies=2, workers=three_workers, progress=seen.append)
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    last = seen[-1]
    assert (last.done, last.total, last.kept, last.failed, last.size_bytes) == (34, 34, 0, 1, summary.size_bytes)
    seen.clear()
    expand_dataset(data, out, PIPELINE, copies=2, progress=seen.append)
    assert (seen[-1].done, seen[-1].kept) == (34, 32)


def test_worker_error_ends_in_a_folder_that_goes_on(data: Path, out: Path, tmp_path: Path) -> None:
    class Dies(InProcessWorkers):
        num_done = 0

        def submit(self, task: Task[Any]) -> Future[Any]:
            Dies.num_done += 1
            if Dies.num_done < 3:
                return super().submit(task)
            future: Future[Any] = Future()
            future.set_exception(WorkerError("it died; give it more memory"))
            return future

    with pytest.raises(WorkerError, match=r"12 of 32 outputs are finished and stay, about \S+ MB .*: it died; give"):
        expand_dataset(data, out, PIPELINE, copies=2, workers=Dies())
    assert not list(out.glob(".augment-*"))
    assert expand_dataset(data, out, PIPELINE, copies=2).num_kept == 12
    expand_dataset(data, tmp_path / "fresh", PIPELINE, copies=2)
    assert content(out) == content(tmp_path / "fresh")


@pytest.mark.harden
def test_nothing_is_left_of_a_shard_whose_process_always_dies(
    data: Path, out: Path, three_workers: LocalWorkers
) -> None:
    with pytest.raises(WorkerError, match="SIGABRT"):
        expand_dataset(data, out, PIPELINE, copies=2, workers=Wrapping(three_workers, DyingShard))
    assert [path.name for path in out.iterdir()] == ["expansion.json"]
    assert expand_dataset(data, out, PIPELINE, copies=2, workers=three_workers).num_rendered == 32


def test_interrupt_ends_in_a_folder_that_goes_on(
    data: Path, out: Path, tmp_path: Path, three_workers: LocalWorkers
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expand_dataset(data, out, PIPELINE, copies=2, workers=three_workers, progress=interrupt)
    assert not list(out.glob(".augment-*"))
    expand_dataset(data, out, PIPELINE, copies=2, workers=three_workers)
    expand_dataset(data, tmp_path / "fresh", PIPELINE, copies=2)
    assert content(out) == content(tmp_path / "fresh")


def test_files_that_the_scan_refused_are_judged_before_anything_is_written(data: Path, out: Path) -> None:
    for i in range(3):
        (data / f"cat/{i}.dat").write_text("no image")
    expected = r"3 records and files are left out and max_failures is 2; the first is cat/0\.dat \(format: "
    with pytest.raises(DatasetError, match=expected):
        expand_dataset(data, out, PIPELINE, max_failures=2)
    assert not out.exists()


def test_max_failures_is_judged_while_shards_are_under_way(
    data: Path, out: Path, one_worker: LocalWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All records are one shard, and the run fails before the end of it."""
    monkeypatch.setattr(spec, "_OUTPUTS_A_SHARD", 1000)
    for i in range(3):
        (data / f"cat/{i}.jpg").write_bytes(broken(f"cat/{i}.jpg"))
    lay_noise(data, ["dog/slow.jpg"])

    def slow(task: Task[Any]) -> Task[Any]:
        assert isinstance(task, ShardTask)
        return SlowShard(task, "dog/slow", 3600)

    slowly = Wrapping(one_worker, slow)
    with pytest.raises(
        DatasetError, match=r"3 records and files are left out so far and max_failures is 2; one is cat/2"
    ):
        expand_dataset(data, out, PIPELINE, workers=slowly, max_failures=2)
    assert [path.name for path in out.iterdir()] == ["expansion.json"]
