"""One shard looked at again: its files against its manifest part, and its manifest part against a new rendering."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from augment.errors import RecordError
from augment.expansion import folder, manifest
from augment.expansion.copies import CopyMaker, Encoded
from augment.expansion.folder import file_digest
from augment.expansion.manifest import File, Row, Status
from augment.expansion.outputs import Outputs
from augment.expansion.shard import check_renderer, num_outputs, source_of
from augment.expansion.spec import ExpansionSpec, Shard
from augment.render import Renderer, RenderSource
from augment.workers.task import Guard

_AGAIN = "run the same augment expand again"


class Finding(StrEnum):
    """What can be wrong in an expanded folder."""

    UNFINISHED = "unfinished"
    """A shard has no manifest part, a damaged one or another expansion's; or a run is under way or was killed."""
    INCOMPLETE = "incomplete"
    """A record has neither all of its rows nor one that says why it was left out."""
    MISSING = "missing"
    """A file that the manifest names is not there."""
    CHANGED = "changed"
    """A file has other bytes than the manifest says."""
    UNKNOWN = "unknown"
    """A file is there that the manifest does not name."""
    DIFFERENT = "different"
    """Rendering it again gives other bytes than the manifest says, or none."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that is wrong. ``path`` is relative to the output folder; key and copy where it is about a record."""

    finding: Finding
    path: str
    detail: str
    key: str | None = None
    copy: int | None = None


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What was seen of one shard: files that were read, their bytes, outputs that count as done, what is wrong."""

    index: int
    num_files: int
    size_bytes: int
    num_outputs: int
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True)
class InspectTask:
    """Look at one shard of the expansion in the folder ``root``; render it again where there is a ``source``."""

    spec: ExpansionSpec
    root: Path
    index: int
    source: RenderSource | None

    def run(self, guard: Guard) -> ShardReport:
        """Write nothing."""
        shard = self.spec.shard(self.index)
        rows = manifest.read_part(self.root, self.index, self.spec.id)
        if rows is None:
            detail = f"the shard is not finished or its part is damaged; {_AGAIN}"
            found = Mismatch(Finding.UNFINISHED, manifest.part_name(self.index), detail)
            return ShardReport(self.index, 0, 0, 0, (found,))
        mismatches = list(_incomplete(self.spec, shard, rows))
        files = {file: row for row in reversed(rows) for file in row.on_disk()}
        size_bytes = 0
        for file in sorted(files, key=lambda each: each.path):
            found_bytes = folder.read_bytes(self.root, file.path)
            size_bytes += len(found_bytes or b"")
            mismatches += _file_mismatches(files[file], file, found_bytes)
        if self.source is not None:
            mismatches += self._render_again(source_of(self.source, shard).renderer(), guard, rows, shard)
        counted = num_outputs(self.spec, shard, rows)
        return ShardReport(self.index, len(files), size_bytes, counted, tuple(mismatches))

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
                if row.path is None:
                    continue
                try:
                    differing = _differing(row, maker.make(row.copy), outputs)
                except RecordError as error:
                    yield Mismatch(Finding.DIFFERENT, row.path, f"{error.reason}: {error.detail}", key, row.copy)
                    continue
                if differing:
                    detail = f"rendering it again gives another {differing} than the manifest describes"
                    yield Mismatch(Finding.DIFFERENT, row.path, detail, key, row.copy)


def _differing(row: Row, made: Encoded, outputs: Outputs) -> str:
    """What a new rendering has otherwise than a row says; empty where nothing."""
    if (file_digest(made.data), made.render_key, made.applied, made.dropped) != (
        row.digest,
        row.render_key,
        row.applied,
        row.dropped,
    ):
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


def _file_mismatches(row: Row, file: File, found: bytes | None) -> Iterator[Mismatch]:
    if found is None:
        yield Mismatch(Finding.MISSING, file.path, f"the file is not there; {_AGAIN}", row.key, row.copy)
    elif len(found) != file.size_bytes:
        detail = f"the file has {len(found)} bytes, it was written with {file.size_bytes}; {_AGAIN}"
        yield Mismatch(Finding.CHANGED, file.path, detail, row.key, row.copy)
    elif file_digest(found) != file.digest:
        detail = f"the file has other bytes than were written; remove it and {_AGAIN}"
        yield Mismatch(Finding.CHANGED, file.path, detail, row.key, row.copy)


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
    """The rows of each record; what the scan refused never was one."""
    records = defaultdict(list)
    for row in rows:
        if row.record_digest is not None:
            records[row.key].append(row)
    return records
