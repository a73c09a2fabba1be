"""Every transform that moves pixels moves its targets with them: an oracle of drawn pixels."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from augment.samples.sample import Sample
from augment.transforms.catalogue import catalogue
from augment.transforms.entry import ALL_TARGETS
from augment.transforms.runtime.compiler import TransformedSample
from tests.augment.transforms.catalogue_cases import (
    LEAVES,
    MOVING,
    MOVING_ALL,
    POLICIES,
    compiled,
    movable,
    node,
    operations_of,
    sample,
    some,
)

CATALOGUE = catalogue()
HEIGHT, WIDTH = 120, 160


STRONGER: dict[str, dict[str, Any]] = {
    "Affine": {"scale": [0.8, 1.2], "rotate": [-30, 30], "shear": [-10, 10], "translate_percent": [-0.1, 0.1]},
    "AtLeastOneBBoxRandomCrop": {"height": 90, "width": 110},
    "AutoAugment": {"policy": "svhn"},
    "CenterCrop": {"height": 110, "width": 150},
    "Crop": {"x_min": 5, "y_min": 3, "x_max": 150, "y_max": 100},
    "CropAndPad": {"px": [-12, 12]},
    "CropNonEmptyMaskIfExists": {"height": 90, "width": 110},
    "ElasticTransform": {"alpha": 150, "sigma": 12},
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 6},
    "LongestMaxSize": {"max_size": 200},
    "OpticalDistortion": {"distort_limit": 0.3},
    "Pad": {"padding": [5, 8, 11, 3]},
    "PadIfNeeded": {"min_height": 150, "min_width": 200},
    "PiecewiseAffine": {"scale": [0.08, 0.1]},
    "RandomCrop": {"height": 90, "width": 110},
    "RandomResizedCrop": {"size": [100, 140], "scale": [0.5, 1]},
    "RandomSizedBBoxSafeCrop": {"height": 100, "width": 130},
    "RandomSizedCrop": {"min_max_height": [80, 110], "size": [100, 100]},
    "Resize": {"height": 90, "width": 200},
    "SmallestMaxSize": {"max_size": 90},
    "ThinPlateSpline": {"scale_range": [0.05, 0.1]},
}
EXACT = 1e-3
RESAMPLED = 1.0
"""Albumentations scales keypoints and box edges from the image's corner, pixels from their middles: half a pixel of
the larger image apart, and a nearest neighbour is off by another half."""

BENDING = (
    "ElasticTransform",
    "GridDistortion",
    "GridElasticDeform",
    "OpticalDistortion",
    "PiecewiseAffine",
    "ThinPlateSpline",
)
BOX_TOLERANCE_PX: dict[str, float] = {"SafeRotate": 1.1} | dict.fromkeys(BENDING, EXACT)  # tips of turned corners
KEYPOINT_TOLERANCE_PX: dict[str, float] = dict.fromkeys(BENDING, 6.0)
"""A keypoint's distance from the middle of the blob it stood in: a bent blob has another middle. That the keypoint
itself is right to the pixel is tested with its field."""
EXACT_NAMES = frozenset(
    {
        "AtLeastOneBBoxRandomCrop",
        "BBoxSafeRandomCrop",
        "CenterCrop",
        "Crop",
        "CropNonEmptyMaskIfExists",
        "D4",
        "HorizontalFlip",
        "Pad",
        "PadIfNeeded",
        "RandomCrop",
        "RandomCropFromBorders",
        "RandomRotate90",
        "SquareSymmetry",
        "Transpose",
        "VerticalFlip",
    }
)


def blobs() -> Sample:
    """Draw six rectangles, each in a different colour and class, with a box and a keypoint in its middle."""
    mask = np.zeros((HEIGHT, WIDTH), np.int64)
    boxes, keypoints = [], []
    for index, (y, x) in enumerate(itertools.product((15, 70), (15, 65, 115)), start=1):
        mask[y : y + 24, x : x + 20] = index
        boxes.append([x, y, x + 20, y + 24])
        keypoints.append([x + 9.5, y + 11.5])
    image = np.stack([mask * 40, mask * 20, 255 - mask * 30], axis=-1).astype(np.uint8)
    return Sample(
        image,
        mask=mask,
        boxes=np.array(boxes, np.float32),
        box_labels=np.arange(1, 7),
        keypoints=np.array(keypoints, np.float32),
    )


def oracle_params(name: str, **more: Any) -> dict[str, Any]:
    """Use nearest neighbour for the image too, and borders of class 0's colour, so that pixels name their class."""
    known = CATALOGUE[name].schema["properties"]
    fill = 0 if name == "CropAndPad" else [0, 0, 255]
    wanted = {"interpolation": 0, "mask_interpolation": 0, "fill": fill, **STRONGER.get(name, {}), **more}
    return {key: value for key, value in wanted.items() if key in known}


