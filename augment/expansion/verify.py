"""Compare an expanded folder with its manifest and, if the dataset is at hand, with a new rendering.

    description -> each shard: files, manifest part, a new rendering -> files that are in no manifest part

Without the dataset, or with another engine, the files are compared with the manifest alone.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from augment import engine, user_state, validation
from augment.datasets.dataset import Dataset
from augment.errors import CallError, DatasetError, OutputError, PipelineError, RecordError
from augment.expansion import dataset_files, expand, folder, lock, manifest
from augment.expansion.folder import Condition, File, file_digest
from augment.expansion.manifest import Row, Status
from augment.expansion.outputs import CopyMaker, Encoded, Outputs
from augment.expansion.shard import check_renderer, num_outputs
from augment.expansion.spec import ExpansionSpec, Shard
from augment.render.references import References
from augment.render.renderer import Renderer, RenderSource
from augment.scanning import assemble
from augment.scanning.scan import scan
from augment.transforms.resolve import resolve
from augment.workers import task
from augment.workers.task import Guard, Workers

_AGAIN = "run the same augment expand again"


class Finding(StrEnum):
    """Problems that an expanded folder can have."""

    UNFINISHED = "unfinished"
    """A shard has no manifest part, a damaged one or another expansion's; or a run is under way or was killed."""
    INCOMPLETE = "incomplete"
    """A record has neither all of its rows nor a row with the reason why it was left out."""
    MISSING = "missing"
    """A file that the manifest names is missing, or not a regular file."""
    CHANGED = "changed"
    """The bytes of a file are not those in the manifest."""
    UNKNOWN = "unknown"
    """A file exists that the manifest does not name."""
    DIFFERENT = "different"
    """Rendering again gives other bytes than the manifest says, or none."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One problem. ``path`` is relative to the output folder; key and copy are set if it concerns a record."""

    finding: Finding
    path: str
    detail: str
    key: str | None = None
    copy: int | None = None


@dataclass(frozen=True, slots=True)
class ShardReport:
    """Result for one shard: files read, their bytes, outputs that count as done, and problems."""

    num_files: int
    size_bytes: int
    num_outputs: int
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True)
class InspectTask:
    """Task that checks one shard of the expansion in ``root``, and renders it again if there is a ``source``."""

    spec: ExpansionSpec
    root: Path
    index: int
    source: RenderSource | None

    def run(self, guard: Guard) -> ShardReport:
        """Check the shard. Writes nothing."""
        shard = self.spec.shard(self.index)
        rows = manifest.read_part(self.root, self.index, self.spec.id)
        if rows is None:
            detail = f"the shard is not finished or its part is damaged; {_AGAIN}"
            found = Mismatch(Finding.UNFINISHED, manifest.part_name(self.index), detail)
            return ShardReport(0, 0, 0, (found,))
        mismatches = list(_incomplete(self.spec, shard, rows))
        files = {file: row for row in reversed(rows) for file in row.on_disk()}
        size_bytes = 0
        for file in sorted(files, key=lambda each: each.path):
            condition, found_bytes = folder.inspect(self.root, file)
            size_bytes += found_bytes
            if condition is not Condition.RIGHT:
                mismatches.append(_file_mismatch(files[file], file, condition, found_bytes))
        if self.source is not None:
            renderer = replace(self.source, split=shard.part.split).renderer()
            mismatches += self._render_again(renderer, guard, rows, shard)
        counted = num_outputs(self.spec, shard, rows)
        return ShardReport(len(files), size_bytes, counted, tuple(mismatches))

    def _render_again(self, renderer: Renderer, guard: Guard, rows: Sequence[Row], shard: Shard) -> Iterator[Mismatch]:
        check_renderer(renderer, self.spec, shard)
        outputs = Outputs(self.spec, shard.part, renderer.dataset)
        for key, of_record in _by_key(rows).items():
            place = renderer.dataset.find(key)
            if place is None:
                yield Mismatch(Finding.DIFFERENT, of_record[0].path or key, "the dataset has no such record", key)
                continue
            record = renderer.dataset.record(place)
            maker = CopyMaker(renderer, self.spec, outputs, guard, record)
            for row in of_record:
                if row.path is not None and (detail := _difference(row, maker, outputs)):
                    yield Mismatch(Finding.DIFFERENT, row.path, detail, key, row.copy)


def _difference(row: Row, maker: CopyMaker, outputs: Outputs) -> str:
    """Return the problem of a new rendering of a row's output, or an empty string."""
    try:
        differing = _differing(row, maker.make(row.copy), outputs)
    except RecordError as error:
        return f"{error.reason}: {error.detail}"
    return differing and f"rendering it again gives another {differing} than the manifest describes"


