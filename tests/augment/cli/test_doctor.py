"""What the doctor finds, on this machine and on one that lacks something."""

import importlib
import importlib.metadata
import json
import os
import resource
import shutil
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from augment import engine
from augment.cli import app, doctor, exit_codes
from augment.cli.doctor import Finding, Verdict


def examine(folder: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in doctor.examine(folder)}


def test_doctor_finds_this_machine_fit(tmp_path: Path) -> None:
    findings = examine(tmp_path)
    assert [finding for finding in findings.values() if finding.verdict is Verdict.FAIL] == []
    assert findings["engine"].found == engine.engine_id()
    assert findings["albumentations"].found == "2.0.8"


def test_doctor_names_a_remedy_wherever_something_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> ModuleType:
        if name == "simplejpeg":
            raise ImportError("libturbojpeg.so.0: cannot open shared object file")
        return real(name, package)

    class Usage(NamedTuple):
        total: int = 64 << 20
        used: int = 0
        free: int = 64 << 20

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"1.0 of {name}")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage())
    monkeypatch.setattr(os, "sysconf", lambda _: 1 << 14)
    monkeypatch.setattr("augment.transforms.albumentations_import.cpu_problem", lambda: "this processor has no AVX2")
    findings = examine(tmp_path / "missing")

    assert {what: finding.verdict.value for what, finding in findings.items() if finding.verdict is not Verdict.OK} == {
        "processor": "fail",
        "simplejpeg": "fail",
        "OpenCV builds": "warn",
        "memory": "warn",
        "/dev/shm": "warn",
        "open files": "warn",
        "temporary folder": "warn",
        "output folder": "fail",
    }
    assert all(finding.remedy for finding in findings.values() if finding.verdict is not Verdict.OK)
    assert "libturbojpeg.so.0" in findings["simplejpeg"].found
    assert findings["open files"].remedy == "ulimit -n 1024"


def test_doctor_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["doctor", str(tmp_path)]) == exit_codes.OK
    assert "fail" not in capsys.readouterr().out
    missing = tmp_path / "missing"
    assert app.run(["doctor", str(missing)]) == exit_codes.FINDINGS
    assert "choose another folder" in capsys.readouterr().out
    assert app.run(["doctor", str(missing), "--json"]) == exit_codes.FINDINGS
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert [finding["what"] for finding in document["findings"] if finding["verdict"] == "fail"] == ["output folder"]
