"""Made-up annotations that are true of an image, for property tests of formats."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from augment.images import masks
from augment.samples.annotations import Annotations, Polygons, Rle

CLASSES = ("person", "traffic light", "Ünïcode & <co>", "z:1")
KEYPOINTS = ("nose", "left_eye", "right_eye")

_PER_PIXEL = 100_000


def _pixels(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers with five decimals."""
    return st.integers(round(low * _PER_PIXEL), round(high * _PER_PIXEL)).map(lambda steps: steps / _PER_PIXEL)


@st.composite
def boxes(draw: Any, height: int, width: int) -> tuple[float, float, float, float]:
    """Draw a box of at least a pixel, anywhere in the image."""
    x_min, y_min = draw(_pixels(0, width - 1)), draw(_pixels(0, height - 1))
    x_max, y_max = draw(_pixels(x_min + 1, width)), draw(_pixels(y_min + 1, height))
    return x_min, y_min, x_max, y_max


@st.composite
def boxed(draw: Any, size: tuple[int, int], *, whole: bool = False) -> Annotations:
    """Boxes with classes, and attributes where any box has some; of whole pixels if asked for."""
    found = draw(st.lists(boxes(*size), max_size=4))
    if whole:
        found = [tuple(float(round(value)) for value in box) for box in found]
    attributes = [draw(_attributes) for _ in found]
    return Annotations(
        boxes=tuple(found),
        box_labels=tuple(draw(st.sampled_from(CLASSES)) for _ in found),
        box_attributes=tuple(attributes) if any(attributes) else None,
    )


_attributes = st.fixed_dictionaries(
    {},
    optional={
        "difficult": st.integers(0, 1),
        "pose": st.sampled_from(["Left", "Unspecified"]),
        "score": st.floats(0, 1).map(lambda value: round(value, 3) + 0.5),
    },
)


@st.composite
def outlined(draw: Any, size: tuple[int, int]) -> Annotations:
    """Boxes each with a mask: polygons (one, or several side by side) or run lengths of anything."""
    height, width = size
    found: list[tuple[Any, Polygons | Rle]] = []
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            polygons = draw(_polygons(height, width))
            xs = [x for polygon in polygons for x in polygon[::2]]
            ys = [y for polygon in polygons for y in polygon[1::2]]
            found.append(((min(xs), min(ys), max(xs), max(ys)), polygons))
        else:
            mask = draw(npst.arrays(np.uint8, size, elements=st.integers(0, 1)))
            mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = 1
            ys_, xs_ = np.nonzero(mask)
            box = (float(xs_.min()), float(ys_.min()), float(xs_.max() + 1), float(ys_.max() + 1))
            found.append((box, masks.run_lengths(mask)))
    return Annotations(
        boxes=tuple(box for box, _ in found),
        box_labels=tuple(draw(st.sampled_from(CLASSES)) for _ in found),
        instance_masks=tuple(mask for _, mask in found) if found else None,
    )


@st.composite
def _polygons(draw: Any, height: int, width: int) -> Polygons:
    number = draw(st.integers(1, 2))
    found = []
    for i in range(number):  # side by side, so that none meets another
        low, high = i * width / number, (i + 1) * width / number
        x, y = draw(_pixels(low, high - 4)), draw(_pixels(0, height - 4))
        x_max, y_max = draw(_pixels(x + 3, high - 0.5)), draw(_pixels(y + 3, height))  # some pixel is inside
        found.append((x, y, x_max, y, x_max, y_max))
    return tuple(found)


@st.composite
def posed(draw: Any, size: tuple[int, int]) -> Annotations:
    """Boxes each with all keypoints, some of them not annotated."""
    found = draw(st.lists(boxes(*size), min_size=1, max_size=3))
    seen = tuple(draw(st.integers(0, 2)) for _ in range(len(found) * len(KEYPOINTS)))
    place = st.tuples(_pixels(0, size[1] - 0.5), _pixels(0, size[0] - 0.5))
    return Annotations(
        boxes=tuple(found),
        box_labels=("person",) * len(found),
        keypoints=tuple(draw(place) if each else (0.0, 0.0) for each in seen),
        keypoint_labels=KEYPOINTS * len(found),
        keypoint_visibility=seen,
        keypoint_boxes=tuple(i for i in range(len(found)) for _ in KEYPOINTS),
    )
