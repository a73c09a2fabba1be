"""Plan of a shard: the outputs that its records need, and the valid ones that exist already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from augment.datasets.dataset import Dataset
from augment.errors import RecordError
from augment.expansion import folder, manifest
from augment.expansion.folder import file_digest
from augment.expansion.manifest import File, Row, Status
from augment.expansion.outputs import Outputs
from augment.expansion.spec import ExpansionSpec, Shard
from augment.formats.format import Output, WrittenFile
from augment.render.renderer import Renderer
from augment.samples.sample import Record


@dataclass(frozen=True, slots=True)
class Known:
    """Rows by key and copy, and since when their files are as they say."""

    rows: Mapping[tuple[str, int | None], Row]
    since_ns: int

    @classmethod
    def read(cls, root: Path, spec: ExpansionSpec, shard: Shard, dataset: Dataset) -> "Known":
        """Rows of this very shard if it was finished before, else of what an update replaces."""
        rows = manifest.read_part(root, shard.index, spec.id)
        name = manifest.part_name(shard.index)
        if rows is None:
            previous = manifest.Previous.open(root)
            first, last = dataset.keys([shard.records[0], shard.records[-1]])
            rows = [] if previous is None else previous.rows(spec.folder(shard.part), first, last)
            name = folder.PREVIOUS
        return cls({(row.key, row.copy): row for row in rows}, folder.changed_ns(root, name))

    def refusal(self, record: Record) -> Row | None:
        """The row that says why the record is left out."""
        row = self.rows.get((record.key, None))
        return row if row is not None and row.status == Status.REFUSED else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output. ``paths`` are all places where something of it may lie, the first is the picture's.

    ``row`` is there where picture and mask are; ``stale`` is what lies beside them and has to be written again.
    """

    output: Output
    paths: tuple[str, ...]
    render_key: str | None
    row: Row | None = None
    stale: tuple[WrittenFile, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The places that are to be written."""
        return self.paths if self.row is None else tuple(each.path for each in self.stale)


@dataclass(frozen=True, slots=True)
class Planned:
    """What one record is to become. ``refusal`` is a row or an error that says why it is left out already."""

    record: Record
    wanted: tuple[Wanted, ...]
    refusal: Row | RecordError | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The places that are to be written."""
        return tuple(path for each in self.wanted for path in each.missing)


class Planner:
    """Looks for the outputs of a shard's records in the output folder."""

    def __init__(self, root: Path, spec: ExpansionSpec, renderer: Renderer, outputs: Outputs, known: Known) -> None:
        self._root = root
        self._spec = spec
        self._renderer = renderer
        self._outputs = outputs
        self._known = known

    def plan(self, records: Sequence[Record], *, packed: bool) -> list[Planned]:
        """For each record its outputs; where they are packed into one file, their places are not asked for."""
        return [self._plan(record, packed=packed) for record in records]

    def _plan(self, record: Record, *, packed: bool) -> Planned:
        if (refusal := self._known.refusal(record)) is not None:
            return Planned(record, (), refusal)
        try:
            wanted = [self._want(record, output, packed=packed) for output in self._outputs.wanted(record)]
        except RecordError as error:
            return Planned(record, (), RecordError(record.key, error.reason, error.detail))
        return Planned(record, tuple(wanted))

    def _want(self, record: Record, output: Output, *, packed: bool) -> Wanted:
        render_key = None
        if output.copy is not None:
            render_key = self._renderer.address(record, draw=output.copy).render_key
        if packed:
            return Wanted(output, (), render_key)
        return self._look(record, Wanted(output, self._outputs.paths(output), render_key))

    def _look(self, record: Record, wanted: Wanted) -> Wanted:
        output = wanted.output
        row = self._known.rows.get((record.key, output.copy))
        mask_path = self._outputs.mask_path(output) if output.has_mask else None
        now = (wanted.paths[0], wanted.render_key, record.digest, mask_path, output.extension)
        if row is None or (row.path, row.render_key, row.record_digest, row.mask_path, row.extension) != now:
            return wanted
        beside = {each.path: each for each in row.files}
        pixels = [File(wanted.paths[0], row.size_bytes or 0, row.digest or "")]
        pixels += [beside[mask_path]] if mask_path is not None and mask_path in beside else []
        if not all(self._has(each) for each in pixels):
            return wanted
        row = replace(row, label=record.label, class_name=self._outputs.class_name(record))
        files, stale = pixels[1:], []
        for sidecar in self._outputs.sidecars(row):
            files.append(File(sidecar.path, len(sidecar.data), file_digest(sidecar.data)))
            if beside.get(sidecar.path) != files[-1] or not self._has(files[-1]):
                stale.append(sidecar)
        return replace(wanted, row=replace(row, files=tuple(files)), stale=tuple(stale))

    def _has(self, file: File) -> bool:
        return folder.has_output(self._root, file.path, file.size_bytes, file.digest, self._known.since_ns)
