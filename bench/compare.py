"""Run a case from beginning to end: prepare its photographs, run its pairs in turn, keep the results."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import photographs
from bench.case import Case, Pair, Run
from bench.measure import FailedRunError, Measured, MissingPeerError, Pythons, measure
from bench.pairs import Spread

Tell = Callable[[str], None]


@dataclass(slots=True)
class PairResult:
    """Runs of one pair in the order in which they took turns, or the reason why there are none."""

    pair: Pair
    first: list[Measured] = field(default_factory=list)
    second: list[Measured] = field(default_factory=list)
    problem: str | None = None

    @property
    def values(self) -> list[float]:
        """Values, one for each pair."""
        figure = self.pair.figure
        return [
            self.pair.value(first.figure(figure), second.figure(figure))
            for first, second in zip(self.first, self.second, strict=False)
        ]

    @property
    def spread(self) -> Spread | None:
        return Spread.of(self.values) if self.values else None

    @property
    def is_reached(self) -> bool | None:
        """True if the goal is reached, or None without a goal or a value."""
        if self.spread is None or (self.pair.at_least is None and self.pair.at_most is None):
            return None
        return self.pair.is_reached(self.spread.median)


@dataclass(slots=True)
class CaseResult:
    """Results of one case, and the description of its photographs."""

    case: Case
    images: dict[str, Any]
    pairs: list[PairResult]


def run_case(
    case: Case, source: Path, scratch: Path, pythons: Pythons, *, num_pairs: int, scale: float, tell: Tell
) -> CaseResult:
    """Run a case: ``num_pairs`` rounds, in each its pairs one after another, A B, A C, A D."""
    folder, home = scratch / case.name, scratch / f"{case.name}-home"
    folder.mkdir()
    home.mkdir()
    tell(f"{case.name}: preparing photographs")
    case.prepare(source, folder, case.work(folder, home, case.pairs[0].first, scale))
    results = [PairResult(pair) for pair in case.pairs]
    _try_each(case, results, folder, home, pythons, tell)
    for number in range(num_pairs):
        for result in results:
            if result.problem is None:
                _round(case, result, folder, home, pythons, scale, f"pair {number + 1} of {num_pairs}", tell)
    return CaseResult(case, photographs.describe(folder), results)


def _try_each(case: Case, results: list[PairResult], folder: Path, home: Path, pythons: Pythons, tell: Tell) -> None:
    """Run each side briefly, unmeasured, to fill the page cache and the home, and to find missing libraries."""
    tried: dict[str, str | None] = {}
    for result in results:
        for run in (result.pair.first, result.pair.second):
            known = f"{run.peer} {sorted(run.options.items())}"
            if known not in tried:
                tell(f"{case.name}: trying {title(run)}")
                try:
                    measure(run.peer, case.work(folder, home, run, 0), pythons)
                    tried[known] = None
                except (MissingPeerError, FailedRunError) as error:
                    tried[known] = str(error)
                    tell(f"{case.name}: {title(run)}: {error}")
            result.problem = result.problem or tried[known]


def _round(
    case: Case,
    result: PairResult,
    folder: Path,
    home: Path,
    pythons: Pythons,
    scale: float,
    what: str,
    tell: Tell,
) -> None:
    pair = result.pair
    try:
        first = measure(pair.first.peer, case.work(folder, home, pair.first, scale), pythons)
        second = measure(pair.second.peer, case.work(folder, home, pair.second, scale), pythons)
    except FailedRunError as error:
        result.problem = str(error)
        tell(f"{case.name}: {error}")
        return
    result.first.append(first)
    result.second.append(second)
    figures = f"{first.figure(pair.figure):.4g} and {second.figure(pair.figure):.4g}"
    tell(f"{case.name}, {what}: {title(pair.first)} and {title(pair.second)}: {figures} ({pair.figure})")


def title(run: Run) -> str:
    """Return the name of a run in tables."""
    return run.title or str(importlib.import_module(f"bench.peers.{run.peer}").TITLE)
