"""Workers whose imports begin before there is a task, and what they do not import."""

from pathlib import Path

import psutil
import pytest

from augment.workers import launcher
from augment.workers.pool import LocalWorkers
from tests.augment.waiting import eventually
from tests.augment.workers.tasks_for_tests import Call, Echo


def children() -> list[psutil.Process]:
    """Return every process that this one started, directly or indirectly."""
    return list(psutil.Process().children(recursive=True))


def test_close_does_not_wait_for_an_import_that_was_only_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text(
        "import pathlib, time; pathlib.Path(__file__).with_name('begun').touch(); time.sleep(3600)"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = children()
    workers = LocalWorkers(1, preload=["slow_to_import"])
    workers.prepare()
    eventually((tmp_path / "begun").exists)
    monkeypatch.setattr(launcher, "_END_TIMEOUT_S", 3600)  # given to a zygote that has workers: none is waited out here
    workers.close()
    assert children() == before
    workers.prepare()  # of a pool that is closed: nothing
    assert children() == before


def test_workers_that_are_prepared_import_before_there_is_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "noted_import.py").write_text("import pathlib; pathlib.Path(__file__).with_name('done').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    with LocalWorkers(1, preload=["noted_import"]) as workers:
        workers.prepare()
        workers.prepare()
        eventually((tmp_path / "done").exists)
        assert workers.submit(Echo(1)).result(60) == 1
        assert "noted_import" in workers.submit(Call("modules")).result(60)


def test_pyarrow_imports_no_pandas_in_workers() -> None:
    pytest.importorskip("pandas")
    with LocalWorkers(1, preload=["pyarrow"]) as workers:
        assert workers.submit(Call("array_then_modules")).result(60) == (True, False)
