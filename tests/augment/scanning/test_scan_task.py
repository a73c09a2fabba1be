"""Scans of disks that do not answer: they are aborted, and the error names the file."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from augment.datasets import read
from augment.errors import DatasetError
from augment.formats import files
from augment.formats.files import Watch
from augment.scanning import scan_task
from augment.scanning.scan_task import ScanTask
from augment.workers.pool import LocalWorkers
from augment.workers.task import Guard, InProcessGuard
from tests.augment.folders_for_tests import lay_images
from tests.augment.workers.tasks_for_tests import Pid

TIMEOUT_S = 1.5


@dataclass(frozen=True)
class Stuck:
    """Scan on a disk that does not answer for one file."""

    task: ScanTask
    name: str

    def run(self, guard: Guard) -> Any:
        real = read.read_file

        def read_file(path: Path, *, max_bytes: int) -> read.FileContent:
            if path.name == self.name:
                time.sleep(3600)
            return real(path, max_bytes=max_bytes)

        with mock.patch.object(read, "read_file", read_file):
            return self.task.run(guard)


@pytest.fixture
def task(tmp_path: Path) -> ScanTask:
    root = tmp_path / "photos"
    lay_images(root, "cat/0.png", "cat/1.png", "dog/0.png", "dog/stuck.png")
    return ScanTask(root, None, tmp_path / "manifest", tmp_path / "progress", (tmp_path,), timeout_s=TIMEOUT_S)


def test_a_scan_that_is_watched_finds_what_another_finds(task: ScanTask) -> None:
    before = set(threading.enumerate())
    report = task.run(InProcessGuard())
    assert (report.num_records, report.classes) == (4, ("cat", "dog"))
    assert set(threading.enumerate()) <= before


@pytest.mark.harden
def test_a_file_that_is_never_read_is_named_and_its_worker_replaced(task: ScanTask) -> None:
    with LocalWorkers(1) as workers:
        pid = workers.submit(Pid()).result(60)
        with pytest.raises(DatasetError, match=r"dog/stuck\.png.*AUGMENT_RECORD_TIMEOUT_S"):
            workers.submit(Stuck(task, "stuck.png")).result(120)
        assert workers.submit(Pid()).result(60) != pid


@pytest.mark.parametrize("room", [files, scan_task], ids=["listing", "links"])
def test_a_folder_that_is_never_listed_is_named(task: ScanTask, room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = os.scandir
    let = threading.Event()

    def scandir(path: Path) -> Any:
        if Path(path).name == "dog":
            let.wait(3600)
        return real(path)

    monkeypatch.setattr(room.os, "scandir", scandir)
    with pytest.raises(DatasetError, match="reading dog has not ended"):
        task.run(InProcessGuard())
    let.set()


def test_many_that_are_quick_enough_may_take_long_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = mock.Mock(return_value=0.0)
    monkeypatch.setattr("augment.formats.files.time", mock.Mock(monotonic=clock))
    watch = Watch(TIMEOUT_S)
    for i in range(5):
        watch.at(str(i))
        clock.return_value += TIMEOUT_S * 0.9
        watch.check()
    watch.done()
    clock.return_value += TIMEOUT_S * 1.5
    watch.check()
