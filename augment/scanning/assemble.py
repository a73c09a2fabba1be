"""Assembly of examined files into a manifest's rows (keys, classes, order, digest), and the report of refusals."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from augment import address
from augment.datasets import keys, manifest
from augment.datasets.manifest import ConvertedImages, DatasetSummary, Size, SplitSummary
from augment.errors import Reason
from augment.formats.format import Listing, RefusedPath
from augment.samples.annotations import BY_KEYPOINT, Annotations
from augment.scanning.examine import ExaminedImage, Found, Mask

NUM_EXAMPLES = 3

LEAVE_OUT = "leave_out"
"""Leave the records out; rows of the manifest give the reasons."""
REFUSE = "refuse"
"""Refuse the whole scan, so that wrong labels are noticed before training."""
BAD_ANNOTATIONS = (REFUSE, LEAVE_OUT)
"""Ways to treat records with invalid annotations."""


@dataclass(frozen=True, slots=True)
class Example:
    """Path of a refused file, as the manifest has it, and the problem."""

    path: str
    detail: str


@dataclass(slots=True)
class Kind:
    """Refusals of one kind; ``name`` is empty if the reason alone describes it."""

    reason: Reason
    name: str
    number: int = 0
    examples: list[Example] = field(default_factory=list)

    def __str__(self) -> str:
        shown = "; ".join(f"{keys.printable(each.path)}: {keys.printable(each.detail)}" for each in self.examples)
        more = "; …" if self.number > len(self.examples) else ""
        return f"{self.number:,} of {self.name or self.reason!s} ({shown}{more})"


class RefusalCounts:
    """Counts by reason and kind. The kind of a bad annotation is its detail up to the first colon."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[Reason, str], Kind] = {}

    def add(self, path: str, reason: Reason, detail: str) -> None:
        name, rest = "", detail
        if reason is Reason.ANNOTATION:
            name, colon, rest = detail.partition(": ")
            if not colon:
                name, rest = str(reason), detail
        kind = self._kinds.setdefault((reason, name), Kind(reason, name))
        kind.number += 1
        if len(kind.examples) < NUM_EXAMPLES:
            kind.examples.append(Example(path, rest))

    def __iter__(self) -> Iterator[Kind]:
        """Yield bad annotations first, then the most frequent kinds, then by name."""
        return iter(sorted(self._kinds.values(), key=_order))

    def bad_annotations(self) -> list[Kind]:
        """Return the kinds of invalid annotations."""
        return [kind for kind in self if kind.reason is Reason.ANNOTATION]


def _order(kind: Kind) -> tuple[bool, int, str, str]:
    return kind.reason is not Reason.ANNOTATION, -kind.number, kind.reason, kind.name


_NO_CLASS = -1

_MADE_LATER = frozenset({"key", "label", "refusal"})


def _wide(kind: pa.DataType) -> pa.DataType:
    """Return the type with 64-bit offsets: the text of all splits may exceed the 2 GiB of a string column."""
    return pa.large_string() if kind == pa.string() else kind


_FOUND = pa.schema(
    [
        pa.field("named", pa.large_string()),
        pa.field("class", pa.int32()),
        *(pa.field(each.name, _wide(each.type)) for each in manifest.SCHEMA if each.name not in _MADE_LATER),
    ]
)
_TARGETS = ("labels", "boxes", "instance_masks", "keypoints", *BY_KEYPOINT)
_COPIED = [name for name in _FOUND.names if name not in {"named", "class"}]
_REFUSED = pa.schema([pa.field("path", pa.large_string()), pa.field("refusal", pa.large_string())])


