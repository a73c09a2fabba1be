"""Mirrors and quarter turns: the bytes of the original, for any size, channels, type and strides."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.transforms import catalogue
from augment.transforms.albumentations_import import A
from augment.transforms.families import flip
from augment.transforms.families.flip import STRIP_BYTES, SYMMETRIES, TILE_PX, mirrored, turned
from tests.augment.transforms.catalogue_cases import noise_image

DETERMINISTIC = settings(max_examples=100, deadline=None, database=None, derandomize=True)
_geometry: Any = A.augmentations.geometric.functional
DTYPES = (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Return images and masks as the engine has them, and others: any channels, any strides."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    channels = draw(st.sampled_from((None, 1, 2, 3, 3, 3, 4, 5)))
    steps = draw(st.tuples(*[st.sampled_from((1, 1, 2, -1))] * 2))
    shape = (height * abs(steps[0]), width * abs(steps[1])) + (() if channels is None else (channels,))
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, shape)
    return noise.astype(draw(st.sampled_from((np.uint8, *DTYPES))))[:: steps[0], :: steps[1]]


@given(arrays())
@DETERMINISTIC
def test_mirror_reverses_each_row_into_a_new_array(image: np.ndarray) -> None:
    before = image.copy()
    out = mirrored(image)
    assert out.dtype == image.dtype
    assert out.flags.c_contiguous
    assert not np.shares_memory(out, image)
    assert np.array_equal(out, before[:, ::-1])
    assert np.array_equal(image, before)


@given(arrays())
@DETERMINISTIC
def test_mirror_fills_the_array_it_is_given_and_nothing_beside_it(image: np.ndarray) -> None:
    frame = np.full((image.shape[0] + 2, image.shape[1] + 2, *image.shape[2:]), 77, image.dtype)
    out = frame[1:-1, 1:-1]
    assert mirrored(image, out) is out
    assert np.array_equal(out, image[:, ::-1])
    out[:] = 77
    assert (frame == 77).all()


@pytest.mark.parametrize("width", [1, 7, 500, STRIP_BYTES // 4 - 1, STRIP_BYTES // 4 + 1])
def test_mirror_of_an_image_of_several_strips_has_no_seams(width: int) -> None:
    for num_strips in (1, 2, 3):
        for rest in (-1, 0, 1):
            height = max(1, num_strips * (STRIP_BYTES // (4 * width)) + rest)
            image = noise_image(min(height, 20_000), width)
            assert np.array_equal(mirrored(image), image[:, ::-1])


@pytest.mark.parametrize(
    "out", [np.empty((4, 6, 3), np.uint8), np.empty((5, 6, 3), np.int8), np.empty((5, 6), np.uint8)]
)
def test_mirror_refuses_an_array_that_does_not_fit(out: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"it must be like the image, uint8 \(5, 6, 3\)"):
        mirrored(noise_image(5, 6), out)


@given(arrays(), st.sampled_from(sorted(SYMMETRIES)))
@DETERMINISTIC
def test_every_symmetry_gives_the_bytes_of_the_original(image: np.ndarray, element: str) -> None:
    before = image.copy()
    ours, theirs = turned(image, element), _geometry.d4(before, element)
    assert ours.dtype == theirs.dtype
    assert np.array_equal(ours, theirs)
    assert np.array_equal(image, before)
    if element != "e":
        assert ours.flags.c_contiguous
        assert not np.shares_memory(ours, image)


@pytest.mark.parametrize("element", sorted(SYMMETRIES))
@pytest.mark.parametrize("size", [(TILE_PX, TILE_PX), (TILE_PX + 1, TILE_PX - 1), (2 * TILE_PX + 1, 70), (3, 600)])
def test_symmetry_of_an_image_of_several_tiles_has_no_seams(element: str, size: tuple[int, int]) -> None:
    image = noise_image(*size)
    assert np.array_equal(turned(image, element), _geometry.d4(image, element))


TRANSFORMS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "HorizontalFlip": (flip.HorizontalFlip, [{}]),
    "Transpose": (flip.Transpose, [{}]),
    "RandomRotate90": (flip.RandomRotate90, [{"factor": factor} for factor in range(4)]),
    "D4": (flip.D4, [{"group_element": element} for element in SYMMETRIES]),
    "SquareSymmetry": (flip.SquareSymmetry, [{"group_element": element} for element in SYMMETRIES]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_of_the_catalogue_gives_the_bytes_of_the_original(name: str) -> None:
    cls, drawn = TRANSFORMS[name]
    assert catalogue.transform_class(name) is cls
    ours, theirs = cls(p=1), getattr(A, name)(p=1)
    for image in (noise_image(40, 31), noise_image(40, 31)[..., 0].astype(np.int32)):
        for params in drawn:
            assert np.array_equal(ours.apply(image, **params), theirs.apply(image, **params))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_draws_what_the_original_draws(name: str) -> None:
    image = noise_image(23, 17)
    ours, theirs = TRANSFORMS[name][0](p=0.7), getattr(A, name)(p=0.7)
    for transform in (ours, theirs):
        transform.set_random_seed(5)
    for _ in range(40):
        assert np.array_equal(ours(image=image)["image"], theirs(image=image)["image"])
