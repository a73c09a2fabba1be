"""Random choices over many draws: the requested frequencies, and no correlations."""

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from augment.pipelines.spec import Node
from augment.samples.sample import Sample
from augment.transforms import catalogue
from tests.augment.transforms.catalogue_cases import compiled, node, noise_image

NUM_DRAWS = 10_000
ALPHA = 1e-6
"""Chance of a false alarm for each test; addresses are fixed, so a test that passes once passes always."""


def choices(nodes: tuple[Node, ...], num_draws: int = NUM_DRAWS) -> list[Counter[str]]:
    """Count which transforms were applied at each of so many addresses."""
    transform = compiled(*nodes)
    given = Sample(noise_image(4, 4))
    return [
        Counter(one.name for one in transform(given, seed=0, draw=draw % 100, view=0, key=str(draw // 100))[1])
        for draw in range(num_draws)
    ]


def test_two_flips_give_four_outcomes_a_quarter_each() -> None:
    outcomes = Counter(
        (bool(found["HorizontalFlip"]), bool(found["VerticalFlip"]))
        for found in choices((node("HorizontalFlip", p=0.5), node("VerticalFlip", p=0.5)))
    )
    assert len(outcomes) == 4
    assert stats.chisquare(list(outcomes.values())).pvalue > ALPHA


TEN = (
    "HorizontalFlip",
    "VerticalFlip",
    "Transpose",
    "InvertImg",
    "ToGray",
    "ToSepia",
    "Solarize",
    "Posterize",
    "RandomGamma",
    "ChannelShuffle",
)


def assert_uncorrelated(applied: np.ndarray, expected: float) -> None:
    """Check that each column is applied as often as it should be, and that no two depend on one another.

    Under independence the phi coefficient of two columns times the square root of the number of draws is standard
    normal, and the frequency of a column binomial. Both are bounded at ALPHA, shared among all tests.
    """
    num_draws, num_columns = applied.shape
    num_tests = num_columns * (num_columns + 1) // 2
    bound = stats.norm.isf(ALPHA / num_tests / 2)
    deviation = np.sqrt(expected * (1 - expected) / num_draws)
    assert (np.abs(applied.mean(axis=0) - expected) < bound * deviation).all()
    correlation = np.corrcoef(applied, rowvar=False) - np.eye(num_columns)
    assert (np.abs(correlation) < bound / np.sqrt(num_draws)).all()


def as_matrix(found: list[Counter[str]], names: tuple[str, ...]) -> np.ndarray:
    return np.array([[bool(one[name]) for name in names] for one in found], dtype=np.float64)


def test_no_two_choices_of_ten_transforms_correlate() -> None:
    found = choices(tuple(node(name, p=0.5) for name in TEN))
    assert_uncorrelated(as_matrix(found, TEN), 0.5)


def test_no_two_choices_correlate_between_sequences() -> None:
    pairs = [
        Node("Sequential", catalogue.fill("Sequential", {"p": 1}), tuple(node(name, p=0.5) for name in names))
        for names in (TEN[:3], TEN[3:6], TEN[6:10])
    ]
    found = choices(tuple(pairs))
    assert_uncorrelated(as_matrix(found, TEN), 0.5)


def test_one_of_chooses_by_weight_and_independently_of_the_next() -> None:
    weights = {"InvertImg": 1.0, "ToGray": 0.5, "ToSepia": 0.5}
    one_of = Node("OneOf", catalogue.fill("OneOf", {"p": 0.5}), tuple(node(name, p=p) for name, p in weights.items()))
    other = Node("OneOf", catalogue.fill("OneOf", {"p": 1}), tuple(node(name, p=1) for name in TEN[:2]))
    found = choices((one_of, other))
    assert all(sum(one.values()) <= 2 for one in found)
    outcomes = Counter((next((name for name in weights if one[name]), ""), bool(one[TEN[0]])) for one in found)
    expected = {"": 0.5, "InvertImg": 0.25, "ToGray": 0.125, "ToSepia": 0.125}
    places = [(name, flipped) for name in expected for flipped in (False, True)]
    observed = [outcomes[place] for place in places]
    assert sum(observed) == NUM_DRAWS
    assert stats.chisquare(observed, [expected[name] / 2 * NUM_DRAWS for name, _ in places]).pvalue > ALPHA


@pytest.mark.parametrize("container", ["SomeOf", "RandomOrder"])
def test_some_of_chooses_every_subset_alike_and_applies_each_by_its_own_p(container: str) -> None:
    names = TEN[:4]
    params = catalogue.fill(container, {"n": 2, "p": 1})
    subsets = list(itertools.combinations(names, 2))
    chosen = choices((Node(container, params, tuple(node(name, p=1) for name in names)),))
    observed = Counter(frozenset(one) for one in chosen)
    assert stats.chisquare([observed[frozenset(subset)] for subset in subsets]).pvalue > ALPHA
    halved = choices((Node(container, params, tuple(node(name, p=0.5) for name in names)),))
    counts = Counter(sum(one.values()) for one in halved)
    assert stats.chisquare([counts[k] for k in range(3)], [NUM_DRAWS * q for q in (0.25, 0.5, 0.25)]).pvalue > ALPHA


def test_one_or_other_applies_exactly_one() -> None:
    children = (node("HorizontalFlip", p=0.1), node("VerticalFlip", p=0.1))
    found = choices((Node("OneOrOther", catalogue.fill("OneOrOther", {"p": 0.3}), children),))
    assert all(sum(one.values()) == 1 for one in found)
    first = sum(one["HorizontalFlip"] for one in found)
    assert stats.binomtest(first, NUM_DRAWS, 0.3).pvalue > ALPHA


def test_drawn_values_do_not_depend_on_whether_another_was_applied() -> None:
    transform = compiled(node("RandomGamma", p=0.5), node("RandomShiftScale", p=1))
    given = Sample(noise_image(4, 4))
    factors: dict[bool, list[float]] = {False: [], True: []}
    for draw in range(2_000):
        _, found, *_ = transform(given, seed=0, draw=draw, view=0, key="k")
        factor = found[-1].params["factor"]
        assert isinstance(factor, float)
        factors[len(found) == 2].append(factor)
    assert stats.ks_2samp(factors[False], factors[True]).pvalue > ALPHA
    assert stats.kstest(factors[False] + factors[True], stats.uniform(0.9, 0.2).cdf).pvalue > ALPHA