class _Columns:
    """Rows that are turned into Arrow batches as soon as there are enough."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._batches: list[pa.RecordBatch] = []
        self._rows: list[tuple[object, ...]] = []

    def add(self, *row: object) -> None:
        self._rows.append(row)
        if len(self._rows) == manifest.BATCH_ROWS:
            self._flush()

    def table(self) -> pa.Table:
        """Return all rows, each column in one piece."""
        self._flush()
        return pa.Table.from_batches(self._batches, self._schema).combine_chunks()

    def _flush(self) -> None:
        if self._rows:
            columns = zip(self._schema, zip(*self._rows, strict=True), strict=True)
            arrays = [pa.array(values, type=field.type) for field, values in columns]
            self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._rows = []


@dataclass(frozen=True, slots=True)
class Assembled:
    """Sorted rows of a manifest, and their summary."""

    summary: DatasetSummary
    records: Iterable[pa.RecordBatch]
    refused: Iterable[pa.RecordBatch]


class Assembly:
    """Collector of a scan's results; ``finish`` sorts them."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._splits = tuple(sorted(listing.splits, key=str.encode)) or (None,)
        self._found = {split: _Columns(_FOUND) for split in self._splits}
        self._refused = _Columns(_REFUSED)
        self._classes: dict[str, int] = {}
        self._targets: set[str] = set()
        self._mask_bits = 8
        self._largest_mask_value = 0
        self._first_binary: str | None = None
        self._largest_edge = -math.inf
        self._has_fractions = False
        self._num_crowds = 0
        self.refusals = RefusalCounts()
        self.num_records = 0
        self.num_refused = 0

    def add(self, found: Found) -> None:
        file, verdict = found.file, found.verdict
        if not isinstance(verdict, ExaminedImage):
            self.refuse(RefusedPath(file.named, verdict.reason, verdict.detail))
            return
        name = file.class_name
        number = _NO_CLASS if name is None else self._classes.setdefault(name, len(self._classes))
        mask = verdict.mask
        part = file.described.part
        self._found[file.group.split].add(
            file.named,
            number,
            file.place,
            verdict.height,
            verdict.width,
            verdict.size_bytes,
            verdict.digest,
            None if part is None else part.offset,
            verdict.annotations,
            *((None,) * 4 if mask is None else (mask.path, mask.offset, mask.size_bytes, mask.digest)),
            verdict.encoding,
            verdict.conversions,
        )
        self._note_targets(name, verdict.said, mask)
        self.num_records += 1

    def _note_targets(self, class_name: str | None, annotations: Annotations | None, mask: Mask | None) -> None:
        if class_name is not None:
            self._targets.add("label")
        if mask is not None:
            self._targets.add("mask")
            self._mask_bits = max(self._mask_bits, mask.bits)
            self._largest_mask_value = max(self._largest_mask_value, mask.largest)
            if mask.is_binary and self._first_binary is None:
                self._first_binary = mask.path
        if annotations is None:
            return
        self._targets.update(name for name in _TARGETS if getattr(annotations, name) is not None)
        self._num_crowds += sum(bool(each.get("iscrowd")) for each in annotations.box_attributes or ())
        for box in annotations.boxes or ():
            self._largest_edge = max(self._largest_edge, *box)
            self._has_fractions |= any(edge % 1 for edge in box)
        for names in (annotations.labels, annotations.box_labels):
            for name in names or ():
                self._classes.setdefault(name, len(self._classes))

    @property
    def are_boxes_shares(self) -> bool:
        """True if there are boxes and all are inside the first pixel, so that they must be fractions of the image."""
        return self._has_fractions and self._largest_edge <= 1.0

    @property
    def binary_mask(self) -> str | None:
        """Path of a mask, if all masks of the dataset hold only 0 and 255 and so no class but 0; else None."""
        return None if self._largest_mask_value else self._first_binary

    def refuse(self, refused: RefusedPath) -> None:
        detail = keys.printable(refused.detail)
        self._refused.add(refused.path, f"{refused.reason}: {detail}")
        self.refusals.add(refused.path, refused.reason, detail)
        self.num_refused += 1

    def first_refused(self, number: int) -> list[str]:
        """Return the first refusals by path, one line each, for the message about a dataset without records."""
        table = self._refused.table().sort_by("path").slice(0, number)
        return [f"{path}: {verdict}" for path, verdict in zip(*table.to_pydict().values(), strict=True)]

    def finish(self, *, format_name: str, root: str, scanned_ns: int) -> Assembled:
        """Give every record its key and its label, and sort the rows; call it once."""
        classes = self._listing.classes
        if classes is None:
            classes = tuple(sorted(self._classes, key=str.encode))
        labels = np.full(len(self._classes) + 1, _NO_CLASS, dtype=np.int32)  # the last index is _NO_CLASS
        for label, name in enumerate(classes):
            if name in self._classes:
                labels[self._classes[name]] = label
        refused = self._refused.table()
        tables = {
            split: _sorted_records(
                self._found.pop(split).table(), split, labels, _below(split, _whole(refused.column("path")))
            )
            for split in self._splits
        }
        summary = DatasetSummary(
            format=format_name,
            root=root,
            digest=dataset_digest({split: _batches(table) for split, table in tables.items()}),
            classes=classes,
            splits=split_summaries(tables),
            num_records=self.num_records,
            num_refused=self.num_refused,
            scanned_ns=scanned_ns,
            targets=tuple(sorted(self._targets)),
            keypoint_names=self._listing.keypoint_names,
            mask_bits=self._mask_bits,
            mask_legend=self._listing.mask_legend,
            details=self._listing.details,
            notices=tuple(self._listing.notices),
            ignore=tuple(self._listing.ignore),
            num_crowds=self._num_crowds,
        )
        records = (batch for table in tables.values() for batch in _record_rows(table))
        return Assembled(summary, records, _refused_rows(refused.sort_by("path")))


