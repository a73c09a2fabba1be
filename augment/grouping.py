"""Groups of records that belong to one side of a split: one patient's pictures, one video's frames, copies of one file.

A group is named by the folder of the record's key, by what a pattern finds in the key, or by a column of what a
dataset says of its pictures (``extra`` of their annotations). A record without a name stands alone. Groups that share
a picture, or near-duplicates, become one.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from augment.dataset import Dataset
from augment.errors import CallError, DatasetError
from augment.spelling import did_you_mean

FOLDER = "folder"
COLUMN = "column:"

_MANY = 4096


def check(group_by: str) -> None:
    """Raise CallError where it is neither ``folder``, ``column:NAME`` nor a pattern with one group."""
    if group_by != FOLDER and not group_by.startswith(COLUMN):
        _pattern(group_by)
    elif group_by == COLUMN:
        raise CallError("group_by is 'column:', without a name; write column:patient")


def names(dataset: Dataset, group_by: str) -> list[str | None]:
    """The group of each record, None for those that have none.

    Raises CallError as ``check``, DatasetError where no record has a group.
    """
    check(group_by)
    if group_by.startswith(COLUMN):
        return _of_column(dataset, group_by.removeprefix(COLUMN))
    find = _folder if group_by == FOLDER else _finder(_pattern(group_by))
    found = [find(key) for some in _some(dataset) for key in dataset.keys(some)]
    if not any(name is not None for name in found):
        first = dataset.keys([0])[0]
        raise DatasetError(
            f"group_by is {group_by!r}, which finds nothing in the keys of {dataset.root} (the first is {first!r}); "
            "write a pattern whose group is found in them, like '^(patient[0-9]+)'"
        )
    return found


def together(num_records: int, groups: Sequence[str | None], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of the unit that each record belongs to: int64 (num_records,), counted from 0.

    Records of equal group, and the two of each of ``pairs`` (int64 (N, 2)), belong to one unit, and so on from there.
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
            f"group_by is {text!r}, which is no pattern ({error}); give folder, column:NAME or a regular expression"
        ) from error
    if pattern.groups != 1:
        raise CallError(
            f"group_by is {text!r}, a pattern with {pattern.groups} groups; it has one, in (parentheses), which is the "
            "group's name; write (?:…) around what is none"
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
    for some in _some(dataset):
        for text in dataset.annotations(some):
            extra = (json.loads(text).get("extra") or {}) if text is not None else {}
            columns.update(extra)
            value = extra.get(column)
            found.append(None if value is None else value if isinstance(value, str) else json.dumps(value))
    if column not in columns:
        has = f"it has {', '.join(sorted(columns)[:8])}" if columns else "it says nothing beside its targets"
        raise DatasetError(
            f"group_by is {COLUMN + column!r}, and {dataset.root} has no such column; {has}"
            f"{did_you_mean(column, columns)}"
        )
    return found


def _some(dataset: Dataset) -> list[range]:
    return [range(at, min(at + _MANY, dataset.num_records)) for at in range(0, dataset.num_records, _MANY)]
