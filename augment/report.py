"""A dataset's statistics as a page for people: one HTML file that needs nothing else, or one PNG."""

import base64
import html
import io
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from augment import keys, plots
from augment.census import Census, Range
from augment.errors import CallError, StorageError
from augment.measure import Pixels, Statistics

SUFFIXES = (".html", ".png")
_COLUMNS = 3
_DPI = 110
Table = tuple[str, Sequence[Sequence[str]]]
"""A title, and rows of which the first is the head; cells after the first of a row are numbers."""

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
    """Raise CallError where the name does not say what to write."""
    if path.suffix.lower() not in SUFFIXES:
        raise CallError(f"the report is called {path.name!r}; its name ends in {' or '.join(SUFFIXES)}")


def write(statistics: Statistics, path: Path) -> None:
    """Write the report, whole or not at all; the end of its name says which. Raises CallError, StorageError."""
    check_path(path)
    drawn = list(plots.panels(statistics))
    name = keys.printable(statistics.dataset.root.name)
    if path.suffix.lower() == ".png":
        title = f"{name}: {statistics.dataset.num_records:,} records"
        data = _png(plots.figure(drawn, columns=_COLUMNS, title=title))
    else:
        data = "".join(_page(statistics, name, drawn)).encode(errors="replace")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"the report {path} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def tables(statistics: Statistics) -> Iterator[Table]:
    """What a report and a terminal show in rows."""
    parts = statistics.parts
    heads = [part.split or "all" for part, _ in parts]
    yield "Records", [("", *heads), *_rows(parts)]
    by_class: list[tuple[str, list[Mapping[Any, int]]]] = [
        ("Records by class", [part.classes for part, _ in parts]),
        ("Pictures by label", [part.labels for part, _ in parts]),
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
        yield "boxes a picture", *(_range(Range.of(part.boxes)) for part in taken)
        yield "pictures without boxes", *(f"{part.num_without_boxes:,}" for part in taken)
        for axis, name in enumerate(("box width", "box height")):
            yield name, *(_range(Range.of(part.box_sizes[:, axis])) for part in taken)
    if any(part.keypoint_visibility for part in taken):
        yield "keypoints", *(f"{sum(part.keypoint_visibility.values()):,}" for part in taken)
        for number, name in enumerate(("  not annotated", "  hidden", "  visible")):
            yield name, *(f"{part.keypoint_visibility.get(number, 0):,}" for part in taken)
        yield "keypoints a picture", *(_range(Range.of(part.keypoints)) for part in taken)
    if any(part.num_masks for part in taken):
        yield "masks", *(f"{part.num_masks:,}" for part in taken)
    if any(part.num_instance_masks for part in taken):
        yield "masks of objects", *(f"{part.num_instance_masks:,}" for part in taken)
    if any(pixels is not None for _, pixels in parts):
        yield "mean (red, green, blue)", *("" if each is None else triple(each.mean) for _, each in parts)
        yield "standard deviation", *("" if each is None else triple(each.std) for _, each in parts)


def _mask_rows(statistics: Statistics) -> Iterator[tuple[str, ...]]:
    counted = [{} if pixels is None else pixels.mask_values for _, pixels in statistics.parts]
    totals = [max(sum(each.values()), 1) for each in counted]
    for value in sorted({value for each in counted for value in each}):
        numbers = (each.get(value, 0) for each in counted)
        cells = (f"{n:,} ({100 * n / total:.1f} %)" for n, total in zip(numbers, totals, strict=True))
        yield keys.printable(statistics.mask_class(value)), *cells


def triple(values: tuple[float, float, float]) -> str:
    """Three numbers of [0, 1] for people."""
    return "none" if any(map(math.isnan, values)) else ", ".join(f"{value:.4f}" for value in values)


def _range(found: Range | None, form: str = ",.5g") -> str:
    if found is None:
        return "none"
    if found.least == found.largest:
        return f"{found.least:{form}}"
    return " / ".join(f"{number:{form}}" for number in (found.least, found.median, found.largest))


def _page(statistics: Statistics, name: str, drawn: Sequence[tuple[str, object]]) -> Iterator[str]:
    dataset = statistics.dataset
    title = html.escape(name)
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>\n'
    yield f"<h1>{title}</h1>\n<p>{dataset.num_records:,} records, format {html.escape(dataset.format)}, digest "
    yield f"{dataset.digest}</p>\n<div class=plots>\n"
    for each in drawn:
        picture = base64.b64encode(_png(plots.figure([each], columns=1))).decode()
        yield f'<img alt="{html.escape(each[0])}" src="data:image/png;base64,{picture}">\n'
    yield "</div>\n"
    for heading, (head, *rows) in tables(statistics):
        yield f"<h2>{html.escape(heading)}</h2>\n<div class=wide><table><tr>"
        yield "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>\n"
        for row in rows:
            yield "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n"
        yield "</table></div>\n"
    yield "</body></html>\n"


def _png(figure: Figure) -> bytes:
    """Without the version of what drew it; a name in a script that the font lacks shows boxes, and says nothing."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(file, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return file.getvalue()
