"""``augment expand``: write augmented copies of a dataset's images to a folder, and report the run or the plan."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from augment.cli import options, output
from augment.errors import CallError

if TYPE_CHECKING:
    from augment.expansion.plan import ClassPlan, Plan
    from augment.expansion.progress import Summary
    from augment.workers.task import Workers

_REFUSALS_SHOWN = 10


def tell_summary(summary: "Summary", out: Path, seconds: float, *, as_json: bool) -> None:
    """What a run did."""
    num_written = summary.num_rendered + summary.num_originals + summary.num_copied
    if as_json:
        document: dict[str, Any] = {
            "output": str(summary.out),
            "id": summary.id,
            "rendered": summary.num_rendered,
            "originals": summary.num_originals,
            "copied": summary.num_copied,
            "kept": summary.num_kept,
            "removed": summary.num_removed,
            "refused": summary.num_refused,
            "size_bytes": summary.size_bytes,
            "seconds": round(seconds, 3),
            "refusals": output.refusals(summary.refusals),
            "notices": list(summary.notices),
        }
        output.write_json(document)
        return
    for refusal in summary.refusals[:_REFUSALS_SHOWN]:
        output.note(f"refused: {refusal.key}: {refusal.reason}: {refusal.detail}")
    if (num_more := summary.num_refused - _REFUSALS_SHOWN) > 0:
        output.note(f"refused: and {num_more:,} more; {out}/manifest-*.parquet names them all")
    parts = [f"{output.count(num_written, 'picture')} written in {seconds:.1f} s"]
    if num_written:
        parts[0] += f" ({num_written / max(seconds, 1e-9):,.0f} a second)"
    if summary.num_copied:
        parts[0] += f", {summary.num_copied:,} of them of splits that pass through"
    if summary.num_kept:
        parts.append(f"{summary.num_kept:,} kept")
    if summary.num_removed:
        parts.append(f"{summary.num_removed:,} removed")
    if summary.num_refused:
        parts.append(f"{output.count(summary.num_refused, 'record')} refused")
    if summary.nothing_to_do:
        parts = [f"nothing to do: all {output.count(summary.num_kept, 'picture')} are there", *parts[2:]]
    output.say(f"{'; '.join(parts)}\n{out}: {output.size(summary.size_bytes)}")


def tell_plan(plan: "Plan", out: Path, notices: Sequence[str] = (), *, as_json: bool) -> None:
    """What a run would do; ``notices`` are those of its declaration."""
    changes = plan.changes
    if as_json:
        output.write_json(
            {
                "output": str(out),
                "id": plan.spec.id,
                "records": plan.num_records,
                "refused": plan.num_refused,
                "outputs": plan.num_outputs,
                "copied": plan.num_copied,
                "kept": plan.num_kept,
                "replaced": plan.num_replaced,
                "removed": plan.num_removed,
                "changes": changes and {"added": changes.added, "changed": changes.changed, "gone": changes.gone},
                "shards": plan.spec.num_shards,
                "bytes_about": plan.bytes_about,
                "bytes_free": plan.bytes_free,
                "image_formats": dict(plan.image_formats),
                "notices": list(notices),
                "classes": [
                    {
                        "class": one.class_name,
                        "before": one.num_before,
                        "copies": one.num_copies,
                        "after": one.num_after,
                    }
                    for one in plan.classes
                ],
            }
        )
        return
    num_new = plan.num_outputs + plan.num_copied - plan.num_kept
    about = "of unknown size" if plan.bytes_about is None else f"about {output.size(plan.bytes_about)}"
    replaced = f"{plan.num_replaced:,} of them over former ones, " if plan.num_replaced else ""
    removed = f", {plan.num_removed:,} removed" if plan.num_removed else ""
    since = f"\nsince OUT was written: {changes}" if str(changes or "") else ""
    passing = f" and {plan.num_copied:,} of splits that pass through" if plan.num_copied else ""
    encoded = ", ".join(f"{number:,} as {name}" for name, number in plan.image_formats.items())
    output.say(
        f"{out}: {output.count(num_new, 'picture')} would be written ({about}; {output.size(plan.bytes_free)} are "
        f"free), {replaced}{plan.num_kept:,} kept{removed}{since}\n"
        f"{output.count(plan.num_outputs, 'output')} from {output.count(plan.num_records, 'record')}{passing}; "
        f"{output.count(plan.num_refused, 'file')} refused by the scan; nothing was written"
        f"{f'{chr(10)}copies: {encoded}' if encoded else ''}"
    )
    if plan.classes:
        output.say("\n" + "\n".join(_table(plan.classes)))


def _table(classes: "Sequence[ClassPlan]") -> Iterator[str]:
    """One line a class: its pictures before, the copies, its pictures after."""
    rows = [("class", "before", "copies", "after")]
    rows += [
        (one.class_name or "(none)", f"{one.num_before:,}", f"{one.num_copies:,}", f"{one.num_after:,}")
        for one in classes
    ]
    return output.columns(rows)


def _check_workers(number: int | None) -> int | None:
    most = 1024  # NUM_MAX of augment/workers/pool.py, which is not imported for `--help`; a test compares them
    if number is not None and not 0 <= number <= most:
        raise CallError(
            f"--workers is {number}; give a number of processes, at most {most}, or 0 to render in this one"
        )
    return number


WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        callback=_check_workers,
        help="Processes to render in; by default one for each CPU, 0 renders in this very process.",
    ),
]


def expand(
    data: Annotated[Path, typer.Argument(parser=output.path, metavar="DATA", help="The folder of pictures.")],
    out: options.OutArgument,
    *,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline",
            "-p",
            metavar="P",
            help="A preset's name or a file; only --copies 0 needs none.",
            show_default=False,
        ),
    ] = None,
    copies: Annotated[
        str,
        typer.Option(
            "--copies",
            metavar="N",
            help="Copies of each picture; or by class (cat=4,dog=2,*=1); or balance, which brings every class to the "
            "largest, or balance:N.",
        ),
    ] = "4",
    seed: Annotated[int, typer.Option("--seed", help="Other seeds draw other copies.")] = 0,
    from_format: options.FromFormatOption = None,
    bad_annotations: options.BadAnnotationsOption = "refuse",
    ignore: options.IgnoreOption = None,
    output_format: options.OutputFormatOption = None,
    drop_targets: Annotated[
        str | None,
        typer.Option("--drop-targets", metavar="NAMES", help="Targets that OUT is to be without, like mask,keypoints."),
    ] = None,
    image_format: Annotated[
        str | None,
        typer.Option(
            "--image-format",
            metavar="jpeg|png|webp",
            help="The format of the copies; by default that of their originals, PNG for all but JPEG and lossy WebP.",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[
        int, typer.Option("--quality", help="Of JPEG and WebP, 1 to 100; PNG is exact and has none.")
    ] = 90,
    include_originals: Annotated[
        bool, typer.Option("--include-originals", help="Copy the originals beside their copies, byte for byte.")
    ] = False,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Expand this split alone, into OUT itself.")
    ] = None,
    augment_splits: Annotated[
        str | None,
        typer.Option(
            "--augment-splits", metavar="NAMES", help="Splits to be augmented; by default the training split."
        ),
    ] = None,
    copy_splits: Annotated[
        bool | None,
        typer.Option(
            "--copy-splits/--no-copy-splits",
            help="Whether the other splits pass through unchanged; by default they do, unless --split says one.",
            show_default=False,
        ),
    ] = None,
    allow_leaks: Annotated[
        bool, typer.Option("--allow-leaks", help="Go on although a picture is in an augmented split and in another.")
    ] = False,
    references: options.Option = None,
    workers: WorkersOption = None,
    update: Annotated[
        bool, typer.Option("--update", help="The dataset changed: keep what is the same, render the rest.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written and how many bytes about; write nothing.")
    ] = False,
    max_failures: Annotated[
        str | None,
        typer.Option(
            "--max-failures",
            metavar="N",
            help="Stop beyond this many refused records: a count, or a fraction like 0.01.",
        ),
    ] = None,
    as_json: output.JsonOption = False,
) -> None:
    """Write copies of every picture, each a pure function of its address; the same command goes on after any end."""
    budget, named = _budget(max_failures), options.folders(references)
    # The workers come first: their imports take as long as those of this process, and go on beside them.
    with pool(workers, imports=["augment.expansion.shard"]) as rendering:
        from augment.expansion import folder
        from augment.expansion.copies import check, parse
        from augment.expansion.expand import Expansion
        from augment.render.pipeline import Pipeline

        rule = check(parse(copies), least=0 if include_originals else 1)
        if pipeline is None and rule != 0:
            raise CallError(f"--copies is {copies} and there is no --pipeline; name one, or convert with --copies 0")
        loaded = None if pipeline is None else Pipeline.load(pipeline)
        folder.check_place(out.absolute(), data.absolute())  # before a scan that may take minutes
        for notice in loaded.notices if loaded is not None else ():
            output.note(f"notice: {notice}")
        dataset = options.scan_dataset(data, from_format, bad_annotations, ignore, as_json=as_json)
        expansion = Expansion(
            dataset,
            out,
            loaded,
            copies=rule,
            seed=seed,
            split=split,
            augment_splits=_names(augment_splits),
            copy_splits=copy_splits,
            allow_leaks=allow_leaks,
            include_originals=include_originals,
            output_format=output_format,
            drop_targets=_names(drop_targets) or (),
            image_format=image_format,
            quality=quality,
            references=named,
        )
        for notice in expansion.notices:
            output.note(f"notice: {notice}")
        if dry_run:
            tell_plan(expansion.plan(rendering, update=update), out, expansion.notices, as_json=as_json)
            return
        started = time.monotonic()
        with output.StageProgress("expanding", as_json=as_json) as bar:
            summary = expansion.run(rendering, update=update, max_failures=budget, progress=bar.show_expansion)
    tell_summary(summary, out, time.monotonic() - started, as_json=as_json)


def pool(num_workers: int | None, *, imports: Sequence[str] = ()) -> "AbstractContextManager[Workers | None]":
    """The processes that ``--workers`` asks for; None renders in this one. They begin to import these modules now."""
    if num_workers == 0:
        return nullcontext()
    from augment.workers.pool import LocalWorkers

    rendering = LocalWorkers(num_workers, preload=imports)
    if imports:
        rendering.prepare()
    return rendering


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name for name in text.split(",") if name]


def _budget(text: str | None) -> int | float | None:
    """What ``--max-failures`` says, before hours of work are judged by it."""
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    with suppress(ValueError):
        if 0 < (fraction := float(text)) < 1:
            return fraction
    raise CallError(
        f"--max-failures is {text!r}; give a count like 10, or a fraction of all above 0 and below 1, like 0.01"
    )
