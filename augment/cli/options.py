"""Options shared by several commands: scanning with progress, and ``--references NAME=FOLDER``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from augment.cli import output
from augment.errors import CallError
from augment.expansion.options import OPTIONS

if TYPE_CHECKING:
    from augment.datasets.dataset import Dataset


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
        help="What becomes of images whose annotations cannot be true: by default the dataset is refused.",
    ),
]

OutArgument = Annotated[
    Path, typer.Argument(parser=output.path, metavar="OUT", help="The folder to write; it is made, or gone on with.")
]
DatasetFormatOption = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="The dataset's format; by default it is found out.")
]
FromFormatOption = Annotated[
    str | None, typer.Option("--from-format", metavar="NAME", help="The format of DATA; by default it is found out.")
]
OutputFormatOption = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="The format of OUT; by default that of DATA.")
]


IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="PATTERN",
        help="Files and folders of the dataset to leave out, as '*.xml' or 'notes/*'; may be given several times.",
        show_default=False,
    ),
]


def scan_dataset(
    data: Path, data_format: str | None, bad_annotations: str, ignore: Sequence[str] | None, *, as_json: bool
) -> "Dataset":
    """Scan a dataset while its progress is shown."""
    from augment.scanning.scan import scan

    with output.StageProgress("scanning", as_json=as_json) as bar:
        return scan(data, format=data_format, bad_annotations=bad_annotations, ignore=ignore or (), progress=bar.show)


def of_expansion(name: str, *flags: str, **more: Any) -> Any:
    """Return the command's option for an option of an expansion, with the same description."""
    described = OPTIONS[name].metadata["description"]
    text = re.sub(r"`([^`]+)`", lambda match: _flag(match[1]) if match[1] in OPTIONS else match[1], described)
    return typer.Option(*(flags or (_flag(name),)), help=text, **more)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


Option = Annotated[
    list[str] | None,
    typer.Option(
        "--references",
        metavar="NAME=FOLDER",
        help="The dataset that the pipeline calls NAME, for transforms such as FDA; once for each name.",
        show_default=False,
    ),
]


def folders(given: Sequence[str] | None) -> dict[str, Path]:
    """The folders by name; CallError for what is none or comes twice."""
    found: dict[str, Path] = {}
    for each in given or ():
        name, _, folder = each.partition("=")
        if not name or not folder:
            raise CallError(f"--references is {each!r}; write NAME=FOLDER, as styles=images/styles")
        if name in found:
            raise CallError(f"--references names {name!r} twice; give each name once")
        found[name] = output.path(folder)
    return found
