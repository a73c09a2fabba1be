"""``--references NAME=FOLDER``: what a pipeline means by the names of datasets that its transforms take pictures of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from augment.cli import terminal
from augment.errors import CallError

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
            raise CallError(f"--references is {each!r}; write NAME=FOLDER, as styles=pictures/styles")
        if name in found:
            raise CallError(f"--references names {name!r} twice; give each name once")
        found[name] = terminal.path(folder)
    return found
