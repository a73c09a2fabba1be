"""Assignment of records to splits: by class and by group, and almost unchanged when a few records are added.

Every unit (a record, or a group that stays together) has a position on a line, drawn from the seed and its name alone.
The units of each class are sorted by position, and the line is cut by the numbers of records: first test, then
validation, then training. A unit that crosses a cut goes to the side of its middle. An added record therefore pushes at
most a few others over a cut. Groups larger than validation or test should be are not on the line. They go to training,
as long as it has room.

Large groups can make the exact numbers impossible. Then single moves and exchanges of units bring the numbers as close
as possible, in each class and then overall. Each step is the one that lowers the sum of squared differences most. A
group belongs to the class of most of its records, or to the rarest of equals. Classes with fewer units than splits are
merged and divided as one.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from augment import address
from augment.errors import DatasetError
from augment.splitting.ratios import Ratios, table


def places(seed: int, keys: Sequence[str], groups: Sequence[str | None]) -> NDArray[np.uint64]:
    """Return the position of each record on the line: uint64, equal for records of one group."""
    drawn: dict[str, bytes] = {}
    found = []
    for key, group in zip(keys, groups, strict=True):
        if group is None:
            found.append(_draw(seed, "key", key))
        else:
            found.append(drawn.get(group) or drawn.setdefault(group, _draw(seed, "group", group)))
    return np.frombuffer(b"".join(found), ">u8").astype(np.uint64)


def assign(
    units: NDArray[np.int64], classes: NDArray[np.int64], where: NDArray[np.uint64], ratios: Ratios
) -> NDArray[np.int64]:
    """Return the split of each record, as an index into ``ratios.names``: int64 (N,).

    ``units`` are numbers from 0, ``classes`` any numbers, ``where`` the records' positions; all (N,).

    Raises DatasetError if there are fewer units than splits, CallError if there are fewer records.
    """
    num_units = int(units.max()) + 1
    num_splits = len(ratios.names)
    if len(units) >= num_splits > num_units:
        raise DatasetError(
            f"the records belong to {num_units} {'group' if num_units == 1 else 'groups'}, too few for the {num_splits}"
            f" splits {', '.join(ratios.names)}; divide by smaller groups, or into fewer splits"
        )
    sizes = np.bincount(units, minlength=num_units)
    unit_places = np.full(num_units, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(unit_places, units, where)
    strata = _strata(units, classes, sizes, num_splits)
    rows, row_of = np.unique(strata, return_inverse=True)
    wanted = table(np.bincount(row_of, sizes).astype(np.int64).tolist(), ratios.shares)
    chosen = np.zeros(num_units, np.int64)
    order = np.lexsort((np.arange(num_units), unit_places, row_of))
    for row, members in enumerate(np.split(order, np.cumsum(np.bincount(row_of))[:-1])):
        assert row < len(rows)  # noqa: S101 - every row has units
        chosen[members] = _cut(sizes[members], wanted[row])
    _fill_empty(chosen, sizes, unit_places, num_splits)
    ordered, by_class = chosen[order], row_of[order]
    _repair(ordered, sizes[order], wanted.sum(axis=0), by_class, wanted)
    chosen[order] = ordered
    return chosen[units]


def _draw(seed: int, what: str, name: str) -> bytes:
    return address.digest_fields((seed, what, name), person=b"augment.split")[:8]


def _strata(
    units: NDArray[np.int64], classes: NDArray[np.int64], sizes: NDArray[np.int64], num_splits: int
) -> NDArray[np.int64]:
    """Return the class of each unit; all classes with too few units share one number."""
    _, numbered, frequency = np.unique(classes, return_inverse=True, return_counts=True)
    of_unit = np.zeros(len(sizes), np.int64)
    of_unit[units] = numbered
    several = np.flatnonzero(sizes[units] > 1)
    members: dict[int, Counter[int]] = {}
    for unit, number in zip(units[several].tolist(), numbered[several].tolist(), strict=True):
        members.setdefault(unit, Counter())[number] += 1
    for unit, counts in members.items():
        of_unit[unit] = min(counts, key=lambda each: (-counts[each], frequency[each], each))
    few = np.bincount(of_unit, minlength=len(frequency)) < num_splits
    return np.where(few[of_unit], len(frequency), of_unit)


def _cut(sizes: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the split of each unit of one class; the units are sorted by position."""
    chosen = np.zeros(len(sizes), np.int64)
    large = sizes > max(int(wanted[1:].min()), 1)
    large[large] = np.cumsum(sizes[large]) <= wanted[0]
    rest = ~large
    stops = np.cumsum(wanted[::-1])  # test, validation, training
    twice_middle = 2 * np.cumsum(sizes[rest]) - sizes[rest]
    chosen[rest] = np.maximum(len(wanted) - 1 - np.searchsorted(2 * stops, twice_middle, side="right"), 0)
    if sizes.max() > 1:
        _populate(chosen, sizes, wanted)
        _repair(chosen, sizes, wanted, np.zeros(len(sizes), np.int64), wanted[np.newaxis])
    return chosen


