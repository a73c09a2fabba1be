"""``augment expand``: write augmented copies of a dataset's images to a folder."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from augment.cli import options, output
from augment.errors import CallError
from augment.expansion.options import ExpansionOptions
from augment.validation import FailureBudget

if TYPE_CHECKING:
    from augment.expansion.plan import ClassPlan, Plan
    from augment.expansion.progress import Summary
    from augment.workers.task import Workers

_DEFAULTS = ExpansionOptions()
_REFUSALS_SHOWN = 10


def show_summary(summary: "Summary", out: Path, seconds: float, *, as_json: bool) -> None:
    """Print the summary of a run."""
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
        output.note(f"refused: and {num_more:,} more; {out}/manifest-*.parquet lists them all")
    parts = [f"{output.count(num_written, 'image')} written in {seconds:.1f} s"]
    if num_written:
        parts[0] += f" ({num_written / max(seconds, 1e-9):,.0f} a second)"
    if summary.num_copied:
        parts[0] += f", {summary.num_copied:,} of them copied from other splits"
    if summary.num_kept:
        parts.append(f"{summary.num_kept:,} kept")
    if summary.num_removed:
        parts.append(f"{summary.num_removed:,} removed")
    if summary.num_refused:
        parts.append(f"{output.count(summary.num_refused, 'record')} refused")
    if summary.nothing_to_do:
        parts = [f"nothing to do: all {output.count(summary.num_kept, 'image')} are there", *parts[2:]]
    output.say(f"{'; '.join(parts)}\n{out}: {output.size(summary.size_bytes)}")


def show_plan(plan: "Plan", out: Path, notices: Sequence[str] = (), *, as_json: bool) -> None:
    """Print the plan of a run. ``notices`` are those of the expansion."""
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
    replaced = f"{plan.num_replaced:,} of them replaced, " if plan.num_replaced else ""
    removed = f", {plan.num_removed:,} removed" if plan.num_removed else ""
    since = f"\nsince OUT was written: {changes.text}" if changes and changes.text else ""
    passing = f" and {plan.num_copied:,} copied from other splits" if plan.num_copied else ""
    encoded = ", ".join(f"{number:,} as {name}" for name, number in plan.image_formats.items())
    output.say(
        f"{out}: {output.count(num_new, 'image')} would be written ({about}; {output.size(plan.bytes_free)} are "
        f"free), {replaced}{plan.num_kept:,} kept{removed}{since}\n"
        f"{output.count(plan.num_outputs, 'output')} from {output.count(plan.num_records, 'record')}{passing}; "
        f"{output.count(plan.num_refused, 'file')} refused by the scan; nothing was written"
        f"{f'{chr(10)}copies: {encoded}' if encoded else ''}"
    )
    if plan.classes:
        output.say("\n" + "\n".join(_table(plan.classes)))


def _table(classes: "Sequence[ClassPlan]") -> Iterator[str]:
    """Return one line for each class: images before, copies, images after."""
    rows = [("class", "before", "copies", "after")]
    rows += [
        (one.class_name or "(none)", f"{one.num_before:,}", f"{one.num_copies:,}", f"{one.num_after:,}")
        for one in classes
    ]
    return output.columns(rows)


def _check_workers(number: int | None) -> int | None:
    most = 1024  # NUM_MAX of augment/workers/pool.py, which `--help` does not import; a test compares them
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
        help="Processes to render in. Default: one for each CPU. 0 renders in the main process.",
    ),
]


def expand(
    data: Annotated[Path, typer.Argument(parser=output.path, metavar="DATA", help="Dataset's folder.")],
    out: options.OutArgument,
    *,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline",
            "-p",
            metavar="P",
            help="Preset's name or pipeline file. Required unless --copies is 0.",
            show_default=False,
        ),
    ] = None,
    copies: Annotated[str, options.of_expansion("copies", metavar="N|CLASS=N,…|balance[:N]")] = str(_DEFAULTS.copies),
    seed: Annotated[int, options.of_expansion("seed")] = _DEFAULTS.seed,
    from_format: options.FromFormatOption = None,
    bad_annotations: options.BadAnnotationsOption = "refuse",
    ignore: options.IgnoreOption = None,
    output_format: Annotated[str | None, options.of_expansion("output_format", "--format", metavar="NAME")] = None,
    drop_targets: Annotated[str | None, options.of_expansion("drop_targets", metavar="NAMES")] = None,
    image_format: Annotated[str | None, options.of_expansion("image_format", metavar="jpeg|png|webp")] = None,
    quality: Annotated[int, options.of_expansion("quality", metavar="1..100")] = _DEFAULTS.quality,
    include_originals: Annotated[bool, options.of_expansion("include_originals")] = _DEFAULTS.include_originals,
    split: Annotated[str | None, options.of_expansion("split", metavar="NAME")] = None,
    augment_splits: Annotated[str | None, options.of_expansion("augment_splits", metavar="NAMES")] = None,
    copy_splits: Annotated[bool | None, options.of_expansion("copy_splits", "--copy-splits/--no-copy-splits")] = None,
    allow_leaks: Annotated[bool, options.of_expansion("allow_leaks")] = _DEFAULTS.allow_leaks,
    references: options.ReferencesOption = None,
    workers: WorkersOption = None,
    update: Annotated[bool, options.of_expansion("update")] = _DEFAULTS.update,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the number of images and about how many bytes, without writing.")
    ] = False,
    max_failures: Annotated[str | None, options.of_expansion("max_failures", metavar="N")] = None,
    as_json: output.JsonOption = False,
) -> None:
    """Write augmented copies of every image. Run the same command again to resume an interrupted run."""
    budget = FailureBudget(None) if max_failures is None else FailureBudget.parse(max_failures)
    named = options.reference_folders(references)
    # Start the workers first: they import at the same time as this process.
    with pool(workers, imports=["augment.expansion.shard"]) as rendering:
        from augment.expansion import folder
        from augment.expansion.copies import check, parse
        from augment.expansion.expand import Expansion
        from augment.render.pipeline import Pipeline

        rule = check(parse(copies), least=0 if include_originals else 1)
        if pipeline is None and rule != 0:
            raise CallError(f"--copies is {copies} without --pipeline; add --pipeline, or convert with --copies 0")
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
            drop_targets=_names(drop_targets) or _DEFAULTS.drop_targets,
            image_format=image_format,
            quality=quality,
            update=update,
            max_failures=budget.max_failures,
            references=named,
        )
        for notice in expansion.notices:
            output.note(f"notice: {notice}")
        if dry_run:
            show_plan(expansion.plan(rendering), out, expansion.notices, as_json=as_json)
            return
        started = time.monotonic()
        with output.StageProgress("expanding", as_json=as_json) as bar:
            summary = expansion.run(rendering, progress=bar.show_expansion)
    show_summary(summary, out, time.monotonic() - started, as_json=as_json)


def pool(num_workers: int | None, *, imports: Sequence[str] = ()) -> "AbstractContextManager[Workers | None]":
    """Return the pool for ``--workers``, or None to render in this process. It begins to import ``imports`` now."""
    if num_workers == 0:
        return nullcontext()
    from augment.workers.pool import LocalWorkers

    rendering = LocalWorkers(num_workers, preload=imports)
    if imports:
        rendering.prepare()
    return rendering


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name for name in text.split(",") if name]
