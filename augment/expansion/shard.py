"""One shard of an expansion: a fixed range of records becomes files and a part of the manifest.

    what is known -> journal -> decode -> transforms -> encode -> files -> manifest part

A shard may be done again at any time, by any process: what is there and right is kept, the rest is made.
"""

import bisect
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from augment import engine
from augment.dataset import Dataset
from augment.errors import OutputError, Reason, RecordError
from augment.expansion import folder, journal, lock, manifest, outputs
from augment.expansion.copies import CopyMaker
from augment.expansion.folder import file_digest
from augment.expansion.manifest import Row, Status
from augment.expansion.paths import PathSet
from augment.expansion.spec import ExpansionSpec
from augment.formats import registry
from augment.render import Renderer, RenderSource
from augment.sample import Record, Refusal
from augment.task import Guard

_NAME_MAX_BYTES = 255
"""The longest name on the file systems in use. A constant, because what is refused must not depend on the disk."""


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a shard. ``size_bytes`` is that of all its outputs, kept ones too."""

    index: int
    num_rendered: int
    num_originals: int
    num_kept: int
    size_bytes: int
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Bring one shard of the expansion in the folder ``root`` to its end.

    ``run_name`` is the file of the run there; ``refused`` are files that the scan left out and this part is to name.
    """

    source: RenderSource
    spec: ExpansionSpec
    root: Path
    run_name: str
    index: int
    refused: tuple[Refusal, ...] = ()

    def run(self, guard: Guard) -> ShardResult:
        """Render what is missing, then put the manifest part in place.

        Where that fails for any reason (a full disk, the end of the run), what was written is removed again.
        """
        with lock.seat(self.root, self.run_name, self.index) as seat:
            renderer = self.source.renderer()
            check_renderer(renderer, self.spec)
            return _ShardWork(self, renderer, guard, seat).do()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One file that a record is to become, and its row where it is there already."""

    copy: int | None
    path: str
    kept: Row | None


class _ShardWork:
    def __init__(self, task: ShardTask, renderer: Renderer, guard: Guard, seat: lock.Seat) -> None:
        self._root = task.root
        self._spec = task.spec
        self._index = task.index
        self._format = registry.FORMATS[task.spec.format]
        self._refused_at_scan = task.refused
        self._renderer = renderer
        self._guard = guard
        self._seat = seat
        self._records = renderer.dataset.records(task.spec.shard(task.index))
        self._known, self._known_ns = self._read_known()
        self._rows: list[Row] = []
        self._written: list[str] = []
        self._counts = lock.Counts()
        self._size_bytes = 0

    def do(self) -> ShardResult:
        plan = [(record, self._wanted(record)) for record in self._records]
        missing = [each.path for _, wanted in plan for each in wanted if each.kept is None]
        self._check_places(plan)
        try:
            if missing:
                journal.begin(self._root, self._index, missing)
            for place, (record, wanted) in zip(self._spec.shard(self._index), plan, strict=True):
                self._seat.check()
                self._settle(record, wanted)
                self._report(place)
            self._finish()
        except BaseException:
            self._undo(missing)
            raise
        return self._result()

    def _report(self, place: int) -> None:
        """Say how far the shard is, after the record of this place."""
        is_refused = self._rows[-1].status == Status.REFUSED
        self._counts = lock.Counts(
            num_outputs=self._counts.num_outputs + self._spec.outputs_a_record,
            size_bytes=self._size_bytes,
            num_refused=self._counts.num_refused + is_refused,
            refused=place if is_refused else self._counts.refused,
        )
        self._seat.report(self._counts)

    def _check_places(self, plan: Sequence[tuple[Record, Sequence[_Wanted]]]) -> None:
        """Raise OutputError where a file that no manifest names has an output's place and is not that output.

        It is where it has the output's bytes: then a part of the manifest was lost.
        """
        known = {row.path for row in self._known.values()}
        unknown = {each.path for _, wanted in plan for each in wanted if each.kept is None} - known
        unknown = {path for path in unknown if os.path.lexists(self._root / path)}
        if unknown and (previous := manifest.Previous.open(self._root)) is not None:
            unknown = set(PathSet(previous.paths()).missing(sorted(unknown)))
        for record, wanted in plan:
            maker = CopyMaker(self._renderer, self._spec, self._guard, record)
            for each in wanted:
                if each.path in unknown and not self._is_output(record, each, maker):
                    raise folder.in_the_way(self._root, each.path, "a file")

    def _is_output(self, record: Record, wanted: _Wanted, maker: CopyMaker) -> bool:
        try:
            data = self._renderer.dataset.read(record) if wanted.copy is None else maker.make(wanted.copy).data
        except RecordError:
            return False
        return folder.read_bytes(self._root, wanted.path) == data

    def _read_known(self) -> tuple[Mapping[tuple[str, int | None], Row], int]:
        """Rows by key and copy: of this very shard if it was finished before, else of what an update replaces.

        With them the time at which their files were as they say.
        """
        rows = manifest.read_part(self._root, self._index, self._spec.id)
        name = manifest.part_name(self._index)
        if rows is None:
            previous = manifest.Previous.open(self._root)
            keys = [record.key for record in self._records]
            rows = [] if previous is None else previous.rows(min(keys), max(keys))
            name = folder.PREVIOUS
        return {(row.key, row.copy): row for row in rows}, folder.changed_ns(self._root, name)

    def _wanted(self, record: Record) -> list[_Wanted]:
        """The files that a record is to become: its copies, then its original; none where it is known to be refused."""
        row = self._known.get((record.key, None))
        if row is not None and row.status == Status.REFUSED:
            return []
        wanted = []
        for copy in range(self._spec.copies):
            path = self._format.picture_path(outputs.copy_of(self._spec, record, copy))
            render_key = self._renderer.address(record, draw=copy).render_key
            wanted.append(_Wanted(copy, path, self._kept(record, copy, path, render_key)))
        if self._spec.include_originals:
            path = self._format.picture_path(outputs.original_of(self._spec, record))
            wanted.append(_Wanted(None, path, self._kept(record, None, path, None)))
        return wanted

    def _kept(self, record: Record, copy: int | None, path: str, render_key: str | None) -> Row | None:
        row = self._known.get((record.key, copy))
        if row is None or (row.path, row.render_key, row.record_digest) != (path, render_key, record.digest):
            return None
        if not folder.has_output(self._root, path, row.size_bytes or 0, row.digest or "", self._known_ns):
            return None
        return replace(row, label=record.label, class_name=self._class_name(record))

    def _settle(self, record: Record, wanted: Sequence[_Wanted]) -> None:
        if not wanted:
            self._rows.append(self._known[record.key, None])
            return
        maker = CopyMaker(self._renderer, self._spec, self._guard, record)
        try:
            _check_names(record, wanted)
            rows = [each.kept or self._make(record, each, maker) for each in wanted]
        except RecordError as error:
            self._refuse(record, wanted, error)
        else:
            self._rows += rows
            self._size_bytes += sum(row.size_bytes or 0 for row in rows)

    def _make(self, record: Record, wanted: _Wanted, maker: CopyMaker) -> Row:
        row = Row(
            key=record.key,
            status=Status.ORIGINAL,
            copy=wanted.copy,
            path=wanted.path,
            label=record.label,
            class_name=self._class_name(record),
            height=record.height,
            width=record.width,
            record_digest=record.digest,
        )
        if wanted.copy is None:
            data = self._renderer.dataset.read(record)
        else:
            made = maker.make(wanted.copy)
            data = made.data
            row = replace(
                row,
                status=Status.RENDERED,
                height=made.height,
                width=made.width,
                render_key=made.render_key,
                applied=made.applied,
            )
        folder.place(self._root, wanted.path, data, temporary=f"{self._index:05d}", durable=False)
        self._written.append(wanted.path)
        return replace(row, size_bytes=len(data), digest=file_digest(data))

    def _refuse(self, record: Record, wanted: Sequence[_Wanted], error: RecordError) -> None:
        """A record is there with all its outputs or with none."""
        gone = {each.path for each in wanted}
        for path in gone:
            folder.remove(self._root, path)
        self._written = [path for path in self._written if path not in gone]
        self._rows.append(
            Row(
                key=record.key,
                status=Status.REFUSED,
                label=record.label,
                class_name=self._class_name(record),
                record_digest=record.digest,
                reason=error.reason,
                detail=error.detail,
            )
        )

    def _finish(self) -> None:
        """All pictures are on the disk before the part that vouches for them."""
        self._seat.check()
        folder.sync_outputs(self._root, self._written)
        self._rows += [
            Row(each.key, Status.REFUSED, reason=each.reason, detail=each.detail) for each in self._refused_at_scan
        ]
        self._rows.sort(key=lambda row: (row.key, row.copy is not None, row.copy or 0))
        manifest.write_part(self._root, self._index, self._spec.id, self._rows)
        journal.end(self._root, self._index)

    def _undo(self, missing: Sequence[str]) -> None:
        try:
            for path in missing:
                folder.remove(self._root, path)
            journal.end(self._root, self._index)
        except Exception:  # noqa: BLE001, S110 - the journal stays, the next run does it; what led here is to be told
            pass

    def _result(self) -> ShardResult:
        written = set(self._written)
        num_files = sum(row.path is not None for row in self._rows)
        num_originals = sum(row.status == Status.ORIGINAL and row.path in written for row in self._rows)
        return ShardResult(
            self._index,
            num_rendered=len(written) - num_originals,
            num_originals=num_originals,
            num_kept=num_files - len(written),
            size_bytes=self._size_bytes,
            refusals=tuple(_refusals(self._rows)),
        )

    def _class_name(self, record: Record) -> str | None:
        return None if record.label is None else self._spec.classes[record.label]


def settled(root: Path, spec: ExpansionSpec, index: int) -> ShardResult | None:
    """The result of a shard that is finished and whose files are all there as they were written, else None."""
    rows = manifest.read_part(root, index, spec.id, brief=True)
    if rows is None:
        return None
    since_ns = folder.changed_ns(root, manifest.part_name(index))
    files = {row.path: (row.size_bytes or 0, row.digest or "") for row in rows if row.path is not None}
    if not all(folder.has_output(root, path, *file, since_ns) for path, file in files.items()):
        return None
    return ShardResult(
        index,
        num_rendered=0,
        num_originals=0,
        num_kept=len(files),
        size_bytes=sum(size for size, _ in files.values()),
        refusals=tuple(_refusals(rows)),
    )


def refused_at_scan(dataset: Dataset, shard_size: int) -> Mapping[int, tuple[Refusal, ...]]:
    """The files that the scan left out, by the shard among whose keys their names fall."""
    first_keys = dataset.keys(range(0, dataset.num_records, shard_size))
    refusals: dict[int, list[Refusal]] = defaultdict(list)
    for refusal in dataset.refused:
        refusals[max(bisect.bisect_right(first_keys, refusal.key) - 1, 0)].append(refusal)
    return {index: tuple(some) for index, some in refusals.items()}


def check_renderer(renderer: Renderer, spec: ExpansionSpec) -> None:
    """Raise OutputError where this process would render something else than the expansion describes."""
    here = (engine.engine_id(), renderer.spec.digest, renderer.seed, renderer.dataset.num_records)
    if here != (spec.engine, spec.pipeline_digest, spec.seed, spec.num_records):
        raise OutputError("a worker has another engine or dataset than the expansion; install one version everywhere")


def _check_names(record: Record, wanted: Sequence[_Wanted]) -> None:
    longest = max(len(os.fsencode(each.path.rpartition("/")[2])) for each in wanted)
    if longest > _NAME_MAX_BYTES:
        detail = (
            f"an output's name would have {longest} bytes, of {_NAME_MAX_BYTES} that file systems allow; shorten it"
        )
        raise RecordError(record.key, Reason.NOT_RENDERABLE, detail)


def _refusals(rows: Sequence[Row]) -> Iterator[Refusal]:
    return (Refusal(row.key, Reason(row.reason), row.detail or "") for row in rows if row.reason is not None)
