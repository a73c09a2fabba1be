"""Sizes of the splits: default shares by the dataset's size, and whole numbers that add up.

Shares are whole numbers out of ``WHOLE``, so that all arithmetic on them is exact.

The default share of validation and of test falls with the number of records. It follows the field's usual numbers,
which are all in Ng's lectures on structuring machine learning projects:

    up to 10,000      20 % each (60/20/20), without validation 30 % (70/30)
    1,000,000         1 % each (98/1/1), without validation 1 % (99/1)
    from 10,000,000   0.25 % each (99.5/0.25/0.25), without validation 0.25 %

Between two of these sizes the share's logarithm is linear in the logarithm of the number of records. As a dataset
grows, the share never rises and the number of records in validation and test never falls.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from augment.errors import CallError
from augment.validation import quoted

WHOLE = 100_000_000
"""Sum of all shares. One part is a millionth of a percent, so that shares hardly jump as a dataset grows."""

SPLITS = ("train", "val", "test")
"""Names of the folders, as most tools of the field expect them."""

_ANCHORS = ((10_000, 20.0, 30.0), (1_000_000, 1.0, 1.0), (10_000_000, 0.25, 0.25))
"""Number of records; percent of each of validation and test; percent of test without validation."""


@dataclass(frozen=True, slots=True)
class Ratios:
    """Splits, the training split first, and the share of each; the shares add up to ``WHOLE``."""

    names: tuple[str, ...]
    shares: tuple[int, ...]

    @property
    def percents(self) -> tuple[float, ...]:
        """Shares in percent, for people."""
        return tuple(100 * share / WHOLE for share in self.shares)

    def __str__(self) -> str:
        return "/".join(f"{percent:.4g}" for percent in self.percents)


def default_ratios(num_records: int, *, validation: bool = True) -> Ratios:
    """Return the default shares for a dataset of this size (see the module's docstring)."""
    each = round(_held_out(num_records, 1 if validation else 2) * WHOLE / 100)
    if validation:
        return Ratios(SPLITS, (WHOLE - 2 * each, each, each))
    return Ratios((SPLITS[0], SPLITS[2]), (WHOLE - each, each))


def parse_ratios(text: str) -> Ratios:
    """Parse ``60,20,20`` (training, validation, test) or ``70,30`` (training, test): percents, or fractions of 1.

    Raises CallError if they are not positive or do not add up.
    """
    try:
        shares = [Fraction(part.strip()) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        shares = []
    total = sum(shares)
    if len(shares) not in {2, 3} or min(shares) <= 0 or total not in {1, 100}:
        raise CallError(
            f"ratios is {quoted(text)}; give percents above 0 that add up to 100, for training, validation and test "
            "(60,20,20) or for training and test (70,30)"
        )
    numbers = [int(share * WHOLE / total) for share in shares[1:]]
    if min(numbers) < 1:
        raise CallError(f"ratios is {quoted(text)}; the least share is a millionth of a percent")
    names = SPLITS if len(shares) == 3 else (SPLITS[0], SPLITS[2])
    return Ratios(names, (WHOLE - sum(numbers), *numbers))


def _held_out(num_records: int, column: int) -> float:
    first, last = _ANCHORS[0], _ANCHORS[-1]
    if num_records <= first[0]:
        return float(first[column])
    for low, high in itertools.pairwise(_ANCHORS):
        if num_records < high[0]:
            way = math.log(num_records / low[0]) / math.log(high[0] / low[0])
            return float(low[column] * (high[column] / low[column]) ** way)
    return float(last[column])


def totals(num_records: int, shares: Sequence[int]) -> list[int]:
    """Return whole numbers in these shares (parts of ``WHOLE``) that add up to the number of records.

    The method is the largest remainder; the first of equal remainders wins. With enough records no number is 0: the
    largest gives one. Raises CallError if there are fewer records than shares.
    """
    if num_records < len(shares):
        raise CallError(
            f"{num_records} records cannot be divided into {len(shares)} splits; give one record at least for each"
        )
    parts = _largest_remainder(num_records, shares)
    for i, number in enumerate(parts):
        if not number:
            parts[parts.index(max(parts))] -= 1
            parts[i] = 1
    return parts


def table(sizes: Sequence[int], shares: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of records of each class in each split: int64 (classes, splits).

    Rows add up to ``sizes``, columns to ``totals`` of all records. The sum of the squared distances from the exact
    shares is the least possible. First each class is apportioned by largest remainder. Then records are moved, along
    the cheapest path of splits, from splits with too many to splits with too few. These are successive shortest paths,
    which are optimal for convex costs (Ahuja, Magnanti and Orlin, Network Flows, 1993, section 14.5). Raises CallError
    as ``totals`` does.
    """
    columns = np.array(totals(sum(sizes), shares), np.int64)
    numbers = np.array([_largest_remainder(size, shares) for size in sizes], np.int64).reshape(-1, len(shares))
    exact = np.array(sizes, np.int64)[:, np.newaxis] * np.array(shares, np.int64)
    while (surplus := numbers.sum(axis=0) - columns).any():
        for row, source, target in _cheapest_way(numbers, numbers * WHOLE - exact, surplus):
            numbers[row, source] -= 1
            numbers[row, target] += 1
    return numbers


def _largest_remainder(number: int, shares: Sequence[int]) -> list[int]:
    parts = [number * share // WHOLE for share in shares]
    remainders = [number * share % WHOLE for share in shares]
    for i in sorted(range(len(shares)), key=lambda i: -remainders[i])[: number - sum(parts)]:
        parts[i] += 1
    return parts


def _cheapest_way(
    numbers: NDArray[np.int64], error: NDArray[np.int64], surplus: NDArray[np.int64]
) -> list[tuple[int, int, int]]:
    """Return the moves (row, from, to) that take one record from a split with too many to one with too few."""
    num_splits = len(surplus)
    moves: dict[tuple[int, int], tuple[int, int]] = {}
    for source in range(num_splits):
        movable = numbers[:, source] > 0
        for target in range(num_splits):
            if source != target and movable.any():
                costs = np.where(movable, error[:, target] - error[:, source], np.iinfo(np.int64).max)
                row = int(costs.argmin())
                moves[source, target] = int(costs[row]) + WHOLE, row
    least: dict[int, tuple[int, tuple[tuple[int, int], ...]]] = {
        source: (0, ()) for source in range(num_splits) if surplus[source] > 0
    }
    for _ in range(num_splits - 1):  # Bellman-Ford, because single moves may have negative costs; no cycle has
        for (source, target), (cost, _row) in moves.items():
            if source in least and (target not in least or least[source][0] + cost < least[target][0]):
                least[target] = least[source][0] + cost, (*least[source][1], (source, target))
    _, way = min(least[target] for target in range(num_splits) if surplus[target] < 0 and target in least)
    return [(moves[step][1], *step) for step in way]