def whole_blobs(mask: np.ndarray) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """Return the box and the middle of each connected part of each class that does not touch the frame."""
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for index in range(1, 7):
        parts, count = ndimage.label(mask == index)
        for part in range(1, count + 1):
            y, x = np.nonzero(parts == part)
            if min(y.min(), x.min()) > 1 and y.max() < mask.shape[0] - 2 and x.max() < mask.shape[1] - 2:
                box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
                found.setdefault(index, []).append((box, np.array([x.mean(), y.mean()])))
    return found


@pytest.mark.parametrize("border_mode", [0, 4])
@pytest.mark.parametrize(
    "name", [name for name in MOVING if CATALOGUE[name].targets >= ALL_TARGETS and name != "RandomGridShuffle"]
)
def test_targets_follow_drawn_pixels(name: str, border_mode: int) -> None:
    if border_mode and "border_mode" not in CATALOGUE[name].schema["properties"]:
        return
    transform = compiled(node(name, **oracle_params(name, border_mode=border_mode)))
    tolerance = EXACT if name in EXACT_NAMES else RESAMPLED
    seen = 0
    for draw in range(8):
        given = blobs()
        rendered, *_ = transform(given, seed=1, draw=draw, view=0, key="k")
        assert rendered.mask is not None
        assert rendered.boxes is not None
        assert rendered.box_labels is not None
        assert rendered.keypoints is not None
        fills_alike = name == "CropAndPad" and border_mode == 0  # its fill is one value for all channels
        if not fills_alike and name not in POLICIES:  # they change colours too
            assert np.array_equal(rendered.image[..., 0], (rendered.mask * 40).astype(np.uint8))
        assert rendered.keypoints.shape == (6, 2)
        for index, parts in whole_blobs(rendered.mask).items():
            boxes = rendered.boxes[rendered.box_labels == index]
            corners = np.array([box for box, _ in parts])
            union = np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])
            for box in corners:  # a fold shows an object twice, and one box then holds both
                distance = min(np.abs(boxes - box).max(axis=1).min(), np.abs(boxes - union).max(axis=1).min())
                assert distance <= BOX_TOLERANCE_PX.get(name, tolerance), (draw, index)
            keypoint = rendered.keypoints[index - 1]
            nearest = min(np.abs(keypoint - middle).max() for _, middle in parts)
            inside = (keypoint >= 0).all() and (keypoint < rendered.mask.shape[::-1]).all()
            if inside:
                assert nearest <= KEYPOINT_TOLERANCE_PX.get(name, tolerance), (draw, index)
                seen += 1
    assert seen >= 12


