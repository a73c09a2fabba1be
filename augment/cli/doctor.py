"""``augment doctor``: check that this machine has all that augment needs; each finding has a remedy."""

import importlib
import importlib.metadata
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from augment.cli import exit_codes, output
from augment.errors import EXTRAS

MIN_OPEN_FILES = 1024
"""Usual limit of a login shell on Linux. A worker needs some dozens, a service one for each open batch."""
MIN_SHARED_MEMORY_BYTES = 1 << 30
"""One batch of 256 images of 512 x 512 has 201 MB; a container starts with 64 MiB."""
WORKER_MEMORY_BYTES = 1 << 30
"""One 50-megapixel image has 150 MB decoded, and a transform may hold several copies of it."""
MIN_DISK_BYTES = 1 << 30
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only its size is read

_LIBRARIES = {"numpy": "numpy", "pyarrow": "pyarrow", **EXTRAS["engine"]}
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


class Severity(StrEnum):
    """Severity of a finding; ``FAIL`` means that augment will not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """Result of one check. ``remedy`` is empty if all is well."""

    what: str
    verdict: Severity
    found: str
    remedy: str = ""


def examine(folder: Path) -> list[DoctorFinding]:
    """Check this machine and a future output folder."""
    return [
        _python(),
        _system(),
        _processor(),
        *(_library(module, distribution) for module, distribution in _LIBRARIES.items()),
        _opencv(),
        _engine(),
        *_workers(),
        _shared_memory(),
        _open_files(),
        _writable("temporary folder", Path(tempfile.gettempdir()), "set TMPDIR to a folder that is writable"),
        _writable("output folder", folder, "choose another folder, or make this one writable"),
    ]


def _judge(what: str, found: str, *, good: bool, otherwise: Severity, remedy: str) -> DoctorFinding:
    return DoctorFinding(what, Severity.OK, found) if good else DoctorFinding(what, otherwise, found, remedy)


def _python() -> DoctorFinding:
    return _judge(
        "Python",
        f"{platform.python_implementation()} {platform.python_version()}",
        good=sys.version_info >= (3, 11),
        otherwise=Severity.FAIL,
        remedy="install Python 3.11 or newer",
    )


def _system() -> DoctorFinding:
    return _judge(
        "system",
        f"{platform.system()} {platform.machine()}",
        good=platform.system() == "Linux",
        otherwise=Severity.FAIL,
        remedy="workers and memory files need Linux; elsewhere run it in a container",
    )


def _processor() -> DoctorFinding:
    try:
        from augment.transforms import albumentations_import

        problem = albumentations_import.cpu_problem()
    except ImportError as error:
        return DoctorFinding("processor", Severity.FAIL, f"cannot be checked: {error}", "see the libraries below")
    return _judge(
        "processor",
        "x86-64 with AVX2, or AArch64" if problem is None else problem,
        good=problem is None,
        otherwise=Severity.FAIL,
        remedy="use x86-64 with AVX2 or AArch64; other processors give other pixels",
    )


def _library(module: str, distribution: str) -> DoctorFinding:
    try:
        importlib.import_module(module)
        return DoctorFinding(distribution, Severity.OK, importlib.metadata.version(distribution))
    except (ImportError, OSError) as error:  # a missing shared library is an OSError
        remedy = f"pip install --force-reinstall {distribution}"
        return DoctorFinding(distribution, Severity.FAIL, f"cannot be imported: {error}", remedy)


def _opencv() -> DoctorFinding:
    installed = []
    for name in _OPENCV:
        try:
            installed.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return _judge(
        "OpenCV builds",
        ", ".join(installed) or "none",
        good=len(installed) == 1,
        otherwise=Severity.WARN,
        remedy="several builds overwrite each other's files: keep only opencv-python-headless, and reinstall it",
    )


def _engine() -> DoctorFinding:
    try:
        from augment import engine

        return DoctorFinding("engine", Severity.OK, engine.engine_id())
    except ImportError as error:
        return DoctorFinding("engine", Severity.FAIL, f"cannot be imported: {error}", "see the libraries above")


def _workers() -> Iterator[DoctorFinding]:
    from augment.workers.pool import num_cpus

    usable = num_cpus()
    yield DoctorFinding("workers", Severity.OK, f"{usable}, one for each of the usable CPUs (of {os.cpu_count()})")
    memory = _memory()
    yield _judge(
        "memory",
        _size(memory),
        good=memory >= usable * WORKER_MEMORY_BYTES,
        otherwise=Severity.WARN,
        remedy=f"a worker may need {_size(WORKER_MEMORY_BYTES)} for large images: use fewer workers, "
        f"--workers {max(1, memory // WORKER_MEMORY_BYTES)}",
    )


def _memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return total if limit == "max" else min(total, int(limit))


def _shared_memory() -> DoctorFinding:
    try:
        total = shutil.disk_usage(_SHARED_MEMORY).total
    except OSError:
        return DoctorFinding(_SHARED_MEMORY, Severity.WARN, "missing", "batches are written to disk instead")
    return _judge(
        _SHARED_MEMORY,
        _size(total),
        good=total >= MIN_SHARED_MEMORY_BYTES,
        otherwise=Severity.WARN,
        remedy="give a container more: docker run --shm-size=1g",
    )


def _open_files() -> DoctorFinding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    return _judge(
        "open files",
        "no limit" if unlimited else str(soft),
        good=unlimited or soft >= MIN_OPEN_FILES,
        otherwise=Severity.WARN,
        remedy=f"ulimit -n {MIN_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MIN_OPEN_FILES)}",
    )


def _writable(what: str, folder: Path, remedy: str) -> DoctorFinding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"augment")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return DoctorFinding(what, Severity.FAIL, f"{folder}: {error.strerror}", remedy)
    return _judge(
        what,
        f"{folder}: {_size(free)} free",
        good=free >= MIN_DISK_BYTES,
        otherwise=Severity.WARN,
        remedy=f"{_size(MIN_DISK_BYTES)} or more should be free: free space or choose another folder",
    )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 30):.1f} GiB" if num_bytes >= 1 << 30 else f"{num_bytes / (1 << 20):.0f} MiB"


def doctor(
    folder: Annotated[
        Path, typer.Argument(parser=output.path, metavar="FOLDER", help="Folder that you want to write to.")
    ] = Path(),
    *,
    as_json: output.JsonOption = False,
) -> None:
    """Check that this machine has all that augment needs. The exit code is 5 if something will not work."""
    findings = examine(folder)
    failed = any(finding.verdict is Severity.FAIL for finding in findings)
    if as_json:
        output.write_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        from rich.text import Text

        table = output.table()
        table.add_column("", no_wrap=True)
        table.add_column("what", no_wrap=True)
        table.add_column("found", ratio=1, overflow="fold")
        for finding in findings:
            found = Text(finding.found)
            if finding.remedy:
                found.append(f"\n→ {finding.remedy}", style="bold")
            table.add_row(Text(finding.verdict, style=_STYLES[finding.verdict]), finding.what, found)
        output.console().print(table)
    if failed:
        raise typer.Exit(exit_codes.FINDINGS)
