"""``augment check DATASET``: what a scan finds in a folder, and what it refuses and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from augment.cli import exit_codes, options, terminal

if TYPE_CHECKING:
    from augment.dataset import Dataset
    from augment.formats.refusals import Refusals

_CLASSES_SHOWN = 20


def check(root: Path, data_format: str | None, *, as_json: bool) -> None:
    """Scan a dataset and report; exit code 5 where annotations cannot be true."""
    from augment.formats import refusals

    dataset = options.scan(root, data_format, refusals.LEAVE_OUT, as_json=as_json)
    refused = refusals.Refusals()
    for refusal in dataset.refused:
        refused.add(refusal.key, refusal.reason, refusal.detail)
    if as_json:
        terminal.write_json(_document(dataset, refused))
    else:
        _tell(root, dataset, refused)
    if refused.bad_annotations():
        raise typer.Exit(exit_codes.FINDINGS)


def _document(dataset: "Dataset", refused: "Refusals") -> dict[str, Any]:
    return {
        "ok": not refused.bad_annotations(),
        "format": dataset.format,
        "digest": dataset.digest,
        "records": dataset.num_records,
        "splits": dataset.splits,
        "classes": list(dataset.classes),
        "targets": sorted(dataset.targets),
        "keypoints": list(dataset.keypoint_names),
        "refused": dataset.num_refused,
        "refusals": [
            {
                "reason": str(kind.reason),
                "kind": kind.name,
                "number": kind.number,
                "examples": [{"path": each.path, "detail": each.detail} for each in kind.examples],
            }
            for kind in refused
        ],
    }


def _tell(root: Path, dataset: "Dataset", refused: "Refusals") -> None:
    from augment import keys

    splits = ", ".join(f"{name} {number:,}" for name, number in dataset.splits.items())
    terminal.say(f"{root}: {terminal.count(dataset.num_records, 'record')}")
    terminal.say(f"format    {dataset.format}")
    terminal.say(f"splits    {splits or 'none'}")
    terminal.say(f"classes   {_some(dataset.classes)}")
    terminal.say(f"targets   {', '.join(sorted(dataset.targets)) or 'none'}")
    if dataset.keypoint_names:
        terminal.say(f"keypoints {_some(dataset.keypoint_names)}")
    terminal.say(f"digest    {dataset.digest}")
    terminal.say(f"refused   {dataset.num_refused:,}")
    for kind in refused:
        terminal.say(f"  {kind.number:,} {kind.reason}{f' ({kind.name})' if kind.name else ''}")
        for each in kind.examples:
            terminal.say(f"    {keys.printable(each.path)}: {keys.printable(each.detail)}")
        if kind.number > len(kind.examples):
            terminal.say("    …")


def _some(names: tuple[str, ...]) -> str:
    from augment import keys

    shown = ", ".join(keys.printable(name) for name in names[:_CLASSES_SHOWN])
    return f"{len(names):,}: {shown}{', …' if len(names) > _CLASSES_SHOWN else ''}" if names else "none"
