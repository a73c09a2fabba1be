"""``augment split``: divide a dataset into training, validation and test before it is augmented."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from augment.cli import options, output
from augment.cli.expand import WorkersOption, pool
from augment.errors import CallError, require

if TYPE_CHECKING:
    from augment.expansion.progress import Summary
    from augment.splitting.divide import DividedDataset

_PAIRS_SHOWN = 5
_CLASSES_SHOWN = 30
_MAX_DISTANCE = 6


def split(
    data: Annotated[Path, typer.Argument(parser=output.path, metavar="DATA", help="Dataset's folder.")],
    out: options.OutArgument,
    *,
    ratios: Annotated[
        str | None,
        typer.Option(
            "--ratios",
            metavar="60,20,20",
            help="Percentages for training, validation and test, or for training and test. Default: 60,20,20 up to "
            "10,000 records, 98,1,1 for a million.",
            show_default=False,
        ),
    ] = None,
    no_validation: Annotated[
        bool, typer.Option("--no-validation", help="Only training and test: 70,30 up to 10,000 records.")
    ] = False,
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by",
            metavar="folder|REGEX|column:NAME",
            help="Records to keep in one split: those with the same folder, part of the key like "
            "'^(patient[0-9]+)', or value of a metadata column.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Other seeds draw other splits.")] = 0,
    near_duplicates: Annotated[
        bool,
        typer.Option(
            "--near-duplicates/--no-near-duplicates", help="Compare all images and keep near-duplicates in one split."
        ),
    ] = True,
    max_distance: Annotated[
        int,
        typer.Option(
            "--max-distance", metavar="BITS", help="Bits of the 64-bit hash in which near-duplicates may differ."
        ),
    ] = _MAX_DISTANCE,
    from_format: options.FromFormatOption = None,
    output_format: options.OutputFormatOption = None,
    bad_annotations: options.BadAnnotationsOption = "refuse",
    ignore: options.IgnoreOption = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", help="Table of keys and splits. Default: OUT.csv.", show_default=False
        ),
    ] = None,
    workers: WorkersOption = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Bring OUT up to date after the dataset changed: keep unchanged files, write the rest."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the splits without writing.")] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Divide a dataset without splits into training, validation and test, by class and by group.

    OUT is the same dataset with a folder or list for each split. `augment expand OUT` then augments only train.
    """
    from augment.expansion import folder
    from augment.splitting import divide

    if no_validation and ratios is not None:
        raise CallError(f"--no-validation excludes --ratios {ratios}; give only --ratios with two numbers, like 70,30")
    if near_duplicates:
        require("imagehash")
    distance = max_distance if near_duplicates else None
    divide.check(ratios=ratios, group_by=group_by, seed=seed, max_distance=max_distance)
    folder.check_place(out.absolute(), data.absolute())  # before a scan that may take minutes
    table = out.absolute().with_name(f"{out.absolute().name}.csv") if report is None else report
    dataset = options.scan_dataset(data, from_format, bad_annotations, ignore, as_json=as_json)
    with pool(workers) as rendering:
        with output.StageProgress("comparing", as_json=as_json) as bar:
            division = divide.divide_dataset(
                dataset,
                ratios=ratios,
                validation=not no_validation,
                group_by=group_by,
                seed=seed,
                max_distance=distance,
                workers=rendering,
                progress=bar.show,
            )
        expansion = division.expansion(out, output_format=output_format, update=update)
        if dry_run:
            _show(division, None, out, None, 0.0, as_json=as_json)
            return
        started = time.monotonic()
        with output.StageProgress("writing", as_json=as_json) as bar:
            summary = expansion.run(rendering, progress=bar.show_expansion)
    division.write_report(table)
    _show(division, summary, out, table, time.monotonic() - started, as_json=as_json)


def _show(
    division: "DividedDataset",
    summary: "Summary | None",
    out: Path,
    table: Path | None,
    seconds: float,
    *,
    as_json: bool,
) -> None:
    if as_json:
        output.write_json(_document(division, summary, out, table))
        return
    if division.num_nameless:
        output.note(f"notice: {output.count(division.num_nameless, 'record')} without a group, each divided by itself")
    if division.near.num_undecodable:
        number = output.count(division.near.num_undecodable, "image")
        output.note(f"notice: {number} could not be decoded and compared")
    for line in _table(division):
        output.say(line)
    num_pairs = len(division.near.pairs)
    output.say(
        f"\nratios {division.ratios}; {output.count(division.num_units, 'group')} to divide, the largest of "
        f"{output.count(division.largest_unit, 'record')}; {output.count(num_pairs, 'pair')} of near-duplicates"
    )
    for line in _pairs(division):
        output.say(f"  {line}")
    if summary is None:
        output.say("nothing was written")
        return
    num_written = summary.num_originals + summary.num_copied
    kept = f", {summary.num_kept:,} kept" if summary.num_kept else ""
    refused = f", {summary.num_refused:,} refused" if summary.num_refused else ""
    output.say(f"{output.count(num_written, 'image')} written in {seconds:.1f} s{kept}{refused}\n{out}\n{table}")


def _table(division: "DividedDataset") -> Iterator[str]:
    """Return one line for each class: its number of records in each split."""
    from augment.datasets import keys

    counts = division.class_counts()
    rows = [("class", *division.ratios.names)]
    if counts.keys() != {None}:
        shown = list(counts.items())[:_CLASSES_SHOWN]
        rows += [
            ("(none)" if name is None else keys.printable(name), *(f"{number:,}" for number in numbers))
            for name, numbers in shown
        ]
        if len(counts) > len(shown):
            rows.append((f"… {len(counts) - len(shown):,} more", *[""] * len(division.ratios.names)))
    rows.append(("all", *(f"{number:,}" for number in division.counts.values())))
    return output.columns(rows)


def _pairs(division: "DividedDataset") -> Iterator[str]:
    """Yield the nearest pairs of near-duplicates."""
    from augment.datasets import keys

    near = division.near
    for i in near.distances.argsort(kind="stable")[:_PAIRS_SHOWN].tolist():
        first, second = (keys.printable(key) for key in division.dataset.keys(near.pairs[i].tolist()))
        bits = output.count(int(near.distances[i]), "bit")
        yield f"{first} and {second} ({bits})"
    if len(near.pairs) > _PAIRS_SHOWN:
        yield "…"


def _document(division: "DividedDataset", summary: "Summary | None", out: Path, table: Path | None) -> dict[str, Any]:
    near = division.near
    names = division.ratios.names
    document: dict[str, Any] = {
        "output": str(out),
        "report": None if table is None else str(table),
        "ratios": dict(zip(names, division.ratios.percents, strict=True)),
        "splits": division.counts,
        "classes": [
            {"class": name, "splits": dict(zip(names, numbers, strict=True))}
            for name, numbers in division.class_counts().items()
        ],
        "units": division.num_units,
        "largest_unit": division.largest_unit,
        "without_group": division.num_nameless,
        "undecodable": near.num_undecodable,
        "near_duplicates": [
            {"keys": division.dataset.keys(pair), "distance": distance}
            for pair, distance in zip(near.pairs[:1000].tolist(), near.distances[:1000].tolist(), strict=True)
        ],
        "num_near_duplicates": len(near.pairs),
    }
    if summary is not None:
        document |= {
            "id": summary.id,
            "written": summary.num_originals + summary.num_copied,
            "kept": summary.num_kept,
            "removed": summary.num_removed,
            "refused": summary.num_refused,
            "size_bytes": summary.size_bytes,
        }
    return document
