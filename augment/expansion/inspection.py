"""One shard looked at again: its files against its manifest part, and its manifest part against a new rendering."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from augment.errors import RecordError
from augment.expansion import folder, manifest
from augment.expansion.copies import CopyMaker
from augment.expansion.folder import file_digest
from augment.expansion.manifest import Row, Status
from augment.expansion.shard import check_renderer
from augment.expansion.spec import ExpansionSpec
from augment.render import Renderer, RenderSource
from augment.task import Guard

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
    """What was seen of one shard: files that were read, their bytes, what is wrong."""

    index: int
    num_files: int
    size_bytes: int
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
        rows = manifest.read_part(self.root, self.index, self.spec.id)
        if rows is None:
            detail = f"the shard is not finished or its part is damaged; {_AGAIN}"
            found = Mismatch(Finding.UNFINISHED, manifest.part_name(self.index), detail)
            return ShardReport(self.index, 0, 0, (found,))
        mismatches = list(_incomplete(self.spec, self.index, rows))
        size_bytes = 0
        for row in rows:
            if row.path is not None:
                found_bytes = folder.read_bytes(self.root, row.path)
                size_bytes += len(found_bytes or b"")
                mismatches += _file_mismatches(row, row.path, found_bytes)
        if self.source is not None:
            mismatches += self._render_again(self.source.renderer(), guard, rows)
        return ShardReport(self.index, sum(row.path is not None for row in rows), size_bytes, tuple(mismatches))

    def _render_again(self, renderer: Renderer, guard: Guard, rows: Sequence[Row]) -> Iterator[Mismatch]:
        check_renderer(renderer, self.spec)
        for key, of_record in _by_key(rows).items():
            place = renderer.dataset.find(key)
            if place is None:
                yield Mismatch(Finding.DIFFERENT, of_record[0].path or key, "the dataset has no such record", key)
                continue
            record = renderer.dataset.record(place)
            maker = CopyMaker(renderer, self.spec, guard, record)
            for row in of_record:
                if row.path is None:
                    continue
                try:
                    if row.copy is None:
                        same = file_digest(renderer.dataset.read(record)) == row.digest
                    else:
                        made = maker.make(row.copy)
                        again = (file_digest(made.data), made.render_key, made.applied)
                        same = again == (row.digest, row.render_key, row.applied)
                except RecordError as error:
                    yield Mismatch(Finding.DIFFERENT, row.path, f"{error.reason}: {error.detail}", key, row.copy)
                    continue
                if not same:
                    detail = "rendering it again gives another file than the manifest describes"
                    yield Mismatch(Finding.DIFFERENT, row.path, detail, key, row.copy)


def _file_mismatches(row: Row, path: str, found: bytes | None) -> Iterator[Mismatch]:
    if found is None:
        yield Mismatch(Finding.MISSING, path, f"the file is not there; {_AGAIN}", row.key, row.copy)
    elif len(found) != row.size_bytes:
        detail = f"the file has {len(found)} bytes, it was written with {row.size_bytes}; {_AGAIN}"
        yield Mismatch(Finding.CHANGED, path, detail, row.key, row.copy)
    elif file_digest(found) != row.digest:
        yield Mismatch(
            Finding.CHANGED,
            path,
            f"the file has other bytes than were written; remove it and {_AGAIN}",
            row.key,
            row.copy,
        )


def _incomplete(spec: ExpansionSpec, index: int, rows: Sequence[Row]) -> Iterator[Mismatch]:
    records = _by_key(rows)
    if len(records) != len(spec.shard(index)):
        detail = f"it has rows of {len(records)} records, not of {len(spec.shard(index))}"
        yield Mismatch(Finding.INCOMPLETE, manifest.part_name(index), detail)
    complete = sorted([*range(spec.copies), *([-1] if spec.include_originals else [])])
    for key, of_record in records.items():
        there = sorted(-1 if row.copy is None else row.copy for row in of_record)
        if there != complete and [row.status for row in of_record] != [Status.REFUSED]:
            yield Mismatch(Finding.INCOMPLETE, manifest.part_name(index), f"record {key} lacks rows", key)


def _by_key(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    """The rows of each record; what the scan refused never was one."""
    records = defaultdict(list)
    for row in rows:
        if row.record_digest is not None:
            records[row.key].append(row)
    return records
