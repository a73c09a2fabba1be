"""``augment preview``: a labelled grid of augmented copies of an image or of a dataset's records, with targets.

With ``--mix`` the grid is a batch of a stream after mixing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augment.cli import options, output
from augment.cli.output import JsonOption, count, path, say, write_json
from augment.errors import CallError, DatasetError, KeyedErrors, OutputError, RecordError, StorageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from augment.datasets.dataset import Dataset
    from augment.pipelines.spec import PipelineSpec
    from augment.preview.overlay import Overlay
    from augment.render.pipeline import Pipeline
    from augment.samples.sample import Applied, Batch, Sample
    from augment.validation import JSON

_CLASSES_SHOWN = 3
"""Classes in a caption, the heaviest first. Mixed rows of images with one class have two."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One image of a grid with caption and targets; ``document`` is its part of ``--json``, None for an original."""

    image: "NDArray[np.uint8]"
    label: str
    document: "Mapping[str, object] | None"
    targets: "Overlay"


@dataclass(frozen=True, slots=True)
class Request:
    """Content of a grid: ``num`` draws of an image, or ``num`` cells of a dataset's ``split``.

    Notes are not printed with ``as_json``.
    """

    root: Path
    pipeline: "Pipeline"
    num: int
    seed: int = 0
    split: str | None = None
    data_format: str | None = None
    ignore: "Sequence[str] | None" = None
    references: "Mapping[str, Dataset] | None" = None
    as_json: bool = True

    def scan(self) -> "Dataset":
        return options.scan_dataset(self.root, self.data_format, "leave_out", self.ignore, as_json=self.as_json)

    def note(self, text: str) -> None:
        if not self.as_json:
            output.note(text)


def render_mix(request: Request, mix: str) -> list[Cell]:
    """Return the cells of a stream's first batch: ``num`` rows, or fewer if the dataset has fewer records.

    ``mix`` is a name, or YAML or JSON. Raises PipelineError if pipeline or mix do not fit the dataset, DatasetError
    if records are refused and no other can replace them.
    """
    from augment.mixing.mix import parse_mix
    from augment.pipelines import document
    from augment.streams.stream import Stream

    canonical = parse_mix(document.parse(mix, lenient=True)).canonical()
    dataset = request.scan()
    batch = Stream(
        dataset,
        request.pipeline,
        batch_size=min(request.num, dataset.choose(request.split).num_records),
        seed=request.seed,
        split=request.split,
        mix=canonical,
        references=request.references,
    ).batch(0, 0)
    for refusal in batch.refusals:
        request.note(f"{refusal.key}: {refusal.reason}: {refusal.detail}")
    return [_mixed_cell(batch, row, dataset.classes, request.pipeline.spec) for row in range(len(batch))]


def _mixed_cell(batch: "Batch", row: int, classes: tuple[str, ...], spec: "PipelineSpec") -> Cell:
    """Return the cell of one row of a batch; its caption has the label weights, the mix and both records."""
    from augment.samples.sample import sample

    own, key, provenance = sample(batch, row), batch.keys[row], batch.provenance[row]
    document: dict[str, object] = {"key": key, "position": int(batch.positions[row])}
    weights: dict[str, float] = {}
    if own.labels is not None:
        weights = {name: weight for name, weight in zip(classes, own.labels.tolist(), strict=False) if weight}
        document["label_weights"] = weights
    heaviest = sorted(weights.items(), key=lambda item: -item[1])[:_CLASSES_SHOWN]
    names = ", ".join(f"{name} {weight:.2f}" for name, weight in heaviest)
    mixed = provenance.mixed
    mixing = "not mixed" if mixed is None else mixed.name if names else f"{mixed.name} {mixed.weight:.2f}"
    records = key if mixed is None else f"{key} with {mixed.partner}"
    label = f"{names + ': ' if names else ''}{mixing}, {records}"
    return _cell(own, label, document | provenance.as_json(), spec.normalize, classes)


