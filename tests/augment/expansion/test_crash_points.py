"""Every file operation is the last one once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = ["folder", "voc", "coco", "webdataset"]


@pytest.mark.parametrize("kind", ["folder", "voc"])
@pytest.mark.harden
def test_expansion_is_the_same_after_a_crash_at_some_file_operations(kind: str, tmp_path: Path) -> None:
    _run_crash_points(tmp_path, kind, step=48, first=1 + os.getpid() % 48)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_expansion_is_the_same_after_a_crash_at_any_file_operation(kind: str, tmp_path: Path) -> None:
    _run_crash_points(tmp_path, kind, step=1, first=1)


def _run_crash_points(tmp_path: Path, kind: str, *, step: int, first: int) -> None:
    script = [sys.executable, "-m", "tests.augment.expansion.crash_points"]
    command = [*script, str(tmp_path), kind, str(step), str(first)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}{ended.stderr}"
    assert len(ended.stdout.splitlines()) == 5, ended.stdout