def _populate(chosen: NDArray[np.int64], sizes: NDArray[np.int64], wanted: NDArray[np.int64]) -> None:
    """Give every split that should have records of this class at least one unit, if there are enough."""
    if len(sizes) < np.count_nonzero(wanted):
        return
    for split in np.flatnonzero(wanted):
        if not (chosen == split).any():
            _take_smallest(chosen, sizes, int(split), len(wanted))


def _repair(
    chosen: NDArray[np.int64],
    sizes: NDArray[np.int64],
    wanted: NDArray[np.int64],
    rows: NDArray[np.int64],
    wanted_by_row: NDArray[np.int64],
) -> None:
    """Move and exchange units while that lowers the sum of squared differences from the wanted numbers.

    Among units of one size, those move whose class gains most. ``rows`` are the units' classes, ``wanted_by_row`` has
    the wanted number of each class and split. The sum is a whole number that falls with each step, so the loop ends. No
    split loses its last unit.
    """
    num_splits = len(wanted)
    while True:
        excess = np.bincount(chosen, sizes, num_splits).astype(np.int64) - wanted
        steps = [
            step
            for source in range(num_splits)
            for target in range(num_splits)
            if excess[source] - excess[target] > 1
            if (step := _step(chosen, sizes, source, target, int(excess[source] - excess[target]))) is not None
        ]
        if not steps:
            return
        _, source, target, size, back = min(steps)
        cells = np.bincount(rows * num_splits + chosen, sizes, len(wanted_by_row) * num_splits)
        slack = cells.reshape(-1, num_splits) - wanted_by_row
        gain = (slack[:, source] - slack[:, target])[rows]
        leaving = np.flatnonzero((chosen == source) & (sizes == size))
        coming = np.flatnonzero((chosen == target) & (sizes == back))
        chosen[leaving[::-1][gain[leaving[::-1]].argmax()]] = target
        if back:
            chosen[coming[gain[coming].argmin()]] = source


def _step(
    chosen: NDArray[np.int64], sizes: NDArray[np.int64], source: int, target: int, gap: int
) -> tuple[int, int, int, int, int] | None:
    """Return the best move or exchange between two splits that differ by ``gap`` from the wanted numbers, or None.

    The tuple holds the change of the sum (below 0), the two splits, the size of the unit that leaves and of the one
    that comes in exchange (0 if none).
    """
    given = np.unique(sizes[chosen == source])
    taken = np.unique(np.append(sizes[chosen == target], 0))
    if np.count_nonzero(chosen == source) == 1:
        taken = taken[1:]
    if not len(given) or not len(taken):
        return None
    net = given[:, np.newaxis] - taken
    gain = np.where(net > 0, net * (net - gap), 0)
    i, k = np.unravel_index(int(gain.argmin()), gain.shape)
    return (int(gain[i, k]), source, target, int(given[i]), int(taken[k])) if gain[i, k] < 0 else None


def _fill_empty(
    chosen: NDArray[np.int64], sizes: NDArray[np.int64], unit_places: NDArray[np.uint64], num_splits: int
) -> None:
    """Give each empty split one unit from the split with the most units."""
    order = np.argsort(unit_places, kind="stable")
    ordered = chosen[order]
    for split in range(num_splits):
        if not (ordered == split).any():
            _take_smallest(ordered, sizes[order], split, num_splits)
    chosen[order] = ordered


def _take_smallest(chosen: NDArray[np.int64], sizes: NDArray[np.int64], split: int, num_splits: int) -> None:
    """Move the smallest unit of the split with the most units to ``split``; of equals the first."""
    source = int(np.bincount(chosen, minlength=num_splits).argmax())
    candidates = np.flatnonzero(chosen == source)
    chosen[candidates[sizes[candidates].argmin()]] = split
