"""``augment transforms`` and ``augment presets``: list transforms with their parameters, and preset pipelines."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from augment.cli import output
from augment.errors import CallError
from augment.validation import did_you_mean

if TYPE_CHECKING:
    from augment.transforms.entry import TransformEntry


def list_transforms(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Transform to show the parameters of.")] = None,
    *,
    as_json: output.JsonOption = False,
) -> None:
    """List all transforms by family, or show the parameters of one with ranges and defaults."""
    from augment.transforms.catalogue import ALIASES, catalogue

    known = catalogue()
    if name is None:
        if as_json:
            output.write_json([info.as_json() for info in known.values()])
        else:
            _show_families(list(known.values()))
        return
    info = known.get(ALIASES.get(name, name))
    if info is None:
        hint = did_you_mean(name, known) or "; `augment transforms` lists them all"
        raise CallError(f"there is no transform {name!r}{hint}")
    if as_json:
        output.write_json(info.as_json())
    else:
        _show_one(info)


def _show_families(infos: "list[TransformEntry]") -> None:
    from rich.text import Text

    table = output.table()
    table.add_column("transform", no_wrap=True)
    table.add_column("moves", no_wrap=True, style="dim")
    table.add_column("description", ratio=1)
    for family in sorted({info.family for info in infos}):
        table.add_row(Text(family, style="bold"))
        for info in infos:
            if info.family == family:
                table.add_row(f"  {info.name}", _letters(info.targets), info.help)
    screen = output.console()
    screen.print(table)
    screen.print(
        "\nmoves: targets that follow the image: m mask, b boxes, k keypoints. "
        "`augment transforms NAME` shows the parameters of one transform."
    )


def _letters(targets: frozenset[str]) -> str:
    return "".join(name[0] if name in targets else "-" for name in ("mask", "boxes", "keypoints"))


def _show_one(info: "TransformEntry") -> None:
    screen = output.console()
    targets = ", ".join(target for target in ("image", "mask", "boxes", "keypoints") if target in info.targets)
    screen.print(info.name, style="bold")
    needs = [name.replace("_", " ") for name in sorted(info.requires)] + ["other records of the split"] * info.donors
    needs += ["images of another dataset"] * info.references
    needed = f"; needs: {', '.join(needs)}" if needs else ""
    screen.print(f"{info.help}\nfamily: {info.family}; targets: {targets}{needed}\n")
    table = output.table()
    table.add_column("parameter", no_wrap=True)
    table.add_column("default", overflow="fold")
    table.add_column("values", ratio=1, overflow="fold")
    table.add_column("description", ratio=1)
    for name, schema in info.schema["properties"].items():
        default = _value(schema["default"]) if "default" in schema else "(required)"
        table.add_row(name, default, values(schema), schema.get("description", ""))
    screen.print(table)
    if info.container:
        screen.print("children: a list of transforms in the parameter `transforms`")
    for rule in info.schema.get("x-rules", ()):
        screen.print(f"rule: {rule}")


def values(schema: dict[str, Any]) -> str:
    """Return the values that a JSON Schema of the catalogue allows, like ``[low, high] of integer 1 to 9``."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(values(branch) for branch in schema["anyOf"]))
    if "oneOf" in schema:
        return "; ".join(_option(option) for option in schema["oneOf"])
    kind = schema.get("type", "any")
    if kind in {"number", "integer"}:
        low = f"above {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else schema.get("minimum", "")
        odd = "odd " if "not" in schema else ""
        return f"{odd}{kind} {low} to {schema['maximum']}"
    if kind == "array":
        least, most = schema["minItems"], schema["maxItems"]
        items = values(schema["items"])
        if schema.get("x-ordered"):
            return f"[low, high] of {items}"
        return f"{least if least == most else f'{least} to {most}'} x {items}"
    if kind == "object":
        return f"an object with {', '.join(schema['properties'])}"
    return {"boolean": "true, false"}.get(kind, str(kind))


def _option(option: dict[str, Any]) -> str:
    const, title = _value(option["const"]), option["title"]
    return const if const == title else f"{const} ({title})"


def _value(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def list_presets(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Preset to show the YAML of.")] = None,
    *,
    as_json: output.JsonOption = False,
) -> None:
    """List the preset pipelines, or print the YAML of one to start your own from."""
    from augment.render.pipeline import Pipeline, preset_names, preset_text

    if name is not None:
        if name not in (known := preset_names()):
            hint = did_you_mean(name, known) or "; choose one of " + ", ".join(known)
            raise CallError(f"there is no preset {name!r}{hint}")
        pipeline = Pipeline.load(name)
        if as_json:
            output.write_json({"name": name, "digest": pipeline.digest, "pipeline": pipeline.spec.canonical()})
        else:
            output.say(preset_text(name).rstrip("\n"))
        return
    pipelines = {preset: Pipeline.load(preset) for preset in preset_names()}
    if as_json:
        output.write_json(
            [
                {"name": preset, "digest": pipeline.digest, "description": pipeline.spec.description}
                for preset, pipeline in pipelines.items()
            ]
        )
        return
    table = output.table()
    table.add_column("preset", no_wrap=True)
    table.add_column("description", ratio=1)
    for preset, pipeline in pipelines.items():
        table.add_row(preset, pipeline.spec.description)
    output.console().print(table)
