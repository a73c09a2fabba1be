"""Dropped and painted pixels: the bytes and draws of the original."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from augment.transforms import catalogue
from augment.transforms.albumentations_import import A
from augment.transforms.families import dropout, noise
from tests.augment.transforms.catalogue_cases import noise_image

DROPOUTS: list[Mapping[str, Any]] = [
    {},
    {"dropout_prob": 0.0},
    {"dropout_prob": 1.0},
    {"dropout_prob": 0.3, "per_channel": True},
    {"dropout_prob": 0.7, "drop_value": None},
    {"dropout_prob": 0.1, "drop_value": 200, "mask_drop_value": 3},
    {"dropout_prob": 0.1, "drop_value": [1, 2, 3], "mask_drop_value": 3, "per_channel": True},
    {"dropout_prob": 0.1, "drop_value": None, "mask_drop_value": None},
]


def same_calls(ours: Any, theirs: Any) -> None:
    mask = np.random.default_rng(2).integers(0, 5, (31, 43)).astype(np.int32)
    for transform in (ours, theirs):
        transform.set_random_seed(5)
    for image in (noise_image(31, 43), noise_image(62, 43)[::2], noise_image(31, 43, seed=8)):
        given, given_mask = image.copy(), mask.copy()
        one, other = (transform(image=given, mask=given_mask) for transform in (ours, theirs))
        assert one["image"].dtype == other["image"].dtype == np.uint8
        assert np.array_equal(one["image"], other["image"])
        assert np.array_equal(one["mask"], other["mask"])
        assert np.array_equal(given, image)
        assert np.array_equal(given_mask, mask)
        assert ours.random_generator.bit_generator.state == theirs.random_generator.bit_generator.state
        assert ours.py_random.getstate() == theirs.py_random.getstate()


@pytest.mark.parametrize("params", DROPOUTS)
def test_dropped_pixels_are_those_of_the_original(params: Mapping[str, Any]) -> None:
    same_calls(dropout.PixelDropout(p=1, **params), A.PixelDropout(p=1, **params))
    same_calls(dropout.PixelDropout(p=0.5, **params), A.PixelDropout(p=0.5, **params))


@pytest.mark.parametrize("probability", [1e-9, 0.1, 1 / 3, 0.7, 0.9, 1 - 1e-9])
def test_a_dropout_draws_the_masks_of_the_original_at_any_probability(probability: float) -> None:
    one, other = (cls(p=1, dropout_prob=probability) for cls in (dropout.PixelDropout, A.PixelDropout))
    for transform in (one, other):
        transform.set_random_seed(1)
    image = noise_image(200, 300)
    masks = [
        transform.get_params_dependent_on_data({"shape": image.shape}, {"image": image})["drop_mask"]
        for transform in (one, other)
    ]
    assert masks[0].dtype == masks[1].dtype
    assert np.array_equal(*masks)


@pytest.mark.parametrize("params", [{}, {"amount": (0.0, 0.0)}, {"amount": (0.9, 1.0), "salt_vs_pepper": (0.0, 1.0)}])
def test_salt_and_pepper_lie_where_the_original_strews_them(params: Mapping[str, Any]) -> None:
    same_calls(noise.SaltAndPepper(p=1, **params), A.SaltAndPepper(p=1, **params))


def test_catalogue_has_the_quick_ones() -> None:
    assert catalogue.transform_class("PixelDropout") is dropout.PixelDropout
    assert catalogue.transform_class("SaltAndPepper") is noise.SaltAndPepper
