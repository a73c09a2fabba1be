"""A comparison: what runs against what, on which photographs, and what is to be reached."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.work import CROP_FLIP, Work

RATIO, DIFFERENCE = "ratio", "difference"


@dataclass(frozen=True, slots=True)
class Run:
    """One side of a pair: a peer, and how its work differs from the case's."""

    peer: str
    options: Mapping[str, Any] = field(default_factory=dict)
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs that take turns. ``figure`` of the first over the second's (``ratio``), or less it (``difference``).

    One of ``at_least`` and ``at_most`` is the goal. ``also_record`` names what the table shows of both beside.
    """

    first: Run
    second: Run
    figure: str = "per_s"
    how: str = RATIO
    at_least: float | None = None
    at_most: float | None = None

    def value(self, first: float, second: float) -> float:
        return first / second if self.how == RATIO else first - second

    def is_reached(self, value: float) -> bool:
        """Whether a value satisfies the goal."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


Prepare = Callable[[Path, Path, Work], None]
"""From the user's folder, into the case's folder, what the case's runs need."""


@dataclass(frozen=True, slots=True)
class Case:
    """``notes`` are said under its table. ``prepare`` lays down ``folder`` once, before the first run."""

    name: str
    title: str
    pairs: tuple[Pair, ...]
    prepare: Prepare
    pipeline: str = CROP_FLIP
    batch_size: int = 64
    num_warm: int = 8
    num_batches: int = 40
    notes: str = ""

    def work(self, folder: Path, home: Path, run: Run, scale: float) -> Work:
        """What a run of this case is asked; ``scale`` shrinks or grows how much is measured."""
        num_batches = max(2, round(self.num_batches * scale))
        return Work(
            folder=str(folder),
            home=str(home),
            pipeline=self.pipeline,
            batch_size=self.batch_size,
            num_warm=self.num_warm,
            num_batches=num_batches,
            options=run.options,
        )
