"""The presets: what they promise in their descriptions."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from augment.pipeline import PipelineSpec
from augment.sample import Sample
from augment.transforms import catalogue, load, sizes
from augment.transforms.compile import compile_pipeline
from augment.transforms.load import Pipeline
from tests.augment.catalogue_cases import noise_image, sample
from tests.augment.joined_cases import Donors

KEEP_SIZE = ("colour-noise", "flip-rotate-crop", "heavy", "light")
FIXED = {"cifar": (32, 32), "inception": (224, 224), "vgg": (224, 224), "yolo": (640, 640)}
TARGETS = frozenset({"mask", "boxes", "keypoints"})


def prepared(name: str, given: Sample) -> Callable[[int], Sample]:
    """The preset as a function of the draw, on this sample; others like it are there to be joined with."""
    compiled = compile_pipeline(Pipeline.load(name).spec, donors=Donors([given]))
    return lambda draw: compiled(given, seed=0, draw=draw, view=0, key="picture").sample


def test_the_presets_are_these() -> None:
    assert load.preset_names() == tuple(sorted((*KEEP_SIZE, *FIXED)))


@pytest.mark.parametrize("name", load.preset_names())
def test_preset_says_where_it_comes_from_and_what_for(name: str) -> None:
    comment = load.preset_text(name).partition("\n\n")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    assert re.search(r"Source: .*\((19|20)\d\d\)", comment.replace("\n# ", " "))
    assert "\n# Use it " in comment
    assert max(map(len, load.preset_text(name).splitlines())) <= 120
    spec = Pipeline.load(name).spec
    assert spec.name == name
    assert spec.description
    assert spec.notices == ()


@pytest.mark.parametrize("name", KEEP_SIZE)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (8, 8), (33, 17), (70, 101)])
def test_size_is_kept_down_to_one_pixel(name: str, size: tuple[int, int]) -> None:
    pipeline = Pipeline.load(name)
    assert sizes.output_size(pipeline.spec, *size) == size
    sizes.check_fits(pipeline.spec, *size, TARGETS)
    for draw in range(40):
        assert pipeline(noise_image(*size), draw=draw).shape == (*size, 3)


@pytest.mark.parametrize(("name", "size"), FIXED.items())
def test_size_is_fixed(name: str, size: tuple[int, int]) -> None:
    assert sizes.fixed_output(Pipeline.load(name).spec) == size
    render = prepared(name, Sample(noise_image(32, 40)))
    for draw in range(10):
        assert render(draw).image.shape == (*size, 3)


@pytest.mark.parametrize("name", load.preset_names())
def test_every_target_follows(name: str) -> None:
    sizes.check_fits(Pipeline.load(name).spec, 64, 64, TARGETS)
    render = prepared(name, sample(64, 80))
    for draw in range(10):
        result = render(draw)
        assert result.mask is not None
        assert result.mask.shape == result.image.shape[:2]


@pytest.mark.parametrize("name", load.preset_names())
def test_pictures_stay_recognisable(name: str, photo: np.ndarray) -> None:
    """No draw is black, white or flat, and the first two draws differ."""
    render = prepared(name, Sample(np.ascontiguousarray(photo[::8, ::8]) if name == "cifar" else photo))
    draws = [render(draw).image for draw in range(60)]
    for image in draws:
        assert 20 < image.mean() < 235
        assert image.std() > 10
    assert not np.array_equal(draws[0], draws[1])


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[::2, ::2])  # type: ignore[no-untyped-call]  # scikit-image has no types


def test_colour_noise_moves_no_pixel() -> None:
    for node in Pipeline.load("colour-noise").spec.nodes():
        assert node.children or not catalogue.catalogue()[node.name].moves_pixels


def test_vgg_scales_the_shorter_side_to_what_the_paper_says() -> None:
    first = Pipeline.load("vgg").spec.transforms[0]
    chosen = first.params["max_size"]
    assert isinstance(chosen, list)
    assert chosen == list(range(256, 513, 8))


def test_inception_has_the_crop_of_the_paper() -> None:
    params = Pipeline.load("inception").spec.transforms[0].params
    assert params["scale"] == [0.08, 1.0]
    assert params["ratio"] == [3 / 4, 4 / 3]


def test_cifar_pads_with_black_by_four() -> None:
    image = np.full((32, 32, 3), 255, np.uint8)
    for draw in range(50):
        black = Pipeline.load("cifar")(image, draw=draw).max(axis=2) == 0
        rows, columns = black.all(axis=1).sum(), black.all(axis=0).sum()
        assert rows <= 4
        assert columns <= 4


def test_yolo_scales_and_shifts_what_ultralytics_does() -> None:
    """The middle of the mosaic is shifted by up to a tenth of 640 pixels, which are scaled by 0.5 to 1.5."""
    spec = PipelineSpec(Pipeline.load("yolo").spec.transforms[1:3])
    compiled = compile_pipeline(spec, points=True)
    picture = Sample(np.zeros((1280, 1280, 3), np.uint8))
    matrices = [compiled(picture, seed=0, draw=draw, view=0, key="k").matrix for draw in range(60)]
    scales = [matrix[0, 0] for matrix in matrices if matrix is not None]
    shifts = np.array([(matrix @ (639.5, 639.5, 1))[:2] - 319.5 for matrix in matrices if matrix is not None])
    assert len(scales) == 60
    assert 0.5 <= min(scales) < 0.6
    assert 1.4 < max(scales) <= 1.5
    assert 50 < np.abs(shifts).max() <= 64
