"""Contact sheets: images in a labelled grid, for people to look at. They are not part of any address."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from augment import validation
from augment.errors import CallError
from augment.preview.overlay import Overlay
from augment.samples.inputs import as_image

DEFAULT_CELL_PX = 224
"""Side of the square that each image is fitted into: the input size of most networks, and about six to a screen."""

MAX_ENLARGEMENT = 8
"""Small images (CIFAR's 32 pixels) are enlarged by a whole factor, pixel by pixel, up to this one."""

_MAX_COLUMNS = 10
_BACKGROUND = (247, 247, 245)
_CELL = (233, 233, 230)
_TITLE = (28, 28, 30)
_LABEL = (72, 72, 76)
_ELLIPSIS = "…"
_TEXT_CHARS_MAX = 1000
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(
    images: Sequence[NDArray[np.uint8]],
    labels: Sequence[str] = (),
    *,
    columns: int | None = None,
    cell_px: int = DEFAULT_CELL_PX,
    title: str = "",
    overlays: Sequence[Overlay] = (),
) -> NDArray[np.uint8]:
    """Arrange images in rows, each with its label below: uint8 (H, W, 3) RGB, a new array.

    ``images`` are uint8 (H, W, 3) of any sizes; each is shown whole in a square of ``cell_px``. ``labels`` is empty or
    has one for each image; a label takes up to two lines and ends in an ellipsis if it is longer. Without ``columns``
    the grid is about square. ``overlays`` is empty or has one for each image; targets are drawn at the size shown.
    """
    images = [as_image(image) for image in validation.many("images", images)]
    labels = [validation.text(f"labels[{i}]", label) for i, label in enumerate(validation.many("labels", labels))]
    validation.text("title", title)
    if not images:
        raise CallError("a contact sheet needs at least one image")
    if labels and len(labels) != len(images):
        raise CallError(f"{len(labels)} labels for {len(images)} images; give one for each or none")
    if overlays and len(overlays) != len(images):
        raise CallError(f"{len(overlays)} overlays for {len(images)} images; give one for each or none")
    if columns is not None:
        validation.integer("columns", columns, 1)
    validation.integer("cell_px", cell_px, 16, 4096)

    num_columns = min(columns or _columns(len(images)), len(images))
    num_rows = math.ceil(len(images) / num_columns)
    gap = max(cell_px // 14, 4)
    label_font = ImageFont.load_default(max(cell_px / 15, 10))
    title_font = ImageFont.load_default(max(cell_px / 9, 14))
    blocks = [_wrapped(label, label_font, cell_px) for label in labels] or [[]] * len(images)
    line_height = _line_height(label_font)
    label_height = line_height * max(len(lines) for lines in blocks)
    title_height = _line_height(title_font) + gap // 2 if title else 0
    step_x, step_y = cell_px + gap, cell_px + gap + label_height
    sheet = Image.new("RGB", (num_columns * step_x + gap, title_height + num_rows * step_y + gap), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    if title:
        text = _cut(title, title_font, sheet.width - 2 * gap)
        draw.text((gap, gap + _line_height(title_font) / 2), text, fill=_TITLE, font=title_font, anchor="lm")
    for index, (image, lines) in enumerate(zip(images, blocks, strict=True)):
        x = gap + index % num_columns * step_x
        y = title_height + gap + index // num_columns * step_y
        draw.rectangle((x, y, x + cell_px - 1, y + cell_px - 1), fill=_CELL)
        cell = _fitted(image, cell_px)
        if overlays:
            cell = overlays[index].paint(cell)
        sheet.paste(cell, (x + (cell_px - cell.width) // 2, y + (cell_px - cell.height) // 2))
        for number, line in enumerate(lines):
            middle = x + cell_px / 2, y + cell_px + (number + 0.6) * line_height
            draw.text(middle, line, fill=_LABEL, font=label_font, anchor="mm")
    return np.array(sheet)


def _columns(num_images: int) -> int:
    """Return the number of columns for an about square grid, or one or two fewer if that fills the last row."""
    if num_images <= 4:
        return num_images
    most = min(math.ceil(math.sqrt(num_images)), _MAX_COLUMNS)
    return next((columns for columns in range(most, max(most - 3, 2), -1) if num_images % columns == 0), most)


def _fitted(image: NDArray[np.uint8], cell_px: int) -> Image.Image:
    height, width = image.shape[:2]
    cell = Image.fromarray(np.ascontiguousarray(image))
    enlargement = min(cell_px // max(height, width), MAX_ENLARGEMENT)
    if enlargement >= 1:
        return cell.resize((width * enlargement, height * enlargement), Image.Resampling.NEAREST)
    scale = cell_px / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cell.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _line_height(font: _Font) -> int:
    _, top, _, bottom = font.getbbox("Åg|")
    return math.ceil((bottom - top) * 1.3)


def _wrapped(text: str, font: _Font, width: int) -> list[str]:
    """Break the text into at most two lines; the rest is replaced by an ellipsis."""
    text = " ".join(text[:_TEXT_CHARS_MAX].split())
    num_chars = _num_fitting(text, "", font, width)
    if num_chars < len(text):  # break at a space, or after one of a file name's separators, or else at the limit
        joints = (text.rfind(joint, 1, num_chars) + 1 for joint in "_-/")
        num_chars = max(text.rfind(" ", 1, num_chars + 1), *joints, 0) or num_chars
    return [line for line in (text[:num_chars], _cut(text[num_chars:], font, width)) if line]


def _cut(text: str, font: _Font, width: int) -> str:
    """Return the text on one line, cut with an ellipsis if it is too long."""
    text = " ".join(text[:_TEXT_CHARS_MAX].split())
    if font.getlength(text) <= width:
        return text
    return text[: _num_fitting(text, _ELLIPSIS, font, width)].rstrip() + _ELLIPSIS


def _num_fitting(text: str, ending: str, font: _Font, width: int) -> int:
    """Return how many characters of the text fit on a line together with the ending."""
    fits, too_long = 0, len(text) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if font.getlength(text[:middle] + ending) <= width:
            fits = middle
        else:
            too_long = middle
    return fits
