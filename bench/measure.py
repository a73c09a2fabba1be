"""One measured run: starts a process, follows its events and reads its whole process tree."""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import instructions, meter
from bench.trainer import DESCRIPTOR
from bench.work import Work

TIMEOUT_S = 600
ROOT = Path(__file__).parents[1]


class MissingPeerError(Exception):
    """A peer's library cannot be imported; the message has its name and the command that installs it."""


class FailedRunError(Exception):
    """A run ended without its measure; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one run. ``first_batch_s`` counts from when all is imported and every server is up."""

    images: int
    seconds: float
    cpu_s: float
    peak_bytes: int
    first_batch_s: float | None = None
    instructions: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    def figure(self, name: str) -> float:
        """Return one of the figures that goals and tables name. Raises KeyError if the run does not have it."""
        match name:
            case "per_s":
                return self.images / self.seconds
            case "cpu_s_per_1000":
                return self.cpu_s / self.images * 1000
            case "per_cpu_s":
                return self.images / self.cpu_s
            case "peak_mb":
                return self.peak_bytes / 1e6
            case "first_batch_ms":
                if self.first_batch_s is None:
                    raise KeyError(name)
                return self.first_batch_s * 1e3
            case _:
                return self.figures[name]


@dataclass(frozen=True, slots=True)
class Pythons:
    """Interpreters: ours, and the one that has the peers' libraries (None if missing)."""

    ours: str = sys.executable
    peers: str | None = None

    def of(self, peer: str) -> str:
        """Return the interpreter of a peer."""
        needs = importlib.import_module(f"bench.peers.{peer}").NEEDS
        if "augment" in needs:
            return self.ours
        if self.peers is None:
            raise MissingPeerError(f"there is no environment of peers; `make bench` makes it, or: {_command(needs)}")
        return self.peers


def measure(peer: str, work: Work, pythons: Pythons) -> Measured:
    """Run a peer once in fresh processes; all of them have ended when this returns."""
    reading, writing = os.pipe()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUGMENT_")}
    environment |= {DESCRIPTOR: str(writing), "PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    command = [pythons.of(peer), "-m", "bench.run", peer, work.to_json()]
    with meter.Meter() as tree, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=environment, pass_fds=[writing], stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        os.close(writing)
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(TIMEOUT_S)
        try:
            with os.fdopen(reading, encoding="utf-8") as events:
                measured = _follow(events, tree)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        except TimeoutError:
            measured = None
        finally:
            signal.alarm(0)
            meter.end(os.getpid())
            process.returncode = 0  # it was waited for with all the others
        if measured is None:
            said.seek(0)
            words = said.read().decode(errors="replace")[-2000:].strip()
            raise FailedRunError(f"{peer} ended without a measure; its last words: {words}")
        return measured


def _follow(events: Any, tree: meter.Meter) -> Measured | None:
    """Read the run's events to the end of the run."""
    at: dict[str, float] = {}
    figures: dict[str, float] = {}
    cpu: dict[str, float] = {}
    count: instructions.Count | None = None
    counted: float | None = None
    images = 0
    for line in events:
        event: dict[str, Any] = json.loads(line)
        name = event.pop("event")
        at[name] = event.pop("at")
        if name == "missing":
            raise MissingPeerError(f"{event['module']} cannot be imported ({event['error']}): {_command_of(event)}")
        if name == "figures":
            figures |= event
        elif name in {"begin", "end"}:
            cpu[name] = tree.cpu().total_s
            if name == "begin" and instructions.missing() is None:
                count = instructions.Count(each.pid for each in meter.tree(os.getpid(), tree.apart))
                tree.apart.add(count.pid)
            if name == "end":
                images = event["images"]
                counted = count.stop() if count is not None else None
                break
    if "end" not in at:
        return None
    tree.take_memory()
    return Measured(
        images=images,
        seconds=at["end"] - at["begin"],
        cpu_s=cpu["end"] - cpu["begin"],
        peak_bytes=tree.peak_bytes,
        first_batch_s=at["first"] - at["ready"] if "first" in at else None,
        instructions=counted,
        figures=figures,
    )


def _command(needs: Mapping[str, str]) -> str:
    return f"pip install {' '.join(needs.values())}"


def _command_of(event: Mapping[str, Any]) -> str:
    return _command({event["module"]: event["requirement"]})


def _late(*_: object) -> None:
    raise TimeoutError(f"a run took longer than {TIMEOUT_S} s")
