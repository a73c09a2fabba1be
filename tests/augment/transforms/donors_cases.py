"""Images for nodes that join several: objects drawn in different colours, with all annotations."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from augment.samples.sample import Sample
from augment.transforms import catalogue
from augment.transforms.donors.partial_sample import Piece
from augment.transforms.runtime.donor_step import Joining, joining

BACKGROUND = 40
"""Every channel of an image where no object is; grey, as no object is."""


def node(name: str, **params: Any) -> Joining:
    filled = catalogue.fill(name, params)
    return joining(name, {key: value for key, value in filled.items() if key != "p"})


def colour(number: int) -> np.ndarray:
    """Return a different colour for each object, uint8 (3,): red and green identify it, blue is full."""
    return np.array([60 + number % 10 * 15, 60 + number // 10 * 15, 255], np.uint8)


def drawn(first: int, height: int, width: int, *boxes: tuple[int, int, int, int]) -> Piece:
    """Draw a rectangle in each box: object ``first`` and so on, in class mask, instance mask and a keypoint.

    The keypoint is on the middle pixel of its rectangle. Rows are the objects' numbers.
    """
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    stack = np.zeros((len(boxes), height, width), np.uint8)
    points = []
    numbers = np.arange(first, first + len(boxes))
    for nth, (left, top, right, bottom) in enumerate(boxes):
        image[top:bottom, left:right] = colour(numbers[nth])
        mask[top:bottom, left:right] = numbers[nth] + 1
        stack[nth, top:bottom, left:right] = 1
        points.append([(left + right - 1) / 2, (top + bottom - 1) / 2])
    return Piece(
        Sample(
            image,
            label=first,
            labels=np.eye(8, dtype=np.float32)[first % 8],
            mask=mask,
            boxes=np.array(boxes, np.float32).reshape(-1, 4),
            box_labels=numbers % 8,
            box_rows=numbers,
            instance_masks=stack,
            keypoints=np.array(points, np.float32).reshape(-1, 2),
            keypoint_labels=np.zeros(len(boxes), np.int64),
            keypoint_visibility=np.full(len(boxes), 2, np.int8),
            keypoint_angles=np.full(len(boxes), np.pi / 2, np.float32),
            keypoint_scales=np.full(len(boxes), 4, np.float32),
            keypoint_boxes=numbers,
            keypoint_rows=numbers,
        ),
        np.ones(len(boxes)),
    )


def shows(image: np.ndarray, number: int) -> np.ndarray:
    """Return the pixels that show an object, bool (H, W)."""
    found: np.ndarray = (image == colour(number)).all(axis=-1)
    return found


def extent(there: np.ndarray) -> list[int]:
    """Return the box around pixels, at their edges."""
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def assert_same(first: Piece, second: Piece) -> None:
    """Check that every array of two pieces is equal."""
    assert np.array_equal(first.visible, second.visible)
    for each in fields(Sample):
        one, other = getattr(first.sample, each.name), getattr(second.sample, each.name)
        assert (one is None) == (other is None), each.name
        if isinstance(one, np.ndarray):
            assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), each.name
        else:
            assert one == other, each.name


def arrays(piece: Piece) -> list[np.ndarray]:
    values = [getattr(piece.sample, each.name) for each in fields(Sample)]
    return [piece.visible, *(value for value in values if isinstance(value, np.ndarray))]


@dataclass(frozen=True)
class Donors:
    """Split of samples from which donors are drawn."""

    samples: Sequence[Sample]
    digest: str = "donors"

    @property
    def num_records(self) -> int:
        return len(self.samples)

    def key(self, index: int) -> str:
        return f"donor {index}"

    def sample(self, index: int) -> Sample:
        return self.samples[index]
