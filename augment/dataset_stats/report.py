"""Report on a dataset's statistics with plots: one self-contained HTML file, or one PNG."""

import base64
import html
import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from augment.dataset_stats.counts import Census, Range
from augment.dataset_stats.pixels import DatasetStatistics, Pixels
from augment.datasets import keys
from augment.errors import CallError, StorageError
from augment.images.histogram import LEVELS
from augment.user_state import replacing
from augment.validation import abridged

if TYPE_CHECKING:  # the tables need no plots, and matplotlib belongs to the extra `tools`
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS_MAX = 30
"""Largest number of classes in a plot, the most frequent ones; a table names them all."""
_BINS = 40
_ROWS_LEAST = 4
"""Least number of bars that a plot has room for, so that a single bar does not fill it."""
_COLOURS = ("#3566a8", "#d98a29", "#4a9a5c", "#a3455b", "#7a63ac", "#6b6b70", "#3f9da3", "#b58b5a")
_CHANNELS = (("red", "#c0392b"), ("green", "#3d9140"), ("blue", "#2f5fb3"))
_TEXT_MAX = 28

_Counts: TypeAlias = Mapping[str | None, int] | Mapping[str, int]  # by class; None counts records without a class


def panels(statistics: DatasetStatistics) -> Iterator[tuple[str, Any]]:
    """Yield the title of each plot that is not empty, and a function that draws it into axes."""
    parts = {part.split or "all": (part, pixels) for part, pixels in statistics.parts}
    counted = {name: part for name, (part, _) in parts.items()}
    for title, counts in (
        ("Records by class", {name: part.classes for name, part in counted.items()}),
        ("Images by label", {name: part.labels for name, part in counted.items()}),
        ("Boxes by class", {name: part.box_classes for name, part in counted.items()}),
    ):
        if any(counts.values()):
            yield title, partial(_draw_bars, counts)
    sizes = {name: (part.widths, part.heights) for name, part in counted.items()}
    yield "Image sizes", partial(_draw_sizes, sizes)
    ratios = {name: np.log2(part.aspect_ratios) for name, part in counted.items()}
    yield "Aspect ratios", partial(_draw_histogram, ratios, "width : height", ratio=True)
    if any(len(part.box_scales) for part in counted.values()):
        numbers = {name: part.boxes for name, part in counted.items()}
        yield "Boxes an image", partial(_draw_histogram, numbers, "boxes", whole=True)
        scales = {name: 100 * part.box_scales for name, part in counted.items()}
        yield "Box scales", partial(_draw_histogram, scales, "square root of the covered part (%)")
        boxes = {name: (part.box_sizes[:, 0], part.box_sizes[:, 1]) for name, part in counted.items()}
        yield "Box sizes", partial(_draw_sizes, boxes)
    if any(part.keypoint_visibility for part in counted.values()):
        numbers = {name: part.keypoints for name, part in counted.items()}
        yield "Keypoints an image", partial(_draw_histogram, numbers, "keypoints", whole=True)
    values = {
        name: {statistics.mask_class(value): number for value, number in pixels.mask_values.items()}
        for name, (_, pixels) in parts.items()
        if pixels is not None
    }
    if any(values.values()):
        yield "Mask pixels by class", partial(_draw_bars, values, unit="pixels")
    for name, (_, pixels) in parts.items():
        if pixels is not None and pixels.num_pixels:
            yield "Pixel values" + (f" ({name})" if len(parts) > 1 else ""), partial(_draw_levels, pixels.counts)


