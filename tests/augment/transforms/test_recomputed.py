"""Pixels are recomputed from the original, the pipeline and the recorded draws, without a random generator."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.transforms import catalogue
from augment.transforms.albumentations_import import cv2
from augment.transforms.runtime import segment
from augment.transforms.runtime.trace import INLINE_MAX, drawn
from tests.augment.transforms.catalogue_cases import LEAVES, NEEDED, compiled, movable, node, sample

PAGE = Path(__file__).parents[3] / "docs" / "provenance.md"

STRONGER: dict[str, dict[str, Any]] = {
    "Affine": {"scale": [0.7, 1.4], "rotate": [-40, 40], "shear": [-10, 10], "translate_percent": [-0.2, 0.2]},
    "AdvancedBlur": {"blur_limit": [3, 5]},
    "ElasticTransform": {"alpha": 60, "sigma": 8},
    "GridElasticDeform": {"num_grid_xy": [4, 3], "magnitude": 4},
    "Rotate": {"border_mode": 4},
    "Pad": {"padding": 4},
}

DIGESTED = frozenset(
    {
        "ElasticTransform",
        "GlassBlur",
        "GridDistortion",
        "GridDropout",
        "GridElasticDeform",
        "OpticalDistortion",
        "PiecewiseAffine",
        "PixelDropout",
        "PlasmaBrightnessContrast",
        "PlasmaShadow",
        "RandomFog",
        "RandomSunFlare",
        "RingingOvershoot",
        "SaltAndPepper",
        "Spatter",
        "ThinPlateSpline",
    }
)
"""Those that draw more numbers than provenance holds: a field, a value for each pixel, many drops or holes."""
RECOMPUTED = tuple(name for name in LEAVES if name not in DIGESTED)


def is_whole(value: object) -> bool:
    """Return True unless a recorded parameter is a digest."""
    if isinstance(value, dict):
        return "digest" not in value and all(map(is_whole, value.values()))
    return not isinstance(value, list) or all(map(is_whole, value))


def told(name: str, draw: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return the original, the result, and the recorded draws after a round trip through JSON."""
    given = movable(name, sample(seed=draw))
    made = compiled(node(name, **STRONGER.get(name, {})))(given, seed=3, draw=draw, view=0, key="k")
    (applied,) = made.applied
    return given.image, made.sample.image, json.loads(json.dumps(applied.params))


class NoChance:
    """Generator that fails if it is used."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was said again")


def recomputed(name: str, image: np.ndarray, said: dict[str, Any]) -> np.ndarray:
    params = catalogue.fill(name, {"p": 1.0, **NEEDED.get(name, {}), **STRONGER.get(name, {})})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="ShiftScaleRotate is a special case")  # said whenever it is built
        known = catalogue.catalogue()[name].schema["properties"]
        transform = catalogue.transform_class(name)(**segment._at_middles(params, known))
    transform.set_random_state(NoChance(), NoChance())
    arrays = {key: restored(value) for key, value in said.items()}
    if name == "Morphological":  # OpenCV takes no kernel of another type
        arrays["kernel"] = arrays["kernel"].astype(np.uint8)
    params = transform.update_transform_params(arrays, {"image": image})
    result: np.ndarray = transform.apply(image.copy(), **params)
    return result


def restored(value: object) -> Any:
    """Convert a list of numbers back to an array; no holes are (0, 4)."""
    if not isinstance(value, list):
        return value
    if not value:
        return np.zeros((0, 4), np.int64)
    try:
        array = np.asarray(value)
    except ValueError:  # of several lengths
        return value
    return array if array.dtype.kind in "biuf" else value


@pytest.mark.parametrize("name", RECOMPUTED)
def test_pixels_follow_from_what_provenance_says(name: str) -> None:
    for draw in range(6):
        image, result, said = told(name, draw)
        assert is_whole(said), drawn
        assert np.array_equal(recomputed(name, image, said), result), (draw, said)


@pytest.mark.parametrize("name", sorted(DIGESTED))
def test_what_is_too_long_is_told_as_a_digest(name: str) -> None:
    assert any(not is_whole(told(name, draw)[2]) for draw in range(6))


def test_page_lists_what_cannot_be_computed_again() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert {line.split("`")[1] for line in lines if line.startswith("- `")} == DIGESTED


# ----------------------------------------------------------------------------------- by NumPy and OpenCV alone


def _turned(image: np.ndarray, angle: float) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return _warped(image, matrix, (height, width), 4)


def _warped(image: np.ndarray, matrix: Any, size: Sequence[int], border_mode: int = 0) -> np.ndarray:
    matrix = np.asarray(matrix, np.float64)
    warp = cv2.warpAffine if len(matrix) == 2 or np.array_equal(matrix[2], [0, 0, 1]) else cv2.warpPerspective
    rows = 2 if warp is cv2.warpAffine else 3
    moved: np.ndarray = warp(image, matrix[:rows], tuple(size[::-1]), flags=cv2.INTER_LINEAR, borderMode=border_mode)
    return moved


def _part(image: np.ndarray, crop_coords: Sequence[int]) -> np.ndarray:
    x_min, y_min, x_max, y_max = crop_coords
    return image[y_min:y_max, x_min:x_max]


def _perspective(image: np.ndarray, said: dict[str, Any]) -> np.ndarray:
    """Recompute a perspective: its matrix leads to ``max_height`` and ``max_width``, resized to the image's size."""
    height, width = image.shape[:2]
    resize = np.diag([width / said["max_width"], height / said["max_height"], 1.0])
    return _warped(image, resize @ np.array(said["matrix"]), (height, width))


