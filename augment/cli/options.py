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
        raise CallError(f"--bad-annotations is {value!r}; it must be refuse or leave-out")
    return value.replace("-", "_")


BadAnnotationsOption = Annotated[
    str,
    typer.Option(
        "--bad-annotations",
        metavar="refuse|leave-out",
        callback=_bad_annotations,
        help="Refuse a dataset with invalid annotations, or leave out the images that have them.",
    ),
]

OutArgument = Annotated[
    Path,
    typer.Argument(parser=output.path, metavar="OUT", help="Output folder. Created if missing, resumed if it exists."),
]
DatasetFormatOption = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="Dataset's format. Default: detected.")
]
FromFormatOption = Annotated[
    str | None, typer.Option("--from-format", metavar="NAME", help="Format of DATA. Default: detected.")
]
OutputFormatOption = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="Format of OUT. Default: that of DATA.")
]


IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="PATTERN",
        help="Files and folders of the dataset to ignore, like '*.xml' or 'notes/*'. May be repeated.",
        show_default=False,
    ),
]


def scan_dataset(
    data: Path, data_format: str | None, bad_annotations: str, ignore: Sequence[str] | None, *, as_json: bool
) -> "Dataset":
    """Scan a dataset and show the progress."""
    from augment.scanning.scan import scan

    with output.StageProgress("scanning", as_json=as_json) as bar:
        return scan(data, format=data_format, bad_annotations=bad_annotations, ignore=ignore or (), progress=bar.show)


def of_expansion(name: str, *flags: str, **more: Any) -> Any:
    """Return the command-line option for a field of ``ExpansionOptions``, with the same description."""
    description = OPTIONS[name].metadata["description"]
    text = re.sub(r"`([^`]+)`", lambda match: _flag(match[1]) if match[1] in OPTIONS else match[1], description)
    return typer.Option(*(flags or (_flag(name),)), help=text, **more)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


ReferencesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--references",
        metavar="NAME=FOLDER",
        help="Folder of the dataset that the pipeline calls NAME, for transforms such as FDA. May be repeated.",
        show_default=False,
    ),
]


def reference_folders(given: Sequence[str] | None) -> dict[str, Path]:
    """Return the folders of ``--references`` by name. Raises CallError if one is malformed or a name comes twice."""
    folders: dict[str, Path] = {}
    for each in given or ():
        name, _, folder = each.partition("=")
        if not name or not folder:
            raise CallError(f"--references is {each!r}; write NAME=FOLDER, like styles=images/styles")
        if name in folders:
            raise CallError(f"--references names {name!r} twice; give each name once")
        folders[name] = output.path(folder)
    return folders