def _differing(row: Row, made: Encoded, outputs: Outputs) -> str:
    """Return the name of what differs between a new rendering and a row, or an empty string."""
    now = (file_digest(made.data), made.render_key, made.applied, made.dropped)
    if now != (row.digest, row.render_key, row.applied, row.dropped):
        return "file"
    if (None if made.mask is None else file_digest(made.mask)) != row.mask_digest:
        return "mask"
    if made.annotations != row.annotations:
        return "set of annotations"
    if row.made_of is None:
        there = {each.path: each.digest for each in row.files if each.path != row.mask_path}
        if {each.path: file_digest(each.data) for each in outputs.sidecars(row)} != there:
            return "annotation file"
    return ""


def _file_mismatch(row: Row, file: File, condition: Condition, found_bytes: int) -> Mismatch:
    if condition is Condition.MISSING:
        detail = f"the file is missing or not a regular file; {_AGAIN}"
    elif found_bytes != file.size_bytes:
        detail = f"the file has {found_bytes} bytes, it was written with {file.size_bytes}; {_AGAIN}"
    else:
        detail = f"the file has other bytes than were written; remove it and {_AGAIN}"
    return Mismatch(Finding(condition.value), file.path, detail, row.key, row.copy)


def _incomplete(spec: ExpansionSpec, shard: Shard, rows: Sequence[Row]) -> Iterator[Mismatch]:
    records = _by_key(rows)
    if len(records) != len(shard.records):
        detail = f"it has rows of {len(records)} records, not of {len(shard.records)}"
        yield Mismatch(Finding.INCOMPLETE, manifest.part_name(shard.index), detail)
    originals = [-1] if spec.has_original(shard.part) else []
    for key, of_record in records.items():
        complete = [*originals, *range(spec.copies_of(shard.part, key, of_record[0].class_name))]
        there = sorted(-1 if row.copy is None else row.copy for row in of_record if row.path is not None)
        whole = there == complete and (there != [] or of_record[0].status == Status.SKIPPED)
        if not whole and [row.status for row in of_record] != [Status.REFUSED]:
            yield Mismatch(Finding.INCOMPLETE, manifest.part_name(shard.index), f"record {key} lacks rows", key)


