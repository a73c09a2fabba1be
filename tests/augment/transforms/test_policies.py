"""Draws of policies as in their papers: operations, frequencies and strengths."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from augment.errors import PipelineError, RecordError
from augment.pipelines.spec import PipelineSpec
from augment.render.pipeline import Pipeline
from augment.samples.sample import Sample
from augment.transforms import sizes
from augment.transforms.catalogue import catalogue
from augment.transforms.families.policy import SUB_POLICIES
from augment.transforms.policies import operations
from augment.transforms.policies.operations import AUTO, COLOURS, GEOMETRIC, MIX, MIX_ALL, RAND, TRIVIAL_WIDE, Space
from augment.transforms.policies.policy import applied
from augment.transforms.resolve import resolve
from tests.augment.transforms.catalogue_cases import POLICIES, compiled, node, noise_image, operations_of, sample

SHAPE = (40, 60)
ENHANCEMENTS = {"Brightness", "Color", "Contrast", "Sharpness"}


def drawn(name: str, num_draws: int, **params: Any) -> list[Mapping[str, Any]]:
    """Return a policy's draws at so many addresses, for an image of ``SHAPE``."""
    transform = compiled(node(name, **params))
    given = Sample(np.zeros((*SHAPE, 3), np.uint8))
    return [transform(given, seed=0, draw=i, view=0, key="k").applied[0].params for i in range(num_draws)]


def steps(name: str, num_draws: int, **params: Any) -> list[tuple[str, float | None]]:
    return [tuple(step) for one in drawn(name, num_draws, **params) for step in one["operations"]]


def assert_share(count: int, total: int, share: float) -> None:
    """Check to four and a half standard deviations: one test in a hundred thousand would fail by chance."""
    assert abs(count - total * share) <= 4.5 * math.sqrt(total * share * (1 - share)) + 1e-9, (count, total, share)


@pytest.mark.parametrize(("name", "space"), [("RandAugment", RAND), ("TrivialAugmentWide", TRIVIAL_WIDE)])
def test_operations_are_equally_likely(name: str, space: Space) -> None:
    found_steps = steps(name, 1_500)
    counts = Counter(step[0] for step in found_steps)
    assert set(counts) == set(space)
    assert len(space) == 14
    for count in counts.values():
        assert_share(count, len(found_steps), 1 / 14)


def test_rand_augment_draws_so_many_operations_of_one_strength() -> None:
    for one in drawn("RandAugment", 20, num_ops=3):
        assert len(one["operations"]) == 3
    for name, magnitude in steps("RandAugment", 300, magnitude=15):
        expected = RAND[name]
        if expected is not None:
            assert magnitude in {expected.at(0.5, SHAPE), expected.at(0.5, SHAPE, negative=True)}


def test_rand_augment_at_the_weakest_magnitude_changes_only_what_has_none() -> None:
    transform, image = compiled(node("RandAugment", magnitude=0)), noise_image(*SHAPE)
    for draw in range(60):
        made = transform(Sample(image), seed=0, draw=draw, view=0, key="k")
        names = {name for name, _ in operations_of(made.applied[0])}
        if not names & {"AutoContrast", "Equalize"}:
            assert np.array_equal(made.sample.image, image), names


def test_magnitude_beyond_the_last_bin_is_refused() -> None:
    with pytest.raises(PipelineError, match="magnitude is 31; with 31 bins it must be at most 30"):
        resolve([{"RandAugment": {"magnitude": 31}}])
    resolve([{"RandAugment": {"magnitude": 4, "num_magnitude_bins": 5}}])


@pytest.mark.parametrize("space", [AUTO, RAND, TRIVIAL_WIDE], ids=["auto", "rand", "trivial"])
def test_weakest_magnitude_changes_nothing(space: Space) -> None:
    for image in (noise_image(*SHAPE), np.full((*SHAPE, 3), 255, np.uint8)):
        for name, magnitudes in space.items():
            if magnitudes is not None:
                assert np.array_equal(applied(image, [(name, magnitudes.at(0, SHAPE))], 0, 0), image), name


