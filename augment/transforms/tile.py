"""A part of a picture that is resized and laid into another frame, with its targets.

Coordinates go through one matrix, pixel to pixel, whole numbers being the middles of pixels; masks take the very pixels
that OpenCV's INTER_NEAREST_EXACT takes of a picture.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augment.sample import Sample
from augment.transforms.library import cv2
from augment.transforms.piece import Piece, lose_keypoints, stack_of, with_boxes
from augment.transforms.straight import points_through, resized, shifted

_Array = NDArray[Any]


class Rect(NamedTuple):
    """Whole pixels of a picture; it may hold none."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def __and__(self, other: "Rect") -> "Rect":
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.height, other.top + other.height)
        right = min(self.left + self.width, other.left + other.width)
        return Rect(top, left, max(0, bottom - top), max(0, right - left))


@dataclass(frozen=True, slots=True)
class Tile:
    """How a picture is shown in a frame: its ``part`` is resized to fill ``place``, and what lies in ``cell`` is seen.

    ``place`` may reach beyond the frame, ``cell`` does not. ``area``: the area filter takes the place of the chosen one
    where the part becomes smaller.
    """

    part: Rect
    place: Rect
    cell: Rect
    interpolation: int
    area: bool

    @property
    def seen(self) -> Rect:
        """The pixels of the frame that show the picture."""
        return self.place & self.cell

    def as_json(self) -> dict[str, list[int]]:
        """Its rectangles as top, left, height and width."""
        return {"part": list(self.part), "place": list(self.place), "cell": list(self.cell)}

    @property
    def matrix(self) -> NDArray[np.float64]:
        """From the picture's pixels to the frame's."""
        resize = resized((self.part.height, self.part.width), (self.place.height, self.place.width))
        return shifted(self.place.left, self.place.top) @ resize @ shifted(-self.part.left, -self.part.top)

    def pixels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is seen of the image."""
        part, place = self.part, self.place
        cut: _Array = np.ascontiguousarray(image[part.slices])
        if (part.height, part.width) != (place.height, place.width):
            shrinks = self.area and place.height <= part.height and place.width <= part.width
            interpolation = cv2.INTER_AREA if shrinks else self.interpolation
            if interpolation == cv2.INTER_NEAREST:  # it takes the pixel at a corner, masks the one in the middle
                interpolation = cv2.INTER_NEAREST_EXACT
            cut = cv2.resize(cut, (place.width, place.height), interpolation=interpolation)
        return cut[self._window.slices]

    def nearest(self, masks: _Array) -> _Array:
        """What is seen of a mask (H, W) or a stack of them (N, H, W), a new array of the same type."""
        part, place, window = self.part, self.place, self._window
        rows = part.top + _nearest(part.height, place.height)[window.slices[0]]
        columns = part.left + _nearest(part.width, place.width)[window.slices[1]]
        taken: _Array = masks[..., rows[:, np.newaxis], columns]
        return taken

    def targets(self, piece: Piece) -> Piece:
        """Boxes and keypoints in the frame, instance masks in what is seen of it; new arrays, the rest is shared.

        Boxes are cut at what is seen, those of which nothing is left are left out; so are those whose mask was there
        and is gone. Keypoints keep number and order; those that are not seen are lost.
        """
        piece = Piece(replace(piece.sample), piece.visible)
        self._move_keypoints(piece.sample)
        return piece if piece.sample.boxes is None else self._move_boxes(piece)

    @property
    def _window(self) -> Rect:
        """What is seen, counted from the corner of the place."""
        seen = self.seen
        return Rect(seen.top - self.place.top, seen.left - self.place.left, seen.height, seen.width)

    def _move_boxes(self, piece: Piece) -> Piece:
        boxes = np.asarray(piece.sample.boxes, np.float64).reshape(-1, 4)
        y, x = self.place.height / self.part.height, self.place.width / self.part.width
        corner = np.array([self.part.left, self.part.top] * 2)
        boxes = (boxes - corner) * (x, y, x, y) + (self.place.left, self.place.top) * 2
        whole = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        seen = self.seen
        low, high = (seen.left, seen.top), (seen.left + seen.width, seen.top + seen.height)
        boxes = np.clip(boxes, low * 2, high * 2)
        sides = boxes[:, 2:] - boxes[:, :2]
        left = (sides > 0).all(axis=1)
        masks = stack_of(piece.sample)
        if masks is not None:
            there = masks.any(axis=(1, 2))
            parts = np.zeros((len(masks), seen.height, seen.width), np.uint8)
            parts[left] = self.nearest(masks[left]) != 0
            left &= ~there | parts.any(axis=(1, 2))
        kept = with_boxes(piece, left)
        sample = replace(kept.sample, boxes=boxes[left].astype(np.float32))
        if masks is not None:
            sample.instance_masks = parts[left]
        return Piece(sample, kept.visible * (sides[left].prod(axis=1) / whole[left]))

    def _move_keypoints(self, sample: Sample) -> None:
        if sample.keypoints is None:
            return
        for name in ("keypoint_visibility", "keypoint_angles", "keypoint_scales"):
            if (values := getattr(sample, name)) is not None:
                setattr(sample, name, np.array(values))
        points = points_through(np.asarray(sample.keypoints, np.float64).reshape(-1, 2), self.matrix)
        sample.keypoints = points.astype(np.float32)
        y, x = self.place.height / self.part.height, self.place.width / self.part.width
        if sample.keypoint_angles is not None:
            angles = sample.keypoint_angles.astype(np.float64)
            turned = np.arctan2(np.sin(angles) * y, np.cos(angles) * x) % (2 * np.pi)
            sample.keypoint_angles = np.where(turned > 2 * np.pi - 1e-6, 0, turned).astype(np.float32)
        if sample.keypoint_scales is not None:
            sample.keypoint_scales = (sample.keypoint_scales * np.sqrt(x * y)).astype(np.float32)
        seen = self.seen
        counted = points - (seen.left - 0.5, seen.top - 0.5)
        inside = ((counted >= 0) & (counted < (seen.width, seen.height))).all(axis=1)
        lose_keypoints(sample, np.asarray(~inside))


def _nearest(before: int, after: int) -> NDArray[np.int64]:
    """Which of ``before`` pixels each of ``after`` shows, by OpenCV itself."""
    if before == after:
        return np.arange(before)
    places = np.arange(before, dtype=np.float32)[np.newaxis]
    taken = cv2.resize(places, (after, 1), interpolation=cv2.INTER_NEAREST_EXACT)
    whole: NDArray[np.int64] = taken[0].astype(np.int64)
    return whole
