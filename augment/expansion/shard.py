"""One shard of an expansion: a fixed range of records of one split becomes files and a part of the manifest.

    existing rows -> journal -> decode -> transforms -> encode -> files -> manifest part

A shard may be done again at any time, by any process: valid outputs are kept, the others are made. ``FileWork`` writes
each output as a file, ``PackWork`` all of them into one file.
"""

import bisect
import json
import os
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from augment import engine
from augment.address import digest_fields
from augment.datasets.dataset import Dataset
from augment.errors import OutputError, Reason, RecordError
from augment.expansion import folder, lock, manifest
from augment.expansion.folder import Condition, File, file_digest
from augment.expansion.manifest import PathSet, Row, Status
from augment.expansion.outputs import CopyMaker, Encoded, Outputs, OutputSpec, of_row
from augment.expansion.progress import ShardResult
from augment.expansion.spec import ExpansionSpec, Shard
from augment.expansion.splits import full_key, views
from augment.formats.format import Packed, WrittenFile
from augment.render.renderer import Renderer, RenderSource
from augment.samples.sample import Record, Refusal
from augment.scanning import scan
from augment.workers.task import Guard

_NAME_MAX_BYTES = 255
"""Longest name on the file systems in use. It is a constant, because refusals must not depend on the disk."""


@dataclass(frozen=True, slots=True)
class Known:
    """Existing manifest rows by (key, copy), with the time they were last verified."""

    rows: Mapping[tuple[str, int | None], Row]
    since_ns: int

    @classmethod
    def read(cls, root: Path, spec: ExpansionSpec, shard: Shard, dataset: Dataset) -> "Known":
        """Read the rows of this shard if it was finished before, else those that an update replaces."""
        rows = manifest.read_part(root, shard.index, spec.id)
        name = manifest.part_name(shard.index)
        if rows is None:
            previous = manifest.Previous.open(root)
            first, last = dataset.keys([shard.records[0], shard.records[-1]])
            rows = [] if previous is None else previous.rows(spec.folder(shard.part), first, last)
            name = folder.PREVIOUS
        return cls({(row.key, row.copy): row for row in rows}, folder.changed_ns(root, name))

    def has(self, root: Path, files: Iterable[File]) -> bool:
        """Return True if all of these files of the rows exist as they were written."""
        return folder.condition(root, files, self.since_ns) is Condition.RIGHT


