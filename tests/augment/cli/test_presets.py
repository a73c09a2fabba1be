"""The presets: what they promise in their descriptions."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.pipelines.spec import PipelineSpec
from augment.render import pipeline
from augment.render.pipeline import Pipeline
from augment.samples.sample import Sample
from augment.transforms import sizes
from augment.transforms.catalogue import catalogue
from augment.transforms.runtime.compiler import Compiled
from tests.augment.transforms.catalogue_cases import noise_image, sample
from tests.augment.transforms.donors_cases import Donors

KEEP_SIZE = ("colour-noise", "document", "flip-rotate-crop", "heavy", "light", "medical-light")
FIXED = {
    "cifar": (32, 32),
    "deit3": (224, 224),
    "dino": (224, 224),
    "dino-local": (96, 96),
    "dino-second": (224, 224),
    "inception": (224, 224),
    "simclr": (224, 224),
    "vgg": (224, 224),
    "yolo": (640, 640),
}
TARGETS = frozenset({"mask", "boxes", "keypoints"})


def prepared(name: str, given: Sample) -> Callable[[int], Sample]:
    """The preset as a function of the draw, on this sample; others like it are there to be joined with."""
    compiled = Compiled(Pipeline.load(name).spec, donors=Donors([given]))
    return lambda draw: compiled(given, seed=0, draw=draw, view=0, key="image").sample


def test_the_presets_are_these() -> None:
    assert pipeline.preset_names() == tuple(sorted((*KEEP_SIZE, *FIXED)))


@pytest.mark.parametrize("name", pipeline.preset_names())
def test_preset_says_where_it_comes_from_and_what_for(name: str) -> None:
    comment = pipeline.preset_text(name).partition("\n\n")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    assert re.search(r"Source: .*\((19|20)\d\d\)", comment.replace("\n# ", " "))
    assert "\n# Use it " in comment
    assert max(map(len, pipeline.preset_text(name).splitlines())) <= 120
    spec = Pipeline.load(name).spec
    assert spec.name == name
    assert spec.description
    assert spec.notices == ()


@pytest.mark.parametrize("name", KEEP_SIZE)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 1), (2, 3), (8, 8), (33, 17), (70, 101)])
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


@pytest.mark.parametrize("name", pipeline.preset_names())
def test_no_preset_turns_hues_further_than_a_published_training_does(name: str) -> None:
    """SimCLR's 0.2 is the most; what Albumentations does by default is the whole circle, and cells come out green."""
    for node in Pipeline.load(name).spec.nodes():
        if node.name == "ColorJitter":
            hue: Any = node.params["hue"]
            assert max(map(abs, hue)) <= 0.2


@pytest.mark.parametrize("name", pipeline.preset_names())
def test_every_target_follows(name: str) -> None:
    sizes.check_fits(Pipeline.load(name).spec, 64, 64, TARGETS)
    render = prepared(name, sample(64, 80))
    for draw in range(10):
        result = render(draw)
        assert result.mask is not None
        assert result.mask.shape == result.image.shape[:2]


@pytest.mark.parametrize("name", pipeline.preset_names())
def test_images_stay_recognisable(name: str, photo: np.ndarray) -> None:
    """No draw is black, white or flat, and the first two draws differ."""
    render = prepared(name, Sample(np.ascontiguousarray(photo[::8, ::8]) if name == "cifar" else photo))
    draws = [render(draw).image for draw in range(60)]
    darkest, flattest = (5, 1) if name == "simclr" else (20, 10)  # its paper takes a fifth of the light and contrast
    for image in draws:
        assert darkest < image.mean() < 235
        assert image.std() > flattest
    assert not np.array_equal(draws[0], draws[1])


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[::2, ::2])  # type: ignore[no-untyped-call]  # scikit-image has no types


def test_colour_noise_moves_no_pixel() -> None:
    for node in Pipeline.load("colour-noise").spec.nodes():
        assert node.children or not catalogue()[node.name].moves_pixels


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


def names(preset: str) -> set[str]:
    return {node.name for node in Pipeline.load(preset).spec.nodes()}


