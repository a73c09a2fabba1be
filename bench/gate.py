"""Gate against getting slower: ``python -m bench.gate``; exit status 1 if the code costs too much CPU.

Two ratios of CPU-seconds, each the median of rounds in which the loops take turns:

- the bare loop (decode and transforms of photographs) over a calibration loop of NumPy and OpenCV alone, which measures
  the current speed of this machine;
- a worker's task for a batch (the same, with the address, the batch, its provenance and the file it is written
  to) over the bare loop.

The margins are wide, because machines differ: code that fails here costs about twice as much as before. `make bench`
measures small differences.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage import data

from augment.images.encode import encode_image
from augment.render.pipeline import Pipeline
from augment.scanning.scan import scan
from augment.streams.spec import BatchSlice
from augment.streams.stream import Stream
from augment.streams.tasks import BatchTask
from augment.transforms.albumentations_import import cv2
from augment.workers.files import MemoryFile
from augment.workers.task import InProcessGuard
from bench.peers import bare
from bench.photographs import TAKEN_S
from bench.work import CROP_FLIP, spec

# ruff: noqa: T201 - a benchmark prints


NUM_IMAGES = 48
NUM_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Bound:
    """A stored ratio, and the multiple of it that fails."""

    stored: float
    margin: float

    @property
    def at_most(self) -> float:
        return self.stored * self.margin


RENDER_OVER_CALIBRATION = Bound(0.42, 2.2)
TASK_OVER_RENDER = Bound(1.24, 1.8)
"""Stored on 2026-11-21, on two CPUs of a virtual AMD EPYC. Lower them when the code has become faster."""


def main() -> None:
    """Measure the ratios, print them and exit with 1 if one is too high."""
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder, MemoryFile("gate") as into:
        files = _photographs(Path(folder))
        loops = [_calibration, _render(files), _task(Path(folder), into.path)]
        for loop in loops:
            loop()
        rounds = [[_cpu_s(loop) for loop in loops] for _ in range(NUM_ROUNDS)]
    wanted = {
        "render over calibration": (1, 0, RENDER_OVER_CALIBRATION),
        "task over render": (2, 1, TASK_OVER_RENDER),
    }
    is_slow = False
    for name, (upper, lower, bound) in wanted.items():
        ratio = statistics.median(seconds[upper] / seconds[lower] for seconds in rounds)
        is_slow |= ratio > bound.at_most
        print(f"{name}: {ratio:.2f}, stored {bound.stored:.2f}, at most {bound.at_most:.2f}")
    if is_slow:
        sys.exit(
            "the code costs more CPU than before: find the cause (python -m bench.profile FOLDER), or, if the cost "
            "is intended, store the new ratio in bench/gate.py and give the reason in the commit"
        )


def _photographs(folder: Path) -> list[bytes]:
    """Write JPEGs of ImageNet's size, cut from scikit-image's photographs, into a class folder; return their bytes."""
    sources = [np.asarray(image, np.uint8) for image in (data.astronaut(), data.coffee(), data.chelsea())]
    chance = np.random.default_rng(0)
    encoded = []
    (folder / "class").mkdir()
    for number in range(NUM_IMAGES):
        zoom = chance.uniform(1.3, 2.0)
        source = sources[number % len(sources)]
        large = np.asarray(cv2.resize(source, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC), np.uint8)
        top, left = (int(chance.integers(0, large.shape[axis] - side)) for axis, side in enumerate((375, 500)))
        image = np.ascontiguousarray(large[top : top + 375, left : left + 500])
        encoded.append(encode_image(image, "jpeg", 95))
        path = folder / "class" / f"{number:03d}.jpg"
        path.write_bytes(encoded[-1])
        os.utime(path, (TAKEN_S, TAKEN_S))
    return encoded


def _calibration() -> None:
    """Do the kinds of work that rendering consists of (integers, floats, memory) without any code of this project."""
    image = np.random.default_rng(1).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    reverse = np.arange(256, dtype=np.uint8)[::-1]
    for _ in range(NUM_IMAGES):
        blurred = np.asarray(cv2.GaussianBlur(image, (5, 5), 0), np.uint8)
        small = np.asarray(cv2.resize(blurred, (224, 224), interpolation=cv2.INTER_LINEAR), np.uint8)
        np.sort(np.take(reverse, small).reshape(-1)[:40_000])
        np.cumsum(blurred, dtype=np.int64)


def _render(files: list[bytes]) -> Callable[[], None]:
    pipeline = bare.compiled(CROP_FLIP)

    def render() -> None:
        for draw, encoded in enumerate(files):
            pipeline(encoded, draw)

    return render


def _task(folder: Path, into: Path) -> Callable[[], None]:
    dataset = scan(folder, format="folder")
    stream = Stream(dataset, Pipeline.parse(json.dumps(spec(CROP_FLIP))), batch_size=NUM_IMAGES)
    sources: Any = stream._sources()  # noqa: SLF001 - the sources that it gives its workers
    task = BatchTask(sources, stream.spec, stream.layout(0), BatchSlice(0, 0), into)

    def run() -> None:
        if task.run(InProcessGuard()) is None:
            raise RuntimeError(f"there is no room in memory for a batch of {stream.spec.batch_size}")

    return run


def _cpu_s(loop: Callable[[], None]) -> float:
    start = time.process_time()
    loop()
    return time.process_time() - start


if __name__ == "__main__":
    main()