@dataclass(frozen=True, slots=True)
class PlannedOutput:
    """One output. ``row`` describes it if image and mask can stay; ``stale`` are annotation files to write again."""

    wanted: OutputSpec
    row: Row | None = None
    stale: tuple[WrittenFile, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Paths to write."""
        return self.wanted.paths if self.row is None else tuple(each.path for each in self.stale)


@dataclass(frozen=True, slots=True)
class Planned:
    """Planned outputs of one record. ``refusal`` is the row with the reason if it is already left out."""

    record: Record
    outputs: tuple[PlannedOutput, ...]
    refusal: Row | None = None


class ShardWork(ABC):
    """Common part of both kinds of shard work."""

    def __init__(self, task: "ShardTask", shard: Shard, renderer: Renderer, guard: Guard, seat: lock.Seat) -> None:
        self.root = task.root
        self.spec = task.spec
        self.shard = shard
        self.split = self.spec.folder(shard.part)
        self.renderer = renderer
        self.seat = seat
        self.outputs = Outputs(self.spec, shard.part, renderer.dataset)
        self.known = Known.read(self.root, self.spec, shard, renderer.dataset)
        self.rows: list[Row] = []
        self.made: set[tuple[str, int | None]] = set()
        self.num_described = 0
        self._guard = guard
        self._refused = task.refused
        self._written: list[str] = []
        self._counts = lock.Counts()

    def do(self) -> None:
        """Make the missing outputs. Afterwards ``rows`` are those of the part, and ``made`` contains the new ones.

        If that fails for any reason, the written files are removed again.
        """
        plan = [self._plan(record) for record in self.renderer.dataset.records(self.shard.records)]
        missing = self.prepare(plan)
        try:
            if missing:
                folder.begin(self.root, self.shard.index, missing)
            for place, each in zip(self.shard.records, plan, strict=True):
                self.seat.check()
                self._settle(each, place)
            self.complete(missing)
            self._finish()
        except BaseException:
            self._undo(missing)
            raise

    def look(self, record: Record, wanted: OutputSpec) -> PlannedOutput:  # noqa: ARG002 - overridden
        """Return the output, with its row if it can stay by itself."""
        return PlannedOutput(wanted)

    @abstractmethod
    def prepare(self, plan: Sequence[Planned]) -> list[str]:
        """Check before anything is written. Return the paths that will be written."""

    @abstractmethod
    def settle(self, planned: Planned) -> list[Row]:
        """Return the rows of one record's outputs. Raises RecordError if all of them must be left out."""

    @abstractmethod
    def complete(self, missing: list[str]) -> None:
        """Write the packed file, if any, after adding its path to ``missing``."""

    def maker(self, record: Record) -> CopyMaker:
        """Return the maker of the record's outputs."""
        return CopyMaker(self.renderer, self.spec, self.outputs, self._guard, record)

    def place(self, path: str, data: bytes, digest: str | None = None) -> File:
        """Write a file; ``digest`` is its digest if already known."""
        folder.place(self.root, path, data, temporary=f"{self.shard.index:05d}", durable=False)
        self._written.append(path)
        return File(path, len(data), digest or file_digest(data))

    def row(self, record: Record, wanted: OutputSpec, made: Encoded) -> Row:
        """Return the row of a new output; a packed one gets its path later."""
        copy = wanted.output.copy
        self.made.add((record.key, copy))
        return Row(
            key=record.key,
            status=Status.ORIGINAL if copy is None else Status.RENDERED,
            split=self.split,
            copy=copy,
            path=wanted.paths[0] if wanted.paths else None,
            extension=wanted.output.extension,
            label=record.label,
            class_name=self.outputs.class_name(record),
            height=made.height,
            width=made.width,
            size_bytes=len(made.data),
            digest=file_digest(made.data),
            render_key=made.render_key,
            record_digest=record.digest,
            applied=made.applied,
            dropped=made.dropped,
            annotations=made.annotations,
            mask_path=None if made.mask is None else wanted.mask_path,
            mask_digest=None if made.mask is None else file_digest(made.mask),
        )

    def _plan(self, record: Record) -> Planned:
        """Return the outputs that a record needs, or the refusal of the record."""
        row = self.known.rows.get((record.key, None))
        if row is not None and row.status == Status.REFUSED:
            return Planned(record, (), row)
        try:
            specs = self.outputs.specs(record, lambda copy: self.renderer.address(record, draw=copy).render_key)
            return Planned(record, tuple(self.look(record, each) for each in specs))
        except RecordError as error:
            return Planned(record, (), self._without_outputs(record, error))

    def _settle(self, planned: Planned, place: int) -> None:
        rows = self._rows(planned)
        self.rows += rows
        size_bytes = sum(row.size_bytes or 0 for row in rows)
        size_bytes += sum(each.size_bytes for row in rows for each in row.files if each.path != row.path)
        record = planned.record
        is_refused = rows[-1].status == Status.REFUSED
        counted = self.spec.outputs_of(self.shard.part, record.key, self.outputs.class_name(record))
        self._counts = lock.Counts(
            num_outputs=self._counts.num_outputs + counted,
            size_bytes=self._counts.size_bytes + size_bytes,
            num_refused=self._counts.num_refused + is_refused,
            refused=place if is_refused else self._counts.refused,
        )
        self.seat.report(self._counts)

    def _rows(self, planned: Planned) -> list[Row]:
        """Return the rows of the record's outputs, or one row with the reason why it has none."""
        if planned.refusal is not None:
            return [planned.refusal]
        try:
            return self.settle(planned) if planned.outputs else [self._without_outputs(planned.record)]
        except RecordError as error:
            self._leave_out(planned)
            return [self._without_outputs(planned.record, error)]

    def _without_outputs(self, record: Record, error: RecordError | None = None) -> Row:
        """Return the row of a record that is refused, or that gets no output by the rule of copies."""
        return Row(
            key=record.key,
            status=Status.SKIPPED if error is None else Status.REFUSED,
            split=self.split,
            label=record.label,
            class_name=self.outputs.class_name(record),
            record_digest=record.digest,
            reason=None if error is None else error.reason,
            detail=None if error is None else error.detail,
        )

    def _leave_out(self, planned: Planned) -> None:
        """Remove the record's outputs, because a record has all of its outputs or none."""
        gone = {path for each in planned.outputs for path in each.wanted.paths}
        for path in gone:
            folder.remove(self.root, path)
        self._written = [path for path in self._written if path not in gone]
        self.made -= {(planned.record.key, each.wanted.output.copy) for each in planned.outputs}

    def _finish(self) -> None:
        """Wait until all files are on the disk, then write the part that lists them."""
        self.seat.check()
        try:
            folder.wait(self.seat.fd, self.root, self._written)
        except OSError as error:
            raise folder.storage_error("write", error.filename, error) from error
        self.rows += [
            Row(each.key, Status.REFUSED, split=split, reason=each.reason, detail=each.detail)
            for split, each in self._refused
        ]
        self.rows.sort(key=lambda row: (row.key, row.copy is None, row.copy or 0))
        manifest.write_part(self.root, self.shard.index, self.spec.id, self.rows)
        folder.end(self.root, self.shard.index)

    def _undo(self, missing: Iterable[str]) -> None:
        with suppress(Exception):  # the next run does it from the journal; report the first error
            for path in missing:
                folder.remove(self.root, path)
            folder.end(self.root, self.shard.index)


class FileWork(ShardWork):
    """Shard work that writes each output as a file. Valid files are kept, the others are made."""

    def look(self, record: Record, wanted: OutputSpec) -> PlannedOutput:
        """Look for the image, its mask and the annotation files."""
        row = self.known.rows.get((record.key, wanted.output.copy))
        if row is None or wanted.condition(self.root, row, self.known.since_ns) is not Condition.RIGHT:
            return PlannedOutput(wanted)
        row = replace(row, label=record.label, class_name=self.outputs.class_name(record))
        beside = {each.path: each for each in row.files}
        files, stale = [each for each in row.files if each.path == row.mask_path], []
        for sidecar in self.outputs.sidecars(row):
            files.append(File(sidecar.path, len(sidecar.data), file_digest(sidecar.data)))
            if beside.get(sidecar.path) != files[-1] or not self.known.has(self.root, files[-1:]):
                stale.append(sidecar)
        return PlannedOutput(wanted, replace(row, files=tuple(files)), tuple(stale))

    def prepare(self, plan: Sequence[Planned]) -> list[str]:
        """Raise OutputError if a file that no manifest names has an output's path and other bytes than that output.

        Equal bytes are accepted, because a part of the manifest may have been lost.
        """
        missing = [path for each in plan for output in each.outputs for path in output.missing]
        unknown = _unknown(self.root, missing, self.known)
        for each in plan if unknown else ():
            for output in each.outputs:
                if strange := unknown.intersection(output.missing):
                    self._check_own(each.record, output, strange)
        return missing

    def settle(self, planned: Planned) -> list[Row]:
        """Write the missing outputs."""
        _check_names(planned)
        maker = self.maker(planned.record)
        return [self._settle_output(planned.record, each, maker) for each in planned.outputs]

    def complete(self, missing: list[str]) -> None:
        """Do nothing; every output is already written."""

    def _settle_output(self, record: Record, planned: PlannedOutput, maker: CopyMaker) -> Row:
        if planned.row is not None:
            for sidecar in planned.stale:
                self.place(sidecar.path, sidecar.data)
                self.num_described += 1
            return planned.row
        wanted = planned.wanted
        made = maker.make(wanted.output.copy)
        row = self.row(record, wanted, made)
        digests = {row.path: row.digest, row.mask_path: row.mask_digest}
        files = [self.place(each.path, each.data, digests.get(each.path)) for each in self._files(wanted, row, made)]
        return replace(row, files=tuple(files[1:])) if len(files) > 1 else row

    def _files(self, wanted: OutputSpec, row: Row, made: Encoded) -> list[WrittenFile]:
        """Return the image, its mask if it has one, and the annotation files of the format."""
        files = [WrittenFile(wanted.paths[0], made.data)]
        if made.mask is not None and row.mask_path is not None:
            files.append(WrittenFile(row.mask_path, made.mask))
        files += self.outputs.sidecars(row)
        if strange := [each.path for each in files if each.path not in wanted.paths]:
            raise AssertionError(f"the format {self.spec.format} names the file {strange[0]} after its content")
        return files

    def _check_own(self, record: Record, planned: PlannedOutput, strange: set[str]) -> None:
        if planned.row is not None:
            files = list(planned.stale)
        else:
            try:
                made = self.maker(record).make(planned.wanted.output.copy)
                files = self._files(planned.wanted, self.row(record, planned.wanted, made), made)
                self.made.clear()
            except RecordError:
                files = []
        right = {each.path for each in files if folder.read_bytes(self.root, each.path) == each.data}
        if wrong := strange - right:
            raise folder.in_the_way(self.root, min(wrong), "a file")


class PackWork(ShardWork):
    """Shard work that packs all outputs into one file, which is kept if all are unchanged, else made again."""

    def prepare(self, plan: Sequence[Planned]) -> list[str]:
        """Check if the packed file exists and is right; its path is known once it is made."""
        self._packed: list[Packed] = []
        self._format = scan.shard_format(self.spec.format)
        self._kept = self._find_kept(plan)
        return []

    def settle(self, planned: Planned) -> list[Row]:
        """Make the outputs, and hold them in memory."""
        if self._kept:
            return [self.known.rows[planned.record.key, each.wanted.output.copy] for each in planned.outputs]
        maker = self.maker(planned.record)
        made = [(each.wanted, maker.make(each.wanted.output.copy)) for each in planned.outputs]
        rows = [self.row(planned.record, wanted, each) for wanted, each in made]
        self._packed += [
            Packed(of_row(self.spec, row), each.data, each.mask) for row, (_, each) in zip(rows, made, strict=True)
        ]
        return rows

    def complete(self, missing: list[str]) -> None:
        """Pack all outputs into a file."""
        if not self._packed:
            return
        packed = self._format.pack(self._packed, self.spec.whole, split=self.split, index=self.shard.number)
        if _unknown(self.root, [packed.path], self.known) and folder.read_bytes(self.root, packed.path) != packed.data:
            raise folder.in_the_way(self.root, packed.path, "a file")
        missing.append(packed.path)
        folder.begin(self.root, self.shard.index, missing)
        file = self.place(packed.path, packed.data)
        outputs = [row for row in self.rows if row.digest is not None]
        made_of = self._made_of((row.key, row.copy, row.record_digest, row.render_key) for row in outputs)
        self.rows = [
            row if row.digest is None else replace(row, path=file.path, files=(file,), made_of=made_of)
            for row in self.rows
        ]

    def _find_kept(self, plan: Sequence[Planned]) -> bool:
        wanted = [output.wanted for each in plan for output in each.outputs]
        outputs = [(each.output.key, each.output.copy, each.record_digest, each.render_key) for each in wanted]
        made_of = self._made_of(outputs)
        rows = []
        for each in wanted:
            row = self.known.rows.get((each.output.key, each.output.copy))
            if row is None or row.made_of != made_of or not each.is_described_by(row):
                return False
            rows.append(row)
        return bool(rows) and self.known.has(self.root, manifest.files(rows))

    def _made_of(self, outputs: Iterable[tuple[str, int | None, str | None, str | None]]) -> str:
        """Return a digest of all inputs that decide the file's bytes."""
        whole = json.dumps(asdict(self.spec.whole), sort_keys=True, default=sorted)
        fields: list[str | int] = [whole, self.split or "", self.shard.number]
        fields += ["" if each is None else str(each) for output in outputs for each in output]
        return digest_fields(fields, person=b"augment.pack").hex()


def _unknown(root: Path, paths: Sequence[str], known: Known) -> set[str]:
    """Return the paths where a file exists that no manifest names."""
    there = {each.path for each in manifest.files(known.rows.values())}
    unknown = {path for path in paths if path not in there and os.path.lexists(f"{root}/{path}")}
    if unknown and (previous := manifest.Previous.open(root)) is not None:
        unknown = set(PathSet(previous.paths()).missing(sorted(unknown)))
    return unknown


def _check_names(planned: Planned) -> None:
    names = [path.rpartition("/")[2] for each in planned.outputs for path in each.wanted.paths]
    longest = max(len(os.fsencode(name)) for name in names)
    if longest > _NAME_MAX_BYTES:
        detail = (
            f"an output's name would have {longest} bytes, of {_NAME_MAX_BYTES} that file systems allow; shorten it"
        )
        raise RecordError(planned.record.key, Reason.NOT_RENDERABLE, detail)


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Task that completes one shard of the expansion in the folder ``root``.

    ``run_name`` is the file of the run there; ``refused`` are files that the scan left out and this part must list,
    each with the split of its row.
    """

    source: RenderSource
    spec: ExpansionSpec
    root: Path
    run_name: str
    index: int
    refused: tuple[tuple[str | None, Refusal], ...] = ()

    def run(self, guard: Guard) -> ShardResult:
        """Render the missing outputs, then write the manifest part.

        If that fails for any reason (a full disk, the end of the run), the written files are removed again.
        """
        shard = self.spec.shard(self.index)
        with lock.seat(self.root, self.run_name, self.index) as seat:
            renderer = replace(self.source, split=shard.part.split).renderer()
            check_renderer(renderer, self.spec, shard)
            work = (PackWork if self.spec.packs else FileWork)(self, shard, renderer, guard, seat)
            work.do()
        return _result(self.spec, shard, work.rows, work.made, work.num_described)


def _result(
    spec: ExpansionSpec,
    shard: Shard,
    rows: Sequence[Row],
    made: Collection[tuple[str, int | None]] = (),
    num_described: int = 0,
) -> ShardResult:
    """Return the result of a finished shard; ``made`` are its new outputs."""
    originals = sum(copy is None for _, copy in made)
    copied = shard.part.copied
    return ShardResult(
        num_outputs=num_outputs(spec, shard, rows),
        num_rendered=len(made) - originals,
        num_originals=0 if copied else originals,
        num_copied=originals if copied else 0,
        num_kept=sum(row.path is not None for row in rows) - len(made),
        num_described=num_described,
        size_bytes=sum(each.size_bytes for each in manifest.files(rows)),
        refusals=tuple(
            Refusal(full_key(row.split, row.key), Reason(row.reason), row.detail or "")
            for row in rows
            if row.status == Status.REFUSED and row.reason is not None
        ),
    )


def settled(root: Path, spec: ExpansionSpec, index: int) -> ShardResult | None:
    """Return the result of a shard if it is finished and all its files are as they were written, else None."""
    rows = manifest.read_part(root, index, spec.id, brief=True)
    if rows is None:
        return None
    since_ns = folder.changed_ns(root, manifest.part_name(index))
    is_right = folder.condition(root, manifest.files(rows), since_ns) is Condition.RIGHT
    return _result(spec, spec.shard(index), rows) if is_right else None


def refused_at_scan(dataset: Dataset, spec: ExpansionSpec) -> Mapping[int, tuple[tuple[str | None, Refusal], ...]]:
    """Return the files that the scan left out, with the splits of their rows, by shard.

    The shard is the one whose range of keys includes the file's name.

    Files outside all splits go to the first shard, under their whole path.
    """
    refusals: dict[int, list[tuple[str | None, Refusal]]] = defaultdict(list)
    first_shard = 0
    inside: set[str] = set()
    for part, view in views(dataset, spec.parts):
        first_keys = view.keys(range(0, view.num_records, spec.shard_size))
        split = spec.folder(part)
        for refusal in view.refused:
            shard = first_shard + max(bisect.bisect_right(first_keys, refusal.key) - 1, 0)
            refusals[shard].append((split, refusal))
            inside.add(full_key(split, refusal.key))
        first_shard += len(first_keys)
    if spec.has_folders and spec.copy_splits:
        refusals[0] += [(None, each) for each in dataset.refused if each.key not in inside]
    return {index: tuple(some) for index, some in refusals.items() if some}


def check_renderer(renderer: Renderer, spec: ExpansionSpec, shard: Shard) -> None:
    """Raise OutputError if this process would render something other than the expansion describes."""
    here = (engine.engine_id(), renderer.spec.digest, renderer.seed, renderer.dataset.num_records)
    if here != (spec.engine, spec.pipeline_digest, spec.seed, shard.part.num_records):
        raise OutputError("a worker has another engine or dataset than the expansion; install one version everywhere")


def num_outputs(spec: ExpansionSpec, shard: Shard, rows: Iterable[Row]) -> int:
    """Return the images of a shard that count towards the expansion's total, including those of refused records."""
    records = {row.key: row.class_name for row in rows if row.record_digest is not None}
    return sum(spec.outputs_of(shard.part, key, class_name) for key, class_name in records.items())
