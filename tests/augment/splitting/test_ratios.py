"""Default shares by size, and whole numbers that add up."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.errors import CallError
from augment.splitting import ratios as apportion
from augment.splitting.ratios import WHOLE, default_ratios, parse_ratios

RATIOS = st.sampled_from(["60,20,20", "70,30", "98,1,1", "99.5,0.25,0.25", "34,33,33"]).map(parse_ratios)


@pytest.mark.parametrize(
    ("number", "with_validation", "without"),
    [
        (1, "60/20/20", "70/30"),
        (10_000, "60/20/20", "70/30"),
        (1_000_000, "98/1/1", "99/1"),
        (10_000_000, "99.5/0.25/0.25", "99.75/0.25"),
        (10**10, "99.5/0.25/0.25", "99.75/0.25"),
    ],
)
def test_default_ratios_are_the_fields_at_its_sizes(number: int, with_validation: str, without: str) -> None:
    assert str(default_ratios(number)) == with_validation
    assert str(default_ratios(number, validation=False)) == without


def test_default_ratios_between_two_sizes_are_geometric_means() -> None:
    assert default_ratios(100_000).percents[1] == pytest.approx((20 * 1) ** 0.5, abs=1e-5)
    assert default_ratios(100_000, validation=False).percents[1] == pytest.approx(30**0.5, abs=1e-5)


@given(st.integers(1, 10**8), st.integers(0, 10**7), st.booleans())
def test_default_ratios_hold_out_a_falling_share_and_a_rising_number(number: int, more: int, validation: bool) -> None:
    fewer, larger = (default_ratios(n, validation=validation) for n in (number, number + more))
    assert larger.shares[1] <= fewer.shares[1]
    # the share is rounded to a part of WHOLE, which is at most half a part of all records
    assert larger.shares[1] * (number + more) >= fewer.shares[1] * number - (number + more)
    assert sum(fewer.shares) == WHOLE


@pytest.mark.parametrize("text", ["", "60", "60,20", "60,20,10", "0,50,50", "-10,60,50", "a,b", "1/0,1", "50,20,20,10"])
def test_ratios_that_do_not_add_up_are_refused(text: str) -> None:
    with pytest.raises(CallError, match="add up to 100"):
        parse_ratios(text)


def test_ratios_may_be_fractions_of_one() -> None:
    assert parse_ratios("0.6,0.2,0.2") == parse_ratios("60, 20, 20")
    assert parse_ratios("99.5,.25,.25").percents == (99.5, 0.25, 0.25)


@given(st.integers(3, 10**6), RATIOS)
def test_totals_are_the_shares_by_largest_remainder(number: int, ratios: apportion.Ratios) -> None:
    parts = apportion.totals(number, ratios.shares)
    assert sum(parts) == number
    assert min(parts) >= 1
    floors = [number * share // WHOLE for share in ratios.shares]
    if min(floors) >= 1:
        assert all(0 <= part - floor <= 1 for part, floor in zip(parts, floors, strict=True))


def test_totals_of_three_records_have_one_for_each() -> None:
    assert apportion.totals(3, parse_ratios("98,1,1").shares) == [1, 1, 1]
    with pytest.raises(CallError, match="2 records cannot be divided into 3 splits"):
        apportion.totals(2, parse_ratios("98,1,1").shares)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=30).filter(lambda sizes: sum(sizes) >= 3), RATIOS)
def test_table_adds_up_in_rows_and_columns(sizes: list[int], ratios: apportion.Ratios) -> None:
    table = apportion.table(sizes, ratios.shares)
    assert table.sum(axis=1).tolist() == sizes
    assert table.sum(axis=0).tolist() == apportion.totals(sum(sizes), ratios.shares)
    assert table.min() >= 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3).filter(lambda sizes: sum(sizes) >= 3), RATIOS)
def test_table_is_as_near_to_the_exact_shares_as_any(sizes: list[int], ratios: apportion.Ratios) -> None:
    columns = apportion.totals(sum(sizes), ratios.shares)
    exact = [[Fraction(size * share, WHOLE) for share in ratios.shares] for size in sizes]

    def distance(rows: object) -> Fraction:
        cells = np.array(rows, object)
        return Fraction(((cells - np.array(exact, object)) ** 2).sum())

    rows = [
        [row for row in itertools.product(range(size + 1), repeat=len(columns)) if sum(row) == size] for size in sizes
    ]
    possible = (
        table for table in itertools.product(*rows) if [sum(column) for column in zip(*table, strict=True)] == columns
    )
    assert distance(apportion.table(sizes, ratios.shares).tolist()) == min(map(distance, possible))
