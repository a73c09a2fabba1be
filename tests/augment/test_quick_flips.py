"""Mirrors: the bytes of the original, whatever the picture's size, channels, type and strides."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.transforms import catalogue
from augment.transforms.library import A
from augment.transforms.quick import mirror
from augment.transforms.quick.mirror import STRIP_BYTES, mirrored
from tests.augment.catalogue_cases import noise_image

DETERMINISTIC = settings(max_examples=200, deadline=None, database=None, derandomize=True)
DTYPES = (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Pictures and masks as the engine has them, and as it might: any channels, any strides."""
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
def test_mirror_of_a_picture_of_several_strips_has_no_seams(width: int) -> None:
    for num_strips in (1, 2, 3):
        for rest in (-1, 0, 1):
            height = max(1, num_strips * (STRIP_BYTES // (4 * width)) + rest)
            image = noise_image(min(height, 20_000), width)
            assert np.array_equal(mirrored(image), image[:, ::-1])


@pytest.mark.parametrize(
    "out", [np.empty((4, 6, 3), np.uint8), np.empty((5, 6, 3), np.int8), np.empty((5, 6), np.uint8)]
)
def test_mirror_refuses_an_array_that_does_not_fit(out: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"it must be as the picture, uint8 \(5, 6, 3\)"):
        mirrored(noise_image(5, 6), out)


@given(arrays())
@DETERMINISTIC
def test_flip_gives_the_bytes_of_the_original(image: np.ndarray) -> None:
    theirs: Any = A.HorizontalFlip(p=1).apply(image)
    ours = mirror.HorizontalFlip(p=1).apply(image)
    assert np.array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype


def test_the_catalogue_has_the_quick_one() -> None:
    assert catalogue.transform_class("HorizontalFlip") is mirror.HorizontalFlip
