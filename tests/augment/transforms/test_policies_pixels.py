"""Pixels of the operations of policies, compared with Pillow, whose ImageOps and ImageEnhance the papers used.

docs/policies.md has the comparison with torchvision, which is not a dependency here.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from augment.samples.sample import Sample
from augment.transforms.policies import operations
from augment.transforms.policies.policy import applied
from tests.augment.transforms.catalogue_cases import compiled, node, noise_image, operations_of

Made = Callable[[Image.Image], Image.Image]


def patterns() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (9, 1))
    return [
        noise_image(97, 131),
        rng.integers(20, 90, (64, 48, 3), dtype=np.uint8),
        np.full((30, 40, 3), (7, 200, 99), np.uint8),
        np.stack([ramp, ramp[:, ::-1], np.full_like(ramp, 128)], axis=-1),
        noise_image(2, 3),
    ]


def furthest(step: tuple[str, float | None], made: Made) -> int:
    """Return the largest difference of a step to Pillow, in levels."""
    return max(
        int(np.abs(applied(one, [step], 0, 0).astype(int) - np.array(made(Image.fromarray(one)))).max())
        for one in patterns()
    )


@pytest.mark.parametrize("factor", [0.01, 0.37, 1.0, 1.27, 1.99])
def test_enhancements_are_pillows_to_the_level(factor: float) -> None:
    assert furthest(("Brightness", factor), lambda one: ImageEnhance.Brightness(one).enhance(factor)) == 0
    assert furthest(("Contrast", factor), lambda one: ImageEnhance.Contrast(one).enhance(factor)) <= 1
    assert furthest(("Color", factor), lambda one: ImageEnhance.Color(one).enhance(factor)) <= 1
    assert furthest(("Sharpness", factor), lambda one: ImageEnhance.Sharpness(one).enhance(factor)) <= 1


def test_operations_by_a_pixels_value_are_pillows() -> None:
    for bits in range(1, 9):
        assert furthest(("Posterize", bits), partial(ImageOps.posterize, bits=bits)) == 0
    for threshold in (0, 1, 77, 128, 255, 256):
        assert furthest(("Solarize", threshold), partial(ImageOps.solarize, threshold=threshold)) == 0
    assert furthest(("Invert", None), ImageOps.invert) == 0
    assert furthest(("Equalize", None), ImageOps.equalize) == 0
    assert furthest(("AutoContrast", None), ImageOps.autocontrast) <= 1


def test_posterize_to_no_bits_is_black() -> None:
    assert not operations.posterize(noise_image(8, 8), 0).any()


@pytest.mark.parametrize("magnitude", [-0.99, -0.3, 0.01, 0.27, 0.99])
def test_shears_and_shifts_are_pillows_to_the_pixel(magnitude: float) -> None:
    def affine(*values: float) -> Made:
        return lambda one: one.transform(one.size, Image.Transform.AFFINE, values, Image.Resampling.NEAREST)

    assert furthest(("ShearX", magnitude), affine(1, magnitude, 0, 0, 1, 0)) == 0
    assert furthest(("ShearY", magnitude), affine(1, 0, 0, magnitude, 1, 0)) == 0
    pixels = int(magnitude * 20)
    assert furthest(("TranslateX", float(pixels)), affine(1, 0, -pixels, 0, 1, 0)) == 0
    assert furthest(("TranslateY", float(pixels)), affine(1, 0, 0, 0, 1, -pixels)) == 0


@pytest.mark.parametrize("degrees", [-135, -30, -1, 4.5, 27, 117])
def test_turns_are_pillows_but_for_pixels_between_two(degrees: float) -> None:
    for one in patterns()[:2]:
        mine, theirs = applied(one, [("Rotate", degrees)], 0, 0), np.array(Image.fromarray(one).rotate(degrees))
        assert (mine != theirs).any(axis=2).mean() <= 0.02


def test_three_augment_is_its_authors_code_but_for_the_blur() -> None:
    transform, one = compiled(node("ThreeAugment")), noise_image(97, 131)
    smooth = np.array(Image.fromarray(one).filter(ImageFilter.GaussianBlur(2)))
    seen = set()
    for draw in range(20):
        made = transform(Sample(smooth), seed=0, draw=draw, view=0, key="k")
        ((name, sigma),) = operations_of(made.applied[0])
        image = Image.fromarray(smooth)
        if name == "GaussianBlur":
            theirs = image.filter(ImageFilter.GaussianBlur(sigma or 0))
        else:
            theirs = ImageOps.solarize(image) if name == "Solarize" else image.convert("L").convert("RGB")
        difference = np.abs(made.sample.image.astype(int) - np.array(theirs))
        inside = difference[6:-6, 6:-6]  # Pillow's blur is three boxes, and treats the edge in its own way
        assert inside.max() <= (3 if name == "GaussianBlur" else 0)
        seen.add(name)
    assert len(seen) == 3
