"""Mosaic: four or nine pictures in one."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import A, cv2
from augment.transforms.piece import Piece, together, with_keypoints
from augment.transforms.tile import Rect, Tile

_Span = tuple[int, int, float]
"""First pixel, number of pixels, and where a picture that leaves room lies between them: 0 at the start, 1 at the end.
"""


class Mosaic:
    """Joins the picture with donors on a grid of 2 x 2 or 3 x 3 cells.

    Of four cells, the point where they meet is drawn from ``center_range``, a share of height and of width. Of nine,
    the middle cell is half as high and wide as the result and has its middle there, as in Ultralytics' ``_mosaic9``.
    Which picture lies in which cell is drawn. ``fit_mode``: ``cover`` fills the cell with a part of the picture (at a
    random place), ``contain`` shows all of it in its cell, ``half`` scales it to fit into half the height and width of
    the result and cuts it at its cell, as Ultralytics' ``_mosaic4``. Where a picture leaves room in its cell, it
    touches the cells in the middle.

    Bochkovskiy et al., "YOLOv4: Optimal Speed and Accuracy of Object Detection" (2020), section 3.2.
    """

    class InitSchema(A.core.transforms_interface.BaseTransformInitSchema):  # type: ignore[misc]  # untyped
        num_pictures: Literal[4, 9]
        size: tuple[int, int]
        center_range: tuple[float, float]
        fit_mode: Literal["cover", "contain", "half"]
        interpolation: Literal[0, 1, 2, 3, 4, 5, 6]
        area_for_downscale: Literal["image"] | None
        fill: tuple[float, float, float] | float
        fill_mask: int

    def __init__(
        self,
        size: tuple[int, int],
        num_pictures: int = 4,
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
        self.num_donors = num_pictures - 1
        self._along = 2 if num_pictures == 4 else 3

    def join(
        self, base: Piece, donors: Sequence[Piece], generator: np.random.Generator
    ) -> tuple[Piece, dict[str, Any]]:
        pieces = [base, *donors]
        center = generator.uniform(*self.center_range, size=2)
        rows, columns = (self._spans(side, at) for side, at in zip(self.size, center.tolist(), strict=True))
        order = generator.permutation(len(pieces)).tolist()
        tiles = {}
        for picture, (row, column) in zip(order, itertools.product(rows, columns), strict=True):
            tiles[picture] = self._tile(pieces[picture].sample.image.shape[:2], row, column, generator)
        shown = {f"picture_{picture}": tiles[picture].as_json() for picture in range(len(pieces))}
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
            raise ValueError("some of the pictures that are joined have a mask and others have none; give all or none")
        mask = np.full(self.size, self.fill_mask, np.result_type(*masks)) if masks else None
        moved = []
        labels = None if base.labels is None else base.labels.copy()
        for picture, piece in enumerate(pieces):
            tile = tiles[picture]
            placed = tile.targets(piece, self.size)
            if tile.seen.height and tile.seen.width:
                image[tile.seen.slices] = tile.pixels(piece.sample.image)
                if mask is not None:
                    mask[tile.seen.slices] = tile.nearest(masks[picture])
                if labels is not None and piece.sample.labels is not None:
                    np.maximum(labels, piece.sample.labels, out=labels)
            elif picture:
                continue
            moved.append(_without_gone(placed) if picture else placed)
        first = Piece(replace(moved[0].sample, image=image, mask=mask, labels=labels), moved[0].visible)
        return together([first, *moved[1:]])


def _without_gone(donor: Piece) -> Piece:
    """A donor without the keypoints of objects that are not there any more."""
    owners, rows = donor.sample.keypoint_boxes, donor.sample.box_rows
    if owners is None or rows is None:
        return donor
    return with_keypoints(donor, (owners < 0) | np.isin(owners, rows))
