"""A comparison: the pairs of runs, their photographs, and the goals."""

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
    """Two runs that take turns, compared by ``figure``: their ``ratio`` or ``difference``, first to second.

    One of ``at_least`` and ``at_most`` is the goal. ``also_record`` names further figures for the table.
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
        """Return True if a value satisfies the goal."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


Prepare = Callable[[Path, Path, Work], None]
"""Function that makes a case's folder from the user's folder: (user's folder, case's folder, work)."""


@dataclass(frozen=True, slots=True)
class Case:
    """A comparison with a table.

    ``notes`` are printed under it. ``prepare`` makes ``folder`` once, before the first run.
    """

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
        """Return the work of a run of this case; ``scale`` multiplies the amount that is measured."""
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
