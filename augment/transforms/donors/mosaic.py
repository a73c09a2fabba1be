"""Mosaic: four or nine images in one.

A tile is a part of an image that is resized and put into another frame, with its targets. Coordinates are mapped by one
matrix, pixel to pixel; whole numbers are the middles of pixels. Masks take the same pixels that OpenCV's
INTER_NEAREST_EXACT takes of an image.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augment.samples.sample import Sample
from augment.transforms.albumentations_import import cv2
from augment.transforms.donors.partial_sample import (
    Piece,
    lose_keypoints,
    stack_of,
    together,
    with_boxes,
    without_orphans,
)
from augment.transforms.entry import Unfit
from augment.transforms.matrix_geometry import areas, points_through, resized, shifted, within

_Array = NDArray[Any]


class Rect(NamedTuple):
    """Rectangle of whole pixels of an image; it may be empty."""

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
    """View of an image in a frame: its ``part`` is resized to fill ``place``, and is visible inside ``cell``.

    ``place`` may reach beyond the frame, ``cell`` does not. ``area``: the area filter replaces the chosen one if the
    part becomes smaller.
    """

    part: Rect
    place: Rect
    cell: Rect
    interpolation: int
    area: bool

    @property
    def seen(self) -> Rect:
        """Pixels of the frame that show the image."""
        return self.place & self.cell

    def as_json(self) -> dict[str, list[int]]:
        """Return its rectangles as top, left, height and width."""
        return {"part": list(self.part), "place": list(self.place), "cell": list(self.cell)}

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Matrix from the image's pixels to the frame's."""
        resize = resized((self.part.height, self.part.width), (self.place.height, self.place.width))
        return shifted(self.place.left, self.place.top) @ resize @ shifted(-self.part.left, -self.part.top)

    def pixels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the visible pixels of the image."""
        part, place = self.part, self.place
        cut: _Array = np.ascontiguousarray(image[part.slices])
        if (part.height, part.width) != (place.height, place.width):
            shrinks = self.area and place.height <= part.height and place.width <= part.width
            interpolation = cv2.INTER_AREA if shrinks else self.interpolation
            if interpolation == cv2.INTER_NEAREST:  # it takes the pixel at a corner, but masks use the middle
                interpolation = cv2.INTER_NEAREST_EXACT
            cut = cv2.resize(cut, (place.width, place.height), interpolation=interpolation)
        return cut[self._window.slices]

    def nearest(self, masks: _Array) -> _Array:
        """Return the visible part of a mask (H, W) or a stack of them (N, H, W), a new array of the same type."""
        part, place, window = self.part, self.place, self._window
        rows = part.top + _nearest(part.height, place.height)[window.slices[0]]
        columns = part.left + _nearest(part.width, place.width)[window.slices[1]]
        taken: _Array = masks[..., rows[:, np.newaxis], columns]
        return taken

    def targets(self, piece: Piece) -> Piece:
        """Map boxes and keypoints to the frame, instance masks to its visible part; new arrays, the rest is shared.

        Boxes are cut at the visible part and dropped if nothing is left, or if they had a mask and it is gone.
        Keypoints keep number and order; those that are not visible are lost.
        """
        piece = replace(piece, sample=replace(piece.sample))
        self._move_keypoints(piece.sample)
        return piece if piece.sample.boxes is None else self._move_boxes(piece)

    @property
    def _window(self) -> Rect:
        """Visible part, relative to the corner of the place."""
        seen = self.seen
        return Rect(seen.top - self.place.top, seen.left - self.place.left, seen.height, seen.width)

    def _move_boxes(self, piece: Piece) -> Piece:
        y, x = self.place.height / self.part.height, self.place.width / self.part.width
        shapes = (piece.all_shapes - (self.part.left, self.part.top)) * (x, y) + (self.place.left, self.place.top)
        whole = areas(shapes[:, 0])
        seen = self.seen
        shapes = within(shapes, (seen.left, seen.top, seen.left + seen.width, seen.top + seen.height))
        shares = areas(shapes[:, 0]) / whole
        left = shares > 0
        masks = stack_of(piece.sample)
        if masks is not None:
            remains = masks.any(axis=(1, 2))
            parts = np.zeros((len(masks), seen.height, seen.width), np.uint8)
            parts[left] = self.nearest(masks[left]) != 0
            left &= ~remains | parts.any(axis=(1, 2))
        kept = with_boxes(piece, left)
        shapes = shapes[left]
        boxes = np.hstack([shapes[:, 0].min(axis=1), shapes[:, 0].max(axis=1)])
        sample = replace(kept.sample, boxes=boxes.astype(np.float32))
        if masks is not None:
            sample.instance_masks = parts[left]
        return Piece(sample, kept.visible * shares[left], shapes)

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
    """Return which of ``before`` pixels each of ``after`` pixels shows, as computed by OpenCV."""
    if before == after:
        return np.arange(before)
    places = np.arange(before, dtype=np.float32)[np.newaxis]
    taken = cv2.resize(places, (after, 1), interpolation=cv2.INTER_NEAREST_EXACT)
    whole: NDArray[np.int64] = taken[0].astype(np.int64)
    return whole


_Span = tuple[int, int, float]
"""First pixel, number of pixels, and position of a smaller image between them: 0 at the start, 1 at the end."""


class Mosaic:
    """Transform that joins the image with donors on a grid of 2 x 2 or 3 x 3 cells.

    The meeting point of four cells is drawn from ``center_range``, a share of height and of width. Of nine cells, the
    middle one is half as high and wide as the result and is centred there (Ultralytics' ``_mosaic9``: at 0.5). The cell
    of each image is drawn. ``fit_mode``: ``cover`` fills the cell with a random part of the image; ``contain`` shows
    the whole image in its cell; ``half`` scales it to fit into half the height and width of the result and cuts it at
    its cell, as Ultralytics' ``_mosaic4``. An image that is smaller than its cell touches the cells in the middle.

    Bochkovskiy et al., "YOLOv4: Optimal Speed and Accuracy of Object Detection" (2020).
    """

    def __init__(
        self,
        size: tuple[int, int],
        num_images: int = 4,
        center_range: tuple[float, float] = (0.3, 0.7),
        fit_mode: Literal["cover", "contain", "half"] = "cover",
        interpolation: int = cv2.INTER_LINEAR,
        area_for_downscale: Literal["image"] | None = "image",
        fill: tuple[float, float, float] | float = 0,
        fill_mask: int = 0,
        p: float = 1.0,
    ) -> None:
        self.size = (size[0], size[1])
        self.center_range = center_range
        self.fit_mode = fit_mode
        self.interpolation = interpolation
        self.area = area_for_downscale == "image"
        self.fill = fill
        self.fill_mask = fill_mask
        self.p = p
        self.num_donors = num_images - 1
        self._along = 2 if num_images == 4 else 3

    def join(
        self, base: Piece, donors: Sequence[Piece], generator: np.random.Generator
    ) -> tuple[Piece, dict[str, Any]]:
        pieces = [base, *donors]
        center = generator.uniform(*self.center_range, size=2)
        rows, columns = (self._spans(side, at) for side, at in zip(self.size, center.tolist(), strict=True))
        order = generator.permutation(len(pieces)).tolist()
        tiles = {}
        for index, (row, column) in zip(order, itertools.product(rows, columns), strict=True):
            tiles[index] = self._tile(pieces[index].sample.image.shape[:2], row, column, generator)
        shown = {f"image_{index}": tiles[index].as_json() for index in range(len(pieces))}
        return self._drawn(pieces, tiles), {"center": center.tolist(), "order": order, **shown}

    def _spans(self, side: int, center: float) -> list[_Span]:
        if self._along == 2:
            crossing = min(max(round(side * center), 1), max(side - 1, 1))
            return [(0, crossing, 1.0), (crossing, side - crossing, 0.0)]
        first, second = (min(max(round(side * (center + end)), 0), side) for end in (-0.25, 0.25))
        return [(0, first, 1.0), (first, second - first, 0.5), (second, side - second, 0.0)]

    def _tile(self, shape: tuple[int, int], row: _Span, column: _Span, generator: np.random.Generator) -> Tile:
        height, width = shape
        cell = Rect(row[0], column[0], row[1], column[1])
        part, place = Rect(0, 0, height, width), cell
        if not (cell.height and cell.width):
            place = part
        elif self.fit_mode == "cover":
            scale = max(cell.height / height, cell.width / width)
            part_height = min(height, max(1, round(cell.height / scale)))
            part_width = min(width, max(1, round(cell.width / scale)))
            top = int(generator.integers(height - part_height + 1))
            left = int(generator.integers(width - part_width + 1))
            part = Rect(top, left, part_height, part_width)
        else:
            room = (cell.height, cell.width) if self.fit_mode == "contain" else (self.size[0] / 2, self.size[1] / 2)
            scale = min(room[0] / height, room[1] / width)
            size = max(1, round(height * scale)), max(1, round(width * scale))
            top, left = (
                start + round((length - shown) * at)
                for (start, length, at), shown in zip((row, column), size, strict=True)
            )
            place = Rect(top, left, *size)
        return Tile(part, place, cell, self.interpolation, self.area)

    def _drawn(self, pieces: Sequence[Piece], tiles: dict[int, Tile]) -> Piece:
        base = pieces[0].sample
        image: NDArray[np.uint8] = np.empty((*self.size, 3), np.uint8)
        image[:] = np.rint(self.fill)
        masks = [each for piece in pieces if (each := piece.sample.mask) is not None]
        if len(masks) not in (0, len(pieces)):
            raise Unfit("some of the images that are joined have a mask and others have none; give all or none")
        mask = np.full(self.size, self.fill_mask, np.result_type(*masks)) if masks else None
        moved, windows = [], []
        labels = None if base.labels is None else base.labels.copy()
        for index, piece in enumerate(pieces):
            tile = tiles[index]
            placed = tile.targets(piece)
            if tile.seen.height and tile.seen.width:
                image[tile.seen.slices] = tile.pixels(piece.sample.image)
                if mask is not None:
                    mask[tile.seen.slices] = tile.nearest(masks[index])
                if labels is not None and piece.sample.labels is not None:
                    np.maximum(labels, piece.sample.labels, out=labels)
            elif index:
                continue
            moved.append(placed)
            windows.append(tile.seen.slices)
        first = replace(moved[0], sample=replace(moved[0].sample, image=image, mask=mask, labels=labels))
        return without_orphans(together([first, *moved[1:]], windows), pieces[0])
