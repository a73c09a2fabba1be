"""Albumentations and OpenCV are imported so that their pixels can be reproduced."""

import os
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from augment.transforms import albumentations_import
from tests.augment.transforms.catalogue_cases import compiled, node, sample

ADDRESS: dict[str, Any] = {"seed": 0, "draw": 0, "view": 0, "key": "k"}


# ---------------------------------------------------------------------------------------------------------- libraries


def test_versions_are_those_of_the_libraries_that_decide_a_pixel() -> None:
    versions = albumentations_import.versions()
    assert versions["opencv"] == albumentations_import.cv2.__version__
    assert versions["albumentations"] == metadata.version("albumentations") == "2.0.8"
    assert set(versions) == {"albumentations", "albucore", "numpy", "opencv", "scipy", "simsimd", "stringzilla"}


@pytest.mark.parametrize(
    ("machine", "flags", "problem"),
    [
        ("x86_64", "flags : fpu sse4_2 avx2 bmi2", None),
        ("AMD64", "flags : fpu avx2", None),
        ("x86_64", "flags : fpu sse4_2 avx", "no AVX2"),
        ("aarch64", "", None),
        ("riscv64", "", "the processor is riscv64"),
    ],
)
def test_processor_without_avx2_is_a_problem(
    machine: str, flags: str, problem: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(flags)
    monkeypatch.setattr(albumentations_import, "_CPU_INFO", info)
    monkeypatch.setattr("platform.machine", lambda: machine)
    found = albumentations_import.cpu_problem()
    assert found is None if problem is None else problem in str(found)


def test_unreadable_cpuinfo_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(albumentations_import, "_CPU_INFO", Path("/nonexistent"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert "cannot be read (No such file or directory)" in str(albumentations_import.cpu_problem())


def test_ipp_is_off_in_a_thread_where_opencv_was_there_before_us() -> None:
    found: list[bool] = []

    def render() -> None:
        albumentations_import.cv2.ipp.setUseIPP(True)
        compiled(node("HorizontalFlip"))(sample(), **ADDRESS)
        found.append(albumentations_import.cv2.ipp.useIPP())

    thread = threading.Thread(target=render)
    thread.start()
    thread.join()
    assert found == [False]


def test_importing_asks_nobody_and_says_nothing() -> None:
    program = "import augment.transforms.albumentations_import as c; import os; "
    program += "print(os.environ['OPENCV_IPP'], c.versions()['opencv'])"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("NO_ALBU", "OPENCV"))}
    environment |= {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
    assert done.stdout.split() == ["disabled", albumentations_import.cv2.__version__]
    assert done.stderr == ""


def test_pytorch_is_left_to_those_who_import_it() -> None:
    pytest.importorskip("torch")
    program = (
        "import sys, augment.transforms.runtime.compiler; loaded = 'torch' in sys.modules; import torch;"
        "print(loaded, torch.ones(2).sum().item())"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "2.0"]


@pytest.mark.parametrize("name", ["torch", "huggingface_hub"])
def test_what_albumentations_would_import_is_kept_out(name: str) -> None:
    pytest.importorskip(name)
    program = f"import sys, augment.transforms.runtime.compiler; print({name!r} in sys.modules); import {name}"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False"]
