"""``augment check``: whether a pipeline holds and what exactly it says, or what a scan finds in a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from augment.cli import check_dataset, terminal
from augment.cli.references import Option, folders
from augment.errors import CallError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check", short_help="check a pipeline or a dataset: every problem with its place")(check)


def check(
    subject: Annotated[
        str, typer.Argument(metavar="P|DATASET", help="A preset's name, a YAML or JSON file, or a dataset's folder.")
    ],
    *,
    data_format: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="The dataset's format; by default it is found out.")
    ] = None,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Write the pipeline with every default filled in, as YAML.")
    ] = False,
    references: Option = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Check a pipeline (every problem with its line) or a dataset (what a scan finds, and what it refuses and why).

    What is a preset's name is the preset; write ./NAME for a folder of that name. Exit code 5 where annotations of a
    dataset cannot be true.
    """
    from augment.transforms.load import preset_names

    if subject not in preset_names() and (data_format is not None or Path(subject).is_dir()):
        if as_yaml:
            raise CallError(f"--yaml writes a pipeline, and {subject} is a dataset; leave it out")
        if references:
            raise CallError(f"--references are for a pipeline, and {subject} is a dataset; leave them out")
        check_dataset.check(terminal.path(subject), data_format, as_json=as_json)
    else:
        _check_pipeline(subject, folders(references), as_yaml=as_yaml, as_json=as_json)


def _check_pipeline(pipeline: str, given: dict[str, Path], *, as_yaml: bool, as_json: bool) -> None:
    from augment import references
    from augment.transforms import sizes
    from augment.transforms.compile import references_of
    from augment.transforms.load import Pipeline

    loaded = Pipeline.load(pipeline)
    fixed = sizes.fixed_output(loaded.spec)
    named = dict.fromkeys(sorted(references_of(loaded.spec)), 0)
    if given:
        found = references.take(given, [loaded.spec])
        named = {name: each.choose(None).num_records for name, each in found.items()}
    if as_json:
        terminal.write_json(
            {
                "name": loaded.spec.name,
                "digest": loaded.digest,
                "output_size": None if fixed is None else list(fixed),
                "references": {name: number or None for name, number in named.items()},
                "notices": list(loaded.notices),
                "pipeline": loaded.spec.canonical(),
            }
        )
        return
    for notice in loaded.notices:
        terminal.note(f"notice: {notice}")
    if as_yaml:
        terminal.say(loaded.spec.to_yaml().rstrip("\n"))
        return
    names = ", ".join(node.name for node in loaded.spec.transforms)
    shape = "that of the picture, or varies" if fixed is None else f"{fixed[0]} x {fixed[1]} (height x width)"
    terminal.say(f"{pipeline}: the pipeline holds")
    terminal.say(f"transforms   {names}")
    terminal.say(f"output size  {shape}")
    for name, number in named.items():
        told = f"{terminal.count(number, 'picture')} in {given[name]}" if given else "to be given with --references"
        terminal.say(f"references   {name}: {told}")
    terminal.say(f"digest       {loaded.digest}")