def figure(drawn: Sequence[tuple[str, Any]], *, columns: int, title: str = "") -> "Figure":
    """Arrange some plots in a grid, row by row."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - see above

    rows = -(-len(drawn) // columns)
    grid = Figure(figsize=(4.6 * columns, 3.5 * rows + (0.5 if title else 0)), layout="constrained")
    if title:
        grid.suptitle(_literal(title), fontsize=13, x=0.01, ha="left")
    for place, (name, draw) in enumerate(drawn, 1):
        axes = grid.add_subplot(rows, columns, place)
        axes.set_title(name, fontsize=10.5, loc="left")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        axes.xaxis.label.set_fontsize(8.5)
        axes.yaxis.label.set_fontsize(8.5)
    return grid


def _draw_bars(counts: Mapping[str, _Counts], axes: "Axes", *, unit: str = "") -> None:
    """Draw one bar for each class, with the splits stacked and the most frequent class at the top."""
    totals: dict[str | None, int] = {}
    for counted in counts.values():
        for name, number in counted.items():
            totals[name] = totals.get(name, 0) + number
    shown = sorted(totals, key=lambda name: -totals[name])[:BARS_MAX]
    start = np.zeros(len(shown))
    for colour, (split, counted) in zip(_colours(len(counts)), counts.items(), strict=True):
        by_name: dict[str | None, int] = dict(counted.items())
        numbers = np.array([by_name.get(name, 0) for name in shown], np.float64)
        axes.barh(range(len(shown)), numbers, left=start, color=colour, label=_literal(split), height=0.75)
        start += numbers
    labels = ["(none)" if name is None else _literal(name) for name in shown]
    axes.set_yticks(range(len(shown)), labels, fontsize=8 if len(shown) <= 15 else 6)
    axes.set_ylim(max(len(shown), _ROWS_LEAST) - 0.5, -0.5)  # the first class at the top
    more = f"; {len(totals) - len(shown):,} more classes" if len(totals) > len(shown) else ""
    axes.set_xlabel(f"{unit}{more}".removeprefix("; "))
    _thousands(axes.xaxis)
    _legend(axes, counts)


def _draw_histogram(
    numbers: Mapping[str, NDArray[Any]], label: str, axes: "Axes", *, whole: bool = False, ratio: bool = False
) -> None:
    """Draw one line for each split, as a share of the split, so that small and large splits can be compared."""
    by_split = {name: some for name, some in numbers.items() if len(some)}
    everything = np.concatenate(list(by_split.values()))
    edges = _edges(float(everything.min()), float(everything.max()), whole=whole)
    for colour, (name, values) in zip(_colours(len(by_split)), by_split.items(), strict=True):
        shares = 100 * np.histogram(values, edges)[0] / len(values)
        axes.stairs(shares, edges, color=colour, label=_literal(name), fill=len(by_split) == 1, linewidth=1.4)
    axes.set_xlabel(label)
    axes.set_ylabel("%")
    axes.set_ylim(bottom=0)
    if whole:
        from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - see above

        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    if ratio:
        axes.xaxis.set_major_formatter(lambda value, _: f"{2**value:.2g}")
    _legend(axes, by_split)


def _edges(low: float, high: float, *, whole: bool) -> NDArray[np.float64]:
    if whole:
        step = max(round((high - low + 1) / _BINS), 1)
        return np.arange(low - 0.5, high + step + 0.5, step)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1)


def _draw_sizes(sizes: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], axes: "Axes") -> None:
    """Draw widths and heights; a darker spot has more images."""
    widths = np.concatenate([widths for widths, _ in sizes.values()])
    heights = np.concatenate([heights for _, heights in sizes.values()])
    different, numbers = np.unique(np.column_stack([widths, heights]), axis=0, return_counts=True)
    if len(different) <= 200:
        areas = 12 + 180 * numbers / numbers.max()
        axes.scatter(different[:, 0], different[:, 1], s=areas, color=_COLOURS[0], alpha=0.55, linewidths=0)
    else:
        axes.hexbin(widths, heights, gridsize=36, mincnt=1, bins="log", cmap="Blues")
    axes.set_xlim(0, 1.06 * widths.max())
    axes.set_ylim(0, 1.06 * heights.max())
    axes.set_xlabel("width (pixels)")
    axes.set_ylabel("height (pixels)")
    if len(different) == 1:
        width, height = different[0]
        axes.annotate(f"all {width:g} x {height:g}", (width, height), (-6, -14), textcoords="offset points",
                      ha="right", fontsize=8)  # fmt: skip


def _draw_levels(counts: NDArray[np.int64], axes: "Axes") -> None:
    """Draw the share of each value in each channel."""
    for (name, colour), channel in zip(_CHANNELS, counts, strict=True):
        axes.plot(np.arange(LEVELS), 100 * channel / channel.sum(), color=colour, label=name, linewidth=1)
    axes.set_xlim(0, LEVELS - 1)
    # a background of one value would dwarf all other values
    inside = 100 * counts[:, 1:-1] / counts.sum(axis=1, keepdims=True)
    top = max(float(np.quantile(inside, 0.995)), 1e-3)
    axes.set_ylim(0, 1.15 * min(top, float(inside.max()) or top))
    axes.set_xlabel("value")
    axes.set_ylabel("% of pixels")
    axes.legend(fontsize=7.5, frameon=False)


def _colours(number: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(number)]


def _legend(axes: "Axes", names: Mapping[str, object]) -> None:
    """Draw the legend above the axes, next to the title, so that it covers nothing."""
    if len(names) > 1:
        axes.legend(fontsize=7.5, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.985), borderpad=0)


def _thousands(axis: Any) -> None:
    axis.set_major_formatter(lambda value, _: _short(value))
    axis.get_major_locator().set_params(nbins=5)


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _literal(text: str) -> str:
    """Return a text that matplotlib draws literally: a dollar would begin a formula, and missing glyphs are escaped."""
    return abridged(text, _TEXT_MAX).replace("$", r"\$")


SUFFIXES = (".html", ".png")
_COLUMNS = 3
_DPI = 110
Table = tuple[str, Sequence[Sequence[str]]]
"""Title and rows of a table. The first row is the head; all cells but a row's first are numbers."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1e; background: #f7f7f5; margin: 2rem auto; max-width: 72rem;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p { color: #48484c; } .plots { display: flex; flex-wrap: wrap; gap: 1rem; }
.plots img { background: white; border-radius: 6px; width: 22rem; max-width: 100%; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .9rem .2rem 0; text-align: right; border-bottom: 1px solid #e0e0dc; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
"""


def check_path(path: Path) -> None:
    """Raise CallError if the path's extension is not that of a report."""
    if path.suffix.lower() not in SUFFIXES:
        raise CallError(f"the report is called {path.name!r}; its name must end in {' or '.join(SUFFIXES)}")


def write(statistics: DatasetStatistics, path: Path) -> None:
    """Write the report, whole or not at all, as HTML or PNG by its extension. Raises CallError, StorageError."""
    check_path(path)
    drawn = list(panels(statistics))
    name = keys.printable(statistics.dataset.root.name)
    if path.suffix.lower() == ".png":
        title = f"{name}: {statistics.dataset.num_records:,} records"
        data = _png(figure(drawn, columns=_COLUMNS, title=title))
    else:
        data = "".join(_page(statistics, name, drawn)).encode(errors="replace")
    try:
        with replacing(path) as draft:
            draft.write_bytes(data)
    except OSError as error:
        raise StorageError(f"the report {path} cannot be written: {error.strerror or error}") from error


def tables(statistics: DatasetStatistics) -> Iterator[Table]:
    """Yield the tables of a report and of the command's output."""
    parts = statistics.parts
    heads = [part.split or "all" for part, _ in parts]
    yield "Records", [("", *heads), *_rows(parts)]
    by_class: list[tuple[str, list[Mapping[Any, int]]]] = [
        ("Records by class", [part.classes for part, _ in parts]),
        ("Images by label", [part.labels for part, _ in parts]),
        ("Boxes by class", [part.box_classes for part, _ in parts]),
    ]
    for title, counted in by_class:
        names: list[str | None] = [name for name in statistics.dataset.classes if any(name in each for each in counted)]
        names += [None] if any(None in each for each in counted) else []
        if names:
            rows = [
                ("(none)" if name is None else keys.printable(name), *(f"{each.get(name, 0):,}" for each in counted))
                for name in names
            ]
            yield title, [("class", *heads), *rows]
    if any(pixels is not None and pixels.mask_values for _, pixels in parts):
        yield "Mask pixels by class", [("class", *heads), *_mask_rows(statistics)]
    if statistics.refused:
        yield "Refused", [("reason", "files"), *((each, f"{number:,}") for each, number in statistics.refused.items())]


def _rows(parts: Sequence[tuple[Census, Pixels | None]]) -> Iterator[tuple[str, ...]]:
    taken = [part for part, _ in parts]
    yield "records", *(f"{part.num_records:,}" for part in taken)
    for name, column in (
        ("width (least / median / largest)", [Range.of(part.widths) for part in taken]),
        ("height", [Range.of(part.heights) for part in taken]),
    ):
        yield name, *(_range(each) for each in column)
    yield "width : height", *(_range(Range.of(part.aspect_ratios), ".3g") for part in taken)
    if any(len(part.box_scales) for part in taken):
        yield "boxes", *(f"{int(part.boxes.sum()):,}" for part in taken)
        yield "boxes an image", *(_range(Range.of(part.boxes)) for part in taken)
        yield "images without boxes", *(f"{part.num_without_boxes:,}" for part in taken)
        for axis, name in enumerate(("box width", "box height")):
            yield name, *(_range(Range.of(part.box_sizes[:, axis])) for part in taken)
    if any(part.keypoint_visibility for part in taken):
        yield "keypoints", *(f"{sum(part.keypoint_visibility.values()):,}" for part in taken)
        for number, name in enumerate(("  not annotated", "  hidden", "  visible")):
            yield name, *(f"{part.keypoint_visibility.get(number, 0):,}" for part in taken)
        yield "keypoints an image", *(_range(Range.of(part.keypoints)) for part in taken)
    if any(part.num_masks for part in taken):
        yield "masks", *(f"{part.num_masks:,}" for part in taken)
    if any(part.num_instance_masks for part in taken):
        yield "masks of objects", *(f"{part.num_instance_masks:,}" for part in taken)
    if any(pixels is not None for _, pixels in parts):
        yield "mean (red, green, blue)", *("" if each is None else triple(each.mean) for _, each in parts)
        yield "standard deviation", *("" if each is None else triple(each.std) for _, each in parts)


def _mask_rows(statistics: DatasetStatistics) -> Iterator[tuple[str, ...]]:
    counted = [{} if pixels is None else pixels.mask_values for _, pixels in statistics.parts]
    totals = [max(sum(each.values()), 1) for each in counted]
    for value in sorted({value for each in counted for value in each}):
        numbers = (each.get(value, 0) for each in counted)
        cells = (f"{n:,} ({100 * n / total:.1f} %)" for n, total in zip(numbers, totals, strict=True))
        yield keys.printable(statistics.mask_class(value)), *cells


def triple(values: tuple[float, float, float]) -> str:
    """Format three numbers of [0, 1] for people."""
    return "none" if any(map(math.isnan, values)) else ", ".join(f"{value:.4f}" for value in values)


def _range(found: Range | None, form: str = ",.5g") -> str:
    if found is None:
        return "none"
    if found.least == found.largest:
        return f"{found.least:{form}}"
    return " / ".join(f"{number:{form}}" for number in (found.least, found.median, found.largest))


def _page(statistics: DatasetStatistics, name: str, drawn: Sequence[tuple[str, object]]) -> Iterator[str]:
    dataset = statistics.dataset
    title = html.escape(name)
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>\n'
    yield f"<h1>{title}</h1>\n<p>{dataset.num_records:,} records, format {html.escape(dataset.format)}, digest "
    yield f"{dataset.digest}</p>\n<div class=plots>\n"
    for each in drawn:
        image = base64.b64encode(_png(figure([each], columns=1))).decode()
        yield f'<img alt="{html.escape(each[0])}" src="data:image/png;base64,{image}">\n'
    yield "</div>\n"
    for heading, (head, *rows) in tables(statistics):
        yield f"<h2>{html.escape(heading)}</h2>\n<div class=wide><table><tr>"
        yield "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>\n"
        for row in rows:
            yield "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n"
        yield "</table></div>\n"
    yield "</body></html>\n"


def _png(figure: "Figure") -> bytes:
    """Return a PNG without the version of the library that drew it. Glyphs that the font lacks are drawn as boxes."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(file, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return file.getvalue()
