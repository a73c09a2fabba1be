"""A box that stays holds a pixel of its object: objects are drawn, moved with their boxes, and looked for again.

An object is an ellipse of which only the box is given, or a polygon that touches all four sides of its box and is given
as an instance mask too. It is moved as the class mask, from which no box is computed. A border that repeats the image
repeats objects and boxes: there a box may hold any image of its object. The object itself is tested with a constant
border.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest

from augment.pipelines.spec import KeypointRules, Node, PipelineSpec
from augment.render.pipeline import Pipeline
from augment.render.records import Loose
from augment.samples.sample import Sample
from augment.transforms.albumentations_import import cv2
from augment.transforms.runtime.compiler import Compiled
from tests.augment.transforms.catalogue_cases import node, some

HEIGHT, WIDTH = 96, 128
NUM_OBJECTS = 8
PHANTOMS_PER_BOX = 1 / 1000
TURN = {"limit": [-45, 45]}
MOVE: Mapping[str, Any] = {
    "scale": [0.7, 1.4],
    "rotate": [-45, 45],
    "shear": [-15, 15],
    "translate_percent": [-0.2, 0.2],
}


def _shift(**more: Any) -> Node:
    return node("ShiftScaleRotate", shift_limit=0.2, scale_limit=0.3, rotate_limit=45, **more)


BORDERS = {"constant": 0, "replicate": 1, "reflect": 2, "wrap": 3, "reflect_101": 4}
CHAINS: dict[str, tuple[Node, ...]] = {
    **{f"Rotate, {name}": (node("Rotate", **TURN, border_mode=mode),) for name, mode in BORDERS.items()},
    **{f"Affine, {name}": (node("Affine", **MOVE, border_mode=mode),) for name, mode in BORDERS.items()},
    **{f"Perspective, {name}": (node("Perspective", scale=0.2, border_mode=mode),) for name, mode in BORDERS.items()},
    **{f"ShiftScaleRotate, {name}": (_shift(border_mode=mode),) for name, mode in BORDERS.items()},
    "Rotate, crop_border": (node("Rotate", **TURN, crop_border=True),),
    "Rotate, ellipse": (node("Rotate", **TURN, rotate_method="ellipse"),),
    "SafeRotate": (node("SafeRotate", **TURN),),
    "D4": (node("D4"),),
    "RandomShiftScale": (node("RandomShiftScale", shift_limit=0.4, scale_limit=0.5),),
    "RandomCrop": (node("RandomCrop", height=48, width=64),),
    "RandomResizedCrop": (node("RandomResizedCrop", size=[64, 64]),),
    "RandomCropKeepSize": (node("RandomCropKeepSize"),),
    "CropAndPad": (node("CropAndPad", px=None, percent=[-0.3, 0.3]),),
    "OpticalDistortion": (node("OpticalDistortion", distort_limit=0.5),),
    "ElasticTransform": (node("ElasticTransform", alpha=200, sigma=12),),
    "GridDistortion": (node("GridDistortion", distort_limit=0.5),),
    "RandomGridShuffle": (node("RandomGridShuffle"),),
    "RandAugment": (node("RandAugment", magnitude=20, num_ops=3),),
    "TrivialAugmentWide": (node("TrivialAugmentWide"),),
    "AutoAugment": (node("AutoAugment", policy="svhn"),),
    "Mosaic": (node("Mosaic", size=[HEIGHT, WIDTH]),),
    "Rotate, RandomCrop": (node("Rotate", **TURN), node("RandomCrop", height=48, width=64)),
    "Rotate, Mosaic, Rotate": (node("Rotate", **TURN), node("Mosaic", size=[HEIGHT, WIDTH]), node("Rotate", **TURN)),
    "Rotate, Rotate": (node("Rotate", **TURN), node("Rotate", **TURN)),
    "flip, Rotate, crop": Pipeline.load("flip-rotate-crop").spec.transforms,
    "D4, Affine, Perspective, RandomResizedCrop": (
        node("D4"),
        node("Affine", **MOVE),
        node("Perspective", scale=0.1),
        node("RandomResizedCrop", size=[64, 64]),
    ),
    "Rotate, ElasticTransform, RandomCrop": (
        node("Rotate", **TURN),
        node("ElasticTransform", alpha=100, sigma=12),
        node("RandomCrop", height=48, width=64),
    ),
    "RandAugment, ShiftScaleRotate, CropAndPad": (
        node("RandAugment", magnitude=15, num_ops=2),
        _shift(),
        node("CropAndPad", px=None, percent=[-0.2, 0.2]),
    ),
}


class Judged(NamedTuple):
    """Count the boxes that were kept, those of them without a pixel of their object, and objects without a box."""

    boxes: int
    phantoms: int
    lost: int


def drawn(seed: int, kind: str, first: int = 1) -> Sample:
    """Make objects with tight boxes; the mask is numbered from ``first``, and so are the labels of the boxes."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    boxes, labels = [], []
    for label in range(first, first + NUM_OBJECTS):
        height, width = rng.integers(8, 40, 2)
        y, x = rng.integers(0, HEIGHT - height + 1), rng.integers(0, WIDTH - width + 1)
        if mask[y : y + height, x : x + width].any():
            continue
        shape = _ellipse(height, width) if kind == "ellipses" else _polygon(height, width, rng)
        mask[y : y + height, x : x + width] = shape * label
        rows, columns = np.nonzero(mask == label)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        labels.append(label)
    return Sample(
        np.repeat(mask[..., np.newaxis], 3, axis=2),
        mask=mask,
        boxes=np.array(boxes, np.float32),
        box_labels=np.array(labels),
        instance_masks=np.array([mask == label for label in labels], np.uint8) if kind == "polygons" else None,
    )


