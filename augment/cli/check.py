"""``augment check``: whether a pipeline holds, and what exactly it says."""

from typing import Annotated

import typer

from augment.cli import terminal


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check", short_help="check a pipeline: every problem with its line")(check)


def check(
    pipeline: Annotated[str, typer.Argument(metavar="P", help="A preset's name or a YAML or JSON file.")],
    *,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Write the pipeline with every default filled in, as YAML.")
    ] = False,
    as_json: terminal.JsonOption = False,
) -> None:
    """Check a pipeline: every problem with its line, or its digest, what it does to sizes and what was changed."""
    from augment.transforms import sizes
    from augment.transforms.load import Pipeline

    loaded = Pipeline.load(pipeline)
    fixed = sizes.fixed_output(loaded.spec)
    if as_json:
        terminal.write_json(
            {
                "name": loaded.spec.name,
                "digest": loaded.digest,
                "output_size": None if fixed is None else list(fixed),
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
    terminal.say(f"digest       {loaded.digest}")
