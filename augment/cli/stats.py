"""``augment stats``: the statistics of a dataset, as tables, as JSON or as a report with plots."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from augment.cli import options
from augment.cli.expand import WorkersOption, pool
from augment.cli.output import JsonOption, StageProgress, columns, count, note, path, refusals, say, write_json
from augment.errors import CallError, require

if TYPE_CHECKING:
    from augment.dataset_stats.counts import Census
    from augment.dataset_stats.pixels import DatasetStatistics, Pixels

_ROWS_SHOWN = 40
_REFUSALS_SHOWN = 10


def stats(
    data: Annotated[Path, typer.Argument(parser=path, metavar="DATASET", help="Dataset's folder.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Also write a report with plots: FILE.html or FILE.png.",
            show_default=False,
        ),
    ] = None,
    data_format: options.DatasetFormatOption = None,
    bad_annotations: options.BadAnnotationsOption = "leave-out",
    ignore: options.IgnoreOption = None,
    pixels: Annotated[
        bool, typer.Option("--pixels/--no-pixels", help="Decode all images to measure mean, deviation and mask values.")
    ] = True,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Describe each split of a dataset: classes, sizes, boxes, masks, pixels."""
    if output is not None:
        _check_output(output)
    from augment.dataset_stats.pixels import dataset_statistics

    dataset = options.scan_dataset(data, data_format, bad_annotations, ignore, as_json=as_json)
    with pool(workers if pixels else 0) as rendering, StageProgress("measuring", as_json=as_json) as bar:
        statistics = dataset_statistics(dataset, rendering, pixels=pixels, progress=bar.show)
    if output is not None:
        from augment.dataset_stats import report

        report.write(statistics, output)
    if as_json:
        write_json(_document(statistics, output))
        return
    for refusal in statistics.refusals[:_REFUSALS_SHOWN]:
        note(f"refused: {refusal.key}: {refusal.reason}: {refusal.detail}")
    _show(data, statistics)
    if output is not None:
        say(f"\n{output}")


def _check_output(output: Path) -> None:
    """Check the report's path before an hour of decoding. Raises CallError; MissingExtraError without matplotlib."""
    if output.suffix.lower() not in {".html", ".png"}:
        raise CallError(f"--output is {output.name!r}; its name must end in .html or .png")
    if not output.absolute().parent.is_dir():
        raise CallError(f"the folder {output.absolute().parent} of --output does not exist; create it first")
    require("matplotlib")


def _show(data: Path, statistics: "DatasetStatistics") -> None:
    from augment.dataset_stats import report

    dataset = statistics.dataset
    say(f"{data}: {count(dataset.num_records, 'record')}, format {dataset.format}")
    for title, rows in report.tables(statistics):
        say(f"\n{title}")
        for line in columns(rows[: _ROWS_SHOWN + 1]):
            say(f"  {line}")
        if len(rows) - 1 > _ROWS_SHOWN:
            say(f"  … {len(rows) - 1 - _ROWS_SHOWN:,} more; --json and a report (-o) have them all")


def _document(statistics: "DatasetStatistics", output: Path | None) -> dict[str, Any]:
    dataset = statistics.dataset
    return {
        "format": dataset.format,
        "digest": dataset.digest,
        "records": dataset.num_records,
        "classes": list(dataset.classes),
        "targets": sorted(dataset.targets),
        "splits": [_part(statistics, part, pixels) for part, pixels in statistics.parts],
        "pixels": _pixels(statistics, statistics.whole),
        "refused": dict(statistics.refused),
        "refusals": refusals(statistics.refusals),
        "report": None if output is None else str(output),
    }


def _part(statistics: "DatasetStatistics", part: "Census", pixels: "Pixels | None") -> dict[str, Any]:
    boxes = part.box_sizes
    return {
        "split": part.split,
        "records": part.num_records,
        "classes": _counts(part.classes),
        "labels": _counts(part.labels),
        "width": _range(part.widths),
        "height": _range(part.heights),
        "aspect_ratio": _range(part.aspect_ratios),
        "boxes": int(part.boxes.sum()),
        "box_classes": _counts(part.box_classes),
        "boxes_per_image": _range(part.boxes) if len(boxes) else None,
        "without_boxes": part.num_without_boxes if len(boxes) else None,
        "box_width": _range(boxes[:, 0]),
        "box_height": _range(boxes[:, 1]),
        "keypoints": {str(seen): number for seen, number in part.keypoint_visibility.items()},
        "masks": part.num_masks,
        "instance_masks": part.num_instance_masks,
        "pixels": _pixels(statistics, pixels),
    }


def _pixels(statistics: "DatasetStatistics", pixels: "Pixels | None") -> dict[str, Any] | None:
    if pixels is None:
        return None
    return {
        "records": pixels.num_records,
        "number": pixels.num_pixels,
        "mean": [None if math.isnan(each) else each for each in pixels.mean],
        "std": [None if math.isnan(each) else each for each in pixels.std],
        "masks": [
            {"value": value, "class": statistics.mask_class(value), "pixels": number}
            for value, number in pixels.mask_values.items()
        ],
    }


def _counts(counted: Mapping[Any, int]) -> list[dict[str, Any]]:
    return [{"class": name, "number": number} for name, number in counted.items()]


def _range(numbers: Any) -> dict[str, float] | None:
    from augment.dataset_stats.counts import Range

    span = Range.of(numbers)
    return None if span is None else {"least": span.least, "median": span.median, "largest": span.largest}
