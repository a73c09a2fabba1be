"""Images without targets take a shortcut: the bytes, the chance and the provenance of Albumentations' own."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.render.pipeline import Pipeline
from augment.samples.sample import Sample
from augment.transforms import sizes
from augment.transforms.albumentations_import import A
from augment.transforms.catalogue import catalogue
from augment.transforms.families.crop import RandomResizedCrop
from augment.transforms.runtime import segment
from augment.transforms.runtime.compiler import Compiled
from augment.transforms.runtime.trace import Trace
from tests.augment.transforms.catalogue_cases import noise_image, required

DETERMINISTIC = settings(max_examples=60, deadline=None, database=None, derandomize=True)

PIPELINES: list[list[Any]] = [
    [{"RandomResizedCrop": {"size": [24, 20], "scale": [0.3, 1.0]}}, {"HorizontalFlip": {"p": 0.5}}],
    [{"CenterCrop": {"height": 30, "width": 30}}, {"Equalize": {"p": 1.0}}],
    [{"HorizontalFlip": {"p": 0.3}}, {"RandomBrightnessContrast": {"p": 0.7}}, {"GaussNoise": {"p": 0.5}}],
    [{"OneOf": {"p": 0.8, "transforms": [{"Equalize": {}}, {"Posterize": {}}]}}, {"VerticalFlip": {"p": 0.5}}],
    [{"Sequential": {"p": 0.6, "transforms": [{"CoarseDropout": {"p": 1.0}}]}}, {"Transpose": {"p": 0.5}}],
    [{"Resize": {"height": 40, "width": 40}}, {"Equalize": {"p": 1.0}}],
]


_SIZES: dict[str, dict[str, Any]] = {
    "CenterCrop": {"height": 16, "width": 16},
    "LongestMaxSize": {"max_size": 16},
    "RandomCrop": {"height": 16, "width": 16},
    "RandomResizedCrop": {"size": [16, 16]},
    "Resize": {"height": 16, "width": 16},
    "SmallestMaxSize": {"max_size": 16},
}


def document(transforms: list[Any]) -> str:
    return json.dumps({"transforms": transforms})


@pytest.mark.parametrize("transforms", PIPELINES, ids=lambda found: "-".join(next(iter(each)) for each in found))
def test_an_image_with_a_mask_and_one_without_are_the_same_image(transforms: list[Any]) -> None:
    """With a mask the whole call of Albumentations runs, without one only what affects pixels."""
    compiled = Compiled(Pipeline.parse(document(transforms)).spec)
    image = noise_image(40, 40)
    samples = Sample(image), Sample(image, mask=np.zeros((40, 40), np.uint8))
    for draw in range(30):
        bare, whole = (compiled(sample, seed=1, draw=draw, view=0, key="a") for sample in samples)
        assert np.array_equal(bare.sample.image, whole.sample.image)
        assert bare.applied == whole.applied


@pytest.mark.parametrize("transforms", PIPELINES, ids=lambda found: "-".join(next(iter(each)) for each in found))
def test_the_image_that_is_given_may_be_read_only_and_is_never_handed_out(transforms: list[Any]) -> None:
    pipeline = Pipeline.parse(document(transforms))
    image = noise_image(40, 40)
    before = image.copy()
    image.flags.writeable = False
    for draw in range(30):
        made = pipeline(image, draw=draw)
        assert made.flags.writeable
        assert made.flags.c_contiguous
        assert not np.shares_memory(made, image)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", [name for name, info in catalogue().items() if info.reads_only])
@pytest.mark.parametrize("size", [(16, 16), (40, 23), (16, 40)])
def test_readers_do_not_write_into_what_they_are_given(name: str, size: tuple[int, int]) -> None:
    """Return a read-only array, as transforms at the start of a pipeline get it; writing raises."""
    pipeline = Pipeline.parse(document([{name: {**required(name), **_SIZES.get(name, {}), "p": 1.0}}]))
    if sizes.misfit(pipeline.spec, *size) is not None:
        return  # an image that is too small is refused before anything could be written
    image = noise_image(*size)
    image.flags.writeable = False
    for draw in range(20):
        pipeline(image, draw=draw)


@given(
    st.tuples(st.integers(2, 60), st.integers(2, 60)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from((None, 1, 2, 3, 4)),
    st.sampled_from((0, 1, 2, 3, 4)),
    st.sampled_from((None, "image", "image_mask")),
    st.data(),
)
@DETERMINISTIC
def test_a_crop_is_resized_to_the_bytes_of_the_original(
    size: tuple[int, int],
    wanted: tuple[int, int],
    channels: int | None,
    interpolation: int,
    area: Any,
    data: st.DataObject,
) -> None:
    shape = size if channels is None else (*size, channels)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    params: dict[str, Any] = {"size": wanted, "interpolation": interpolation, "area_for_downscale": area}
    top, left = (data.draw(st.integers(0, side - 1)) for side in size)
    bottom, right = (data.draw(st.integers(first + 1, side)) for first, side in zip((top, left), size, strict=True))
    coords = (left, top, right, bottom)
    ours, theirs = (cls(**params).apply(image, coords) for cls in (RandomResizedCrop, A.RandomResizedCrop))
    assert np.array_equal(ours, theirs)
    assert ours.shape == theirs.shape


def test_transforms_that_have_a_call_of_their_own_keep_it() -> None:
    class Custom(A.NoOp):  # type: ignore[misc]  # Albumentations' metaclass is untyped
        def apply_with_params(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {**super().apply_with_params(params, *args, **kwargs), "image": kwargs["image"] // 2}

    step = segment.alone(Custom(p=1.0), catalogue()["NoOp"], Trace())
    image = noise_image(4, 4)
    assert np.array_equal(segment.applied([step], image), image // 2)
