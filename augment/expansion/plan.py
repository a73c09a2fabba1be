"""Plan of a run (``--dry-run``): what it would write, keep and remove."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

from augment.address import Address
from augment.datasets.dataset import Dataset
from augment.errors import RecordError
from augment.expansion import copies, folder, manifest
from augment.expansion.folder import Condition
from augment.expansion.names import Names
from augment.expansion.outputs import CopyMaker, Encoded, Outputs, OutputSpec
from augment.expansion.spec import Changes, ExpansionSpec, left_out
from augment.expansion.splits import views
from augment.pipelines.spec import PipelineSpec
from augment.render.renderer import RenderSource, others
from augment.samples.sample import Record
from augment.workers.task import Guard

_RECORDS_MEASURED = 8
_ROW_BYTES = 100
_PART_BYTES = 4_000
"""Approximate bytes of the manifest for each output and each shard, compressed; measured with four transforms."""


@dataclass(frozen=True, slots=True)
class ClassPlan:
    """Planned numbers of images of one class in the augmented splits.

    ``class_name`` is None for records without one. ``num_after`` counts the copies, and the originals if included.
    """

    class_name: str | None
    num_before: int
    num_copies: int
    num_after: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Mean bytes of a copy and of an original of a few records, with all their files; None if none could be made."""

    copy: float | None
    original: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """Outputs in the folder: those that stay, that are overwritten, and that are removed."""

    num_kept: int = 0
    num_replaced: int = 0
    num_removed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(There):
    """Result of a run as planned, and the outputs that exist already.

    ``num_outputs`` are images of the augmented splits, ``num_copied`` those of the splits copied unchanged.
    ``bytes_about`` estimates what is still to be written: the mean of a few rendered records, times their number. It is
    None if none of these could be rendered. ``bytes_free`` is the free space of the file system. ``changes`` are those
    of the dataset since the folder was written, or None for a new folder. ``classes`` is empty if records have no
    class. ``image_formats`` has the number of copies in each format.
    """

    spec: ExpansionSpec
    num_records: int
    num_refused: int
    num_outputs: int
    num_copied: int
    changes: Changes | None
    bytes_about: int | None
    bytes_free: int
    classes: tuple[ClassPlan, ...]
    image_formats: Mapping[str, int]

    @classmethod
    def of(
        cls,
        spec: ExpansionSpec,
        dataset: Dataset,
        out: Path,
        measured: Measured,
        there: There,
        changes: Changes | None,
    ) -> "Plan":
        """Assemble the plan."""
        num_originals = spec.num_copied + (spec.num_records if spec.include_originals else 0)
        num_copies = spec.num_outputs + spec.num_copied - num_originals
        total = num_copies + num_originals
        bytes_about = None
        if (measured.copy is not None or not num_copies) and (measured.original is not None or not num_originals):
            all_bytes = num_copies * (measured.copy or 0) + num_originals * (measured.original or 0)
            all_bytes += _ROW_BYTES * total + _PART_BYTES * spec.num_shards
            bytes_about = round(all_bytes * (total - there.num_kept) / total)
        above = next(each for each in (out, *out.parents) if each.exists())
        return cls(
            spec=spec,
            num_records=spec.num_records,
            num_refused=sum(1 for _ in left_out(dataset, spec)),
            num_outputs=spec.num_outputs,
            num_copied=spec.num_copied,
            changes=changes,
            bytes_about=bytes_about,
            bytes_free=shutil.disk_usage(above).free,
            classes=tuple(_classes(spec, dataset)),
            image_formats=_image_formats(spec, dataset, num_copies),
            **asdict(there),
        )


def _image_formats(spec: ExpansionSpec, dataset: Dataset, num_copies: int) -> dict[str, int]:
    """Count copies by the format of their files, without those of records that cannot be read."""
    if spec.image_format is not None or not num_copies:
        return {spec.image_format: num_copies} if spec.image_format is not None and num_copies else {}
    counts: Counter[str] = Counter()
    for part, view in views(dataset, spec.parts):
        outputs = Outputs(spec, part, view)
        for record in () if part.copied else view:
            with suppress(RecordError):
                counts[outputs.image_format(record)] += spec.copies_of(part, record.key, outputs.class_name(record))
    return {name: counts[name] for name in sorted(counts) if counts[name]}