STRONGEST = {
    "auto": (AUTO, {"ShearX": 0.3, "TranslateX": 27, "TranslateY": 18, "Rotate": 30, "Color": 1.9, "Posterize": 4}),
    "trivial": (TRIVIAL_WIDE, {"ShearX": 0.99, "TranslateX": 32, "Rotate": 135, "Color": 1.99, "Posterize": 2}),
    "mix": (MIX_ALL, {"ShearX": 0.3, "TranslateX": 20, "TranslateY": 13, "Rotate": 30, "Color": 1.9, "Posterize": 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", STRONGEST)
def test_strongest_magnitudes_are_those_of_the_papers(name: str) -> None:
    space, expected = STRONGEST[name]
    for operation, strongest in expected.items():
        magnitudes = space[operation]
        assert magnitudes is not None
        assert magnitudes.at(1, SHAPE) == pytest.approx(strongest), operation
        if magnitudes.signed:
            assert magnitudes.at(1, SHAPE, negative=True) == pytest.approx(2 * magnitudes.weakest - strongest)
    solarize = space["Solarize"]
    assert solarize is not None
    assert (solarize.at(0, SHAPE), solarize.at(1, SHAPE)) == (256, 0)


def test_trivial_augment_draws_every_magnitude_with_both_signs() -> None:
    rotations = {
        magnitude for name, magnitude in steps("TrivialAugmentWide", 1_200, num_magnitude_bins=4) if name == "Rotate"
    }
    assert rotations == {-135, -90, -45, 0, 45, 90, 135}
    bits = {magnitude for name, magnitude in steps("TrivialAugmentWide", 1_200) if name == "Posterize"}
    assert bits == {2, 3, 4, 5, 6, 7, 8}


def test_auto_augment_posterizes_as_published() -> None:
    posterize = AUTO["Posterize"]
    assert posterize is not None
    assert [posterize.at(level / 9, SHAPE) for level in range(10)] == [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]


@pytest.mark.parametrize("policy", SUB_POLICIES)
def test_auto_augment_applies_each_operation_as_often_as_its_table_says(policy: str) -> None:
    table = SUB_POLICIES[policy]
    assert len(table) == 25
    expected: dict[str, float] = defaultdict(float)
    for pair in table:
        for name, chance, level in pair:
            assert name in AUTO
            assert 0 <= level <= 9
            expected[name] += chance / 25
    num_draws = 800
    calls = drawn("AutoAugment", num_draws, policy=policy)
    assert max(len(call["operations"]) for call in calls) == 2
    counts = Counter(name for call in calls for name, _ in call["operations"])
    assert set(counts) == {name for name, share in expected.items() if share}
    for name, count in counts.items():
        assert abs(count - num_draws * expected[name]) <= 4.5 * math.sqrt(num_draws * expected[name]), name


def test_auto_augment_tables_are_the_papers() -> None:
    """First and last line of each, read by eye from tables 7 to 9."""
    assert SUB_POLICIES["cifar10"][0] == (("Invert", 0.1, 0), ("Contrast", 0.2, 6))
    assert SUB_POLICIES["cifar10"][-1] == (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0))
    assert SUB_POLICIES["svhn"][0] == (("ShearX", 0.9, 4), ("Invert", 0.2, 0))
    assert SUB_POLICIES["svhn"][-1] == (("ShearX", 0.7, 2), ("Invert", 0.1, 0))
    assert SUB_POLICIES["imagenet"][0] == (("Posterize", 0.4, 8), ("Rotate", 0.6, 9))
    assert SUB_POLICIES["imagenet"][-1] == (("Equalize", 0.8, 0), ("Equalize", 0.6, 0))


# ------------------------------------------------------------------------------------------------------------- AugMix


def test_aug_mix_weights_sum_to_one_and_depths_are_drawn() -> None:
    calls = drawn("AugMix", 400, mixture_width=4)
    depths: Counter[int] = Counter()
    for call in calls:
        assert len(call["weights"]) == 5
        assert sum(call["weights"]) == pytest.approx(1)
        assert min(call["weights"]) >= 0
        assert list(call["chains"]) == ["1", "2", "3", "4"]
        depths.update(len(chain) for chain in call["chains"].values())
    assert set(depths) == {1, 2, 3}
    for count in depths.values():
        assert_share(count, 1_600, 1 / 3)
    mean = np.mean([call["weights"] for call in calls], axis=0)
    assert mean[0] == pytest.approx(0.5, abs=0.07)  # Beta(1, 1)
    assert mean[1:] == pytest.approx(np.full(4, 0.125), abs=0.04)
    assert all(len(chain) == 5 for call in drawn("AugMix", 5, chain_depth=5) for chain in call["chains"].values())


@pytest.mark.parametrize("geometric", [True, False])
@pytest.mark.parametrize("all_ops", [True, False])
def test_aug_mix_draws_from_what_was_asked_for(geometric: bool, all_ops: bool) -> None:
    calls = drawn("AugMix", 250, geometric=geometric, all_ops=all_ops)
    chosen = [step for call in calls for chain in call["chains"].values() for step in chain]
    expected = {name for name in (MIX_ALL if all_ops else MIX) if geometric or name not in GEOMETRIC}
    counts = Counter(name for name, _ in chosen)
    assert set(counts) == expected
    assert bool(expected & ENHANCEMENTS) == all_ops
    for count in counts.values():
        assert_share(count, len(chosen), 1 / len(expected))
    assert all(abs(magnitude) <= 9 for name, magnitude in chosen if name == "Rotate")  # severity 3 of 10
    assert all(magnitude in {3, 4} for name, magnitude in chosen if name == "Posterize")


def test_aug_mix_is_the_mean_of_its_variants_by_their_weights() -> None:
    transform, image = compiled(node("AugMix", all_ops=True)), noise_image(*SHAPE)
    for draw in range(10):
        made = transform(Sample(image), seed=0, draw=draw, view=0, key="k")
        drawn_params: Mapping[str, Any] = made.applied[0].params
        variants = [image, *(applied(image, chain, 1, 0) for chain in drawn_params["chains"].values())]
        mean = np.tensordot(drawn_params["weights"], np.array(variants, float), axes=1)
        assert np.abs(made.sample.image - mean).max() <= 0.501


def test_aug_mix_refuses_targets_that_it_cannot_move_and_names_the_remedy() -> None:
    words = "`AugMix` moves pixels but cannot move boxes and mask, which the dataset has; set `geometric: false`"
    with pytest.raises(PipelineError, match=words):
        sizes.check_fits(resolve(["AugMix"]), 64, 64, frozenset({"mask", "boxes"}))
    with pytest.raises(RecordError, match="it moves pixels but cannot move boxes; set `geometric: false`"):
        compiled(node("AugMix"))(sample(), seed=0, draw=0, view=0, key="k")


def test_aug_mix_without_geometry_leaves_targets_where_they_are() -> None:
    alone = resolve([{"AugMix": {"geometric": False}}])
    beside = PipelineSpec((*alone.transforms, node("HorizontalFlip")))
    sizes.check_fits(beside, 64, 64, frozenset({"mask", "boxes", "keypoints"}))
    given = sample()
    for pipeline, expected in ((alone, given), (beside, Pipeline(PipelineSpec((node("HorizontalFlip"),)))(given))):
        made = Pipeline(pipeline)(given)
        for name in ("mask", "boxes", "keypoints"):
            assert np.array_equal(getattr(made, name), getattr(expected, name)), name


# ------------------------------------------------------------------------------------------------------ 3-Augment, all


def test_three_augment_does_one_of_three_equally_often() -> None:
    calls = steps("ThreeAugment", 900)
    counts = Counter(name for name, _ in calls)
    assert set(counts) == {"Grayscale", "Solarize", "GaussianBlur"}
    for count in counts.values():
        assert_share(count, 900, 1 / 3)
    sigmas = [magnitude for name, magnitude in calls if name == "GaussianBlur" and magnitude is not None]
    assert 0.1 <= min(sigmas) < 0.2
    assert 1.9 < max(sigmas) <= 2.0


def test_three_augment_answers_to_the_name_of_its_paper() -> None:
    alias = resolve([{"3-Augment": {"p": 0.5}}])
    assert alias.transforms[0].name == "ThreeAugment"
    assert alias.digest == resolve([{"ThreeAugment": {"p": 0.5}}]).digest
    with pytest.raises(PipelineError, match="ThreeAugment has no parameter 'q'"):
        resolve([{"3-Augment": {"q": 0.5}}])


@pytest.mark.parametrize("name", POLICIES)
def test_policy_survives_yaml_and_is_shown_with_what_it_drew(name: str) -> None:
    pipeline = Pipeline(resolve([name]))
    assert Pipeline.parse(pipeline.spec.to_yaml()).digest == pipeline.digest
    assert catalogue()[name].family == "policy"
    for one in drawn(name, 30):
        listed = [one["operations"]] if "operations" in one else list(one["chains"].values())
        for step, magnitude in (step for operations_ in listed for step in operations_):
            assert step in {*GEOMETRIC, *COLOURS, "Identity", "Grayscale", "GaussianBlur"}
            assert magnitude is None or math.isfinite(magnitude)


@pytest.mark.parametrize("name", ["RandAugment", "TrivialAugmentWide", "AutoAugment"])
def test_what_is_uncovered_has_the_colour_and_class_that_were_asked_for(name: str) -> None:
    params = {"policy": "svhn"} if name == "AutoAugment" else {}
    transform = compiled(node(name, fill=[9, 99, 199], fill_mask=7, **params))
    seen = 0
    for draw in range(40):
        given = Sample(np.full((*SHAPE, 3), 50, np.uint8), mask=np.ones(SHAPE, np.uint8))
        made = transform(given, seed=0, draw=draw, view=0, key="k")
        names = [step for step, _ in operations_of(made.applied[0])]
        assert made.sample.mask is not None
        uncovered = made.sample.mask == 7
        assert uncovered.any() <= bool(set(names) & set(GEOMETRIC))
        if uncovered.any() and not set(names) & set(COLOURS):
            assert (made.sample.image[uncovered] == (9, 99, 199)).all()
            assert (made.sample.image[~uncovered] == 50).all()
            seen += 1
    assert seen
    assert operations.matrix("TranslateX", 5, SHAPE)[0, 2] == 5
