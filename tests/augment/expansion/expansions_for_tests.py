"""Datasets of a few images, and folders compared to the last byte."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augment.expansion.progress import ShardResult
from augment.expansion.shard import ShardTask
from augment.images.encode import encode_image
from augment.render.pipeline import Pipeline
from augment.workers.task import Guard, Task

T = TypeVar("T")

NAMES = [f"{name}/{i}.jpg" for name in ("cat", "dog") for i in range(8)]

PIPELINE = Pipeline.parse(
    """
    transforms:
      - HorizontalFlip: {p: 0.5}
      - Rotate: {limit: [-20, 20], p: 0.5}
      - GaussNoise: {p: 0.5}
    """
)
LONG_AGO_S = 1_000_000_000
"""A time of modification that no scan doubts."""


def noise(name: str, height: int = 24, width: int = 32) -> bytes:
    """A JPEG of noise that depends on the name alone."""
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encode_image(pixels, "jpeg")


def broken(name: str) -> bytes:
    """Return a JPEG with a valid header, which a scan accepts, and a truncated end, which a decoder refuses."""
    return noise(name)[:-300]


def lay_noise(root: Path, names: Iterable[str], *, edition: str = "", height: int = 24, width: int = 32) -> Path:
    """Write an image under each name; another edition has other pixels."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(name + edition, height, width))
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    return root


def flip_a_bit(path: Path) -> None:
    """Change a file and neither its size nor its name."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@dataclass(frozen=True)
class CrashingShard:
    """A shard in which one record crashes any process that renders it."""

    task: Task[ShardResult]
    key: str

    def run(self, guard: Guard) -> ShardResult:
        def crashing(subject: str, key: str, work: Callable[[], T]) -> T:
            return guard(subject, key, os.abort if key == self.key else work)

        return self.task.run(crashing)


@dataclass(frozen=True)
class SlowShard:
    """A shard that waits at one record until its run has ended, for ``seconds`` at most."""

    task: ShardTask
    key: str
    seconds: float

    def run(self, guard: Guard) -> ShardResult:
        def slowly(subject: str, key: str, work: Callable[[], T]) -> T:
            deadline = time.monotonic() + self.seconds
            while key == self.key and time.monotonic() < deadline and any(self.task.root.glob(".augment-run-*")):
                time.sleep(0.02)
            return guard(subject, key, work)

        return self.task.run(slowly)


@dataclass(frozen=True)
class DyingShard:
    """A shard whose process always dies after some copies, outside of any record, so that none can be blamed."""

    task: Task[ShardResult]

    def run(self, guard: Guard) -> ShardResult:
        num_calls = 0

        def counted(subject: str, key: str, work: Callable[[], T]) -> T:
            nonlocal num_calls
            num_calls += 1
            if num_calls == 4:
                os.abort()
            return guard(subject, key, work)

        return self.task.run(counted)


def content(root: Path) -> dict[str, bytes | None]:
    """Everything below a folder: the bytes of each file, None for a folder."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))
    }


def identities(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of modification of each image below a folder."""
    images = (path for path in sorted(root.rglob("*")) if path.suffix in {".jpg", ".png", ".webp"})
    return {str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in images}


def rows(root: Path) -> list[dict[str, Any]]:
    """All rows of the manifest, read as a user would."""
    tables = [pq.read_table(path, partitioning=None) for path in sorted(root.glob("manifest-*.parquet"))]
    found: list[dict[str, Any]] = pa.concat_tables(table.replace_schema_metadata(None) for table in tables).to_pylist()
    return found
