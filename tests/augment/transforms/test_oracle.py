"""Every geometric transform moves keypoints, their angles and scales, and boxes as it moves pixels drawn there."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from augment.pipelines.spec import BoxRules, PipelineSpec
from augment.samples.sample import Sample
from augment.transforms.policies.operations import GEOMETRIC
from augment.transforms.runtime.compiler import Compiled
from tests.augment.transforms import oracle
from tests.augment.transforms.catalogue_cases import (
    MOVING,
    POLICIES,
    compiled,
    movable,
    node,
    noise_image,
    operations_of,
    some,
)
from tests.augment.transforms.test_targets_contract import CATALOGUE, STRONGER

SIZES = ((97, 131), (96, 130), (131, 96), (120, 120))
"""Odd and even, lying, standing and square."""

BENDING = (
    "ElasticTransform",
    "GridDistortion",
    "GridElasticDeform",
    "OpticalDistortion",
    "PiecewiseAffine",
    "ThinPlateSpline",
)
TILES = ("RandomGridShuffle",)  # cuts a drawing into parts; has tests of its own
DRAWN = tuple(name for name in MOVING if name not in TILES and "keypoints" in CATALOGUE[name].targets)
CURVED = (*BENDING, "Perspective")
BOXED = tuple(name for name in DRAWN if "boxes" in CATALOGUE[name].targets)
PLACE_PX = {"Morphological": 0.6} | dict.fromkeys(BENDING, 2.5) | {"GridElasticDeform": 6.0}
"""Its ellipse has even sides, whose middle lies between pixels. A blob on a kink or tear has another middle than its
point, so for what bends the place is read from an image of coordinates instead."""
ANGLE_DEGREES = dict.fromkeys(BENDING, 12.0) | {"GridElasticDeform": 20.0}
"""A direction is drawn ten pixels long, and bends; across a tear of the mesh more so."""
SCALE_SHARE = dict.fromkeys(BENDING, 0.25)
NUM_DRAWS = pytest.mark.parametrize("num_draws", [6, pytest.param(40, marks=pytest.mark.long)])
"""Draws of each size."""


def sample_of(height: int, width: int, seed: int) -> Sample:
    """Make two boxes and five keypoints with angles and scales, none of them at whole pixels."""
    rng = np.random.default_rng(seed)
    low, high = np.array([0.2 * width, 0.2 * height]), np.array([0.8 * width, 0.8 * height])
    corners = np.sort(rng.uniform(low, high, (2, 2, 2)), axis=1)
    corners[:, 1] = np.maximum(corners[:, 1], corners[:, 0] + 12)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 :, width // 3 :] = 1
    return Sample(
        noise_image(height, width),
        mask=mask,
        boxes=corners.reshape(2, 4).astype(np.float32),
        box_labels=np.array([0, 1]),
        keypoints=rng.uniform(low, high, (5, 2)).astype(np.float32),
        keypoint_angles=rng.uniform(0, 2 * np.pi, 5).astype(np.float32),
        keypoint_scales=rng.uniform(2, 9, 5).astype(np.float32),
    )


def cases(name: str, num_draws: int) -> Iterator[tuple[Sample, dict[str, Any]]]:
    for size in SIZES:
        fitting = (draw for draw in itertools.count() if name not in POLICIES or only_moves(name, size[0], draw))
        for draw in itertools.islice(fitting, num_draws):
            yield (
                movable(name, sample_of(*size, seed=draw)),
                {"seed": size[0], "draw": draw, "view": 0, "key": name},
            )


def only_moves(name: str, seed: int, draw: int) -> bool:
    """Return True if a policy moves pixels and keeps colours, so that a drawing can be found again."""
    small, policy = Sample(noise_image(2, 2)), compiled(node(name, **params(name)))
    (applied,) = policy(small, seed=seed, draw=draw, view=0, key=name).applied
    names = {operation for operation, _ in operations_of(applied)} - {"Identity"}
    return bool(names) and names <= set(GEOMETRIC)


SMALLER: dict[str, dict[str, Any]] = {
    name: {"height": 70, "width": 80}
    for name in ("AtLeastOneBBoxRandomCrop", "CenterCrop", "CropNonEmptyMaskIfExists", "RandomCrop")
} | {"Crop": {"x_min": 5, "y_min": 3, "x_max": 90, "y_max": 81}}


def params(name: str, **more: Any) -> dict[str, Any]:
    known = CATALOGUE[name].schema["properties"]
    wanted = {
        "interpolation": 1,
        "fill": 0,
        "border_mode": 0,
        **STRONGER.get(name, {}),
        **SMALLER.get(name, {}),
        **more,
    }
    return {key: value for key, value in wanted.items() if key in known}


@pytest.mark.parametrize("name", DRAWN)
@NUM_DRAWS
def test_keypoints_follow_blobs_drawn_in_their_places(name: str, num_draws: int) -> None:
    transform = compiled(node(name, **params(name)))
    sigma = 1.2 if name in CURVED else 2.5
    seen: Counter[str] = Counter()
    for given, address in cases(name, num_draws):
        points = some(given.keypoints)
        ahead = oracle.AHEAD_PX * np.stack(
            [np.cos(some(given.keypoint_angles)), np.sin(some(given.keypoint_angles))], 1
        )
        rows, columns = given.image.shape[:2]
        drawings = [
            oracle.blob(rows, columns, place[0], place[1], sigma)
            for p, a in zip(points, ahead, strict=True)
            for place in (p, p - a, p + a)
        ]
        out, images = oracle.transformed(transform, given, drawings, **address)
        height, width = out.image.shape[:2]
        for i in range(len(points)):
            image, behind, before = images[3 * i : 3 * i + 3]
            keypoint = some(out.keypoints)[i]
            middle = oracle.found(image)
            if np.isnan(keypoint).any() or not (-12 <= keypoint[0] < width + 12 and -12 <= keypoint[1] < height + 12):
                assert oracle.is_absent(image), (address, i, keypoint)
                seen["absent"] += 1
            if middle is None:
                continue
            grown = math.sqrt(middle.mass / drawings[3 * i].sum())
            if name in BENDING and not 0.6 <= grown <= 1.6:
                seen["folded"] += 1  # seen twice, or so stretched that its middle says nothing of its point
                continue
            miss = np.hypot(middle.x - keypoint[0], middle.y - keypoint[1])
            assert miss <= PLACE_PX.get(name, 0.1), (address, i)
            seen["place"] += 1
            if miss > 0.5:
                seen["torn"] += 1  # on a kink, or between tiles of a mesh: the blob has no one direction and scale
                continue
            start, end = oracle.found(behind), oracle.found(before)
            if start is None or end is None or name == "Morphological":
                continue
            if np.hypot(middle.x - (start.x + end.x) / 2, middle.y - (start.y + end.y) / 2) > 0.5:
                seen["bent"] += 1  # no direction can be read from it
                continue
            direction = math.atan2(end.y - start.y, end.x - start.x)
            assert math.degrees(oracle.turn(direction, some(out.keypoint_angles)[i])) <= ANGLE_DEGREES.get(name, 0.5)
            scale = some(out.keypoint_scales)[i] / some(given.keypoint_scales)[i]
            assert scale == pytest.approx(grown, rel=SCALE_SHARE.get(name, 0.02)), (address, i)
            seen["turn"] += 1
    assert seen["place"] >= 40, seen
    assert seen["turn"] >= 40 or name == "Morphological", seen


@pytest.mark.parametrize("name", BENDING)
@NUM_DRAWS
def test_keypoints_of_what_bends_lie_where_their_coordinates_are_seen(name: str, num_draws: int) -> None:
    transform = compiled(node(name, **params(name)))
    misses = []
    for given, address in cases(name, num_draws):
        height, width = given.image.shape[:2]
        y, x = np.mgrid[:height, :width]
        out, (xs, ys) = oracle.transformed(transform, given, [x / (width - 1), y / (height - 1)], **address)
        for before, after in zip(some(given.keypoints), some(out.keypoints), strict=True):
            inside = (after >= 1).all() and (after < (width - 2, height - 2)).all()  # NaN is not
            if inside:
                there = [
                    float(ndimage.map_coordinates(one, after[::-1, np.newaxis], order=1)[0]) * (side - 1)
                    for one, side in ((xs, width), (ys, height))
                ]
                misses.append(np.hypot(*(there - before)))
    assert len(misses) >= 60
    assert np.quantile(misses, 0.9) <= 0.5  # a level of grey is half a pixel
    assert max(misses) <= 2.5  # where tiles of a mesh meet, the image is torn


@pytest.mark.parametrize("name", [name for name in BOXED if name not in BENDING])
@NUM_DRAWS
def test_boxes_hold_blobs_drawn_at_their_corners(name: str, num_draws: int) -> None:
    transform = compiled(node(name, **params(name)))
    sigma = 1.2 if name in CURVED else 2.5
    seen = 0
    for given, address in cases(name, num_draws):
        rows, columns = given.image.shape[:2]
        drawings = [
            oracle.blob(rows, columns, x - 0.5, y - 0.5, sigma)  # a box is measured at the edges of pixels
            for x_min, y_min, x_max, y_max in some(given.boxes)
            for x, y in ((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max))
        ]
        out, images = oracle.transformed(transform, given, drawings, **address)
        for row in range(2):
            corners = [oracle.found(image) for image in images[4 * row : 4 * row + 4]]
            if any(corner is None for corner in corners):
                continue
            xs, ys = [one.x + 0.5 for one in corners if one], [one.y + 0.5 for one in corners if one]
            box = some(out.boxes)[some(out.box_rows) == row]
            assert len(box) == 1
            np.testing.assert_allclose(box[0], [min(xs), min(ys), max(xs), max(ys)], atol=0.1, err_msg=str(address))
            seen += 1
    assert seen >= 8


UPRIGHT = tuple(
    name
    for name in BOXED
    if name not in (*BENDING, *POLICIES, "Affine", "Perspective", "Rotate", "SafeRotate", "ShiftScaleRotate")
)
"""What leaves an upright box upright, so that the box about all of its pixels is the box."""

REPEATING = ("Affine", "CropAndPad", "Pad", "PadIfNeeded", "Perspective", "RandomCrop", "RandomShiftScale", "Rotate")
BORDERS = [(name, 0) for name in BOXED]
BORDERS += [(name, border_mode) for name in REPEATING for border_mode in (2, 3, 4)]


def boxed(height: int, width: int, seed: int) -> Sample:
    """Make three boxes at whole pixels, the first of which touches the frame, and the mask of their insides."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    boxes = []
    for label in range(1, 4):
        h, w = rng.integers(6, 25, 2)
        y, x = (0, 0) if label == 1 else (rng.integers(0, height - h), rng.integers(0, width - w))
        if not mask[y : y + h, x : x + w].any():
            mask[y : y + h, x : x + w] = label
            boxes.append((x, y, x + w, y + h, label))
    columns = np.array(boxes)
    return Sample(
        noise_image(height, width), mask=mask, boxes=columns[:, :4].astype(np.float32), box_labels=columns[:, 4]
    )