def _ellipse(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside: np.ndarray = (2 * rows / height - 1) ** 2 + (2 * columns / width - 1) ** 2 <= 1
    return inside.astype(np.uint8)


def _polygon(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Make a convex polygon with four to eight corners, one on each side."""
    far = [height - 1, width - 1]
    sides = [[0, rng.random()], [1, rng.random()], [rng.random(), 0], [rng.random(), 1]]
    points = np.array([*sides, *rng.random((rng.integers(0, 5), 2))]) * far
    hull = cv2.convexHull(np.rint(points)[:, ::-1].astype(np.int32))
    filled: np.ndarray = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), hull, 1)
    return filled


def judge(nodes: Sequence[Node], num_draws: int, kind: str) -> Judged:
    donors = Loose([drawn(10_000 + nth, kind, first=100 + 10 * nth) for nth in range(12)])
    transform: Compiled = Compiled(PipelineSpec(tuple(nodes)), donors=donors)
    num_boxes = phantoms = lost = 0
    for draw in range(num_draws):
        out, *_ = transform(drawn(draw, kind), seed=0, draw=draw, view=0, key="k")
        boxes, mask = some(out.boxes), some(out.mask)
        low, high = np.floor(boxes[:, :2] + 1e-3).astype(int), np.ceil(boxes[:, 2:] - 1e-3).astype(int)
        for label, (x, y), (right, bottom) in zip(some(out.box_labels), low, high, strict=True):
            phantoms += not (mask[y:bottom, x:right] == label).any()
        counts = np.bincount(mask.ravel(), minlength=256)
        labels = set(some(out.box_labels).tolist())
        lost += sum(counts[label] >= 4 and label not in labels for label in range(1, 1 + NUM_OBJECTS))
        num_boxes += len(boxes)
    return Judged(num_boxes, phantoms, lost)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("kind", ["ellipses", "polygons"])
@pytest.mark.parametrize("num_draws", [15, pytest.param(100_000, marks=pytest.mark.long)])
def test_boxes_that_stay_hold_a_pixel_of_their_object(chain: str, kind: str, num_draws: int) -> None:
    judged = judge(CHAINS[chain], num_draws, kind)
    print(f"{chain}, {kind}: {judged.phantoms} of {judged.boxes} boxes hold no pixel of their object")  # noqa: T201 - asked for
    assert judged.boxes > num_draws
    assert judged.phantoms <= max(PHANTOMS_PER_BOX * judged.boxes, 1)


KEYPOINT_CHAINS = {name: nodes for name, nodes in CHAINS.items() if len(nodes) > 1 and "Elastic" not in name} | {
    "RandomCrop, PadIfNeeded": (
        node("RandomCrop", height=48, width=64),
        node("PadIfNeeded", min_height=HEIGHT, min_width=WIDTH),
    ),
    "CropAndPad": (node("CropAndPad", px=None, percent=[-0.3, 0.3]), _shift()),
    "RandAugment": (node("RandAugment", magnitude=25, num_ops=3),),
}


@pytest.mark.parametrize("chain", KEYPOINT_CHAINS)
@pytest.mark.parametrize("outside", ["mark", "drop"])
def test_keypoints_that_are_left_lie_on_their_own_pixels(chain: str, outside: Literal["mark", "drop"]) -> None:
    """A box that a step pushes out of the frame is gone, even if the next step brings its place back."""
    spec = PipelineSpec(KEYPOINT_CHAINS[chain], keypoints=KeypointRules(outside=outside))
    transform = Compiled(spec, donors=Loose([spots(99, first=200)]))
    left = lost = 0
    for draw in range(60):
        out, *_ = transform(spots(draw), seed=0, draw=draw, view=0, key="k")
        mask, points = np.pad(some(out.mask), 2), some(out.keypoints)
        own = np.flatnonzero((some(out.keypoint_labels) < 100) & (some(out.keypoint_visibility) > 0))
        for row in own:
            x, y = np.rint(points[row]).astype(int)
            assert some(out.keypoint_labels)[row] in mask[y : y + 5, x : x + 5], (draw, row)
        left, lost = left + len(own), lost + 12 - len(own)
    assert left > 60
    assert lost > 60


def spots(seed: int, first: int = 1) -> Sample:
    """Make twelve keypoints, each in the middle of a square with its number in the mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    points = []
    for nth, cell in enumerate(np.ndindex(3, 4)):
        y, x = np.multiply(cell, (HEIGHT // 3, WIDTH // 4)) + rng.integers(3, 28, 2)
        mask[y - 3 : y + 4, x - 3 : x + 4] = first + nth
        points.append([x, y])
    return Sample(
        np.repeat(mask[..., np.newaxis], 3, axis=2),
        mask=mask,
        keypoints=np.array(points, np.float32),
        keypoint_labels=np.arange(first, first + 12),
        keypoint_visibility=np.full(12, 2, np.int8),
    )
