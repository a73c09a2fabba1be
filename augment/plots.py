"""Plots of a dataset's statistics: each one figure, drawn without a screen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from augment.levels import LEVELS
from augment.measure import Statistics

BARS_MAX = 30
"""Classes in a plot, the most frequent ones; a table names them all."""
_BINS = 40
_ROWS_LEAST = 4
"""There is room for so many bars, so that one alone is no wall."""
_COLOURS = ("#3566a8", "#d98a29", "#4a9a5c", "#a3455b", "#7a63ac", "#6b6b70", "#3f9da3", "#b58b5a")
_CHANNELS = (("red", "#c0392b"), ("green", "#3d9140"), ("blue", "#2f5fb3"))
_TEXT_MAX = 28

_Counts: TypeAlias = Mapping[str | None, int] | Mapping[str, int]  # by class, None for none


def panels(statistics: Statistics) -> Iterator[tuple[str, Any]]:
    """Each plot that has something to show: its title, and a function that draws it into axes."""
    parts = {part.split or "all": (part, pixels) for part, pixels in statistics.parts}
    counted = {name: part for name, (part, _) in parts.items()}
    for title, counts in (
        ("Records by class", {name: part.classes for name, part in counted.items()}),
        ("Pictures by label", {name: part.labels for name, part in counted.items()}),
        ("Boxes by class", {name: part.box_classes for name, part in counted.items()}),
    ):
        if any(counts.values()):
            yield title, _Bars(counts)
    sizes = {name: (part.widths, part.heights) for name, part in counted.items()}
    yield "Picture sizes", _Sizes(sizes, "width (pixels)", "height (pixels)")
    ratios = {name: np.log2(part.aspect_ratios) for name, part in counted.items()}
    yield "Aspect ratios", _Histogram(ratios, "width : height", ratio=True)
    if any(len(part.box_scales) for part in counted.values()):
        yield "Boxes a picture", _Histogram({n: p.boxes for n, p in counted.items()}, "boxes", whole=True)
        scales = {name: 100 * part.box_scales for name, part in counted.items()}
        yield "Box scales", _Histogram(scales, "square root of the covered part (%)")
        boxes = {name: (part.box_sizes[:, 0], part.box_sizes[:, 1]) for name, part in counted.items()}
        yield "Box sizes", _Sizes(boxes, "width (pixels)", "height (pixels)")
    if any(part.keypoint_visibility for part in counted.values()):
        yield "Keypoints a picture", _Histogram({n: p.keypoints for n, p in counted.items()}, "keypoints", whole=True)
    values = {
        name: {statistics.mask_class(value): number for value, number in pixels.mask_values.items()}
        for name, (_, pixels) in parts.items()
        if pixels is not None
    }
    if any(values.values()):
        yield "Mask pixels by class", _Bars(values, "pixels")
    for name, (_, pixels) in parts.items():
        if pixels is not None and pixels.num_pixels:
            yield "Pixel values" + (f" ({name})" if len(parts) > 1 else ""), _Levels(pixels.counts)


def figure(drawn: Sequence[tuple[str, Any]], *, columns: int, title: str = "") -> Figure:
    """Some plots in a grid, row by row."""
    rows = -(-len(drawn) // columns)
    made = Figure(figsize=(4.6 * columns, 3.5 * rows + (0.5 if title else 0)), layout="constrained")
    if title:
        made.suptitle(_literal(title), fontsize=13, x=0.01, ha="left")
    for place, (name, draw) in enumerate(drawn, 1):
        axes = made.add_subplot(rows, columns, place)
        axes.set_title(name, fontsize=10.5, loc="left")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        axes.xaxis.label.set_fontsize(8.5)
        axes.yaxis.label.set_fontsize(8.5)
    return made


class _Bars:
    """One bar a class, with the splits stacked; the most frequent at the top."""

    def __init__(self, counts: Mapping[str, _Counts], unit: str = "") -> None:
        self._counts = counts
        self._unit = unit

    def __call__(self, axes: Axes) -> None:
        totals: dict[str | None, int] = {}
        for counted in self._counts.values():
            for name, number in counted.items():
                totals[name] = totals.get(name, 0) + number
        shown = sorted(totals, key=lambda name: -totals[name])[:BARS_MAX]
        start = np.zeros(len(shown))
        for colour, (split, counted) in zip(_colours(len(self._counts)), self._counts.items(), strict=True):
            by_name: dict[str | None, int] = dict(counted.items())
            numbers = np.array([by_name.get(name, 0) for name in shown], np.float64)
            axes.barh(range(len(shown)), numbers, left=start, color=colour, label=_literal(split), height=0.75)
            start += numbers
        labels = ["(none)" if name is None else _literal(name) for name in shown]
        axes.set_yticks(range(len(shown)), labels, fontsize=8 if len(shown) <= 15 else 6)
        axes.set_ylim(max(len(shown), _ROWS_LEAST) - 0.5, -0.5)  # the first at the top
        more = f"; {len(totals) - len(shown):,} more classes" if len(totals) > len(shown) else ""
        axes.set_xlabel(f"{self._unit}{more}".removeprefix("; "))
        _thousands(axes.xaxis)
        _legend(axes, self._counts)


class _Histogram:
    """One line a split, in parts of all, so that small splits can be compared with large ones."""

    def __init__(
        self, values: Mapping[str, NDArray[Any]], label: str, *, whole: bool = False, ratio: bool = False
    ) -> None:
        self._values = {name: some for name, some in values.items() if len(some)}
        self._label = label
        self._whole = whole
        self._ratio = ratio

    def __call__(self, axes: Axes) -> None:
        everything = np.concatenate(list(self._values.values()))
        edges = self._edges(float(everything.min()), float(everything.max()))
        for colour, (name, values) in zip(_colours(len(self._values)), self._values.items(), strict=True):
            numbers, _ = np.histogram(values, edges)
            only = len(self._values) == 1
            axes.stairs(
                100 * numbers / len(values), edges, color=colour, label=_literal(name), fill=only, linewidth=1.4
            )
        axes.set_xlabel(self._label)
        axes.set_ylabel("%")
        axes.set_ylim(bottom=0)
        if self._whole:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        if self._ratio:
            axes.xaxis.set_major_formatter(lambda value, _: f"{2**value:.2g}")
        _legend(axes, self._values)

    def _edges(self, low: float, high: float) -> NDArray[np.float64]:
        if self._whole:
            step = max(round((high - low + 1) / _BINS), 1)
            return np.arange(low - 0.5, high + step + 0.5, step)
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        return np.linspace(low, high, _BINS + 1)


class _Sizes:
    """Widths and heights: the darker, the more there are."""

    def __init__(self, sizes: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], x_label: str, y_label: str) -> None:
        self._widths = np.concatenate([widths for widths, _ in sizes.values()])
        self._heights = np.concatenate([heights for _, heights in sizes.values()])
        self._labels = x_label, y_label

    def __call__(self, axes: Axes) -> None:
        different, numbers = np.unique(np.column_stack([self._widths, self._heights]), axis=0, return_counts=True)
        if len(different) <= 200:
            areas = 12 + 180 * numbers / numbers.max()
            axes.scatter(different[:, 0], different[:, 1], s=areas, color=_COLOURS[0], alpha=0.55, linewidths=0)
        else:
            axes.hexbin(self._widths, self._heights, gridsize=36, mincnt=1, bins="log", cmap="Blues")
        axes.set_xlim(0, 1.06 * self._widths.max())
        axes.set_ylim(0, 1.06 * self._heights.max())
        axes.set_xlabel(self._labels[0])
        axes.set_ylabel(self._labels[1])
        if len(different) == 1:
            width, height = different[0]
            axes.annotate(f"all {width:g} x {height:g}", (width, height), (-6, -14), textcoords="offset points",
                          ha="right", fontsize=8)  # fmt: skip


class _Levels:
    """How often each value occurs in each channel."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self._counts = counts

    def __call__(self, axes: Axes) -> None:
        for (name, colour), counts in zip(_CHANNELS, self._counts, strict=True):
            axes.plot(np.arange(LEVELS), 100 * counts / counts.sum(), color=colour, label=name, linewidth=1)
        axes.set_xlim(0, LEVELS - 1)
        # a background of one value would leave nothing to be seen of the rest
        inside = 100 * self._counts[:, 1:-1] / self._counts.sum(axis=1, keepdims=True)
        top = max(float(np.quantile(inside, 0.995)), 1e-3)
        axes.set_ylim(0, 1.15 * min(top, float(inside.max()) or top))
        axes.set_xlabel("value")
        axes.set_ylabel("% of pixels")
        axes.legend(fontsize=7.5, frameon=False)


def _colours(number: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(number)]


def _legend(axes: Axes, names: Mapping[str, object]) -> None:
    """Above the axes, beside the title, where it covers nothing."""
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
    """Names as they are: a dollar begins a formula in matplotlib, and what has no glyph is escaped."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    shown = shown if len(shown) <= _TEXT_MAX else f"{shown[: _TEXT_MAX - 1]}…"
    return shown.replace("$", r"\$")