@pytest.mark.parametrize(("name", "border_mode"), BORDERS)
@NUM_DRAWS
def test_boxes_hold_every_pixel_drawn_in_them(name: str, border_mode: int, num_draws: int) -> None:
    """Includes boxes cut at the frame, and those that a border repeats."""
    more = {"height": 140, "width": 150, "pad_if_needed": True} if border_mode and name == "RandomCrop" else {}
    more |= {"padding": 150} if name == "Pad" else {}  # more than once round
    more |= {"fit_output": True} if border_mode and name == "Perspective" else {}
    one = node(name, **params(name, border_mode=border_mode, **more))
    transform = Compiled(PipelineSpec((one,), boxes=BoxRules(0, 0, 0, 0)))
    beside = 0.6 if border_mode else 0.0  # an image beside it, of which a row of pixels falls into the window
    several = 0
    for size in SIZES:
        for draw in range(num_draws):
            given = boxed(*size, seed=draw)
            out, *_ = transform(given, seed=size[0], draw=draw, view=0, key=name)
            for label in some(given.box_labels):
                boxes = some(out.boxes)[some(out.box_labels) == label]
                several += len(boxes) > 1
                drawn = some(out.mask) == label
                held = np.zeros_like(drawn)
                for box in boxes:
                    x_min, y_min = np.maximum(np.floor(box[:2] - 0.5).astype(int), 0)
                    x_max, y_max = np.ceil(box[2:] + 0.5).astype(int)
                    held[y_min:y_max, x_min:x_max] = True
                    if name in UPRIGHT:
                        about = oracle.bounds(drawn[y_min:y_max, x_min:x_max])
                        if about is None:  # less than a pixel of it is in the frame
                            assert (box[2:] - box[:2]).min() < 1
                        else:
                            about += (x_min, y_min, x_min, y_min)
                            np.testing.assert_allclose(about, box, atol=1.0 + beside, err_msg=f"{size} {draw} {label}")
                assert not (drawn & ~held).any(), (size, draw, label)
    assert several or not border_mode
