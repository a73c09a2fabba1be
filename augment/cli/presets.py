"""``augment presets``: the pipelines that come with the package."""

from typing import Annotated

import typer

from augment.cli import terminal


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("presets", short_help="list the pipelines that come with the package, or show one")(list_presets)


def list_presets(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A preset, whose YAML is then shown.")] = None,
    *,
    as_json: terminal.JsonOption = False,
) -> None:
    """List the pipelines that come with the package, or show one with its comments, to start your own from."""
    from augment.transforms import load

    if name is not None:
        _check_known(name, load.preset_names())
        pipeline = load.Pipeline.load(name)
        if as_json:
            terminal.write_json({"name": name, "digest": pipeline.digest, "pipeline": pipeline.spec.canonical()})
        else:
            terminal.say(load.preset_text(name).rstrip("\n"))
        return
    pipelines = {preset: load.Pipeline.load(preset) for preset in load.preset_names()}
    if as_json:
        terminal.write_json(
            [
                {"name": preset, "digest": pipeline.digest, "description": pipeline.spec.description}
                for preset, pipeline in pipelines.items()
            ]
        )
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("preset", no_wrap=True)
    table.add_column("what it is", ratio=1)
    for preset, pipeline in pipelines.items():
        table.add_row(preset, pipeline.spec.description)
    terminal.console().print(table)


def _check_known(name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        from augment.errors import CallError
        from augment.spelling import did_you_mean

        raise CallError(f"there is no preset {name!r}{did_you_mean(name, known) or '; there is ' + ', '.join(known)}")
