"""Whether an expanded folder is what its manifest says, and whether rendering it again gives the same bytes.

description -> each shard: files, manifest part, a new rendering -> files that nobody wrote
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from augment import arguments, engine
from augment.dataset import Dataset
from augment.errors import CallError, DatasetError, OutputError, PipelineError
from augment.expansion import closing, folder, handed, lock, manifest, sources, tasks
from augment.expansion.inspection import Finding, InspectTask, Mismatch
from augment.expansion.spec import ExpansionSpec
from augment.formats import refusals, registry
from augment.references import References
from augment.render import RenderSource
from augment.transforms import check
from augment.workers.task import Workers

_MISMATCHES_TOLD = 1000


@dataclass(frozen=True, slots=True)
class Report:
    """What was seen. ``mismatches`` are the first thousand of ``num_mismatches``.

    ``rendered_again`` is False where only the files were compared with the manifest; ``note`` then says why.
    """

    id: str
    out: Path
    num_files: int
    size_bytes: int
    rendered_again: bool
    note: str
    num_mismatches: int
    mismatches: tuple[Mismatch, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.num_mismatches == 0


def verify(
    out: str | os.PathLike[str],
    dataset: Dataset | str | os.PathLike[str] | None = None,
    *,
    references: References | None = None,
    workers: Workers | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> Report:
    """Compare an expanded folder with its manifest, and the manifest with what rendering gives again.

    Without ``dataset`` it is looked for where it lay when the folder was written, and so are those that transforms take
    pictures of, unless ``references`` gives them by name; where one is not found unchanged, or this is another engine,
    the files are only compared with the manifest. ``progress`` is called with how many outputs were looked at, how many
    there are and how much was found. Nothing is written.

    Raises OutputError where the folder is no expansion or a run works in it, DatasetError where a dataset that was
    given is not the one that was used.
    """
    root = arguments.path("out", out).absolute()
    workers, progress = arguments.workers("workers", workers), arguments.function("progress", progress)
    if dataset is not None and not isinstance(dataset, Dataset):
        dataset = arguments.path("dataset", dataset, "an augment.Dataset or the path of a folder")
    with lock.locked(root, shared=True), contextlib.ExitStack() as stack:
        spec = described(root)
        source, note = _source(spec, dataset, references or {}, stack)
        found = _Found(progress or (lambda _done, _total, _failed: None), spec.num_outputs)
        work = (InspectTask(spec, root, index, source) for index in range(spec.num_shards))
        with contextlib.closing(tasks.run_all(workers, work, tick=lambda _: found.show())) as reports:
            for report in reports:
                found.add(report.mismatches, report.num_outputs)
                found.num_files += report.num_files
                found.size_bytes += report.size_bytes
        for mismatch in (*_described(root, spec), *_unknown(root, spec)):
            found.add((mismatch,))
        found.show()
    return Report(
        id=spec.id,
        out=root,
        num_files=found.num_files,
        size_bytes=found.size_bytes,
        rendered_again=source is not None,
        note=note,
        num_mismatches=found.num_mismatches,
        mismatches=tuple(found.mismatches),
    )


def described(root: Path) -> ExpansionSpec:
    """What was expanded into a folder, and how; OutputError where it is no expansion."""
    text = folder.read_text(root, folder.DESCRIPTION)
    if text is None:
        raise OutputError(f"{root} has no {folder.DESCRIPTION}; give the output folder of augment expand")
    return ExpansionSpec.from_json(text, str(root / folder.DESCRIPTION))


class _Found:
    def __init__(self, progress: Callable[[int, int, int], None], total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self.num_files = 0
        self.size_bytes = 0
        self.num_mismatches = 0
        self.mismatches: list[Mismatch] = []

    def add(self, mismatches: tuple[Mismatch, ...], num_outputs: int = 0) -> None:
        self._done += num_outputs
        self.num_mismatches += len(mismatches)
        self.mismatches += mismatches[: _MISMATCHES_TOLD - len(self.mismatches)]

    def show(self) -> None:
        self._progress(self._done, self._total, self.num_mismatches)


class _NotFound(Exception):  # noqa: N818 - nothing is wrong: the files are compared, and this says why no more
    """Why nothing is rendered again."""


def _source(
    spec: ExpansionSpec,
    given: Dataset | str | os.PathLike[str] | None,
    references: References,
    stack: contextlib.ExitStack,
) -> tuple[RenderSource | None, str]:
    """What to render again from, or None and the reason why nothing is."""
    if spec.engine != engine.engine_id():
        return None, "another engine (version of augment or of its libraries) wrote it: not rendered again"
    try:
        pipeline = check.resolve(spec.pipeline)
    except PipelineError as error:
        raise OutputError(f"the pipeline in {folder.DESCRIPTION} cannot be read: {error}") from error
    if pipeline.digest != spec.pipeline_digest:
        raise OutputError(f"the pipeline in {folder.DESCRIPTION} is not the one that its digest names; expand again")
    for name in references:
        if name not in spec.references:
            raise CallError(f"references has {name!r}, which {folder.DESCRIPTION} does not name; leave it out")
    try:
        dataset = _dataset("the dataset", spec.dataset, spec.source_format, given)
        taken = {
            name: _dataset(f"the dataset of the references {name!r}", digest, None, references.get(name))
            for name, digest in spec.references.items()
        }
    except _NotFound as reason:
        return None, str(reason)
    return handed.source(spec, pipeline, dataset, taken, stack), ""


def _dataset(
    what: str, digest: str, data_format: str | None, given: Dataset | str | os.PathLike[str] | None
) -> Dataset:
    """The dataset of this digest: the one that was given, or where it was noted."""
    if given is None:
        place = sources.recall(digest)
        if place is None:
            raise _NotFound(f"no note on this machine says where {what} lies: not rendered again; give its folder")
        if not place.is_dir():
            raise _NotFound(f"{what} is no longer in {place}: not rendered again; give its folder")
        try:
            dataset = registry.scan(place, format=data_format, bad_annotations=refusals.LEAVE_OUT)
        except DatasetError as error:
            raise _NotFound(f"{what} cannot be scanned ({error}): not rendered again") from error
        if dataset.digest != digest:
            raise _NotFound(f"{what} in {place} changed since, or was divided by augment split: not rendered again")
        return dataset
    if not isinstance(given, Dataset):
        given = registry.scan(given, format=data_format, bad_annotations=refusals.LEAVE_OUT)
    if given.digest != digest:
        raise DatasetError(
            f"{what} in {given.root} is not the one that was expanded (its digest is {given.digest}, not {digest}); "
            "give that one, or run augment expand with --update"
        )
    return given


def _described(root: Path, spec: ExpansionSpec) -> Iterator[Mismatch]:
    """Files that describe all outputs and are not what the manifest says; judged once it is whole."""
    if manifest.is_whole(root, spec.num_shards, spec.id):
        for path, there in closing.differences(root, spec):
            if there:
                detail = "the file says something else than the manifest; run the same augment expand again"
                yield Mismatch(Finding.CHANGED, path, detail)
            else:
                yield Mismatch(Finding.MISSING, path, "the file is not there; run the same augment expand again")


def _unknown(root: Path, spec: ExpansionSpec) -> Iterator[Mismatch]:
    """Files that nobody wrote, and what a run under way or a killed one left."""
    known = manifest.path_set(root, spec.num_shards, spec.id)
    detail = "nothing in the manifest names this file; move it elsewhere"
    if not manifest.is_whole(root, spec.num_shards, spec.id):
        detail = "no part of the manifest that can be read names this file; run the same augment expand again before "
        detail += "you move it: it may be an output of an unfinished shard"
    described = set(closing.names(spec))
    ours = {folder.DESCRIPTION, *(manifest.part_name(index) for index in range(spec.num_shards))}
    for above, paths in folder.walk(root):
        for path in known.missing(paths):
            if path in described:
                continue
            if above:
                yield Mismatch(Finding.UNKNOWN, path, detail)
            elif path.startswith(folder.HIDDEN):
                yield Mismatch(Finding.UNFINISHED, path, "a run did not end; run the same augment expand again")
            elif path not in ours:
                yield Mismatch(Finding.UNKNOWN, path, detail)
