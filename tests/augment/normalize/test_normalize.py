"""Every method of normalisation against NumPy's own arithmetic in float64, and the section that names it."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.errors import CallError, PipelineError
from augment.normalize.methods import MinMax, Standard
from augment.normalize.parameters import NAMED
from augment.normalize.section import METHODS, needs_dataset, parse, resolve

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
ALL_LEVELS = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
DARK = np.random.default_rng(1).integers(3, 60, (6, 5, 3), dtype=np.uint8)
X = ALL_LEVELS.astype(np.float64)
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
NUMBERS = {"mean": MEAN.tolist(), "std": STD.tolist()}


@given(
    st.tuples(*[st.floats(-10, 10)] * 3),
    st.tuples(*[st.floats(0.01, 10)] * 3),
    st.floats(0.5, 65_535),
)
def test_standard_is_its_formula_rounded_once(mean: tuple[float, ...], std: tuple[float, ...], top: float) -> None:
    section = {"method": "standard", "mean": list(mean), "std": list(std), "max_pixel_value": top}
    for images in (IMAGES, ALL_LEVELS):
        expected = ((images.astype(np.float64) / top - np.array(mean)) / np.array(std)).astype(np.float32)
        result = parse(section).apply(images)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.frameworks
def test_standard_by_name_is_torchvisions_formula(name: str) -> None:
    torch = pytest.importorskip("torch")
    known = NAMED[name]
    x = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).to(torch.float32)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (known.mean, known.std))
    theirs = (x / 255 - mean) / std  # ToTensor and Normalize
    ours = parse({"method": "standard", "statistics": name}).apply(IMAGES)
    np.testing.assert_allclose(ours.transpose(0, 3, 1, 2), theirs.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"method": "min_max"}, X / 255),
        ({"method": "min_max", "output": [-1, 1]}, X / 127.5 - 1),
        ({"method": "min_max", "output": [-3, 20]}, X / 255 * 23 - 3),
        ({"method": "min_max", "input": [16, 235]}, (X - 16) / 219),
        ({"method": "min_max", "input": [16, 235], "clip": True}, np.clip((X - 16) / 219, 0, 1)),
        ({"method": "min_max", "input": [-10, 300], "output": [1, 2], "clip": True}, 1 + (X + 10) / 310),
        ({"method": "standard", **NUMBERS}, (X / 255 - MEAN) / STD),
        ({"method": "log"}, np.log(1 + X) / np.log(256)),
        ({"method": "log", "gain": 1, "output": [-1, 1]}, 2 * np.log2(1 + X / 255) - 1),
        ({"method": "gamma"}, (X / 255) ** 2.2),
        ({"method": "gamma", "gamma": 0.45, "output": [-1, 1]}, 2 * (X / 255) ** 0.45 - 1),
        ({"method": "tanh"}, np.tanh(X / 127.5 - 1)),
        ({"method": "tanh", **NUMBERS}, np.tanh((X / 255 - MEAN) / STD)),
        (
            {"method": "tanh", "mean": 0.5, "std": 25, "output": [0, 1]},
            0.5 * (np.tanh(0.01 * (X / 255 - 0.5) / 0.25) + 1),
        ),
        ({"method": "arctan"}, 2 / np.pi * np.arctan(X / 127.5 - 1)),
        ({"method": "arctan", **NUMBERS, "output": [0, 4]}, 2 + 4 / np.pi * np.arctan((X / 255 - MEAN) / STD)),
    ],
)
def test_method_by_value_is_its_formula(section: dict[str, Any], expected: np.ndarray) -> None:
    np.testing.assert_allclose(parse(section).apply(ALL_LEVELS), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("axes", [("image", (0, 1, 2)), ("image_channels", (0, 1))])
@pytest.mark.parametrize("epsilon", [0, 0.5])
def test_method_by_image_is_its_formula_for_each_image_alone(axes: tuple[str, Any], epsilon: float) -> None:
    which, over = axes
    standard = parse({"method": "standard", "statistics": which, "epsilon": epsilon})
    limited = parse({"method": "standard", "statistics": which, "epsilon": epsilon, "limit": 1.25})
    min_max = parse({"method": "min_max", "input": which, "epsilon": epsilon, "output": [-1, 3]})
    for image in (*IMAGES, ALL_LEVELS, DARK):
        x = image.astype(np.float64)
        scores = (x - x.mean(over)) / (x.std(over) + epsilon)
        np.testing.assert_allclose(standard.apply(image), scores, rtol=0, atol=1e-6)
        np.testing.assert_allclose(limited.apply(image), scores.clip(-1.25, 1.25), rtol=0, atol=1e-6)
        low, high = x.min(over), x.max(over)
        np.testing.assert_allclose(min_max.apply(image), -1 + 4 * (x - low) / (high - low + epsilon), rtol=0, atol=1e-6)
    for method in (standard, limited, min_max):
        together = method.apply(IMAGES)
        assert all((one == method.apply(image)).all() for one, image in zip(together, IMAGES, strict=True))


@pytest.mark.parametrize("which", ["image", "image_channels"])
def test_image_of_one_value_has_a_float_that_is_said(which: str) -> None:
    flat = np.full((4, 5, 3), 77, np.uint8)
    for epsilon in (0, 1e-4):
        assert (parse({"method": "standard", "statistics": which, "epsilon": epsilon}).apply(flat) == 0).all()
        assert (parse({"method": "min_max", "input": which, "epsilon": epsilon}).apply(flat) == 0).all()


def test_channels_of_an_image_are_judged_together_or_alone() -> None:
    image = np.stack([np.arange(10), np.full(10, 50), np.arange(100, 200, 10)], axis=-1).astype(np.uint8)[np.newaxis]
    together = parse({"method": "min_max", "input": "image"}).apply(image)
    alone = parse({"method": "min_max", "input": "image_channels"}).apply(image)
    assert (together.min(), together.max()) == (0, 1)
    assert together[..., 0].max() < 0.06
    assert alone.min((0, 1)).tolist() == [0, 0, 0]
    assert alone.max((0, 1)).tolist() == [1, 0, 1]


def test_views_are_normalised_and_left_alone() -> None:
    images = IMAGES[::2, 1:, ::-1]
    before = images.copy()
    for method in (Standard(), parse({"method": "standard", "statistics": "image"})):
        result = method.apply(images)
        np.testing.assert_array_equal(images, before)
        np.testing.assert_array_equal(result, method.apply(np.ascontiguousarray(images)))
        assert result.flags.c_contiguous
        assert result.flags.writeable


@pytest.mark.parametrize(
    ("section", "canonical"),
    [
        ({"method": "min_max"}, {"method": "min_max", "input": [0, 255], "output": [0, 1], "clip": False}),
        (
            {"method": "min_max", "input": "image"},
            {"method": "min_max", "input": "image", "output": [0, 1], "epsilon": 0},
        ),
        (
            {"method": "standard"},
            {
                "method": "standard",
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
                "max_pixel_value": 255,
            },
        ),
        (
            {"method": "standard", "statistics": "image_channels"},
            {"method": "standard", "statistics": "image_channels", "epsilon": 0, "limit": None},
        ),
        ({"method": "standard", "statistics": "dataset"}, {"method": "standard", "statistics": "dataset"}),
        ({"method": "log"}, {"method": "log", "gain": 255, "output": [0, 1]}),
        ({"method": "gamma"}, {"method": "gamma", "gamma": 2.2, "output": [0, 1]}),
        ({"method": "tanh"}, {"method": "tanh", "mean": [0.5] * 3, "std": [0.5] * 3, "output": [-1, 1]}),
        (
            {"method": "arctan", "statistics": "dataset"},
            {"method": "arctan", "statistics": "dataset", "output": [-1, 1]},
        ),
    ],
)
def test_what_is_left_out_is_filled_in(section: dict[str, Any], canonical: dict[str, Any]) -> None:
    read = parse(section)
    assert read.canonical() == canonical
    assert parse(canonical) == read
    assert parse(canonical).canonical() == canonical


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"method": "standard"}, {"method": "standard", "statistics": "imagenet"}),
        ({"method": "standard", "mean": 0.5, "std": [0.5] * 3}, {"method": "standard", "statistics": "inception"}),
        (
            {"method": "tanh", "statistics": "mnist"},
            {"method": "tanh", "mean": 0.1307, "std": 0.3081, "output": [-1, 1]},
        ),
        ({"method": "min_max"}, {"method": "min_max", "input": "format", "clip": True}),
        ({"method": "min_max"}, {"method": "min_max", "input": [0, 255], "output": None}),
        ({"method": "min_max", "input": [-1, 256]}, {"method": "min_max", "input": [-1.0, 256.0], "clip": True}),
        ({"method": "gamma"}, {"method": "gamma", "gamma": 2.2}),
    ],
)
def test_sections_of_one_meaning_are_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert parse(one).canonical() == parse(other).canonical()
    assert parse(one) == parse(other)


@pytest.mark.parametrize(
    ("section", "place", "message"),
    [
        ({}, (), "`method` is missing; write one of `standard`, `min_max`"),
        ({"method": "standart"}, ("method",), "did you mean `standard`?"),
        ({"method": "min-max"}, ("method",), "did you mean `min_max`?"),
        ({"method": ["standard"]}, ("method",), "is not a method"),
        ({"method": "standard", "std": [0, 1, 1]}, ("std",), "is not three numbers in [1e-06, 65535]"),
        ({"method": "standard", "mean": [1, 2]}, ("mean",), "is not three numbers"),
        ({"method": "standard", "mean": [True, 0, 0]}, ("mean",), "is not three numbers"),
        ({"method": "standard", "mean": float("nan")}, ("mean",), "is not three numbers"),
        ({"method": "standard", "max_pixel_value": 0}, ("max_pixel_value",), "is not a number in (0, 65535]"),
        ({"method": "standard", "means": 0}, ("means",), "did you mean `mean`?"),
        ({"method": "standard", "statistics": "image_net"}, ("statistics",), "did you mean `imagenet`?"),
        ({"method": "standard", "statistics": "image", "mean": 0}, ("mean",), "has no effect with `statistics: image`"),
        ({"method": "standard", "statistics": "clip", "max_pixel_value": 1}, ("max_pixel_value",), "has no effect"),
        ({"method": "standard", "statistics": "image", "limit": 0}, ("limit",), "is not a number in (0, 65535]"),
        ({"method": "standard", "epsilon": 1}, ("epsilon",), "`epsilon` is unknown here"),
        ({"method": "standard", "mean": 60_000}, (), "two of the 256 values of a channel become one float32"),
        ({"method": "min_max", "mean": 0}, ("mean",), "`mean` is unknown here"),
        ({"method": "min_max", "input": "batch"}, ("input",), "is not one of `format`, `image`"),
        (
            {"method": "min_max", "input": [255, 0]},
            ("input",),
            "two numbers in [-65535, 65535], the lower first",
        ),
        ({"method": "min_max", "input": 255}, ("input",), "is not two numbers"),
        ({"method": "min_max", "output": [0, math.inf]}, ("output",), "is not two numbers"),
        ({"method": "min_max", "output": [1000, 1000.001]}, (), "become one float32"),
        ({"method": "min_max", "clip": 1}, ("clip",), "is not true or false"),
        ({"method": "min_max", "input": "image", "clip": True}, ("clip",), "has no effect with `input: image`"),
        ({"method": "log", "gain": -1}, ("gain",), "is not a number in [1e-06, 65535]"),
        ({"method": "gamma", "gamma": 0}, ("gamma",), "is not a number in [0.001, 100]"),
        ({"method": "gamma", "gamma": 50}, (), "become one float32"),
        ({"method": "tanh", "std": 0.01}, (), "become one float32"),
        ({"method": "tanh", "statistics": "image"}, ("statistics",), "is not one of `imagenet`"),
    ],
)
def test_wrong_sections_are_refused_at_their_place(
    section: dict[str, Any], place: tuple[str, ...], message: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        parse(section)
    (found,) = caught.value.problems
    assert found.loc == ("normalize", *place)
    assert message in found.msg


def test_all_problems_of_a_section_are_found() -> None:
    with pytest.raises(PipelineError) as caught:
        parse({"method": "standard", "mean": "a", "std": "b", "max_pixel_value": "c", "d": 1})
    assert {problem.loc[1] for problem in caught.value.problems} == {"mean", "std", "max_pixel_value", "d"}


def test_section_of_a_dataset_has_no_floats_until_it_is_resolved() -> None:
    section = {"method": "tanh", "statistics": "dataset", "output": [0, 1]}
    assert needs_dataset(section)
    with pytest.raises(CallError, match="has no numbers without a dataset"):
        parse(section).apply(IMAGES)
    resolved = resolve(section, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    written = {"method": "tanh", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "output": [0.0, 1.0]}
    assert resolved == written
    assert not needs_dataset(resolved)
    assert resolve(written, (0, 0, 0), (1, 1, 1)) == written
    with pytest.raises(PipelineError, match="std"):
        resolve(section, (0.1, 0.2, 0.3), (0.4, 0.0, 0.6))


def test_other_arrays_are_refused() -> None:
    for wrong in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1), np.uint8)):
        with pytest.raises(CallError, match="images are uint8"):
            MinMax().apply(wrong)  # type: ignore[arg-type]  # what is tested


@given(st.sampled_from(sorted(METHODS)), st.data())
def test_whatever_a_section_holds_it_is_read_or_refused(method: str, data: st.DataObject) -> None:
    anything = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from([*NAMED, "image", "dataset", "x"]),
        st.lists(st.floats(-1e6, 1e6), max_size=3),
    )  # fmt: skip
    names = ["mean", "std", "input", "output", "clip", "limit", "epsilon", "gain", "gamma", "statistics", "other"]
    section = {"method": method, **data.draw(st.dictionaries(st.sampled_from(names), anything, max_size=3))}
    try:
        read = parse(section)
    except PipelineError:
        return
    assert parse(read.canonical()) == read
