"""Quick noise against the original: the same draws of the call, and the same distribution of pixels."""

import hashlib
from typing import Any

import numpy as np
import pytest
from scipy import stats
from skimage import data

from augment.samples.sample import Sample
from augment.transforms import catalogue
from augment.transforms.albumentations_import import A
from augment.transforms.families import noise
from augment.transforms.families.noise import normals, poissons, quantiles, whole_normals
from tests.augment.transforms.catalogue_cases import compiled, node, noise_image

# ------------------------------------------------------------------------------------------------------ normal numbers


def test_quantiles_are_the_same_on_every_machine() -> None:
    assert hashlib.sha256(quantiles().astype("<f4").tobytes()).hexdigest()[:16] == "1cfbba1e07e34386"


def test_quantiles_are_normal() -> None:
    values = quantiles().astype(np.float64)
    assert values.mean() == pytest.approx(0, abs=1e-6)
    assert values.std() == pytest.approx(1, abs=2e-5)
    assert np.array_equal(values, -values[::-1])
    assert stats.kstest(values, "norm").statistic < 1e-5


def test_normal_numbers_are_independent_of_one_another() -> None:
    numbers = normals((1 << 20,), 3, mean=0, std=1).astype(np.float64)
    bound = 5 / np.sqrt(len(numbers))
    assert abs(numbers.mean()) < bound
    for lag in (1, 2, 3, 4, 224, 672):
        assert abs((numbers[lag:] * numbers[:-lag]).mean()) < bound
        assert abs(((numbers[lag:] ** 2 - 1) * (numbers[:-lag] ** 2 - 1)).mean()) < 2 * bound


def test_numbers_are_a_function_of_the_seed_however_many_are_drawn() -> None:
    many = whole_normals((300, 300, 3), 9, mean=-3.2, std=51.7).ravel()
    for count in (1, 2, 3, 4, 5, 1_000, 65_535, 65_536, 65_537):
        assert np.array_equal(whole_normals((count,), 9, mean=-3.2, std=51.7), many[:count])
    assert np.array_equal(np.trunc(normals((300, 300, 3), 9, mean=-3.2, std=51.7)).ravel(), many)
    assert not np.array_equal(whole_normals((1_000,), 10, mean=-3.2, std=51.7), many[:1_000])


@pytest.mark.parametrize("std", [1.0, 12.75, 112.2])
def test_whole_levels_have_the_probabilities_of_a_normal_number_between_them(std: float) -> None:
    levels = whole_normals((1 << 20,), 5, mean=2.3, std=std)
    low, high = int(2.3 - 3 * std), int(2.3 + 3 * std)  # what lies beyond counts for these
    between = np.concatenate([np.arange(low, 0), np.arange(1, high + 1)])  # level 0 is all between -1 and 1
    expected = np.diff(np.concatenate([[0.0], stats.norm(2.3, std).cdf(between), [1.0]])) * len(levels)
    seen = np.bincount(np.clip(levels, low, high) - low, minlength=len(expected))
    assert stats.chisquare(seen, expected, sum_check=False).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.0, 0.003, 0.1, 1.0, 7.3, 50.0])
def test_poisson_numbers_have_their_probabilities(rate: float) -> None:
    numbers = poissons((1 << 18,), 5, rate=rate)
    assert numbers.dtype == np.float32
    bound = 5 * np.sqrt(rate / len(numbers)) + 1e-4
    assert abs(numbers.mean() - rate) < bound
    counts = np.arange(int(rate + 4 * np.sqrt(rate)) + 1)
    seen = (numbers[:, np.newaxis] <= counts).mean(axis=0)
    assert np.abs(seen - stats.poisson(rate).cdf(counts)).max() < 5 * np.sqrt(0.25 / len(numbers))


# ---------------------------------------------------------------------------------------------------------- GaussNoise

CASES: list[dict[str, Any]] = [
    {"std_range": (0.05, 0.05), "mean_range": (0.0, 0.0)},
    {"std_range": (0.3, 0.3), "mean_range": (-0.1, -0.1)},
    {"std_range": (0.1, 0.1), "mean_range": (0.05, 0.05), "per_channel": False},
    {"std_range": (0.1, 0.1), "noise_scale_factor": 0.5},
    {"std_range": (0.1, 0.1), "noise_scale_factor": 0.3, "per_channel": False},
]
NUM_IMAGES = 12


