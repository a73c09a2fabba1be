"""Division of a dataset without splits into training, validation and test, before anything is augmented.

    classes and groups and near-duplicates -> units that stay together -> a split for each -> a dataset with splits

The draw follows from the seed and the records' keys alone. It is stratified: each class has its share of every split,
as far as its groups allow.

A group stays in one split: one patient's images, one video's frames, copies of one file. Its name is the folder of the
record's key, the match of a pattern in the key, or a column of the image's ``extra``. A record without a name is a
group by itself. Groups that share an image, or near-duplicates, are merged.
"""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from augment.dataset_stats import pixels
from augment.datasets import manifest
from augment.datasets.dataset import Dataset, in_ranges
from augment.errors import CallError, DatasetError, StorageError
from augment.expansion.expand import Expansion
from augment.render.renderer import check_seed
from augment.scanning import assemble
from augment.splitting import near_duplicates
from augment.splitting.assign import assign, places
from augment.splitting.near_duplicates import NearDuplicates
from augment.splitting.ratios import Ratios, default_ratios, parse_ratios
from augment.user_state import replacing
from augment.validation import did_you_mean
from augment.workers.task import Workers

FOLDER = "folder"
COLUMN = "column:"

_MANY = 4096


def check_group_by(group_by: str) -> None:
    """Raise CallError unless the value is ``folder``, ``column:NAME`` or a pattern with one group."""
    if group_by != FOLDER and not group_by.startswith(COLUMN):
        _pattern(group_by)
    elif group_by == COLUMN:
        raise CallError("group_by is 'column:', without a name; write column:patient")


def names(dataset: Dataset, group_by: str) -> list[str | None]:
    """Return the group of each record, None for records without a group.

    Raises CallError as ``check`` does, DatasetError if no record has a group.
    """
    check_group_by(group_by)
    if group_by.startswith(COLUMN):
        return _of_column(dataset, group_by.removeprefix(COLUMN))
    find = _folder if group_by == FOLDER else _finder(_pattern(group_by))
    found = [find(key) for some in in_ranges(dataset, _MANY) for key in dataset.keys(some)]
    if not any(name is not None for name in found):
        first = dataset.keys([0])[0]
        raise DatasetError(
            f"group_by is {group_by!r}, which finds nothing in the keys of {dataset.root} (the first is {first!r}); "
            "write a pattern whose group is found in them, like '^(patient[0-9]+)'"
        )
    return found


