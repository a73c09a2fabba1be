"""What a run would do, before it does anything."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from augment.address import Address
from augment.dataset import Dataset
from augment.errors import RecordError
from augment.expansion import folder, manifest
from augment.expansion.changes import Changes
from augment.expansion.copies import CopyMaker
from augment.expansion.manifest import Status
from augment.expansion.names import Names
from augment.expansion.spec import ExpansionSpec
from augment.render import RenderSource
from augment.sample import Record
from augment.task import Guard

_RECORDS_MEASURED = 8
_ROW_BYTES = 100
_PART_BYTES = 4_000
"""About what the manifest takes for each output and for each shard, compressed; measured with four transforms."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be in the folder, and how much of it is there.

    ``bytes_about`` is what is still to be written: the mean of a few records that were really rendered, times their
    number. None where none of these few could be. ``bytes_free`` is what the file system has left. Of the outputs that
    are there ``num_kept`` stay, ``num_replaced`` are written over and ``num_removed`` go. ``changes`` are those of the
    dataset since the folder was written; None where it is new.
    """

    spec: ExpansionSpec
    num_records: int
    num_refused: int
    num_outputs: int
    num_kept: int
    num_replaced: int
    num_removed: int
    changes: Changes | None
    num_shards: int
    bytes_about: int | None
    bytes_free: int

    @classmethod
    def of(
        cls,
        spec: ExpansionSpec,
        dataset: Dataset,
        out: Path,
        measured: Sequence[tuple[int, int]],
        there: "There",
        changes: Changes | None,
    ) -> "Plan":
        """Put together what is known; ``measured`` are sizes of a copy and of its original."""
        bytes_about = None
        if measured:
            of_copies = spec.copies * sum(copy for copy, _ in measured)
            of_originals = sum(original for _, original in measured) if spec.include_originals else 0
            mean = (of_copies + of_originals) / len(measured) / spec.outputs_a_record + _ROW_BYTES
            left = spec.num_outputs - there.num_kept
            bytes_about = round(mean * left + _PART_BYTES * spec.num_shards * left / spec.num_outputs)
        above = next(each for each in (out, *out.parents) if each.exists())
        return cls(
            spec=spec,
            num_records=spec.num_records,
            num_refused=len(dataset.refused),
            num_outputs=spec.num_outputs,
            num_kept=there.num_kept,
            num_replaced=there.num_replaced,
            num_removed=there.num_removed,
            changes=changes,
            num_shards=spec.num_shards,
            bytes_about=bytes_about,
            bytes_free=shutil.disk_usage(above).free,
        )


@dataclass(frozen=True, slots=True)
class SizeTask:
    """Render copy 0 of a few records, evenly spread: the size of each and of its original, of those that can be."""

    source: RenderSource
    spec: ExpansionSpec

    def run(self, guard: Guard) -> list[tuple[int, int]]:
        """Write nothing."""
        renderer = self.source.renderer()
        number = min(_RECORDS_MEASURED, self.spec.num_records)
        records = renderer.dataset.records(i * self.spec.num_records // number for i in range(number))
        found = []
        for record in records:
            try:
                made = CopyMaker(renderer, self.spec, guard, record).make(0)
            except RecordError:
                continue
            found.append((len(made.data), record.size_bytes))
        return found


@dataclass(frozen=True, slots=True)
class There:
    """What the folder holds of outputs: those that stay, that are written over, and that go."""

    num_kept: int = 0
    num_replaced: int = 0
    num_removed: int = 0


def look(out: Path, old: ExpansionSpec, new: ExpansionSpec, dataset: Dataset) -> There:
    """Tell what a run would do with each output that is there; kept are those with unchanged bytes and render key."""
    wanted = Names(dataset, new)
    num_kept = num_replaced = num_removed = 0
    for row, since_ns in _rows(out, old):
        place = dataset.find(row.key)
        if row.path is None or not os.path.lexists(out / row.path):
            continue
        if place is not None and _is_kept(out, row, dataset.record(place), new, since_ns):
            num_kept += 1
        elif wanted.is_output(row.path):
            num_replaced += 1
        else:
            num_removed += 1
    return There(num_kept, num_replaced, num_removed)


def _rows(out: Path, old: ExpansionSpec) -> Iterator[tuple[manifest.Row, int]]:
    """The rows of finished shards, and those of outputs that an interrupted update has still to look at."""
    for index in range(old.num_shards):
        since_ns = folder.changed_ns(out, manifest.part_name(index))
        for row in manifest.read_part(out, index, old.id) or ():
            yield row, since_ns
    if (previous := manifest.Previous.open(out)) is not None:
        known = manifest.path_set(out, old.num_shards, old.id)
        since_ns = folder.changed_ns(out, folder.PREVIOUS)
        for row in previous.all_rows():
            if row.path is not None and known.missing([row.path]):
                yield row, since_ns


def _is_kept(out: Path, row: manifest.Row, record: Record, new: ExpansionSpec, since_ns: int) -> bool:
    if row.path is None or not folder.has_output(out, row.path, row.size_bytes or 0, row.digest or "", since_ns):
        return False
    if row.status == Status.ORIGINAL:
        return row.record_digest == record.digest
    address = Address(new.engine, record.digest, new.pipeline_digest, new.seed, row.copy or 0, 0, record.key)
    return row.record_digest == record.digest and row.render_key == address.render_key
