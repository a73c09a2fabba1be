"""Assignment of records to splits."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from augment.errors import DatasetError
from augment.splitting import assign as assignment
from augment.splitting import divide, ratios

NO_PAIRS = np.empty((0, 2), np.int64)
RATIOS = ratios.parse_ratios("60,20,20")


def assign(
    keys: list[str], classes: list[int], groups: Sequence[str | None] | None = None, *, seed: int = 0
) -> NDArray[np.int64]:
    named = groups or [None] * len(keys)
    units = divide.together(len(keys), named, NO_PAIRS)
    return assignment.assign(units, np.array(classes), assignment.places(seed, keys, named), RATIOS)


@given(st.lists(st.integers(0, 4), min_size=15, max_size=300))
@settings(max_examples=60, deadline=None)
def test_numbers_are_exact_in_all_and_near_in_each_class(classes: list[int]) -> None:
    keys = [f"{i}" for i in range(len(classes))]
    assigned = assign(keys, classes)
    assert np.bincount(assigned).tolist() == ratios.totals(len(keys), RATIOS.shares)
    for number in set(classes):
        mine = np.bincount(assigned[np.array(classes) == number], minlength=3)
        if mine.sum() >= 3:
            assert (np.abs(mine - mine.sum() * np.array([0.6, 0.2, 0.2])) < 2).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=3, max_size=200))
@settings(max_examples=60, deadline=None)
def test_groups_never_straddle_and_no_split_is_empty(rows: list[tuple[int, int]]) -> None:
    groups: list[str | None] = [f"g{group}" if group else None for _, group in rows]
    keys = [f"{i}" for i in range(len(rows))]
    num_units = len({group or key for group, key in zip(groups, keys, strict=True)})
    if num_units < 3:
        with pytest.raises(DatasetError, match="too few for the 3 splits"):
            assign(keys, [each for each, _ in rows], groups)
        return
    assigned = assign(keys, [each for each, _ in rows], groups)
    for group in set(groups) - {None}:
        assert len({int(split) for split, name in zip(assigned, groups, strict=True) if name == group}) == 1
    assert set(assigned.tolist()) == {0, 1, 2}


@given(st.integers(0, 2**32), st.integers(1, 10))
@settings(max_examples=30, deadline=None)
def test_ten_more_records_move_few_others(seed: int, num_classes: int) -> None:
    generator = np.random.default_rng(seed)
    classes = generator.integers(0, num_classes, 1010).tolist()
    keys = [f"{i}" for i in range(1010)]
    before, after = assign(keys[:1000], classes[:1000], seed=seed), assign(keys, classes, seed=seed)
    # ten records shift two cuts by ten places in all, and each class rounds by itself
    assert np.count_nonzero(before != after[:1000]) <= 20 + 2 * num_classes


def test_assignment_follows_from_keys_and_not_from_their_order() -> None:
    keys = [f"{i}" for i in range(100)]
    order = np.random.default_rng(0).permutation(100)
    assigned = assign(keys, [0] * 100)
    assert (assign([keys[i] for i in order], [0] * 100) == assigned[order]).all()
    assert (assign(keys, [0] * 100, seed=1) != assigned).any()


def test_groups_of_singles_and_large_ones_meet_the_numbers() -> None:
    groups: list[str | None] = ["a"] * 30 + ["b"] * 25 + [None] * 45
    assigned = assign([f"{i}" for i in range(100)], [0] * 100, groups)
    assert np.bincount(assigned).tolist() == [60, 20, 20]


def test_three_groups_go_one_to_each_split_and_the_largest_to_training() -> None:
    for seed in range(20):
        assigned = assign([f"{i}" for i in range(100)], [0] * 100, ["a"] * 40 + ["b"] * 30 + ["c"] * 30, seed=seed)
        assert np.bincount(assigned).tolist() == [40, 30, 30]


def test_class_of_one_group_is_divided_with_others_of_its_kind() -> None:
    """Class folders are groups here: no class can be in every split, but every split has records."""
    classes = [i // 10 for i in range(100)]
    assigned = assign([f"{i}" for i in range(100)], classes, [f"class {each}" for each in classes])
    assert np.bincount(assigned).tolist() == [60, 20, 20]


def test_group_belongs_to_the_class_that_most_of_its_records_have() -> None:
    classes = ([0] * 3 + [1]) * 20 + [1] * 60
    groups: list[str | None] = [f"g{i // 4}" for i in range(80)] + [None] * 60
    assigned = assign([f"{i}" for i in range(140)], classes, groups)
    mixed = np.bincount(assigned[:80]) / 4
    assert mixed.tolist() == [12, 4, 4]
