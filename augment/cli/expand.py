"""``augment expand``: copies of every picture of a dataset, written to a folder."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from augment.cli import terminal
from augment.errors import CallError

if TYPE_CHECKING:
    from augment.dataset import Dataset
    from augment.expansion.plan import Plan
    from augment.expansion.tally import Progress as Tallied
    from augment.expansion.tally import Summary
    from augment.sample import Refusal
    from augment.task import Workers

_REFUSALS_SHOWN = 10


def _check_workers(number: int | None) -> int | None:
    most = 1024  # NUM_MAX of augment/workers.py, which is not imported for `--help`; a test compares them
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


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("expand", short_help="write copies of every picture of a folder")(expand)


def expand(
    data: Annotated[Path, typer.Argument(parser=terminal.path, metavar="DATA", help="The folder of pictures.")],
    out: Annotated[
        Path,
        typer.Argument(parser=terminal.path, metavar="OUT", help="The folder to write; it is made, or gone on with."),
    ],
    *,
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", metavar="P", help="A preset's name or a file.")],
    copies: Annotated[int, typer.Option("--copies", help="Copies of each picture.")] = 4,
    seed: Annotated[int, typer.Option("--seed", help="Other seeds draw other copies.")] = 0,
    data_format: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="The dataset's format; by default it is found out.")
    ] = None,
    image_format: Annotated[
        str, typer.Option("--image-format", metavar="jpeg|png|webp", help="The format of the copies.")
    ] = "jpeg",
    quality: Annotated[
        int, typer.Option("--quality", help="Of JPEG and WebP, 1 to 100; PNG is exact and has none.")
    ] = 90,
    include_originals: Annotated[
        bool, typer.Option("--include-originals", help="Copy the originals beside their copies, byte for byte.")
    ] = False,
    split: Annotated[
        str | None, typer.Option("--split", help="Which split; by default train where there is one, else all.")
    ] = None,
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
    as_json: terminal.JsonOption = False,
) -> None:
    """Write copies of every picture, each a pure function of its address; the same command goes on after any end."""
    from augment.expand import Expansion
    from augment.expansion import folder
    from augment.transforms.load import Pipeline

    budget = _budget(max_failures)
    loaded = Pipeline.load(pipeline)
    folder.check_place(out.absolute(), data.absolute())  # before a scan that may take minutes
    for notice in loaded.notices:
        terminal.note(f"notice: {notice}")
    dataset = scan(data, data_format, as_json=as_json)
    expansion = Expansion(
        dataset,
        out,
        loaded,
        copies=copies,
        seed=seed,
        split=split,
        include_originals=include_originals,
        image_format=image_format,
        quality=quality,
    )
    with pool(workers) as rendering:
        if dry_run:
            _tell_plan(expansion.plan(rendering, update=update), out, as_json=as_json)
            return
        started = time.monotonic()
        with terminal.Progress("expanding", as_json=as_json) as bar:

            def show(progress: "Tallied") -> None:
                bar.show(progress.done, progress.total, progress.failed, progress.kept)

            summary = expansion.run(rendering, update=update, max_failures=budget, progress=show)
    _tell(summary, out, time.monotonic() - started, as_json=as_json)


def pool(num_workers: int | None) -> "AbstractContextManager[Workers | None]":
    """The processes that ``--workers`` asks for; None renders in this one."""
    from augment.workers import LocalWorkers

    return nullcontext() if num_workers == 0 else LocalWorkers(num_workers)


def scan(data: Path, data_format: str | None, *, as_json: bool) -> "Dataset":
    """Scan a dataset while its progress is shown."""
    from augment.formats import registry

    with terminal.Progress("scanning", as_json=as_json) as bar:
        return registry.scan(data, format=data_format, progress=bar.show)


def tell_refusals(refusals: "Sequence[Refusal]", num_refused: int, where: Path) -> None:
    """Name the first few records that were left out, on standard error."""
    for refusal in refusals[:_REFUSALS_SHOWN]:
        terminal.note(f"refused: {refusal.key}: {refusal.reason}: {refusal.detail}")
    if num_refused > _REFUSALS_SHOWN:
        terminal.note(f"refused: and {num_refused - _REFUSALS_SHOWN:,} more; {where}/manifest-*.parquet names them all")


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


def _tell(summary: "Summary", out: Path, seconds: float, *, as_json: bool) -> None:
    num_written = summary.num_rendered + summary.num_originals
    if as_json:
        document: dict[str, Any] = {
            "output": str(summary.out),
            "id": summary.id,
            "rendered": summary.num_rendered,
            "originals": summary.num_originals,
            "kept": summary.num_kept,
            "removed": summary.num_removed,
            "refused": summary.num_refused,
            "size_bytes": summary.size_bytes,
            "seconds": round(seconds, 3),
            "refusals": [{"key": one.key, "reason": str(one.reason), "detail": one.detail} for one in summary.refusals],
        }
        terminal.write_json(document)
        return
    tell_refusals(summary.refusals, summary.num_refused, out)
    parts = [f"{terminal.count(num_written, 'picture')} written in {seconds:.1f} s"]
    if num_written:
        parts[0] += f" ({num_written / max(seconds, 1e-9):,.0f} a second)"
    if summary.num_kept:
        parts.append(f"{summary.num_kept:,} kept")
    if summary.num_removed:
        parts.append(f"{summary.num_removed:,} removed")
    if summary.num_refused:
        parts.append(f"{terminal.count(summary.num_refused, 'record')} refused")
    if summary.nothing_to_do:
        parts = [f"nothing to do: all {terminal.count(summary.num_kept, 'picture')} are there", *parts[2:]]
    terminal.say(f"{'; '.join(parts)}\n{out}: {terminal.size(summary.size_bytes)}")


def _tell_plan(plan: "Plan", out: Path, *, as_json: bool) -> None:
    changes = plan.changes
    if as_json:
        terminal.write_json(
            {
                "output": str(out),
                "id": plan.spec.id,
                "records": plan.num_records,
                "refused": plan.num_refused,
                "outputs": plan.num_outputs,
                "kept": plan.num_kept,
                "replaced": plan.num_replaced,
                "removed": plan.num_removed,
                "changes": changes and {"added": changes.added, "changed": changes.changed, "gone": changes.gone},
                "shards": plan.num_shards,
                "bytes_about": plan.bytes_about,
                "bytes_free": plan.bytes_free,
            }
        )
        return
    num_new = plan.num_outputs - plan.num_kept
    about = "of unknown size" if plan.bytes_about is None else f"about {terminal.size(plan.bytes_about)}"
    replaced = f"{plan.num_replaced:,} of them over former ones, " if plan.num_replaced else ""
    removed = f", {plan.num_removed:,} removed" if plan.num_removed else ""
    since = f"\nsince OUT was written: {changes}" if str(changes or "") else ""
    terminal.say(
        f"{out}: {terminal.count(num_new, 'picture')} would be written ({about}; {terminal.size(plan.bytes_free)} are "
        f"free), {replaced}{plan.num_kept:,} kept{removed}{since}\n"
        f"from {terminal.count(plan.num_records, 'record')} with {plan.spec.outputs_a_record} outputs each; "
        f"{terminal.count(plan.num_refused, 'file')} refused by the scan; nothing was written"
    )
