"""Checks of objects and keypoints for COCO and YOLO (class, names, owner of each keypoint); coordinates as text."""

import math
import re
from collections.abc import Iterable, Sequence

from augment.samples.annotations import Annotations, Corners, Polygons

NO_CLASS = "object"
"""Name of all objects, and the only class, in a dataset with boxes and no classes."""


def lacking(annotations: Annotations) -> str | None:
    """Return the reason why keypoints cannot be written, or None.

    Keypoints of a dropped object are dropped with it, which is not an error.
    """
    labels, owners = annotations.keypoint_labels, _owners(annotations)
    if not annotations.keypoints:
        return None
    if annotations.boxes is None:
        return "keypoints are written with the box that they belong to, and this image has no boxes"
    if labels is None:
        return "keypoints are written by their names, and these have none"
    if owners is None:
        return "keypoints are written with the box that they belong to, and for these it is unknown"
    named = [(label, box) for label, box in zip(labels, owners, strict=True) if box >= 0]
    if len(set(named)) < len(named):
        return "each keypoint of an object is written once, and an object has two with the same name"
    return None


def without_class(annotations: Annotations, classes: Sequence[str]) -> str | None:
    """Return the reason why objects without a class cannot be written, or None; other objects have classes."""
    if annotations.boxes and annotations.box_labels is None and classes:
        return "each object is written with its class, and these have none, though others of the dataset have one"
    return None


def by_box(annotations: Annotations) -> dict[int, dict[str, int]]:
    """Return, for each box with keypoints, their indices in the image's lists by name."""
    found: dict[int, dict[str, int]] = {}
    pairs = zip(annotations.keypoint_labels or (), _owners(annotations) or (), strict=False)
    for i, (label, box) in enumerate(pairs):
        found.setdefault(box, {})[label] = i
    return found


def _owners(annotations: Annotations) -> tuple[int, ...] | None:
    """Return the box of each keypoint, or None if it is unknown; an only box owns all of them by default."""
    if annotations.keypoint_boxes is not None:
        return annotations.keypoint_boxes
    number = len(annotations.keypoints or ())
    match len(annotations.boxes or ()):
        case 0:
            return (-1,) * number
        case 1:
            return (0,) * number
        case _:
            return None


DECIMALS = 5
"""Decimals of a pixel, written and read. They are finer than float32, in which boxes are augmented, at 256 pixels
(1.5e-5), and coarser than the rounding errors of sums and quotients in float64."""


_MOST_CHARACTERS = 400
"""Largest length of a number; the longest finite float has 309 digits before its point."""

_DECIMAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


def decimal(text: str) -> float:
    """Parse a finite number; NaN if the text is not one (Python itself would accept ``1_0`` and ``nan``)."""
    number = float(text) if len(text) <= _MOST_CHARACTERS and _DECIMAL.fullmatch(text) else math.nan
    return number if math.isfinite(number) else math.nan


def rounded(values: Iterable[float]) -> list[float]:
    """Round pixels to a hundred-thousandth; whole numbers stay whole (``3.0``), and ``-0.0`` becomes ``0.0``."""
    return [round(float(value), DECIMALS) + 0.0 for value in values]


def polygon_area(polygon: Sequence[float]) -> float:
    """Return the area of [x, y, x, y, …] by the shoelace formula; positive if it runs clockwise on the screen."""
    xs, ys = polygon[::2], polygon[1::2]
    return sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs))) / 2


def enclosing(polygons: Polygons) -> Corners:
    """Return the box around all of these polygons."""
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)
