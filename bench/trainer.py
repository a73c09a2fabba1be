"""Trainer's side of a run: takes batches, touches their bytes, and reports events with their times."""

import json
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from bench.work import SIZE, Work

T = TypeVar("T")
DESCRIPTOR = "BENCH_EVENTS"
"""Environment variable with the number of the pipe for events."""


class Trainer:
    """Consumer of a peer's batches, in the run's process; reports to the harness through a pipe."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._descriptor = int(os.environ[DESCRIPTOR])
        self._seen = 0

    def say(self, event: str, **figures: Any) -> None:
        """Send an event to the harness: ready, first, begin, end, missing or figures."""
        line = json.dumps({"event": event, "at": time.monotonic(), **figures})
        os.write(self._descriptor, line.encode() + b"\n")

    def train(self, batches: Iterable[Any]) -> None:
        """Measure an endless source of uint8 arrays (N, 224, 224, 3) or (N, 3, 224, 224).

        The time to the first batch counts from here, so call it when all is imported and every server is up.
        """
        self.say("ready")
        source = iter(batches)
        self.touch(next(source))
        self.say("first")
        for _ in range(self.work.num_warm - 1):
            self.touch(next(source))
        self.say("begin")
        for _ in range(self.work.num_batches):
            self.touch(next(source))
        self.say("end", images=self.work.num_batches * self.work.batch_size)

    def touch(self, batch: Any) -> None:
        """Read every byte of a batch, as a copy to an accelerator would.

        Raises ValueError if it has another shape or dtype.
        """
        images = np.asarray(batch)
        wanted = {(self.work.batch_size, SIZE, SIZE, 3), (self.work.batch_size, 3, SIZE, SIZE)}
        if images.shape not in wanted or images.dtype != np.uint8:
            raise ValueError(f"a batch is {images.dtype} {images.shape}; it must be uint8 {sorted(wanted)}")
        self._seen ^= int(np.bitwise_xor.reduce(images.reshape(-1).view(np.uint64)))


def endless(epoch: Iterable[T]) -> Iterator[T]:
    """Yield one epoch after another of a source that can be iterated again."""
    while True:
        yield from epoch
