"""Images in the requested type and layout, and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.errors import CallError, PipelineError
from augment.normalize import section
from augment.normalize.methods import ByValue
from augment.normalize.parameters import NAMED
from augment.normalize.pixel_format import PixelFormat, convert, denormalise
from augment.normalize.section import parse

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
ALL_LEVELS = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)

BY_VALUE: list[dict[str, Any]] = [
    {"method": "min_max"},
    {"method": "min_max", "output": [-1, 1]},
    {"method": "min_max", "input": [16, 235]},
    *({"method": "standard", "statistics": name} for name in NAMED),
    {"method": "log"},
    {"method": "gamma"},
    {"method": "gamma", "gamma": 1 / 2.2},
    {"method": "tanh"},
    {"method": "arctan", "statistics": "imagenet"},
]


@pytest.mark.parametrize("section", [*BY_VALUE, {"method": "standard", "statistics": "image_channels"}])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_floats_are_one_rounding_of_float64_in_every_layout(section: dict[str, Any], dtype: str) -> None:
    method = parse(section)
    channels_last, channels_first = (convert(IMAGES, method, dtype, layout) for layout in ("NHWC", "NCHW"))
    assert channels_last.dtype == channels_first.dtype == np.dtype(dtype)
    assert channels_first.shape == (3, 3, 5, 7)
    assert channels_first.flags.c_contiguous
    assert channels_last.flags.c_contiguous
    np.testing.assert_array_equal(channels_first.transpose(0, 2, 3, 1), channels_last)
    exact = np.stack([convert(image, method) for image in IMAGES])
    if dtype == "float32":
        np.testing.assert_array_equal(channels_last, exact)
        np.testing.assert_array_equal(channels_last, method.apply(IMAGES))
    else:
        np.testing.assert_allclose(channels_last, exact, rtol=2**-10, atol=2**-24)


@pytest.mark.parametrize("section", BY_VALUE)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_all_256_values_come_back(section: dict[str, Any], dtype: str, layout: str) -> None:
    method = parse(section)
    assert isinstance(method, ByValue)
    assert method.is_distinct(dtype)
    floats = convert(ALL_LEVELS, method, dtype, layout)
    np.testing.assert_array_equal(denormalise(floats, method, layout), ALL_LEVELS)


@given(
    st.one_of(
        st.fixed_dictionaries({"method": st.just("gamma"), "gamma": st.floats(0.2, 6)}),
        st.fixed_dictionaries({"method": st.just("log"), "gain": st.floats(0.01, 65_535)}),
        st.fixed_dictionaries(
            {"method": st.sampled_from(["tanh", "arctan"]), "mean": st.floats(-1, 2), "std": st.floats(0.3, 50)}
        ),
        st.fixed_dictionaries(
            {"method": st.just("standard"), "mean": st.floats(-50, 50), "std": st.floats(1e-6, 1000)}
        ),
        st.builds(
            lambda low, wide: {"method": "min_max", "input": [low, low + wide]}, st.floats(-500, 500), st.floats(1, 900)
        ),
    ),
    st.tuples(st.floats(-100, 100), st.floats(0.1, 1000)),
)
def test_every_section_that_is_read_gives_float32_that_come_back(section: Any, output: tuple[float, float]) -> None:
    if section["method"] != "standard":
        section["output"] = [output[0], output[0] + output[1]]
    try:
        method = parse(section)
    except PipelineError:
        return  # its values would become one float32
    np.testing.assert_array_equal(denormalise(convert(ALL_LEVELS, method), method), ALL_LEVELS)


def test_tails_that_were_bent_are_kept_by_float32_alone() -> None:
    method = parse({"method": "tanh", "statistics": "imagenet"})
    assert isinstance(method, ByValue)
    assert (method.is_distinct(np.float32), method.is_distinct(np.float16)) == (True, False)


def test_float16_that_cannot_tell_values_apart_comes_back_to_one_of_them() -> None:
    method = parse({"method": "min_max", "output": [100, 101]})
    assert isinstance(method, ByValue)
    assert not method.is_distinct(np.float16)
    back = denormalise(convert(ALL_LEVELS, method, "float16"), method)
    assert np.abs(back.astype(int) - ALL_LEVELS).max() <= 16  # a float16 between 64 and 128 is 1/16 from the next
    np.testing.assert_array_equal(denormalise(convert(ALL_LEVELS, method), method), ALL_LEVELS)


def test_float16_that_would_be_infinite_is_refused() -> None:
    section.check_dtype(parse({"method": "standard", "std": 1e-6}), "float32")
    with pytest.raises(PipelineError, match="use dtype float32"):
        section.check_dtype(parse({"method": "standard", "std": 1e-6}), "float16")


def test_floats_between_and_beyond_become_the_nearest_value() -> None:
    method = parse({"method": "min_max"})
    floats = np.array([-3, 0.4 / 255, 0.6 / 255, 1.7, np.nan, 100.2 / 255], np.float32)
    shown = denormalise(np.repeat(floats.reshape(1, 6, 1), 3, axis=2), method)
    assert shown[0, :, 0].tolist() == [0, 0, 1, 255, 0, 100]


def test_clipped_values_come_back_as_the_ends() -> None:
    method = parse({"method": "min_max", "input": [16, 235], "clip": True})
    back = denormalise(convert(ALL_LEVELS, method), method)
    np.testing.assert_array_equal(back, ALL_LEVELS.clip(16, 235))
    np.testing.assert_array_equal(convert(back, method), convert(ALL_LEVELS, method))


@pytest.mark.parametrize(
    "section", [{"method": "standard", "statistics": "image"}, {"method": "min_max", "input": "image_channels"}]
)
def test_images_own_floats_are_stretched_for_display(section: dict[str, Any]) -> None:
    method = parse(section)
    image = np.random.default_rng(5).integers(40, 90, (6, 7, 3), np.uint8)
    shown = denormalise(convert(image, method), method)
    assert (shown.min(), shown.max()) == (0, 255)
    if section["method"] == "standard":
        low, high = image.min(), image.max()
        np.testing.assert_array_equal(shown, np.rint((image - low) / (high - low) * 255))
    assert (denormalise(convert(np.full_like(image, 9), method), method) == 128).all()
    broken = convert(image, method)
    broken[0, 0] = np.nan
    assert (denormalise(broken, method)[0, 0] == 0).all()


def test_uint8_is_only_laid_out_otherwise() -> None:
    first = convert(IMAGES, None, "uint8", "NCHW")
    np.testing.assert_array_equal(first, IMAGES.transpose(0, 3, 1, 2))
    assert first.flags.c_contiguous
    np.testing.assert_array_equal(denormalise(first, None, "NCHW"), IMAGES)
    same = convert(IMAGES, None, "uint8")
    np.testing.assert_array_equal(same, IMAGES)
    assert not np.shares_memory(same, IMAGES)


def test_images_of_different_sizes_are_a_list() -> None:
    several = [IMAGES[0], IMAGES[1, :3], np.zeros((70_000, 2, 3), np.uint8)]
    made = convert(several, parse({"method": "standard"}), "float32", "NCHW")
    assert [one.shape for one in made] == [(3, 5, 7), (3, 3, 7), (3, 70_000, 2)]
    back = denormalise(made, parse({"method": "standard"}), "NCHW")
    assert all((one == other).all() for one, other in zip(back, several, strict=True))
    assert convert(np.empty((0, 4, 4, 3), np.uint8), None, "float16", "NCHW").shape == (0, 3, 4, 4)


def test_floats_without_a_method_lie_between_nought_and_one() -> None:
    np.testing.assert_array_equal(convert(IMAGES), (IMAGES / 255).astype(np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float64"}, "dtype is 'float64'; it is one of uint8, float32, float16; did you mean"),
        ({"layout": "nchw"}, "layout is 'nchw'; it is one of NHWC, NCHW; did you mean `NCHW`?"),
        ({"layout": 3}, "layout is 3"),
    ],
)
def test_other_formats_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError) as caught:
        PixelFormat(**arguments)
    assert message in str(caught.value)


def test_images_of_another_layout_are_refused() -> None:
    with pytest.raises(CallError, match=r"are floats \(..., 3, H, W\) in the layout NCHW"):
        denormalise(np.zeros((2, 5, 7, 3), np.float32), None, "NCHW")
    with pytest.raises(CallError, match="not int64"):
        denormalise(np.zeros((5, 7, 3), np.int64))
