"""Drawings of a sample's targets on its image, for people to look at: boxes with names, tinted masks, keypoints.

The colours are those of ``augment.samples.colours``. They are not part of any address.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from augment.samples.colours import Colour, bright, class_colour
from augment.samples.sample import Sample

_TINT = 0.5
"""Share of a mask's colour in a pixel of the mask."""

_MAX_NAME = 24
_Scale = tuple[float, float]
_Corners = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Overlay:
    """Targets of one sample, with the class names of its box labels."""

    sample: Sample
    classes: tuple[str, ...] = ()

    def paint(self, image: Image.Image) -> Image.Image:
        """Draw on a copy of an RGB image that shows the whole sample at any size."""
        height, width = self.sample.image.shape[:2]
        scale = image.width / width, image.height / height
        painted = self._tint(image)
        draw = ImageDraw.Draw(painted)
        self._boxes(draw, painted, scale)
        self._keypoints(draw, painted, scale)
        return painted

    def _tint(self, image: Image.Image) -> Image.Image:
        """Return the image with its masks in colour."""
        sample, painted = self.sample, np.array(image)
        if sample.mask is not None:
            mask = _fitted(sample.mask, image)
            colours = np.array([class_colour(value) for value in range(256)])[mask.astype(np.int64) % 256]
            painted = _mixed(painted, colours, np.ones(mask.shape, bool))
        for row, one in enumerate(() if sample.instance_masks is None else sample.instance_masks):
            mask = _fitted(one, image)
            painted = _mixed(painted, np.array(bright(self._object(row))), mask != 0)
        return Image.fromarray(painted)

    def _object(self, row: int) -> int:
        """Return the object's number in its record, so that its colour is the same in every draw."""
        rows = self.sample.box_rows
        return row if rows is None else int(rows[row])

    def _boxes(self, draw: ImageDraw.ImageDraw, image: Image.Image, scale: _Scale) -> None:
        sample = self.sample
        if sample.boxes is None:
            return
        line = max(1, round(max(image.size) / 200))
        font = ImageFont.load_default(max(max(image.size) / 24, 9))
        names: list[tuple[str, _Corners, Colour]] = []
        for row, box in enumerate(sample.boxes.astype(float)):
            label = None if sample.box_labels is None else int(sample.box_labels[row])
            colour = bright(self._object(row) if sample.instance_masks is not None or label is None else label)
            x_min, y_min, x_max, y_max = box * (*scale, *scale)
            corners = (
                round(x_min),
                round(y_min),
                max(round(x_max) - 1, round(x_min)),
                max(round(y_max) - 1, round(y_min)),
            )
            draw.rectangle(corners, outline=colour, width=line)
            if label is not None and 0 <= label < len(self.classes):
                names.append((self.classes[label], corners, colour))
        for name, corners, colour in names:  # above the lines of every box
            _name(draw, image, name, corners, colour, font)

    def _keypoints(self, draw: ImageDraw.ImageDraw, image: Image.Image, scale: _Scale) -> None:
        """Draw a disc for a visible keypoint, a ring for a hidden one, and a line for its angle and scale."""
        sample = self.sample
        if sample.keypoints is None:
            return
        radius = max(max(image.size) / 90, 1.5)
        for row, point in enumerate(sample.keypoints.astype(float)):
            if not np.isfinite(point).all():
                continue
            x, y = (point + 0.5) * scale
            colour = bright(row if sample.keypoint_labels is None else int(sample.keypoint_labels[row]))
            if sample.keypoint_angles is not None:
                angle, length = float(sample.keypoint_angles[row]), 4 * radius
                if sample.keypoint_scales is not None and sample.keypoint_scales[row] > 0:
                    length = float(sample.keypoint_scales[row]) * math.sqrt(scale[0] * scale[1])
                end = x + length * math.cos(angle), y + length * math.sin(angle)
                draw.line((x, y, *end), fill=colour, width=max(1, round(radius / 2)))
            disc = (x - radius, y - radius, x + radius, y + radius)
            hidden = sample.keypoint_visibility is not None and sample.keypoint_visibility[row] == 1
            if hidden:
                draw.ellipse(disc, outline=colour, width=max(1, round(radius / 2)))
            else:
                draw.ellipse(disc, fill=colour, outline=(0, 0, 0))


def _fitted(mask: NDArray[np.integer], image: Image.Image) -> NDArray[np.integer]:
    """Resize the mask to the image's size: each pixel takes the class at its middle."""
    height, width = mask.shape
    rows = ((np.arange(image.height) + 0.5) * height / image.height).astype(np.int64)
    columns = ((np.arange(image.width) + 0.5) * width / image.width).astype(np.int64)
    fitted: NDArray[np.integer] = mask[rows[:, np.newaxis], columns]
    return fitted


def _mixed(image: NDArray[np.uint8], colours: NDArray[np.integer], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    tinted = np.rint(image * (1 - _TINT) + colours * _TINT).astype(np.uint8)
    return np.where(where[..., np.newaxis], tinted, image)


def _name(
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    name: str,
    corners: _Corners,
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Draw a name above its box, or inside the box if there is no room above, and inside the image if it fits."""
    text = name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font, anchor="lt")
    width, height = right - left + 4, bottom - top + 4
    x = min(corners[0], max(image.width - width, 0))
    y = corners[1] - height if corners[1] >= height else min(corners[1], max(image.height - height, 0))
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
    is_dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 120  # luma of ITU-R BT.601
    draw.text((x + 2, y + 2), text, fill=(255, 255, 255) if is_dark else (0, 0, 0), font=font, anchor="lt")
