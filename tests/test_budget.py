"""Budget of a test run: skipped tests and the summary."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from tests import budget

ROOT = Path(__file__).parents[1]
CONFTEST = """
from tests import budget

def pytest_configure(config):
    config.pluginmanager.register(budget.Budget(config))
"""
THREE = """
import pytest

@pytest.fixture(scope="module", autouse=True)
def resource():
    yield
    print("ended in", __name__)

@pytest.mark.parametrize("i", range(3))
def test(i):
    pass
"""


def _run(folder: Path, seconds: str, *arguments: str, more: str = "") -> "subprocess.CompletedProcess[str]":
    (folder / "conftest.py").write_text(CONFTEST + more)
    for name in ("test_first.py", "test_second.py"):
        (folder / name).write_text(THREE)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "xdist.plugin",
        "--rootdir",
        str(folder),
        *arguments,
        str(folder),
    ]
    environment = os.environ | {
        "BUDGET_S": seconds,
        "PYTHONPATH": str(ROOT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("processes", ["0", "2"])
def test_tests_that_would_begin_too_late_are_left_out_and_counted(tmp_path: Path, processes: str) -> None:
    done = _run(tmp_path, "1e-6", "-n", processes)
    assert done.returncode == 0, done.stdout
    assert "budget of 1e-06 s used up: 6 of 6 tests not run" in done.stdout


def test_what_a_test_left_to_one_that_is_left_out_is_ended(tmp_path: Path) -> None:
    done = _run(tmp_path, "3600", "-s", more="budget._THIN_SHARE = 1\n")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 passed in ")
    assert "4 of 6 tests not run" in done.stdout
    assert done.stdout.index("ended in test_first") < done.stdout.index("ended in test_second")


def test_budget_that_is_not_used_up_changes_nothing(tmp_path: Path) -> None:
    done = _run(tmp_path, "3600", "-n", "2")
    assert done.returncode == 0, done.stdout
    assert "budget" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("6 passed in ")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_budget_that_is_no_number_above_zero_is_refused(text: str) -> None:
    with pytest.raises(pytest.UsageError, match=f"BUDGET_S is '{text}'"):
        budget.seconds_of(text)


def test_tests_run_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setenv("BUDGET_S", "60")
    monkeypatch.setattr(budget, "time", SimpleNamespace(time=lambda: clock[0]))
    main: Any = budget.Budget(SimpleNamespace())  # type: ignore[arg-type]
    node = SimpleNamespace(workerinput={}, workeroutput={})
    main.pytest_configure_node(node)
    clock[0] = 1040.0
    late: Any = budget.Budget(node)  # type: ignore[arg-type]

    def runs(nodeid: str) -> bool:
        return late.pytest_runtest_protocol(mock.Mock(nodeid=nodeid), None) is None

    assert runs("a.py::test[1]")
    assert runs("a.py::test[2]")
    clock[0] = 1046.0
    assert not runs("a.py::test[3]"), "in the last quarter one case of a test is enough"
    assert runs("a.py::other[1]")
    clock[0] = 1060.0
    assert not runs("a.py::third"), "the clock of the main process counts"
    late.pytest_sessionfinish()
    assert node.workeroutput == {"budget": [0, 2]}