def _classes(spec: ExpansionSpec, dataset: Dataset) -> Iterator[ClassPlan]:
    if "label" not in dataset.targets:
        return
    augmented = [(part.split, view) for part, view in views(dataset, spec.parts) if not part.copied]
    by_class = {share.class_name: share.num_copies for share in spec.shares}
    for name, number in copies.count(augmented).items():
        num_copies = spec.copies * number if isinstance(spec.copies, int) else by_class[name]
        yield ClassPlan(name, number, num_copies, num_copies + (number if spec.include_originals else 0))


@dataclass(frozen=True, slots=True)
class SizeTask:
    """Task that makes copy 0 and the original of a few augmented records, evenly spread, skipping those that fail."""

    source: RenderSource
    spec: ExpansionSpec

    def run(self, guard: Guard) -> Measured:
        """Measure the records. Writes nothing."""
        part = next(each for each in self.spec.parts if not each.copied)
        renderer = replace(self.source, split=part.split).renderer()
        outputs = Outputs(self.spec, part, renderer.dataset)
        number = min(_RECORDS_MEASURED, part.num_records)
        copies, originals = [], []
        for record in renderer.dataset.records(i * part.num_records // number for i in range(number)):
            maker = CopyMaker(renderer, self.spec, outputs, guard, record)
            try:
                if self.spec.copies != 0:
                    copies.append(_bytes(maker.make(0)))
                if self.spec.include_originals or self.spec.num_copied:
                    originals.append(_bytes(maker.make(None)))
            except RecordError:
                continue
        return Measured(_mean(copies), _mean(originals))


def _bytes(made: Encoded) -> int:
    """Return the bytes of an image and its mask, and roughly those of its annotations."""
    return len(made.data) + len(made.mask or b"") + len(made.annotations or "")


def _mean(sizes: Sequence[int]) -> float | None:
    return sum(sizes) / len(sizes) if sizes else None


def look(
    out: Path, old: ExpansionSpec, new: ExpansionSpec, pipeline: PipelineSpec, dataset: Dataset, wanted: Names
) -> There:
    """Count the outputs in the folder by what a run would do with each.

    A packed file is kept or made again as a whole, so after any change all packed outputs count as replaced.
    """
    splits = {
        new.folder(part): (view, Outputs(new, part, view), others(pipeline, view, new.references))
        for part, view in views(dataset, new.parts)
    }
    num_kept = num_replaced = num_removed = 0
    for (split, key), rows in groupby(_rows(out, old), lambda each: (each[0].split, each[0].key)):
        record, specs = _output_specs(new, key, *splits[split]) if split in splits else (None, {})
        for row, since_ns in rows:
            if row.path is None or not os.path.lexists(out / row.path):
                continue
            spec = specs.get(row.copy)
            is_right = spec is not None and spec.condition(out, row, since_ns) is Condition.RIGHT
            if is_right and not (new.packs and old.id != new.id):
                num_kept += 1
            elif record is not None if new.packs else wanted.is_output(row.path):
                num_replaced += 1
            else:
                num_removed += 1
    return There(num_kept=num_kept, num_replaced=num_replaced, num_removed=num_removed)


def _output_specs(
    new: ExpansionSpec, key: str, dataset: Dataset, outputs: Outputs, taken_from: tuple[str, ...]
) -> tuple[Record | None, dict[int | None, OutputSpec]]:
    """Return a record and its outputs by copy; no outputs if the record will be refused."""
    place = dataset.find(key)
    if place is None:
        return None, {}
    record = dataset.record(place)
    made_of = (new.engine, record.digest, new.pipeline_digest, new.seed)
    try:
        specs = outputs.specs(record, lambda copy: Address(*made_of, copy, 0, key, taken_from).render_key)
        return record, {each.output.copy: each for each in specs}
    except RecordError:
        return record, {}


def _rows(out: Path, old: ExpansionSpec) -> Iterator[tuple[manifest.Row, int]]:
    """Yield the rows of finished shards, and those that an interrupted update has still to check."""
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