FORMULAS: dict[str, Callable[[np.ndarray, dict[str, Any]], np.ndarray]] = {
    "HorizontalFlip": lambda image, _: image[:, ::-1],
    "VerticalFlip": lambda image, _: image[::-1],
    "Transpose": lambda image, _: image.swapaxes(0, 1),
    "RandomRotate90": lambda image, said: np.rot90(image, said["factor"]),
    "InvertImg": lambda image, _: 255 - image,
    "ChannelShuffle": lambda image, said: image[..., said["channels_shuffled"]],
    "Solarize": lambda image, said: np.where(image >= said["threshold"] * 255, 255 - image, image),
    "RandomCrop": lambda image, said: _part(image, said["crop_coords"]),
    "CenterCrop": lambda image, said: _part(image, said["crop_coords"]),
    "RandomCropFromBorders": lambda image, said: _part(image, said["crop_coords"]),
    "RandomResizedCrop": lambda image, said: cv2.resize(_part(image, said["crop_coords"]), (28, 24)),
    "Rotate": lambda image, said: _turned(image, said["angle"]),
    "Affine": lambda image, said: _warped(image, said["matrix"], said["output_shape"]),
    "ShiftScaleRotate": lambda image, said: _warped(image, said["matrix"], said["output_shape"]),
    "Perspective": _perspective,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_pixels_follow_from_the_formula_and_the_numbers_alone(name: str) -> None:
    for draw in range(6):
        image, result, said = told(name, draw)
        again = FORMULAS[name](image, said)
        assert np.abs(again.astype(int) - result.astype(int)).max() <= (name == "Rotate"), draw  # its angle is rounded


def test_affine_says_what_makes_its_matrix() -> None:
    """The factors and shears give the matrix's area, and all four are in their ranges."""
    _, _, said = told("Affine", 0)
    assert set(said) == {"rotate", "scale", "shear", "translate", "matrix", "output_shape"}
    shear, angle = (np.radians(said["shear"]["x"]), np.radians(said["shear"]["y"])), np.radians(said["rotate"])
    assert all(abs(each) <= np.radians(10) for each in shear)
    determinant = said["scale"]["x"] * said["scale"]["y"] * (1 - np.tan(shear[0]) * np.tan(shear[1]))
    assert np.linalg.det(np.array(said["matrix"])[:2, :2]) == pytest.approx(determinant)
    assert abs(np.degrees(angle)) <= 40


@pytest.mark.parametrize("size", [INLINE_MAX, INLINE_MAX + 1])
def test_arrays_are_told_in_full_up_to_a_bound(size: int) -> None:
    params = drawn({"kernel": np.linspace(0, 1, size, dtype=np.float32), "odd": np.array([1.5, np.inf])})
    assert is_whole(params) == (size == INLINE_MAX)
    assert params["odd"] == [1.5, "inf"]
    assert len(json.dumps(params)) < 40 * INLINE_MAX
