"""Oracle of transformed targets, from pixels alone: targets are drawn, the image is transformed, and measured.

Nothing here knows how a target is moved. A point is a soft round blob, found again by its middle and its mass. A
direction is two blobs; a box is its four corners, or all its pixels. Each has a separate image (one channel of an image
that is black elsewhere), which is transformed at the same address as the sample, so that nothing hides anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from augment.samples.sample import Sample
from augment.transforms.runtime.compiler import Compiled

AHEAD_PX = 5.0
"""How far before and behind a keypoint its direction is drawn."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Place of a drawn point after the transform, at the middle of pixels, and its visible share."""

    x: float
    y: float
    mass: float


def blob(height: int, width: int, x: float, y: float, sigma: float) -> np.ndarray:
    """Draw a Gaussian about a point, float64 (H, W), 1 at its middle; the point counts from the middle of a pixel."""
    down, across = (np.exp(-((np.arange(size) - at) ** 2) / (2 * sigma**2)) for size, at in ((height, y), (width, x)))
    return np.outer(down, across)


def transformed(
    transform: Compiled, sample: Sample, drawings: Sequence[np.ndarray], **address: Any
) -> tuple[Sample, list[np.ndarray]]:
    """Return the transformed sample, and each drawing, float64 (H, W) in [0, 1], transformed at the same address."""
    out, *_ = transform(sample, **address)
    levels = [np.rint(drawing * 255).astype(np.uint8) for drawing in drawings]
    results: list[np.ndarray] = []
    for start in range(0, len(levels), 3):
        channels = levels[start : start + 3]
        channels += [np.zeros_like(channels[0])] * (3 - len(channels))
        image, *_ = transform(replace_image(sample, np.stack(channels, axis=-1)), **address)
        assert image.image.shape == out.image.shape
        results += [image.image[..., channel] / 255 for channel in range(3)]
    return out, results[: len(drawings)]


def replace_image(sample: Sample, image: np.ndarray) -> Sample:
    """Return the same sample, and so the same choices, with another image."""
    return Sample(
        **{name: getattr(sample, name) for name in Sample.__dataclass_fields__ if name != "image"}, image=image
    )


def found(image: np.ndarray) -> Blob | None:
    """Return the one blob in an image, or None if it is missing or touches the frame."""
    height, width = image.shape
    edges = [image[0], image[-1], image[:, 0], image[:, -1]]
    if max(edge.max() for edge in edges) > 0.05 or min(height, width) < 3:
        return None
    of_columns, of_rows = image.sum(axis=0), image.sum(axis=1)
    mass = of_columns.sum()
    if mass < 4:
        return None
    x, y = of_columns @ np.arange(width) / mass, of_rows @ np.arange(height) / mass
    return Blob(float(x), float(y), float(mass))


def is_absent(image: np.ndarray) -> bool:
    """Return True if nothing of a blob's inner part is visible."""
    return bool(image.max() < 0.5)


def bounds(mask: np.ndarray) -> np.ndarray | None:
    """Return the box around all that is not 0, at the edges of pixels, or None if all is 0."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    return np.array([columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0])


def turn(one: float, other: float) -> float:
    """Return the angle between two directions, in radians, the shorter way round."""
    return float(abs((one - other + np.pi) % (2 * np.pi) - np.pi))
