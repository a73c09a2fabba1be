"""``augment check``: the problems of a pipeline, or the contents and refusals of a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from augment.cli import exit_codes, options, output
from augment.errors import CallError

if TYPE_CHECKING:
    from augment.datasets.dataset import Dataset
    from augment.scanning.assemble import RefusalCounts

_CLASSES_SHOWN = 20


def check_dataset(
    root: Path, data_format: str | None, ignore: list[str] | None, pipeline: str | None, *, as_json: bool
) -> None:
    """Scan a dataset and print a report; exit with code 5 if annotations are invalid.

    Raises PipelineError if ``pipeline`` does not fit the records to augment: the training split, or all records.
    """
    from augment.render.pipeline import Pipeline
    from augment.scanning import assemble
    from augment.transforms import sizes

    dataset = options.scan_dataset(root, data_format, assemble.LEAVE_OUT, ignore, as_json=as_json)
    refused = assemble.RefusalCounts()
    for refusal in dataset.refused:
        refused.add(refusal.key, refusal.reason, refusal.detail)
    notices = list(dataset.notices)
    if pipeline is not None:
        notices += sizes.check_dataset(Pipeline.load(pipeline).spec, dataset.choose(None))
    if as_json:
        output.write_json(_document(dataset, refused) | {"notices": notices})
    else:
        for notice in notices:
            output.note(f"notice: {notice}")
        _show(root, dataset, refused)
    if refused.bad_annotations():
        raise typer.Exit(exit_codes.FINDINGS)


def _document(dataset: "Dataset", refused: "RefusalCounts") -> dict[str, Any]:
    return {
        "ok": not refused.bad_annotations(),
        "format": dataset.format,
        "digest": dataset.digest,
        "records": dataset.num_records,
        "splits": dataset.splits,
        "classes": list(dataset.classes),
        "targets": sorted(dataset.targets),
        "keypoints": list(dataset.keypoint_names),
        "refused": dataset.num_refused,
        "refusals": [
            {
                "reason": str(kind.reason),
                "kind": kind.name,
                "number": kind.number,
                "examples": [{"path": each.path, "detail": each.detail} for each in kind.examples],
            }
            for kind in refused
        ],
    }


def _show(root: Path, dataset: "Dataset", refused: "RefusalCounts") -> None:
    from augment.datasets import keys

    splits = ", ".join(f"{name} {number:,}" for name, number in dataset.splits.items())
    output.say(f"{root}: {output.count(dataset.num_records, 'record')}")
    output.say(f"format    {dataset.format}")
    output.say(f"splits    {splits or 'none'}")
    output.say(f"classes   {_some(dataset.classes)}")
    output.say(f"targets   {', '.join(sorted(dataset.targets)) or 'none'}")
    if dataset.keypoint_names:
        output.say(f"keypoints {_some(dataset.keypoint_names)}")
    output.say(f"digest    {dataset.digest}")
    output.say(f"refused   {dataset.num_refused:,}")
    for kind in refused:
        output.say(f"  {kind.number:,} {kind.reason}{f' ({kind.name})' if kind.name else ''}")
        for each in kind.examples:
            output.say(f"    {keys.printable(each.path)}: {keys.printable(each.detail)}")
        if kind.number > len(kind.examples):
            output.say("    …")


def _some(names: tuple[str, ...]) -> str:
    from augment.datasets import keys

    shown = ", ".join(keys.printable(name) for name in names[:_CLASSES_SHOWN])
    return f"{len(names):,}: {shown}{', …' if len(names) > _CLASSES_SHOWN else ''}" if names else "none"


def check(
    subject: Annotated[
        str, typer.Argument(metavar="P|DATASET", help="A preset's name, a YAML or JSON file, or a dataset's folder.")
    ],
    *,
    data_format: options.DatasetFormatOption = None,
    ignore: options.IgnoreOption = None,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Write the pipeline with every default filled in, as YAML.")
    ] = False,
    for_pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", "-p", metavar="P", help="With a dataset: check that this pipeline fits it."),
    ] = None,
    references: options.ReferencesOption = None,
    as_json: output.JsonOption = False,
) -> None:
    """List all problems of a pipeline with their lines, or the contents of a dataset and its refused files.

    A preset's name always means the preset; write ./NAME for a folder of that name. The exit code is 5 if a dataset
    has invalid annotations.
    """
    from augment.render.pipeline import preset_names

    if subject not in preset_names() and (data_format is not None or Path(subject).is_dir()):
        if as_yaml:
            raise CallError(f"--yaml writes a pipeline, and {subject} is a dataset; leave it out")
        if references:
            raise CallError(f"--references are for a pipeline, and {subject} is a dataset; leave them out")
        check_dataset(output.path(subject), data_format, ignore, for_pipeline, as_json=as_json)
    else:
        if for_pipeline is not None:
            raise CallError(f"--pipeline is for a dataset, and {subject} is a pipeline; leave out one of the two")
        if ignore:
            raise CallError(f"--ignore is for a dataset, and {subject} is a pipeline; leave it out")
        _check_pipeline(subject, options.reference_folders(references), as_yaml=as_yaml, as_json=as_json)


def _check_pipeline(pipeline: str, given: dict[str, Path], *, as_yaml: bool, as_json: bool) -> None:
    from augment.render import references
    from augment.render.pipeline import Pipeline
    from augment.transforms import sizes
    from augment.transforms.runtime import compiler

    loaded = Pipeline.load(pipeline)
    fixed = sizes.fixed_output(loaded.spec)
    named = dict.fromkeys(sorted(compiler.references_of(loaded.spec)), 0)
    if given:
        datasets = references.take(given, [loaded.spec])
        named = {name: each.choose(None).num_records for name, each in datasets.items()}
    if as_json:
        output.write_json(
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
        output.note(f"notice: {notice}")
    if as_yaml:
        output.say(loaded.spec.to_yaml().rstrip("\n"))
        return
    names = ", ".join(node.name for node in loaded.spec.transforms)
    shape = "the size of the image, or varying" if fixed is None else f"{fixed[0]} x {fixed[1]} (height x width)"
    output.say(f"{pipeline}: the pipeline is valid")
    output.say(f"transforms   {names}")
    output.say(f"output size  {shape}")
    for name, number in named.items():
        source = f"{output.count(number, 'image')} in {given[name]}" if given else "needs --references"
        output.say(f"references   {name}: {source}")
    output.say(f"digest       {loaded.digest}")