def together(num_records: int, groups: Sequence[str | None], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each record's unit: int64 (num_records,), counted from 0.

    Records of equal group belong to one unit, and so do the two records of each of ``pairs`` (int64 (N, 2)).
    """
    first: dict[str, int] = {}
    edges = [(first.setdefault(name, i), i) for i, name in enumerate(groups) if name is not None]
    joined = np.concatenate([np.array(edges, np.int64).reshape(-1, 2), pairs.reshape(-1, 2)])
    ones = np.ones(len(joined), np.bool_)
    graph = sparse.coo_array((ones, (joined[:, 0], joined[:, 1])), shape=(num_records, num_records))
    _, units = csgraph.connected_components(graph, directed=False)
    return np.asarray(units, np.int64)


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise CallError(
            f"group_by is {text!r}, which is not a regular expression ({error}); give one, folder or column:NAME"
        ) from error
    if pattern.groups != 1:
        raise CallError(
            f"group_by is {text!r}, a pattern with {pattern.groups} groups; put exactly one pair of (parentheses) "
            "around the group's name and write (?:…) elsewhere"
        )
    return pattern


def _finder(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    def find(key: str) -> str | None:
        found = pattern.search(key)
        return None if found is None else found[1]

    return find


def _of_column(dataset: Dataset, column: str) -> list[str | None]:
    found: list[str | None] = []
    columns: Counter[str] = Counter()
    for some in in_ranges(dataset, _MANY):
        for text in dataset.annotations(some):
            extra = (json.loads(text).get("extra") or {}) if text is not None else {}
            columns.update(extra)
            value = extra.get(column)
            found.append(None if value is None else value if isinstance(value, str) else json.dumps(value))
    if column not in columns:
        has = f"it has {', '.join(sorted(columns)[:8])}" if columns else "it has no other columns"
        raise DatasetError(
            f"group_by is {COLUMN + column!r}, but {dataset.root} has no such column; {has}"
            f"{did_you_mean(column, columns)}"
        )
    return found


COLUMNS = ("key", "split", "class", "group", "nearest", "distance")
"""Columns of the report; ``nearest`` is the key of the nearest near-duplicate, ``distance`` is in bits."""

_NONE = NearDuplicates(np.empty((0, 2), np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class DividedDataset:
    """Dataset and the split of each of its records.

    ``assigned`` is the index of each record's split in ``ratios.names``. ``class_names`` is the class that it was
    divided by, or None. ``groups`` is the name of its group, or None. ``units`` is the number of its unit, whose
    records stay together. ``num_nameless`` counts records without a group, if groups were requested. All sequences have
    the order of the dataset's records.
    """

    dataset: Dataset
    ratios: Ratios
    assigned: NDArray[np.int64]
    class_names: Sequence[str | None]
    groups: Sequence[str | None]
    units: NDArray[np.int64]
    near: NearDuplicates
    num_nameless: int

    @property
    def counts(self) -> dict[str, int]:
        """Number of records in each split."""
        numbers = np.bincount(self.assigned, minlength=len(self.ratios.names)).tolist()
        return dict(zip(self.ratios.names, numbers, strict=True))

    def class_counts(self) -> dict[str | None, list[int]]:
        """Numbers of records in each split, for each class; classes in the dataset's order, None last."""
        counted = Counter(zip(self.class_names, self.assigned.tolist(), strict=True))
        there = set(self.class_names)
        names: list[str | None] = [name for name in self.dataset.classes if name in there]
        names += [None] if None in there else []
        return {name: [counted[name, split] for split in range(len(self.ratios.names))] for name in names}

    @property
    def num_units(self) -> int:
        """Number of units (records or groups) that were divided."""
        return len(np.unique(self.units))

    @property
    def largest_unit(self) -> int:
        """Number of records in the largest unit."""
        return int(np.bincount(self.units).max())

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of the report, in the order of ``COLUMNS``."""
        nearest = self._nearest()
        keys = self.dataset.keys(range(self.dataset.num_records))
        sizes = np.bincount(self.units)
        first: dict[int, str] = {}
        for key, group, unit in zip(keys, self.groups, self.units.tolist(), strict=True):
            if unit not in first and (group is not None or sizes[unit] > 1):
                first[unit] = key if group is None else group
        for i, key in enumerate(keys):
            other = nearest.get(i)
            near = ("", "") if other is None else (keys[other[1]], str(other[0]))
            unit = first.get(int(self.units[i]), "")
            yield key, self.ratios.names[self.assigned[i]], self.class_names[i] or "", unit, *near

    def write_report(self, path: Path) -> None:
        """Write the report as CSV, whole or not at all. Raises StorageError."""
        try:
            with (
                replacing(path) as draft,
                draft.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
            ):
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(COLUMNS)
                writer.writerows(self.rows())
        except OSError as error:
            raise StorageError(f"the report {path} cannot be written: {error.strerror or error}") from error

    def divided(self) -> Dataset:
        """Return the dataset with splits, held in memory.

        Keys, files, annotations and refused files stay. The dataset's digest changes, because it covers the splits.
        """
        source, names = self.dataset.source, self.ratios.names
        records = pa.Table.from_batches(source.record_batches(), manifest.SCHEMA)
        order = sorted(range(len(names)), key=lambda i: names[i].encode())
        tables: dict[str | None, pa.Table] = {
            names[i]: records.filter(pa.array(self.assigned == i)).combine_chunks() for i in order
        }
        batches = {name: table.to_batches(manifest.BATCH_ROWS) for name, table in tables.items()}
        summary = replace(
            source.summary, digest=assemble.dataset_digest(batches), splits=assemble.split_summaries(tables)
        )
        refused = [(each.key, f"{each.reason}: {each.detail}") for each in source.refusals()]
        sink = pa.BufferOutputStream()
        rows = (batch for some in batches.values() for batch in some)
        manifest.write(sink, summary, rows, assemble.refused_rows(refused))
        return Dataset.from_buffer(sink.getvalue())

    def expansion(
        self, out: str | os.PathLike[str], *, output_format: str | None = None, update: bool = False
    ) -> Expansion:
        """Return the expansion that writes the dataset with its splits: every file unchanged, nothing augmented.

        Raises what ``Expansion`` raises.
        """
        dataset = self.divided()
        return Expansion(dataset, out, copies=0, include_originals=True, output_format=output_format, update=update)

    def _nearest(self) -> dict[int, tuple[int, int]]:
        """Return the least distance of each record with near-duplicates, and the index of the first record at it."""
        found: dict[int, tuple[int, int]] = {}
        for (left, right), distance in zip(self.near.pairs.tolist(), self.near.distances.tolist(), strict=True):
            for one, other in ((left, right), (right, left)):
                found[one] = min(found.get(one, (distance, other)), (distance, other))
        return found


def divide_dataset(
    dataset: Dataset,
    *,
    ratios: Ratios | str | None = None,
    validation: bool = True,
    group_by: str | None = None,
    seed: int = 0,
    max_distance: int | None = near_duplicates.MAX_DISTANCE,
    workers: Workers | None = None,
    progress: pixels.Progress | None = None,
) -> DividedDataset:
    """Assign each record to training, validation or test; nothing is written.

    ``ratios`` (``"60,20,20"``, or ``"70,30"`` without validation) are by default ``ratios.default_ratios`` of the
    dataset's size, with ``validation`` or without. ``group_by`` is ``folder``, ``column:NAME`` or a pattern with one
    group. ``max_distance`` is the largest number of bits in which the hashes of near-duplicates differ. None decodes no
    image, and only equal records stay together. ``progress`` is called while images are hashed.

    Raises DatasetError if the dataset has splits, or too few records or groups; CallError.
    """
    check(ratios=ratios, group_by=group_by, seed=seed, max_distance=max_distance)
    if dataset.splits:
        raise DatasetError(
            f"{dataset.root} has the splits {', '.join(dataset.splits)} already; to divide it again, "
            "put the images of all splits into one folder, or give the folder of one split"
        )
    chosen = parse_ratios(ratios) if isinstance(ratios, str) else ratios
    chosen = chosen or default_ratios(dataset.num_records, validation=validation)
    if dataset.num_records < len(chosen.names):
        raise DatasetError(
            f"{dataset.root} has {dataset.num_records} records, too few for the splits {', '.join(chosen.names)}"
        )
    keys = dataset.keys(range(dataset.num_records))
    groups = [None] * len(keys) if group_by is None else names(dataset, group_by)
    near = _NONE
    if max_distance is not None:
        near = near_duplicates.find(dataset, max_distance=max_distance, workers=workers, progress=progress)
    units = together(len(keys), groups, np.concatenate([near.pairs, _equal(dataset)]))
    class_names = _class_names(dataset)
    numbers = {name: number for number, name in enumerate((*dataset.classes, None))}
    classes = np.array([numbers[name] for name in class_names], np.int64)
    assigned = assign(units, classes, places(seed, keys, groups), chosen)
    nameless = 0 if group_by is None else sum(name is None for name in groups)
    return DividedDataset(dataset, chosen, assigned, class_names, groups, units, near, nameless)


def check(
    *, ratios: Ratios | str | None = None, group_by: str | None = None, seed: int = 0, max_distance: int | None = None
) -> None:
    """Raise CallError if an argument of ``divide_dataset`` is out of range.

    Called before a scan, which may take minutes.
    """
    check_seed(seed)
    if isinstance(ratios, str):
        parse_ratios(ratios)
    if group_by is not None:
        check_group_by(group_by)
    if max_distance is not None:
        near_duplicates.check_distance(max_distance)


def _equal(dataset: Dataset) -> NDArray[np.int64]:
    """Return records of equal bytes and annotations, each with the first of its kind: int64 (N, 2)."""
    _, first, numbered = np.unique(dataset.digests(), return_index=True, return_inverse=True)
    others = np.flatnonzero(first[numbered] != np.arange(dataset.num_records))
    return np.column_stack([first[numbered[others]], others]).astype(np.int64)


def _class_names(dataset: Dataset) -> list[str | None]:
    """Return the class of each record: its own, or the rarest of its objects' (or labels') classes."""
    names = [None if label is None else dataset.classes[label] for label in dataset.labels()]
    if not dataset.targets & {"boxes", "labels"}:
        return names
    held = [_held(text) for text in dataset.annotations()]
    frequency = Counter(name for some in held for name in some)
    order = {name: place for place, name in enumerate(dataset.classes)}
    for i, some in enumerate(held):
        if names[i] is None and some:
            names[i] = min(some, key=lambda name: (frequency[name], order[name]))
    return names


def _held(text: str | None) -> set[str]:
    """Return the classes in an image."""
    said: Mapping[str, object] = {} if text is None else json.loads(text)
    labels, boxes = said.get("labels"), said.get("box_labels")
    found = {name for name, share in labels.items() if share} if isinstance(labels, dict) else set()
    return found | set(boxes if isinstance(boxes, list) else ())