def dataset_digest(splits: Mapping[str | None, Iterable[pa.RecordBatch]]) -> str:
    """Hash a dataset: over (key, record digest), or over (split, key, record digest) if it has splits.

    ``splits`` and their rows are sorted, in batches with the columns ``key`` and ``digest``. Paths, the dataset's name
    and times are not hashed.
    """
    has_splits = None not in splits
    person = b"augment.splits" if has_splits else b"augment.dataset"
    return address.digest_fields(_digest_fields(splits), person=person).hex()


def _digest_fields(splits: Mapping[str | None, Iterable[pa.RecordBatch]]) -> Iterator[str | bytes]:
    for split, batches in splits.items():
        for batch in batches:
            pairs = zip(batch.column("key").to_pylist(), batch.column("digest").to_pylist(), strict=True)
            for key, digest in pairs:
                if split is not None:
                    yield split
                yield key
                yield digest


def _sorted_records(found: pa.Table, split: str | None, labels: NDArray[np.int32], refused: pa.Array) -> pa.Table:
    table = found.drop_columns(["class", "named"])
    table = table.append_column("key", keys.distinct_keys(_below(split, _whole(found.column("named"))), refused))
    table = table.append_column("label", pa.array(labels[found.column("class").to_numpy()]))
    return table.take(pc.sort_indices(table.column("key"))).combine_chunks()


def _below(split: str | None, paths: pa.Array) -> pa.Array:
    """Return the paths in a split, relative to it."""
    if split is None:
        return paths
    inside = paths.filter(pc.starts_with(paths, f"{split}/"))
    return pc.utf8_slice_codeunits(inside, start=len(split) + 1)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _batches(table: pa.Table) -> list[pa.RecordBatch]:
    """Return the table in batches, so that few rows at a time become Python objects; nothing is copied."""
    batches: list[pa.RecordBatch] = table.to_batches(max_chunksize=manifest.BATCH_ROWS)
    return batches


def split_summaries(tables: Mapping[str | None, pa.Table]) -> tuple[SplitSummary, ...]:
    """Return the summary of each split. A record without a class is null or -1 in the column ``label``."""
    summaries: list[SplitSummary] = []
    start = 0
    for split, table in tables.items():
        summaries.append(_split_summary(split, table, start))
        start += table.num_rows
    return tuple(summaries)


def _split_summary(split: str | None, table: pa.Table, start: int) -> SplitSummary:
    heights, widths = table.column("height").to_numpy(), table.column("width").to_numpy()
    unlabelled = np.flatnonzero(pc.fill_null(table.column("label"), _NO_CLASS).to_numpy() == _NO_CLASS)
    smallest, common = None, None
    if table.num_rows:
        key = table.column("key")[int(np.minimum(heights, widths).argmin())].as_py()
        smallest = Size(int(heights.min()), int(widths.min()), key)
        if smallest[:2] == (heights.max(), widths.max()):
            common = smallest[:2]
    return SplitSummary(
        name=split,
        start=start,
        stop=start + table.num_rows,
        smallest=smallest,
        common_size=common,
        num_unlabelled=len(unlabelled),
        first_unlabelled=table.column("key")[int(unlabelled[0])].as_py() if len(unlabelled) else None,
        conversions=_conversions(table),
    )


def _conversions(table: pa.Table) -> dict[str, ConvertedImages]:
    column, keys = table.column("conversions"), table.column("key")
    found: dict[str, tuple[int, int]] = {}  # for each kind the number of rows and the first row
    for counted in column.drop_null().value_counts():  # there are few different sets of kinds
        row = pc.index(column, counted["values"]).as_py()
        for kind in counted["values"].as_py().split():
            number, first = found.get(kind, (0, row))
            found[kind] = (number + counted["counts"].as_py(), min(first, row))
    return {kind: ConvertedImages(number, keys[row].as_py()) for kind, (number, row) in sorted(found.items())}


def _record_rows(table: pa.Table) -> Iterator[pa.RecordBatch]:
    for batch in _batches(table):
        label = batch.column("label")
        yield _rows(
            batch.num_rows,
            key=batch.column("key"),
            label=pc.if_else(pc.equal(label, _NO_CLASS), pa.scalar(None, pa.int32()), label),
            **{name: batch.column(name) for name in _COPIED},
        )


def refused_rows(refused: Iterable[tuple[str, str]]) -> Iterator[pa.RecordBatch]:
    """Return the manifest's rows of refused files: sorted paths, each with its reason and detail as one text."""
    columns = _Columns(_REFUSED)
    for path, verdict in refused:
        columns.add(path, verdict)
    return _refused_rows(columns.table())


def _refused_rows(table: pa.Table) -> Iterator[pa.RecordBatch]:
    for batch in _batches(table):
        path = batch.column("path")
        yield _rows(batch.num_rows, key=path, path=path, refusal=batch.column("refusal"))


def _rows(num_rows: int, **columns: Any) -> pa.RecordBatch:
    """Return rows of the manifest; columns that are not given are null."""
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(num_rows, field.type)
        for field in manifest.SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=manifest.SCHEMA)
