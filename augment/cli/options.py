"""The options of commands that scan a dataset, and the scan while its progress is shown."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augment.cli import terminal
from augment.errors import CallError

if TYPE_CHECKING:
    from augment.dataset import Dataset


def _bad_annotations(value: str) -> str:
    if value not in {"refuse", "leave-out"}:
        raise CallError(f"--bad-annotations is {value!r}; it is refuse or leave-out")
    return value.replace("-", "_")


BadAnnotationsOption = Annotated[
    str,
    typer.Option(
        "--bad-annotations",
        metavar="refuse|leave-out",
        callback=_bad_annotations,
        help="What becomes of pictures whose annotations cannot be true: by default the dataset is refused.",
    ),
]


def scan(data: Path, data_format: str | None, bad_annotations: str, *, as_json: bool) -> "Dataset":
    """Scan a dataset while its progress is shown."""
    from augment.formats import registry

    with terminal.Progress("scanning", as_json=as_json) as bar:
        return registry.scan(data, format=data_format, bad_annotations=bad_annotations, progress=bar.show)
