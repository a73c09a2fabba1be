"""CPU-seconds of a stream by stage: ``python -m bench.profile FOLDER``, which needs py-spy.

Nothing is cached, or with ``--second-epoch`` all images are decoded already.

Samples the stacks of every process of the service and of the trainer while a stream is read, and divides the
CPU-seconds that the kernel counts for each process among stages.
"""

import argparse
import collections
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench import meter, photographs
from bench.cases.second_epoch import CACHE_BYTES
from bench.peers import ours, served
from bench.work import Work

# ruff: noqa: T201 - a benchmark prints


STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("decode: libjpeg-turbo", ("_simplejpeg (augment/images/decode",)),
    ("decode: N/8 rule", ("eighths (augment/",)),
    ("decode: header, choice of the decoder", ("decode_image (augment/images/decode.py",)),
    ("read: file and its state", ("Dataset.read (",)),
    ("decode: image kept", ("DecodedCache._put (",)),
    ("decode: kept image found", ("DecodedCache.", "is_unmoved (")),
    ("decode: around it", ("Renderer.decode (",)),
    ("transform: crop and resize", ("RandomResizedCrop.apply (",)),
    ("transform: mirror", ("HorizontalFlip.apply (",)),
    ("transform: drawing parameters", ("get_params", "should_apply (albumentations", "update_transform_params (")),
    ("transform: generators reset", ("Chance.reset (",)),
    ("transform: provenance of parameters", ("Trace.applied (",)),
    ("transform: around these", ("Renderer.transform (",)),
    ("rows: guard", ("AlarmGuard.__call__ (",)),
    ("batch: copy of the row", ("Images.take (",)),
    ("batch: Arrow message", ("batch_message (augment/wire",)),
    ("batch: provenance to JSON", ("_described (", "dumps (json/")),
    ("batch: memory file", ("write (augment/render/result_file",)),
    ("batch: records, order, rows", ("BatchTask.run (",)),
    ("tasks in, outcomes out", ("Worker.", "Slot.")),
    ("receive", ("Answer.", "Received.")),
    ("batch from Arrow", ("read_batches (augment/wire",)),
    ("touch the bytes", ("_touched (bench/",)),
    ("fetch ahead", ("(augment/client",)),
    ("send", ("_SelectorSocketTransport.", "Protocol._send", "_send_chunk (")),
    ("batches, readers, metrics", ("(service/",)),
    ("event loop", ("(asyncio/",)),
)
"""Stages with their marks, inner before outer: the first stage with a mark anywhere in the stack counts."""

_SAMPLES_S = 200
_BATCHES = 60
_WAITING = (
    "wait (threading.py",
    "select (selectors.py",
    "Connection._recv (multi",
    "_try_wait (subprocess",
    "Slot._serve (",  # in SimpleQueue.get, which has no Python frame
)


class Profiled(NamedTuple):
    """One process: its role, its CPU-seconds while it was watched, its samples by stack."""

    who: str
    cpu_s: float
    stacks: Counter[str]


def main() -> None:
    """Prepare photographs, read a stream under py-spy, print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of photographs (JPEG)")
    parser.add_argument("--py-spy", default=shutil.which("py-spy"), help="the program py-spy")
    parser.add_argument("--second-epoch", action="store_true", help="read a first epoch before, with the decoded cache")
    options = parser.parse_args()
    if options.py_spy is None:
        sys.exit("py-spy is missing; pip install py-spy, or give --py-spy PATH")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder, home = Path(scratch) / "photographs", Path(scratch) / "home"
        work = Work(str(folder), str(home), num_batches=_BATCHES)
        photographs.lay_down(options.folder, folder, work)
        found = _profiled(work, options.py_spy, second_epoch=options.second_epoch)
    print(table(found, _BATCHES * work.batch_size))


def _profiled(work: Work, py_spy: str, *, second_epoch: bool) -> list[Profiled]:
    kept_bytes = CACHE_BYTES if second_epoch else 0
    with served.service(work, decode_cache_bytes=kept_bytes) as client, tempfile.TemporaryDirectory() as folder:
        served.register(client, work.folder)
        stream = ours.declared(client, work)
        if second_epoch:
            collections.deque(stream.epoch(0), maxlen=0)
        batches = (batch.images for epoch in itertools.count(1) for batch in stream.epoch(epoch))
        for _ in range(work.num_warm):
            _touched(next(batches))
        watched = {each.pid: each.own_s for each in meter.tree(os.getpid(), set())}
        watched[os.getpid()] = _own_s()
        spies = [_spy(py_spy, pid, Path(folder)) for pid in watched]
        apart = {spy.pid for spy in spies}
        for _ in range(work.num_batches):
            _touched(next(batches))
        after = {each.pid: each.own_s for each in meter.tree(os.getpid(), apart)} | {os.getpid(): _own_s()}
        for spy in spies:
            spy.send_signal(signal.SIGINT)  # it writes what it has
            spy.wait()
        return [
            Profiled(_who(pid), after[pid] - before, _read(Path(folder) / str(pid)))
            for pid, before in watched.items()
            if pid in after
        ]


def _spy(py_spy: str, pid: int, folder: Path) -> "subprocess.Popen[bytes]":
    command = [py_spy, "record", "--pid", str(pid), "--rate", str(_SAMPLES_S), "--duration", "3600", "--format", "raw"]
    command += ["--output", str(folder / str(pid)), "--nolineno"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _read(path: Path) -> Counter[str]:
    """Read the samples by stack, without those that only wait, which cost no CPU."""
    found: Counter[str] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        stack, _, number = line.rpartition(" ")
        if not any(mark in stack.rpartition(";")[2] for mark in _WAITING):  # py-spy may name the class before it
            found[stack] += int(number)
    return found


def _who(pid: int) -> str:
    if pid == os.getpid():
        return "trainer"
    command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
    return "service" if "serve" in command else "worker"


def _own_s() -> float:
    return sum(os.times()[:2])


def _touched(images: Any) -> int:
    return int(np.bitwise_xor.reduce(images.reshape(-1).view(np.uint64)))


def stage_of(stack: str) -> str | None:
    """Return the stage of a stack of frames, joined by semicolons, or None."""
    return next((stage for stage, marks in STAGES if any(mark in stack for mark in marks)), None)


def table(found: Sequence[Profiled], num_images: int) -> str:
    """Return a table of CPU microseconds per image and their share, by process and stage."""
    stages: dict[tuple[str, str], float] = defaultdict(float)
    for each in found:
        total = sum(each.stacks.values())
        for stack, number in each.stacks.items():
            stages[each.who, stage_of(stack) or "anything else"] += each.cpu_s * number / total
        if not total:
            stages[each.who, "anything else"] += each.cpu_s
    whole = sum(stages.values())
    lines = ["| process | stage | us an image | share |", "|---|---|---|---|"]
    for (who, stage), seconds in sorted(stages.items(), key=lambda item: -item[1]):
        if seconds / whole >= 0.001:
            lines.append(f"| {who} | {stage} | {seconds / num_images * 1e6:.0f} | {seconds / whole:.1%} |")
    return "\n".join([*lines, f"| all | | {whole / num_images * 1e6:.0f} | 100 % |"])


if __name__ == "__main__":
    main()