SHRINKING: dict[str, dict[str, Any]] = {
    "LongestMaxSize": {"max_size": 45},
    "RandomCropKeepSize": {"scale": [0.06, 0.1]},
    "RandomResizedCrop": {"size": [30, 40], "scale": [0.8, 1]},
    "RandomScale": {"scale_limit": [-0.75, -0.65]},
    "RandomSizedBBoxSafeCrop": {"height": 30, "width": 40},
    "RandomSizedCrop": {"min_max_height": [100, 110], "size": [30, 30]},
    "Resize": {"height": 37, "width": 53},
    "SmallestMaxSize": {"max_size": 37},
}
"""By a factor of three or more, where a pixel's corner is more than a pixel away from its middle."""
FILTERS = [
    (name, option["const"])
    for name in MOVING_ALL
    for option in CATALOGUE[name].schema["properties"].get("interpolation", {}).get("oneOf", ())
]
GEOMETRIC = frozenset({"Identity", "Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"})
AWAY_FROM_EDGES_PX = 5
"""Nearer to the image's edge, the border's pixels are mixed in: Lanczos reaches four pixels."""


def ramps() -> Sample:
    """Draw positions: red is a pixel's column, green its row, and the mask both."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return Sample(
        np.stack([columns + 20, rows + 20, np.full_like(rows, 255)], axis=-1).astype(np.uint8),
        mask=rows * WIDTH + columns,
        boxes=np.array([[40, 30, 100, 90]], np.float32),
        box_labels=np.array([1]),
    )


def only_moves(name: str, made: TransformedSample) -> bool:
    """Return True unless a policy has changed colours."""
    return name not in POLICIES or {step for step, _ in operations_of(made.applied[0])} <= GEOMETRIC


@pytest.mark.parametrize("params", [STRONGER, SHRINKING], ids=["stronger", "shrinking"])
@pytest.mark.parametrize(("name", "interpolation"), FILTERS)
def test_image_and_mask_show_the_same_places_by_every_filter(
    name: str, interpolation: int, params: dict[str, dict[str, Any]]
) -> None:
    if name == "AugMix" or (params is SHRINKING and name not in SHRINKING):  # AugMix mixes several images
        return
    transform = compiled(node(name, interpolation=interpolation, **params.get(name, {})))
    made = (transform(ramps(), seed=1, draw=draw, view=0, key="k") for draw in range(200))
    for rendered in itertools.islice((each.sample for each in made if only_moves(name, each)), 3):
        rows, columns = np.divmod(some(rendered.mask), WIDTH)
        inside = np.minimum(np.minimum(rows, HEIGHT - 1 - rows), np.minimum(columns, WIDTH - 1 - columns))
        inside[ndimage.binary_dilation(rendered.image[..., 2] < 255, iterations=2)] = 0
        seen = inside >= AWAY_FROM_EDGES_PX
        assert seen.mean() > 0.2
        shown = rendered.image[..., :2][seen].astype(int) - 20
        difference = np.abs(shown - np.stack([columns, rows], axis=-1)[seen])
        assert difference.max() <= (0 if interpolation in {0, 6} else 1)


@pytest.mark.parametrize("interpolation", range(7))
@pytest.mark.parametrize("name", ["Downscale", "Superpixels"])
def test_an_image_that_is_made_small_and_large_again_stays_in_place(name: str, interpolation: int) -> None:
    """The transform moves no target, so it may not move a pixel."""
    pair = {"downscale": interpolation, "upscale": interpolation}
    params: dict[str, Any] = {"scale_range": [1 / 3, 1 / 3], "interpolation_pair": pair}
    if name == "Superpixels":
        params = {"max_size": 55, "p_replace": [1, 1], "n_segments": [300, 300], "interpolation": interpolation}
    rows, columns = np.mgrid[:135, :165]
    image = np.stack([columns, rows, columns], axis=-1).astype(np.uint8)
    rendered = compiled(node(name, **params))(Sample(image), seed=1, draw=0, view=0, key="k").sample.image
    shift = rendered[30:-30, 30:-30, :2].astype(float) - image[30:-30, 30:-30, :2]
    assert np.abs(shift.mean(axis=(0, 1))).max() <= 0.5


def test_shuffled_tiles_carry_their_targets() -> None:
    transform = compiled(node("RandomGridShuffle", grid=[2, 2]))
    points = np.array([[10, 5], [100, 20], [30, 100], [150, 110], [-3, 4]], dtype=np.float32)
    for draw in range(8):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for index, (x, y) in enumerate(points[:4].astype(int), start=1):
            image[y, x] = index
        given = Sample(image, mask=image[..., 0].astype(np.int64), keypoints=points)
        rendered, *_ = transform(given, seed=1, draw=draw, view=0, key="k")
        assert rendered.mask is not None
        assert rendered.keypoints is not None
        assert np.array_equal(rendered.mask, rendered.image[..., 0])
        for index, (x, y) in enumerate(rendered.keypoints[:4].astype(int), start=1):
            assert rendered.mask[y, x] == index
        assert np.array_equal(rendered.keypoints[4], points[4])


def test_keypoint_between_two_tiles_goes_with_its_pixel() -> None:
    transform = compiled(node("RandomGridShuffle", grid=[2, 2]))
    points = np.array([[79.4, 59.4], [79.6, 59.4], [79.4, 59.6], [79.6, 59.6], [-0.4, -0.4]], dtype=np.float32)
    swapped = 0
    for draw in range(8):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for index, (x, y) in enumerate(np.rint(points).astype(int), start=1):
            mask[abs(y), abs(x)] = index
        given = Sample(np.zeros((HEIGHT, WIDTH, 3), np.uint8), mask=mask, keypoints=points)
        rendered = transform(given, seed=1, draw=draw, view=0, key="k").sample
        moved = np.abs(np.rint(some(rendered.keypoints))).astype(int)
        assert [some(rendered.mask)[y, x] for x, y in moved] == [1, 2, 3, 4, 5]
        swapped += not np.array_equal(some(rendered.keypoints), points)
    assert swapped >= 4


def test_shuffled_tiles_cut_boxes_and_join_what_touches_again() -> None:
    transform = compiled(node("RandomGridShuffle", grid=[3, 4]))
    counts = set()
    for draw in range(12):
        given = blobs()
        rendered, *_ = transform(given, seed=1, draw=draw, view=0, key="k")
        assert rendered.mask is not None
        for index in range(1, 7):
            parts, count = ndimage.label(rendered.mask == index, structure=np.ones((3, 3)))
            boxes = some(rendered.boxes)[some(rendered.box_labels) == index]
            expected = {(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(parts)}
            assert {tuple(box) for box in np.rint(boxes).astype(int).tolist()} == expected
            assert len(boxes) == count
            counts.add(count)
    assert len(counts) > 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.int64, np.uint32])
@pytest.mark.parametrize("name", [name for name in MOVING if "mask" in CATALOGUE[name].targets])
def test_mask_of_any_integer_type_keeps_type_and_classes(name: str, dtype: type[np.integer]) -> None:
    given = sample()
    assert given.mask is not None
    classes = np.array([0, 1, 200, 255 if dtype == np.uint8 else 30_000])
    given.mask = classes[given.mask].astype(dtype)
    needed = {"mask_indices": [1, 200]} if name == "ConstrainedCoarseDropout" else {}
    rendered, *_ = compiled(node(name, **needed))(given, seed=0, draw=0, view=0, key="k")
    assert rendered.mask is not None
    assert rendered.mask.dtype == dtype
    assert set(np.unique(rendered.mask)) <= set(classes)


@pytest.mark.parametrize("name", LEAVES)
def test_no_boxes_and_no_keypoints_stay_none(name: str) -> None:
    given = movable(name, sample())
    if given.boxes is None:
        return
    given.boxes, given.box_labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    given.keypoints = np.zeros((0, 2), np.float32)
    rendered, *_ = compiled(node(name))(given, seed=0, draw=0, view=0, key="k")
    assert rendered.boxes is not None
    assert rendered.boxes.shape == (0, 4)
    assert rendered.box_labels is not None
    assert rendered.box_labels.shape == (0,)
    assert rendered.keypoints is not None
    assert rendered.keypoints.shape == (0, 2)


# --------------------------------------------------------------------------------------------------------- statistics
