"""Generators and order of an address: nothing leaks from one sample into the next, and an epoch's order is a
permutation.
"""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from augment.address import Address, digest_fields
from augment.chance import FISHER_YATES_MAX, Chance, EpochOrder
from augment.errors import CallError

seeds = st.integers(0, 2**64 - 1)


def draws(chance: Chance) -> tuple[object, ...]:
    numbers = chance.generator.random(3).tolist()
    return (*numbers, int(chance.generator.integers(0, 7)), chance.py_random.random(), chance.py_random.gauss(0, 1))


def disturb(chance: Chance, amount: int) -> None:
    """Leave the generators in a mixed state: half a 64-bit word, part of a buffer, a spare Gaussian."""
    for _ in range(amount):
        chance.generator.integers(0, 5, dtype=np.uint32)
        chance.generator.random()
        chance.py_random.gauss(0, 1)


@given(seeds, st.integers(0, 10**9), st.integers(0, 9), st.text(), st.integers(0, 9))
def test_chance_depends_on_the_address_alone(seed: int, draw: int, view: int, key: str, history: int) -> None:
    fresh, used = Chance(), Chance()
    disturb(used, history)
    fresh.reset(seed, draw, view, key)
    used.reset(seed, draw, view, key)
    assert draws(fresh) == draws(used)


def test_chance_leaves_global_generators_alone() -> None:
    np.random.seed(1)  # noqa: NPY002 - the global generator is what must stay untouched
    random.seed(1)
    before = (np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]  # noqa: NPY002
    chance = Chance()
    chance.reset(1, 2, 3, "a")
    draws(chance)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before  # type: ignore[index]  # noqa: NPY002


def test_chance_of_neighbouring_addresses_is_independent() -> None:
    chance = Chance()
    values: NDArray[np.float64] = np.empty((40, 40, 2))
    for seed in range(40):
        for draw in range(40):
            chance.reset(seed, draw, 0, "cat/1")
            values[seed, draw] = chance.generator.random(), chance.py_random.random()
    flat = values.reshape(-1, 2)
    assert stats.kstest(flat[:, 0], "uniform").pvalue > 1e-4
    assert stats.kstest(flat[:, 1], "uniform").pvalue > 1e-4
    assert abs(np.asarray(np.corrcoef(flat.T))[0, 1]) < 4 / np.sqrt(len(flat))
    assert abs(np.corrcoef(values[:-1, 1:, 0].ravel(), values[1:, :-1, 0].ravel())[0, 1]) < 4 / 39  # seed + draw equal


@given(
    st.lists(st.one_of(st.binary(), st.integers()), max_size=4),
    st.lists(st.one_of(st.binary(), st.integers()), max_size=4),
)
def test_digest_of_different_fields_differs(first: list[bytes | int], second: list[bytes | int]) -> None:
    def as_bytes(fields: list[bytes | int]) -> list[bytes]:
        return [field if isinstance(field, bytes) else str(field).encode() for field in fields]

    assert (digest_fields(first) == digest_fields(second)) == (as_bytes(first) == as_bytes(second))


def test_render_key_changes_with_every_part_of_the_address() -> None:
    address = Address("e", "r", "p", 1, 2, 3, "k")
    changes: list[dict[str, Any]] = [
        {"engine": "E"}, {"record": "R"}, {"pipeline": "P"}, {"seed": 9}, {"draw": 9}, {"view": 9}, {"key": "K"},
        {"seed": 2, "draw": 1}, {"engine": "r", "record": "e"},
    ]  # fmt: skip
    others = [replace(address, **change) for change in changes]
    assert len({address.render_key, *(other.render_key for other in others)}) == 1 + len(others)
    assert len(address.render_key) == 32


@given(st.integers(1, 3000) | st.integers(FISHER_YATES_MAX - 2, FISHER_YATES_MAX + 70_000), seeds, st.integers(0, 1000))
def test_order_is_a_permutation(num_records: int, seed: int, epoch: int) -> None:
    order = EpochOrder(num_records, seed, epoch).take(np.arange(num_records))
    assert np.array_equal(np.sort(order), np.arange(num_records))


@pytest.mark.parametrize("num_records", [1_000, 100_000])
def test_order_of_an_epoch_is_uniform_and_unlike_its_neighbours(num_records: int) -> None:
    positions = np.arange(num_records)
    orders = [EpochOrder(num_records, seed, epoch).take(positions) for seed in (0, 1) for epoch in (0, 1, 2)]
    for i, order in enumerate(orders):
        assert abs(stats.spearmanr(positions, order).statistic) < 4.5 / np.sqrt(num_records)
        assert abs(stats.spearmanr(order[:-1], order[1:]).statistic) < 4.5 / np.sqrt(num_records)
        for other in orders[:i]:
            assert abs(stats.spearmanr(order, other).statistic) < 4.5 / np.sqrt(num_records)
            assert (order == other).sum() < 12  # Poisson(1) in theory


def test_order_lands_each_record_everywhere_equally_often() -> None:
    num_records = FISHER_YATES_MAX + 5
    landed = np.concatenate([EpochOrder(num_records, 3, epoch).take(np.array([17])) for epoch in range(2_000)])
    assert stats.kstest(landed / num_records, "uniform").pvalue > 1e-4


def test_order_of_a_billion_starts_anywhere() -> None:
    order = EpochOrder(10**9, 7, 9)
    tail = order.take(np.arange(10**9 - 64, 10**9))
    assert len(set(tail.tolist())) == 64
    assert np.array_equal(order.take(np.array([10**9 - 1])), tail[-1:])


def test_order_without_shuffle_is_the_identity() -> None:
    assert EpochOrder(10, 1, 1, shuffle=False).take(np.arange(3, 7)).tolist() == [3, 4, 5, 6]


def test_order_refuses_what_is_outside() -> None:
    with pytest.raises(CallError, match="epoch is -1; it must be an integer in"):
        EpochOrder(10, 1, -1)
    with pytest.raises(CallError, match="at least one record"):
        EpochOrder(0, 1, 1)
    with pytest.raises(CallError, match=r"\[0, 10\)"):
        EpochOrder(10, 1, 1).take(np.array([10]))