def test_medical_light_keeps_grey_grey_and_left_left() -> None:
    pipeline, grey = Pipeline.load("medical-light"), np.repeat(noise_image(40, 50)[..., :1], 3, axis=2)
    for draw in range(40):
        made = pipeline(grey, draw=draw)
        assert (made == made[..., :1]).all()
    assert not names("medical-light") & {"HorizontalFlip", "VerticalFlip", "D4", "Transpose", "ColorJitter"}


def test_document_mirrors_nothing_and_keeps_the_whole_page_in_the_frame() -> None:
    assert not names("document") & {"HorizontalFlip", "VerticalFlip", "D4", "Transpose"}
    corners = np.array([[0, 0], [99, 0], [99, 69], [0, 69]], np.float32)
    for draw in range(40):
        moved = Pipeline.load("document")(Sample(noise_image(70, 100), keypoints=corners), draw=draw).keypoints
        assert moved is not None
        assert (moved >= -1.5).all()
        assert (moved <= (100.5, 70.5)).all()
        (right, down) = moved[1] - moved[0], moved[3] - moved[0]
        assert abs(np.degrees(np.arctan2(right[1], right[0]))) <= 10
        assert right[0] * down[1] > 0


def test_deit3_and_simclr_have_the_numbers_of_their_papers() -> None:
    crop, _, three, jitter = Pipeline.load("deit3").spec.transforms
    assert (crop.params["scale"], three.name, three.params["p"]) == ([0.08, 1.0], "ThreeAugment", 1)
    assert [jitter.params[key] for key in ("brightness", "contrast", "saturation")] == [[0.7, 1.3]] * 3
    _, _, jitter, grey, blur = Pipeline.load("simclr").spec.transforms
    assert (jitter.params["hue"], jitter.params["p"], grey.params["p"]) == ([-0.2, 0.2], 0.8, 0.2)
    assert (blur.params["blur_limit"], blur.params["p"]) == ([23, 23], 0.5)


@pytest.mark.parametrize(
    ("name", "scale", "blur"),
    [("dino", [0.4, 1.0], 1.0), ("dino-second", [0.4, 1.0], 0.1), ("dino-local", [0.05, 0.4], 0.5)],
)
def test_views_of_dino_differ_as_in_its_code(name: str, scale: list[float], blur: float) -> None:
    nodes = {node.name: node.params for node in Pipeline.load(name).spec.transforms}
    assert nodes["RandomResizedCrop"]["scale"] == scale
    assert nodes["GaussianBlur"]["p"] == blur
    assert ("Solarize" in nodes) == (name == "dino-second")


def test_page_of_pipelines_lists_every_preset() -> None:
    page = (Path(__file__).parents[3] / "docs" / "pipelines.md").read_text(encoding="utf-8")
    listed = page.partition("## Presets")[2].partition("\n## ")[0]
    assert set(
        re.findall(r"`([a-z0-9-]+)`", "".join(row.split("|")[1] for row in listed.splitlines() if "|" in row))
    ) == {*pipeline.preset_names()}


def test_yolo_scales_and_shifts_what_ultralytics_does() -> None:
    """The middle of the mosaic is shifted by up to a tenth of 640 pixels, which are scaled by 0.5 to 1.5."""
    spec = PipelineSpec(Pipeline.load("yolo").spec.transforms[1:3])
    compiled = Compiled(spec, points=True)
    image = Sample(np.zeros((1280, 1280, 3), np.uint8))
    matrices = [compiled(image, seed=0, draw=draw, view=0, key="k").matrix for draw in range(60)]
    scales = [matrix[0, 0] for matrix in matrices if matrix is not None]
    shifts = np.array([(matrix @ (639.5, 639.5, 1))[:2] - 319.5 for matrix in matrices if matrix is not None])
    assert len(scales) == 60
    assert 0.5 <= min(scales) < 0.6
    assert 1.4 < max(scales) <= 1.5
    assert 50 < np.abs(shifts).max() <= 64