def _by_key(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    """Return the rows of each record, without the refusals of the scan."""
    records = defaultdict(list)
    for row in rows:
        if row.record_digest is not None:
            records[row.key].append(row)
    return records


_MISMATCHES_TOLD = 1000


@dataclass(frozen=True, slots=True)
class Report:
    """Result of a verification. ``mismatches`` are the first thousand of ``num_mismatches``.

    ``rendered_again`` is False if the files were only compared with the manifest; ``note`` then gives the reason.
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
        """True if there are no mismatches."""
        return self.num_mismatches == 0


def verify_expansion(
    out: str | os.PathLike[str],
    dataset: Dataset | str | os.PathLike[str] | None = None,
    *,
    references: References | None = None,
    workers: Workers | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> Report:
    """Compare an expanded folder with its manifest, and the manifest with a new rendering.

    Without ``dataset`` it is searched for where it was when the folder was written. The same holds for reference
    datasets unless ``references`` gives them by name. If one is not found unchanged, or this is another engine, the
    files are only compared with the manifest. ``progress`` is called with the number of outputs checked, their total
    and the number of mismatches. Nothing is written.

    Raises OutputError if the folder is not an expansion or a run works in it, DatasetError if a given dataset is not
    the one that was used.
    """
    root = validation.path("out", out).absolute()
    workers, progress = validation.workers("workers", workers), validation.function("progress", progress)
    if dataset is not None and not isinstance(dataset, Dataset):
        dataset = validation.path("dataset", dataset, "an augment.Dataset or the path of a folder")
    with lock.locked(root, shared=True), contextlib.ExitStack() as stack:
        spec = described(root)
        source, note = _source(spec, dataset, references or {}, stack)
        found = _Found(progress or (lambda _done, _total, _failed: None), spec.num_outputs)
        work = (InspectTask(spec, root, index, source) for index in range(spec.num_shards))
        with contextlib.closing(task.run_all(workers, work, tick=lambda _: found.show())) as reports:
            for report in reports:
                found.add(report)
        found.add(ShardReport(0, 0, 0, (*_described(root, spec), *_unknown(root, spec))))
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
    """Read the description of the expansion in a folder. Raises OutputError if it is not an expansion."""
    spec = ExpansionSpec.read(root)
    if spec is None:
        raise OutputError(f"{root} has no {folder.DESCRIPTION}; give the output folder of augment expand")
    return spec


class _Found:
    def __init__(self, progress: Callable[[int, int, int], None], total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self.num_files = 0
        self.size_bytes = 0
        self.num_mismatches = 0
        self.mismatches: list[Mismatch] = []

    def add(self, report: ShardReport) -> None:
        self._done += report.num_outputs
        self.num_files += report.num_files
        self.size_bytes += report.size_bytes
        self.num_mismatches += len(report.mismatches)
        self.mismatches += report.mismatches[: _MISMATCHES_TOLD - len(self.mismatches)]

    def show(self) -> None:
        self._progress(self._done, self._total, self.num_mismatches)


class _NotFound(Exception):  # noqa: N818 - not an error: the files are still compared
    """Reason why nothing is rendered again."""


def _source(
    spec: ExpansionSpec,
    given: Dataset | str | os.PathLike[str] | None,
    references: References,
    stack: contextlib.ExitStack,
) -> tuple[RenderSource | None, str]:
    """Return the source to render again from, or None and the reason."""
    if spec.engine != engine.engine_id():
        return None, "another engine (version of augment or of its libraries) wrote it: not rendered again"
    try:
        pipeline = resolve(spec.pipeline)
    except PipelineError as error:
        raise OutputError(f"the pipeline in {folder.DESCRIPTION} cannot be read: {error}") from error
    if pipeline.digest != spec.pipeline_digest:
        raise OutputError(f"the pipeline in {folder.DESCRIPTION} does not have the digest given there; expand again")
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
    return expand.source(spec, pipeline, dataset, taken, stack), ""


def _dataset(
    what: str, digest: str, data_format: str | None, given: Dataset | str | os.PathLike[str] | None
) -> Dataset:
    """Return the dataset of this digest: the given one, or the one at the noted path."""
    if given is None:
        noted = user_state.recall(digest)
        if noted is None:
            raise _NotFound(f"no note on this machine has the folder of {what}: not rendered again; give its folder")
        place, ignore = noted
        if not place.is_dir():
            raise _NotFound(f"{what} is no longer in {place}: not rendered again; give its folder")
        try:
            dataset = scan(place, format=data_format, bad_annotations=assemble.LEAVE_OUT, ignore=ignore)
        except DatasetError as error:
            raise _NotFound(f"{what} cannot be scanned ({error}): not rendered again") from error
        if dataset.digest != digest:
            raise _NotFound(f"{what} in {place} changed since, or was divided by augment split: not rendered again")
        return dataset
    if not isinstance(given, Dataset):
        given = scan(given, format=data_format, bad_annotations=assemble.LEAVE_OUT)
    if given.digest != digest:
        raise DatasetError(
            f"{what} in {given.root} is not the one that was expanded (its digest is {given.digest}, not {digest}); "
            "give that one, or run augment expand with --update"
        )
    return given


def _described(root: Path, spec: ExpansionSpec) -> Iterator[Mismatch]:
    """Yield the files that describe all outputs and differ from the manifest; checked once the manifest is whole."""
    if manifest.is_whole(root, spec.num_shards, spec.id):
        for path, condition in dataset_files.conditions(root, spec):
            if condition is not Condition.RIGHT:
                is_missing = condition is Condition.MISSING
                told = "is not there" if is_missing else "does not agree with the manifest"
                yield Mismatch(Finding(condition.value), path, f"the file {told}; {_AGAIN}")


def _unknown(root: Path, spec: ExpansionSpec) -> Iterator[Mismatch]:
    """Yield the files that no run wrote, and the leftovers of running or killed runs."""
    known = manifest.path_set(root, spec.num_shards, spec.id)
    detail = "nothing in the manifest names this file; move it elsewhere"
    if not manifest.is_whole(root, spec.num_shards, spec.id):
        detail = "no part of the manifest that can be read names this file; run the same augment expand again before "
        detail += "you move it: it may be an output of an unfinished shard"
    described = set(dataset_files.names(spec))
    ours = {folder.DESCRIPTION, *(manifest.part_name(index) for index in range(spec.num_shards))}
    for above, paths in folder.walk(root):
        for path in known.missing(paths):
            if path in described:
                continue
            if above:
                yield Mismatch(Finding.UNKNOWN, path, detail)
            elif path.startswith(folder.HIDDEN):
                yield Mismatch(Finding.UNFINISHED, path, f"a run did not end; {_AGAIN}")
            elif path not in ours:
                yield Mismatch(Finding.UNKNOWN, path, detail)
