"""Environment of a comparison: machine, date, versions, commit."""

import datetime as dt
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import instructions
from bench.measure import ROOT, Pythons

OURS = ("numpy", "opencv-python-headless", "albumentations", "simplejpeg", "pillow", "pyarrow", "uvicorn")
PEERS = (
    "torch",
    "torchvision",
    "tensorflow-cpu",
    "nvidia-dali-cuda120",
    "opencv-python-headless",
    "albumentations",
    "pillow",
)

_VERSIONS = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = "missing"
print(json.dumps(found))
"""


def describe(pythons: Pythons, **more: Any) -> dict[str, Any]:
    """Return everything that the figures of a comparison depend on, except its photographs."""
    about: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{len(os.sched_getaffinity(0))} CPUs, {_processor()}, {_memory_gb():.0f} GB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _commit(),
        "load before (1, 5, 15 min)": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "instructions": instructions.missing() or "counted by perf stat",
    }
    about |= more
    about["versions"] = {name: metadata.version(name) for name in OURS}
    if pythons.peers is not None:
        command = [pythons.peers, "-c", _VERSIONS, *PEERS]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        about["versions of peers"] = json.loads(done.stdout)
    return about


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain") else ""
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + changed
