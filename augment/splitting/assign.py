"""Assignment of records to splits: by class and by group, and almost unchanged when a few records are added.

Every unit (a record, or a group that stays together) has a place on a line, drawn from the seed and its name alone. In
each class the units are in the order of their places, and the line is cut by the numbers of records: first test, then
validation, then training. A unit that lies across a cut goes where its middle is. So a record that is added pushes one
or two others over a cut, and leaves the rest alone. Groups that are larger than validation or test should be are not on
the line but in training, as long as there is room for them.

Where groups are large the numbers cannot be met; then single moves and exchanges of units bring them as near as these
can, in each class and then in all of them together (each step is the one that lowers the sum of squared differences
most). A group belongs to the class that most of its records have, of equals to the rarest. Classes of fewer units than
splits are put together and divided as one.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from augment import address
from augment.errors import DatasetError
from augment.splitting.ratios import Ratios, table


def places(seed: int, keys: Sequence[str], groups: Sequence[str | None]) -> NDArray[np.uint64]:
    """Where each record stands on the line: uint64, equal for records of one group."""
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
    """The split of each record, as its place in ``ratios.names``: int64 (N,).

    ``units`` are numbers from 0, ``classes`` any numbers, ``where`` the records' places; all (N,).

    Raises DatasetError where there are fewer units than splits, CallError where there are fewer records.
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
    """The class of each unit; one number for all classes of too few units."""
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
    """The split of each unit of one class; units come in the order of their places."""
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
    """Give every split that should have records of this class a unit of it, where there are enough."""
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
    """Move and exchange units while that lowers the sum of squared differences from what is wanted.

    Of units of one size those move whose class (``rows``, of which ``wanted_by_row`` tells what each split should have)
    gains most. The sum falls with each step and is a whole number, so this ends; no split loses its last unit.
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
    """The best move or exchange between two splits that differ by ``gap`` from what is wanted; None where none helps.

    What it changes (below 0), the two splits, the size of the unit that goes and of the one that comes (0: none).
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
    """No split is empty: each has a unit at least, taken from the one with the most."""
    order = np.argsort(unit_places, kind="stable")
    ordered = chosen[order]
    for split in range(num_splits):
        if not (ordered == split).any():
            _take_smallest(ordered, sizes[order], split, num_splits)
    chosen[order] = ordered


def _take_smallest(chosen: NDArray[np.int64], sizes: NDArray[np.int64], split: int, num_splits: int) -> None:
    """The smallest unit of the split that has the most units goes to ``split``; of equals the first."""
    source = int(np.bincount(chosen, minlength=num_splits).argmax())
    candidates = np.flatnonzero(chosen == source)
    chosen[candidates[sizes[candidates].argmin()]] = split
