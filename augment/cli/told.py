"""What ``augment expand`` tells of a run and of a plan: in words, or as one JSON document."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augment.cli import terminal

if TYPE_CHECKING:
    from augment.expansion.plan import ClassPlan, Plan
    from augment.expansion.tally import Summary
    from augment.sample import Refusal

_REFUSALS_SHOWN = 10


def tell_refusals(some: "Sequence[Refusal]", num_refused: int, where: Path) -> None:
    """Name the first few records that were left out, on standard error."""
    for refusal in some[:_REFUSALS_SHOWN]:
        terminal.note(f"refused: {refusal.key}: {refusal.reason}: {refusal.detail}")
    if num_refused > _REFUSALS_SHOWN:
        terminal.note(f"refused: and {num_refused - _REFUSALS_SHOWN:,} more; {where}/manifest-*.parquet names them all")


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
            "refusals": [{"key": one.key, "reason": str(one.reason), "detail": one.detail} for one in summary.refusals],
        }
        terminal.write_json(document)
        return
    tell_refusals(summary.refusals, summary.num_refused, out)
    parts = [f"{terminal.count(num_written, 'picture')} written in {seconds:.1f} s"]
    if num_written:
        parts[0] += f" ({num_written / max(seconds, 1e-9):,.0f} a second)"
    if summary.num_copied:
        parts[0] += f", {summary.num_copied:,} of them of splits that pass through"
    if summary.num_kept:
        parts.append(f"{summary.num_kept:,} kept")
    if summary.num_removed:
        parts.append(f"{summary.num_removed:,} removed")
    if summary.num_refused:
        parts.append(f"{terminal.count(summary.num_refused, 'record')} refused")
    if summary.nothing_to_do:
        parts = [f"nothing to do: all {terminal.count(summary.num_kept, 'picture')} are there", *parts[2:]]
    terminal.say(f"{'; '.join(parts)}\n{out}: {terminal.size(summary.size_bytes)}")


def tell_plan(plan: "Plan", out: Path, *, as_json: bool) -> None:
    """What a run would do."""
    changes = plan.changes
    if as_json:
        terminal.write_json(
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
                "shards": plan.num_shards,
                "bytes_about": plan.bytes_about,
                "bytes_free": plan.bytes_free,
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
    about = "of unknown size" if plan.bytes_about is None else f"about {terminal.size(plan.bytes_about)}"
    replaced = f"{plan.num_replaced:,} of them over former ones, " if plan.num_replaced else ""
    removed = f", {plan.num_removed:,} removed" if plan.num_removed else ""
    since = f"\nsince OUT was written: {changes}" if str(changes or "") else ""
    passing = f" and {plan.num_copied:,} of splits that pass through" if plan.num_copied else ""
    terminal.say(
        f"{out}: {terminal.count(num_new, 'picture')} would be written ({about}; {terminal.size(plan.bytes_free)} are "
        f"free), {replaced}{plan.num_kept:,} kept{removed}{since}\n"
        f"{terminal.count(plan.num_outputs, 'output')} from {terminal.count(plan.num_records, 'record')}{passing}; "
        f"{terminal.count(plan.num_refused, 'file')} refused by the scan; nothing was written"
    )
    if plan.classes:
        terminal.say("\n" + "\n".join(_table(plan.classes)))


def _table(classes: "Sequence[ClassPlan]") -> Iterator[str]:
    """One line a class: its pictures before, the copies, its pictures after."""
    rows = [("class", "before", "copies", "after")]
    rows += [
        (one.class_name or "(none)", f"{one.num_before:,}", f"{one.num_copies:,}", f"{one.num_after:,}")
        for one in classes
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    for name, *numbers in rows:
        cells = (number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))
        yield "  ".join((name.ljust(widths[0]), *cells))
