"""Outputs as the rows of ``labels.csv``."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from augment.errors import DatasetError
from augment.formats import csv_columns
from augment.formats.writing import Output, Whole

_KNOWN = frozenset(
    {*csv_columns.PATHS, *csv_columns.LABEL, *csv_columns.LABELS, *csv_columns.SPLIT, *csv_columns.SIZE}
    | {name for names in csv_columns.CORNERS for name in names}
)
_BETWEEN = frozenset(";|=")


def pieces(outputs: Callable[[], Iterator[Output]], whole: Whole, path_of: Callable[[Output], str]) -> Iterator[bytes]:
    """The header, then the row of each output; of one with boxes, a row for each.

    Raises DatasetError where the name of a class cannot stand among several.
    """
    targets = whole.targets
    others, has_names = _first_pass(outputs, boxes="boxes" in targets)
    if "labels" in targets:
        _check_names(whole.classes)
    header = ["file_name", *(["split"] if whole.splits else [])]
    header += [name for name in ("label", "labels") if name in targets]
    if "boxes" in targets:
        header += ["width", "height", *(["class"] if has_names else []), "xmin", "ymin", "xmax", "ymax"]
    yield _line([*header, *others.values()])
    for output in outputs():
        row: dict[str, object] = {
            "file_name": path_of(output),
            "split": output.split,
            "label": output.class_name,
            "labels": _labels(output.annotations.labels),
        }
        for extra in _rows(output, boxes="boxes" in targets):
            cells = row | extra
            yield _line([*(cells.get(name) for name in header), *(_text(cells.get(f"+{name}")) for name in others)])


def _first_pass(outputs: Callable[[], Iterator[Output]], *, boxes: bool) -> tuple[dict[str, str], bool]:
    """The columns of what is carried along, by name, and whether boxes have classes."""
    names: set[str] = set()
    has_names = False
    for output in outputs():
        said = output.annotations
        has_names = has_names or bool(said.box_labels)
        for each in (said.box_attributes or ()) if boxes else (said.extra or {},):
            names |= each.keys()
    return {name: f"{name}_" if name.strip().lower() in _KNOWN else name for name in sorted(names)}, has_names


def _rows(output: Output, *, boxes: bool) -> Iterator[dict[str, object]]:
    said = output.annotations
    if not boxes:
        yield {f"+{name}": value for name, value in (said.extra or {}).items()}
        return
    size: dict[str, object] = {"width": output.width, "height": output.height}
    if not said.boxes:
        yield size
    for i, box in enumerate(said.boxes or ()):
        row = size | dict(zip(("xmin", "ymin", "xmax", "ymax"), map(_coordinate, box), strict=True))
        if said.box_labels is not None:
            row["class"] = said.box_labels[i]
        attributes = {} if said.box_attributes is None else said.box_attributes[i]
        yield row | {f"+{name}": value for name, value in attributes.items()}


def _coordinate(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _labels(labels: Mapping[str, float] | None) -> str:
    return ";".join(name if share == 1 else f"{name}={share!r}" for name, share in sorted((labels or {}).items()))


def _check_names(classes: tuple[str, ...]) -> None:
    for name in classes:
        if _BETWEEN & set(name) or name != name.strip():
            raise DatasetError(
                f"class {name!r} cannot stand among several in one cell of a CSV file; choose another format "
                "(imagefolder)"
            )


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _line(cells: list[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(["" if cell is None else cell for cell in cells])
    return line.getvalue().encode()