def noisy(cls: Any, image: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    transform = cls(p=1, **params)
    transform.set_random_seed(17)
    return np.stack([transform(image=image)["image"] for _ in range(NUM_IMAGES)])


@pytest.mark.parametrize("params", CASES)
@pytest.mark.parametrize("level", [3, 128, 250])
def test_noise_has_the_distribution_of_the_original(params: dict[str, Any], level: int) -> None:
    image = np.full((160, 200, 3), level, np.uint8)
    ours, theirs = (noisy(cls, image, params).astype(np.float64) for cls in (noise.GaussNoise, A.GaussNoise))
    share = params.get("noise_scale_factor", 1) ** 2
    independent = ours.size * share * (1 if params.get("per_channel", True) else 1 / 3)
    error = 5 * theirs.std() * np.sqrt(2 / independent)
    assert abs(ours.mean() - theirs.mean()) < error
    assert abs(ours.std() - theirs.std()) < error
    for bound in (0, level - 1, level, 254):
        shares = [(images <= bound).mean() for images in (ours, theirs)]
        assert abs(shares[0] - shares[1]) < 5 * np.sqrt(0.5 / independent)


@pytest.mark.parametrize("params", CASES)
def test_noise_of_neighbours_and_channels_is_as_related_as_that_of_the_original(params: dict[str, Any]) -> None:
    image = np.full((160, 200, 3), 128, np.uint8)
    related = []
    for cls in (noise.GaussNoise, A.GaussNoise):
        images = noisy(cls, image, params).astype(np.float64)
        images -= images.mean()
        images /= images.std()
        related.append(
            [
                (images[:, 1:] * images[:, :-1]).mean(),
                (images[:, :, 1:] * images[:, :, :-1]).mean(),
                (images[..., 0] * images[..., 1]).mean(),
                (images[..., 0] * images[..., 2]).mean(),
                (images[1:] * images[:-1]).mean(),
            ]
        )
    assert np.allclose(related[0], related[1], atol=0.02)


def test_noise_of_an_image_of_any_levels_is_that_of_a_flat_one_at_each_level() -> None:
    image = noise_image(60, 70)
    params: dict[str, Any] = {"std": 40.0, "mean": 3.0, "seed": 6}
    for options in CASES:
        transform = noise.GaussNoise(p=1, **options)
        out = transform.apply(image, **params)
        for level in range(256):
            flat = transform.apply(np.full_like(image, level), **params)
            assert np.array_equal(out[image == level], flat[image == level])


@pytest.mark.parametrize("options", [{}, {"mean_range": (-0.2, 0.3)}, {"per_channel": False}])
def test_noise_takes_as_much_from_the_generators_as_the_original(options: dict[str, Any]) -> None:
    image = noise_image(20, 30)
    ours, theirs = noise.GaussNoise(p=0.6, **options), A.GaussNoise(p=0.6, **options)
    for transform in (ours, theirs):
        transform.set_random_seed(5)
    for _ in range(20):
        ours(image=image)
        theirs(image=image)
        assert ours.random_generator.bit_generator.state == theirs.random_generator.bit_generator.state
        assert ours.py_random.getstate() == theirs.py_random.getstate()


def test_catalogue_has_the_quick_noise_and_tells_what_was_drawn() -> None:
    assert catalogue.transform_class("GaussNoise") is noise.GaussNoise
    _, applied, *_ = compiled(node("GaussNoise"))(Sample(noise_image(20, 30)), seed=1, draw=0, view=0, key="k")
    params: Any = applied[0].params
    assert set(params) == {"std", "mean", "seed"}
    assert 0.2 * 255 <= params["std"] <= 0.44 * 255


# ------------------------------------------------------------------------------------------------------------ ISONoise


@pytest.mark.parametrize(("color_shift", "intensity"), [(0.03, 0.1), (0.05, 0.5), (1.0, 3.0), (0.0, 0.0)])
def test_noise_of_a_camera_has_the_distribution_of_the_original(color_shift: float, intensity: float) -> None:
    photograph = getattr(data, "astronaut")()[:200, 100:300]  # noqa: B009 - scikit-image has no types
    params = {"color_shift": (color_shift, color_shift), "intensity": (intensity, intensity)}
    ours, theirs = (noisy(cls, photograph, params).astype(np.float64) for cls in (noise.ISONoise, A.ISONoise))
    shares = [(images == photograph).all(axis=-1).mean() for images in (ours, theirs)]
    assert abs(shares[0] - shares[1]) < 5 * np.sqrt(0.5 / (ours.size / 3))
    for level in (10, 60, 128, 200, 250):
        below = [(images <= level).mean() for images in (ours, theirs)]
        assert abs(below[0] - below[1]) < 5 * np.sqrt(0.5 / (ours.size / 3))
    changes = [images - photograph for images in (ours, theirs)]
    error = 5 * changes[1].std() * np.sqrt(2 / (ours.size / 3)) + 1e-9
    assert abs(changes[0].mean() - changes[1].mean()) < error
    assert changes[0].std() == pytest.approx(changes[1].std(), rel=0.02, abs=1e-9)


def test_noise_of_a_camera_takes_as_much_from_the_generators_as_the_original() -> None:
    image = noise_image(20, 30)
    ours, theirs = noise.ISONoise(p=0.6), A.ISONoise(p=0.6)
    for transform in (ours, theirs):
        transform.set_random_seed(5)
    for _ in range(20):
        ours(image=image)
        theirs(image=image)
        assert ours.random_generator.bit_generator.state == theirs.random_generator.bit_generator.state
        assert ours.py_random.getstate() == theirs.py_random.getstate()
    assert catalogue.transform_class("ISONoise") is noise.ISONoise
