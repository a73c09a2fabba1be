"""``augment preview``: what a pipeline makes of a picture or of a dataset's records, as a labelled grid."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from augment.cli import preview_dataset, preview_mix, terminal
from augment.cli import references as referred
from augment.errors import CallError, DatasetError, OutputError, RecordError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from augment.dataset import Dataset
    from augment.sample import Applied
    from augment.transforms.load import Pipeline

NUM_MAX = 400
"""The most cells of a grid: more are smaller than a screen's detail."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("preview", short_help="draw a labelled grid of what a pipeline makes of a picture or a dataset")(
        preview
    )


def preview(
    picture: Annotated[
        Path,
        typer.Argument(
            parser=terminal.path,
            metavar="PICTURE|DATASET",
            help="The picture to augment; or a dataset's folder, whose targets are drawn.",
        ),
    ],
    *,
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", metavar="P", help="A preset's name or a file.")],
    num: Annotated[
        int, typer.Option("--num", "-n", help="How many draws to show, from draw 0; of a dataset, how many cells.")
    ] = 16,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", parser=terminal.path, metavar="PATH", help="The grid: .png, .jpg or .webp."),
    ] = Path("grid.png"),
    seed: Annotated[int, typer.Option(help="The seed; the same seed draws the same grid.")] = 0,
    key: Annotated[
        str | None,
        typer.Option(
            help="The record's key in a dataset: the grid then shows the very copies that `augment expand` writes with "
            "this seed. By default the key is the digest of the file, as in a one-shot call."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A split of the dataset; by default the training split where there is one."),
    ] = None,
    from_format: Annotated[
        str | None, typer.Option(metavar="NAME", help="The dataset's format; by default it is found out.")
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(
            metavar="MIX",
            help="Of a dataset: a batch whose rows are mixed by this `mix` of a stream: a name, or YAML or JSON.",
        ),
    ] = None,
    references: referred.Option = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Draw a grid of what a pipeline makes of one picture: the original first, each cell with its draw.

    Where the pipeline normalises, cells show its floats made pixels again.

    Of a dataset's folder, a record a cell, spread evenly over its keys, with its boxes, masks and keypoints drawn upon
    it: the copies that `augment expand` writes with this seed. With `--mix`, the first batch of a stream.
    """
    from augment import encode, sheet
    from augment import references as datasets
    from augment.transforms.load import Pipeline

    if not 1 <= num <= NUM_MAX:
        raise CallError(f"--num is {num}; it lies in 1 to {NUM_MAX}")
    formats = {f".{extension}": name for name, extension in encode.EXTENSIONS.items()} | {".jpeg": "jpeg"}
    if output.suffix.lower() not in formats:
        raise CallError(f"--output is {output}; its name must end with one of {', '.join(formats)}")
    if output.resolve() == picture.resolve():
        raise OutputError(f"--output {output} is the picture itself; choose another name")
    loaded = Pipeline.load(pipeline)
    named = datasets.take(referred.folders(references), [loaded.spec])
    if picture.is_dir():
        if key is not None:
            raise CallError("--key is for a picture; a dataset's records have their own")
        asked = {"num": num, "seed": seed, "split": split, "data_format": from_format, "as_json": as_json}
        copies = _cells(picture, loaded, mix, {**asked, "references": named})
        title = f"{picture.name} · {pipeline}{f' · {mix}' * bool(mix)} · seed {seed}"
        grid = preview_dataset.draw(copies, normalize=loaded.spec.normalize, title=title)
        _write(grid, output, formats[output.suffix.lower()])
        if as_json:
            shown = [cell.as_json() for cell in copies]
            terminal.write_json({"output": str(output), "seed": seed, "digest": loaded.digest, "cells": shown})
        else:
            terminal.say(f"{output}: {terminal.count(len(copies), 'cell')} with seed {seed}")
        return
    if split is not None or from_format is not None or mix is not None:
        raise CallError(f"--split, --from-format and --mix are for a dataset's folder; {picture} is none")
    encoded = _read(picture)
    try:
        images, draws = _draw(loaded, named, encoded, key or _digest(encoded), num=num, seed=seed)
    except RecordError as error:
        raise RecordError(str(picture), error.reason, error.detail) from error
    labels = ["original", *(_label(draw, applied) for draw, applied in enumerate(draws))]
    grid = sheet.contact_sheet(images, labels, title=f"{picture.name} · {pipeline} · seed {seed}")
    _write(grid, output, formats[output.suffix.lower()])
    if as_json:
        cells = [
            {"draw": draw, "applied": [{"name": one.name, "params": one.params} for one in applied]}
            for draw, applied in enumerate(draws)
        ]
        terminal.write_json({"output": str(output), "seed": seed, "digest": loaded.digest, "cells": cells})
    else:
        terminal.say(f"{output}: the original and {terminal.count(num, 'draw')} with seed {seed}")


def _cells(
    root: Path, loaded: "Pipeline", mix: str | None, asked: dict[str, Any]
) -> "Sequence[preview_dataset.Cell | preview_mix.MixedCell]":
    if mix is None:
        return preview_dataset.render(root, loaded.spec, **asked)
    return preview_mix.render(root, loaded, preview_mix.parse(mix), **asked)


def _write(grid: "NDArray[np.uint8]", output: Path, image_format: str) -> None:
    from augment import encode

    try:
        output.write_bytes(encode.encode(grid, image_format))
    except OSError as error:
        raise StorageError(f"cannot write {output}: {error.strerror}; choose another --output") from error


def _read(picture: Path) -> bytes:
    from augment import read
    from augment.formats.scan import DEFAULT_MAX_FILE_BYTES

    try:
        content = read.read_file(picture, max_bytes=DEFAULT_MAX_FILE_BYTES)
    except (OSError, read.NotAFileError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"cannot read the picture {picture}: {what}; give the path of a file") from error
    if len(content.data) > DEFAULT_MAX_FILE_BYTES:
        raise DatasetError(
            f"the picture {picture} has {content.size_bytes} bytes; a file may have {DEFAULT_MAX_FILE_BYTES}, in a "
            "dataset too: give a smaller one"
        )
    return content.data


def _digest(encoded: bytes) -> str:
    from augment.address import digest_fields

    return digest_fields((encoded,)).hex()


def _draw(
    loaded: "Pipeline", references: "Mapping[str, Dataset]", encoded: bytes, key: str, *, num: int, seed: int
) -> "tuple[list[NDArray[np.uint8]], list[tuple[Applied, ...]]]":
    """The picture itself and its draws, decoded as an expansion decodes it."""
    from functools import partial

    from augment import decode, pictures
    from augment.normalize import pictures as normalized
    from augment.sample import Sample
    from augment.transforms import compile as compiling
    from augment.transforms import reduce

    sources = {name: pictures.source_of(each) for name, each in references.items()}
    transform = compiling.compile_pipeline(loaded.spec, references=sources)
    sample = Sample(decode.decode(encoded, eighths=partial(reduce.eighths, loaded.spec)))
    drawn = [transform(sample, seed=seed, draw=draw, view=0, key=key) for draw in range(num)]
    shown = [normalized.seen(made.sample.image, loaded.spec.normalize) for made in drawn]
    return [sample.image, *shown], [made.applied for made in drawn]


def _label(draw: int, applied: "tuple[Applied, ...]") -> str:
    names = ", ".join(one.name.removeprefix("Random") or one.name for one in applied)
    return f"{draw}: {names or 'nothing applied'}"
