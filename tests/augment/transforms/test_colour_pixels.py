"""Faster colours: the bytes of the original, or neighbouring levels if the docstring says so."""

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from augment.transforms import catalogue
from augment.transforms.albumentations_import import A
from augment.transforms.families import colour, light
from tests.augment.transforms.catalogue_cases import noise_image

DETERMINISTIC = settings(max_examples=60, deadline=None, database=None, derandomize=True)


@functools.cache
def patterns() -> list[np.ndarray]:
    grey = np.repeat(noise_image(40, 50)[..., :1], 3, axis=2)
    photographs = [getattr(data, name)()[:300, :401] for name in ("astronaut", "coffee", "chelsea")]
    return [noise_image(40, 50), grey, np.full((30, 20, 3), (7, 200, 99), np.uint8), *photographs]


# ------------------------------------------------------------------------------------------------------------ FancyPCA


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0, 5.0])
def test_shifted_colours_are_those_of_the_original_or_their_neighbours(alpha: float) -> None:
    rng = np.random.default_rng(4)
    ours, theirs = colour.FancyPCA(p=1), A.FancyPCA(p=1)
    for image in patterns():
        for _ in range(5):
            drawn = rng.normal(0, alpha, 3).astype(np.float32)
            before = image.copy()
            apart = np.abs(ours.apply(image, drawn).astype(int) - theirs.apply(image, drawn).astype(int))
            assert apart.max() <= 1
            assert apart.mean() < 0.25  # of fixed-point numbers; the more the further the shift
            assert np.array_equal(image, before)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
@DETERMINISTIC
def test_moments_are_exact(height: int, width: int, seed: int) -> None:
    image = noise_image(height, width, seed)
    mean, covariance = colour.moments(image)
    values = image.reshape(-1, 3) / 255
    assert np.allclose(mean, values.mean(axis=0), rtol=1e-12)
    if len(values) > 1:
        assert np.allclose(covariance, np.cov(values, rowvar=False), rtol=1e-10, atol=1e-14)
    else:
        assert not covariance.any()


# ------------------------------------------------------------------------------------------------------------ Equalize


@pytest.mark.parametrize("params", [{}, {"mode": "pil"}, {"by_channels": False}, {"mode": "pil", "by_channels": False}])
def test_evened_channels_are_the_bytes_of_the_original(params: dict[str, Any]) -> None:
    ours, theirs = light.Equalize(p=1, **params), A.Equalize(p=1, **params)
    for image in patterns():
        for strided in (image, image[::2, ::3], image[:, ::-1]):
            assert np.array_equal(ours(image=strided)["image"], theirs(image=strided)["image"])


# --------------------------------------------------------------------------------------- ColorJitter and its neighbour

FACTORS = st.sampled_from((0.0, 1.0)) | st.floats(0, 4)
IMAGES = st.sampled_from(range(len(patterns())))


@given(IMAGES, FACTORS, FACTORS, FACTORS, st.just(0.0) | st.floats(-0.5, 0.5), st.permutations(range(4)))
@DETERMINISTIC
def test_jittered_colours_are_the_bytes_of_the_original(
    which: int, brightness: float, contrast: float, saturation: float, hue: float, order: list[int]
) -> None:
    image = patterns()[which]
    before = image.copy()
    amounts: dict[str, Any] = {
        "brightness": brightness,
        "contrast": contrast,
        "saturation": saturation,
        "hue": hue,
        "order": order,
    }
    ours, theirs = (cls(p=1).apply(image, **amounts) for cls in (colour.ColorJitter, A.ColorJitter))
    assert np.array_equal(ours, theirs)
    assert np.array_equal(image, before)


@given(IMAGES, *[st.just(0.0) | st.floats(-255, 255)] * 3)
@DETERMINISTIC
def test_shifted_hues_saturations_and_values_are_the_bytes_of_the_original(
    which: int, hue: float, saturation: float, value: float
) -> None:
    image = patterns()[which]
    before = image.copy()
    amounts = {"hue_shift": hue, "sat_shift": saturation, "val_shift": value}
    ours, theirs = (cls(p=1).apply(image, **amounts) for cls in (colour.HueSaturationValue, A.HueSaturationValue))
    assert np.array_equal(ours, theirs)
    assert np.array_equal(image, before)


QUICK = {
    "FancyPCA": colour.FancyPCA,
    "Equalize": light.Equalize,
    "ColorJitter": colour.ColorJitter,
    "HueSaturationValue": colour.HueSaturationValue,
}


@pytest.mark.parametrize(("name", "cls"), QUICK.items())
def test_catalogue_has_the_quick_one_and_it_draws_what_the_original_draws(name: str, cls: Any) -> None:
    assert catalogue.transform_class(name) is cls
    image = noise_image(20, 30)
    ours, theirs = cls(p=0.6), getattr(A, name)(p=0.6)
    for transform in (ours, theirs):
        transform.set_random_seed(5)
    for _ in range(20):
        ours(image=image)
        theirs(image=image)
        assert ours.random_generator.bit_generator.state == theirs.random_generator.bit_generator.state
        assert ours.py_random.getstate() == theirs.py_random.getstate()
