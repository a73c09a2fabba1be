"""Report of a comparison: Markdown for people, JSON for programs, a plot."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.case import DIFFERENCE, Pair
from bench.compare import CaseResult, PairResult, title
from bench.measure import Measured
from bench.pairs import Spread

FIGURES = {
    "per_s": "images/s",
    "cpu_s_per_1000": "CPU-s/1,000",
    "peak_mb": "peak MB",
    "first_batch_ms": "first batch ms",
}


def write(into: Path, results: Sequence[CaseResult], about: dict[str, Any]) -> None:
    """Write ``table.md``, ``results.json`` and ``plot.png`` into a folder, replacing old ones."""
    (into / "table.md").write_text(markdown(results, about), encoding="utf-8")
    document = {"about": about, "cases": [_case_json(result) for result in results]}
    (into / "results.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    plot(into / "plot.png", results, about)


def markdown(results: Sequence[CaseResult], about: dict[str, Any]) -> str:
    """Return a summary of all goals, then a table for each case."""
    lines = ["# Comparison", ""]
    lines += [f"- {name}: {value}" for name, value in about.items() if not isinstance(value, dict)]
    lines += [f"- {name}: {', '.join(f'{k} {v}' for k, v in value.items())}" for name, value in _nested(about)]
    lines += ["", "Each value is the median of the pairs' values, with its quartiles.", ""]
    lines += ["| case | of | to | value | goal | reached |", "|---|---|---|---|---|---|"]
    lines += [_summary_row(result, pair) for result in results for pair in result.pairs]
    for result in results:
        lines += ["", f"## {result.case.title}", "", *_table(result)]
        lines += ["", f"{result.case.notes} Measured on {_images(result.images)}.", ""]
    return "\n".join(lines)


def _nested(about: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, value) for name, value in about.items() if isinstance(value, dict)]


def _summary_row(result: CaseResult, pair: PairResult) -> str:
    reached = {None: "", True: "yes", False: "no"}[pair.is_reached]
    shown = str(pair.spread) if pair.spread is not None else pair.problem
    first, second = title(pair.pair.first), title(pair.pair.second)
    return f"| {result.case.title} | {first} | {second} | {shown} | {goal(pair.pair)} | {reached} |"


def goal(pair: Pair) -> str:
    """Return a goal as text."""
    sign = "" if pair.how == DIFFERENCE else " x"
    if pair.at_least is not None:
        return f"at least {pair.at_least:g}{sign}"
    return "" if pair.at_most is None else f"at most {pair.at_most:g}{sign}"


def _table(result: CaseResult) -> list[str]:
    sides: dict[str, list[Measured]] = {}
    for pair in result.pairs:
        sides.setdefault(title(pair.pair.first), []).extend(pair.first)
        sides.setdefault(title(pair.pair.second), []).extend(pair.second)
    own = sorted({name for runs in sides.values() for run in runs for name in run.figures})
    has_counts = any(run.instructions is not None for runs in sides.values() for run in runs)
    names = [*FIGURES.values(), *own, *(["instructions an image"] if has_counts else [])]
    lines = [f"| | runs | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for side, runs in sides.items():
        cells = [_cell(runs, name) for name in (*FIGURES, *own)]
        if has_counts:
            cells.append(_spread([run.instructions / run.images for run in runs if run.instructions is not None]))
        lines.append(f"| {side} | {len(runs)} | {' | '.join(cells)} |")
    return lines


def _cell(runs: Sequence[Measured], figure: str) -> str:
    values = []
    for run in runs:
        try:
            values.append(run.figure(figure))
        except KeyError:
            return ""
    return _spread(values)


def _spread(values: Sequence[float]) -> str:
    return str(Spread.of(values)) if values else ""


def _images(found: dict[str, Any]) -> str:
    return (
        f"{found['num_files']:,} files, {found['mean_kilobytes']} kB in the mean, "
        f"{found['median_megapixels']} megapixels in the median"
    )


def _case_json(result: CaseResult) -> dict[str, Any]:
    return {
        "name": result.case.name,
        "title": result.case.title,
        "photographs": result.images,
        "pairs": [
            {
                "first": title(each.pair.first),
                "second": title(each.pair.second),
                "figure": each.pair.figure,
                "how": each.pair.how,
                "goal": goal(each.pair),
                "reached": each.is_reached,
                "values": each.values,
                "problem": each.problem,
                "runs": [[_run_json(run) for run in runs] for runs in (each.first, each.second)],
            }
            for each in result.pairs
        ],
    }


def _run_json(run: Measured) -> dict[str, Any]:
    return {
        "images": run.images,
        "seconds": run.seconds,
        "cpu_s": run.cpu_s,
        "peak_bytes": run.peak_bytes,
        "first_batch_s": run.first_batch_s,
        "instructions": run.instructions,
        "figures": dict(run.figures),
    }


def plot(path: Path, results: Sequence[CaseResult], about: dict[str, Any]) -> None:
    """Plot each pair of runs as a point, the median as a bar, the goal as a line: ratios on one axis."""
    shown = [
        (result, pair) for result in results for pair in result.pairs if pair.values and pair.pair.how != DIFFERENCE
    ]
    figure = Figure(figsize=(9, 1.2 + 0.5 * max(1, len(shown))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, (_, pair) in enumerate(shown):
        values = pair.values
        axes.barh(row, Spread.of(values).median, height=0.6, color="#9ec9e8")
        axes.plot(values, [row] * len(values), "o", color="#1f4e79", markersize=4)
        wanted = pair.pair.at_least or pair.pair.at_most
        if wanted is not None:
            axes.plot([wanted, wanted], [row - 0.4, row + 0.4], color="#c0392b", linewidth=2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(shown)))
    axes.set_yticklabels(
        [f"{result.case.name}: {title(pair.pair.first)}\nto {title(pair.pair.second)}" for result, pair in shown],
        fontsize=7,
    )
    axes.invert_yaxis()
    axes.set_xlabel(f"ratio (bar: median, points: pairs, red: goal), {about['date']}, {about['machine']}", fontsize=8)
    figure.savefig(path, dpi=120)