def render_dataset(request: Request) -> list[Cell]:
    """Return a cell for one copy of each of ``num`` records, or for several copies of each if there are fewer records.

    Refused records are skipped. Raises PipelineError if the pipeline does not fit the dataset, DatasetError if every
    record is refused.
    """
    from augment.render.renderer import Renderer
    from augment.transforms import sizes

    dataset, spec, num = request.scan().choose(request.split), request.pipeline.spec, request.num
    for notice in sizes.check_dataset(spec, dataset):
        request.note(f"notice: {notice}")
    renderer = Renderer(dataset, spec, seed=request.seed, references=request.references)
    num_copies = -(-num // dataset.num_records)
    positions = [cell * dataset.num_records * num_copies // num for cell in range(num)]
    cells, refused = [], None
    for position in positions:
        record, draw = dataset.record(position // num_copies), position % num_copies
        try:
            rendered = renderer.render(record, draw=draw)
        except RecordError as error:
            refused = error
            request.note(str(error))
            continue
        lost = ", ".join(f"dropped {name}: {number}" for name, number in rendered.dropped.items())
        label = f"{record.key} {draw}: {_names(rendered.applied)}{f' ({lost})' if lost else ''}"
        document = {"key": record.key, "draw": draw} | rendered.provenance.as_json()
        cells.append(_cell(rendered.sample, label, document, spec.normalize, dataset.classes))
    if not cells:
        raise DatasetError(
            f"all records of the preview are refused, the last one because of {refused}; check the dataset"
        )
    return cells


def render_image(request: Request, key: str | None) -> list[Cell]:
    """Return the cells of an image and its draws, decoded as in an expansion. The default key is the file's digest."""
    from functools import partial

    from augment.address import digest_fields
    from augment.images.decode import decode_image
    from augment.render import records
    from augment.samples.sample import Sample
    from augment.transforms import jpeg_reduction
    from augment.transforms.runtime import compiler

    encoded, spec = _read(request.root), request.pipeline.spec
    key = key or digest_fields((encoded,)).hex()
    with KeyedErrors(str(request.root)):
        sources = {name: records.source_of(each) for name, each in (request.references or {}).items()}
        transform = compiler.Compiled(spec, references=sources)
        sample = Sample(decode_image(encoded, eighths=partial(jpeg_reduction.eighths, spec)))
        cells = [_cell(sample, "original", None, None)]
        for draw in range(request.num):
            result = transform(sample, seed=request.seed, draw=draw, view=0, key=key)
            applied = [{"name": one.name, "params": one.params} for one in result.applied]
            document = {"draw": draw, "applied": applied}
            cells.append(_cell(result.sample, f"{draw}: {_names(result.applied)}", document, spec.normalize))
    return cells


def _cell(
    sample: "Sample",
    label: str,
    document: "Mapping[str, object] | None",
    normalize: "Mapping[str, JSON] | None",
    classes: tuple[str, ...] = (),
) -> Cell:
    """Return the cell of a sample. Normalised floats are converted back to pixels."""
    from augment.normalize import images
    from augment.preview.overlay import Overlay

    return Cell(images.seen(sample.image, normalize), label, document, Overlay(sample, classes))


def _names(applied: "tuple[Applied, ...]") -> str:
    return ", ".join(one.name.removeprefix("Random") or one.name for one in applied) or "nothing applied"


NUM_MAX = 400
"""Maximum number of cells; with more, a cell is too small to see anything."""


def preview(
    image: Annotated[
        Path,
        typer.Argument(
            parser=path,
            metavar="IMAGE|DATASET",
            help="Image to augment, or a dataset's folder.",
        ),
    ],
    *,
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", metavar="P", help="Preset's name or pipeline file.")],
    num: Annotated[
        int, typer.Option("--num", "-n", help="Number of draws of an image, or of cells of a dataset.")
    ] = 16,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", parser=path, metavar="PATH", help="Output file: .png, .jpg or .webp."),
    ] = Path("grid.png"),
    seed: Annotated[int, typer.Option(help="Seed. The same seed draws the same grid.")] = 0,
    key: Annotated[
        str | None,
        typer.Option(
            help="The image's key in a dataset: the grid then shows the copies that `augment expand` writes with this "
            "seed. Default: the file's digest."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Split of the dataset. Default: the training split if there is one, else all records."
        ),
    ] = None,
    from_format: Annotated[
        str | None, typer.Option(metavar="NAME", help="Dataset's format. Default: detected.")
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(
            metavar="MIX",
            help="With a dataset: show the first batch of a stream with this `mix`: a name, YAML or JSON.",
        ),
    ] = None,
    ignore: options.IgnoreOption = None,
    references: options.ReferencesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a labelled grid of augmented images.

    For an image: the original, then one cell for each draw.

    For a dataset: copies of records spread evenly over the keys, with boxes, masks and keypoints, as `augment expand`
    writes them with this seed.

    Normalised floats are shown as the pixels they stand for.
    """
    from augment.images import encode
    from augment.preview.contact_sheet import DEFAULT_CELL_PX, contact_sheet
    from augment.render.pipeline import Pipeline
    from augment.render.references import take

    if not 1 <= num <= NUM_MAX:
        raise CallError(f"--num is {num}; it must be in 1 to {NUM_MAX}")
    formats = {f".{extension}": name for name, extension in encode.EXTENSIONS.items()} | {".jpeg": "jpeg"}
    if output.suffix.lower() not in formats:
        raise CallError(f"--output is {output}; its name must end with one of {', '.join(formats)}")
    if output.resolve() == image.resolve():
        raise OutputError(f"--output {output} is the image itself; choose another name")
    loaded = Pipeline.load(pipeline)
    named = take(options.reference_folders(references), [loaded.spec])
    request = Request(image, loaded, num, seed, split, from_format, ignore, named, as_json)
    if image.is_dir():
        if key is not None:
            raise CallError("--key is for an image; a dataset's records have keys already: leave it out")
        cells = render_dataset(request) if mix is None else render_mix(request, mix)
        content, cell_px = count(len(cells), "cell"), 320
    else:
        if split is not None or from_format is not None or mix is not None or ignore:
            raise CallError(
                f"--split, --from-format, --ignore and --mix need a dataset's folder; {image} is not a folder"
            )
        cells = render_image(request, key)
        content, cell_px = f"the original and {count(num, 'draw')}", DEFAULT_CELL_PX
    grid = contact_sheet(
        [cell.image for cell in cells],
        [cell.label for cell in cells],
        cell_px=cell_px,
        title=f"{image.name} · {pipeline}{f' · {mix}' * bool(mix)} · seed {seed}",
        overlays=[cell.targets for cell in cells],
    )
    _write(grid, output, formats[output.suffix.lower()])
    if as_json:
        documents = [cell.document for cell in cells if cell.document is not None]
        write_json({"output": str(output), "seed": seed, "digest": loaded.digest, "cells": documents})
    else:
        say(f"{output}: {content} with seed {seed}")


def _write(grid: "NDArray[np.uint8]", output: Path, image_format: str) -> None:
    from augment.images.encode import encode_image

    try:
        output.write_bytes(encode_image(grid, image_format))
    except OSError as error:
        raise StorageError(f"cannot write {output}: {error.strerror}; choose another --output") from error


def _read(image: Path) -> bytes:
    from augment.datasets import read
    from augment.scanning.examine import DEFAULT_MAX_FILE_BYTES

    try:
        content = read.read_file(image, max_bytes=DEFAULT_MAX_FILE_BYTES)
    except (OSError, read.NotAFileError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"cannot read the image {image}: {cause}; give the path of a file") from error
    if len(content.data) > DEFAULT_MAX_FILE_BYTES:
        raise DatasetError(
            f"the image {image} has {content.size_bytes} bytes; the limit is {DEFAULT_MAX_FILE_BYTES}, as in "
            "a dataset: use a smaller file"
        )
    return content.data
