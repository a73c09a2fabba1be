"""Every file operation is once the last."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_expansion_is_the_same_after_a_crash_at_some_file_operations(tmp_path: Path) -> None:
    _run_crash_points(tmp_path, step=24, first=1 + os.getpid() % 24)


@pytest.mark.long
def test_expansion_is_the_same_after_a_crash_at_any_file_operation(tmp_path: Path) -> None:
    _run_crash_points(tmp_path, step=1, first=1)


def _run_crash_points(tmp_path: Path, *, step: int, first: int) -> None:
    command = [sys.executable, "-m", "tests.augment.expansion.crash_points", str(tmp_path), str(step), str(first)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}{ended.stderr}"
    assert len(ended.stdout.splitlines()) == 5, ended.stdout
