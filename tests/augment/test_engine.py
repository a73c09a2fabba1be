"""Digest of everything outside the address that decides a pixel."""

import os
import re
import subprocess
import sys
from pathlib import Path

import PIL
import pytest

from augment import engine
from augment.images import decode
from augment.transforms import albumentations_import

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    engine.engine_id.cache_clear()


def test_engine_id_is_a_digest() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", engine.engine_id())


def test_engine_id_is_the_same_in_another_process() -> None:
    script = "from augment import engine; print(engine.engine_id())"
    ids = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert ids == {engine.engine_id()}


def test_engine_describes_every_library_that_decides_a_pixel() -> None:
    description = engine.describe()
    assert description["revision"] == engine.RENDER_REVISION
    assert description["libraries"] == albumentations_import.versions() | decode.versions()
    assert list(description["libraries"]) == sorted(description["libraries"])
    assert {"albumentations", "opencv", "numpy", "pillow", "pillow-libjpeg-turbo", "simplejpeg"} <= set(
        description["libraries"]
    )


def test_engine_id_changes_with_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    before = engine.engine_id()
    monkeypatch.setattr(PIL, "__version__", PIL.__version__ + ".post1")
    engine.engine_id.cache_clear()
    assert engine.engine_id() != before


def test_engine_id_changes_with_the_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    before = engine.engine_id()
    monkeypatch.setattr(engine, "RENDER_REVISION", engine.RENDER_REVISION + 1)
    engine.engine_id.cache_clear()
    assert engine.engine_id() != before


@pytest.mark.parametrize(
    ("machine", "problem", "expected"),
    [
        ("x86_64", None, "x86-64-avx2"),
        ("AMD64", None, "x86-64-avx2"),
        ("x86_64", "the processor has no AVX2", "x86-64"),
        ("aarch64", None, "aarch64"),
        ("arm64", None, "aarch64"),
        ("riscv64", "unknown", "riscv64"),
        ("", "unknown", "unknown"),
    ],
)
def test_engine_tells_architectures_apart(
    machine: str, problem: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(albumentations_import, "cpu_problem", lambda: problem)
    assert engine.architecture() == expected
    assert engine.describe()["architecture"] == expected


def test_engine_id_is_remembered() -> None:
    assert engine.engine_id() is engine.engine_id()
