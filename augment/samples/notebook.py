"""HTML for notebooks: small images as inline PNG with their targets drawn, captions, and text for everything else.

NumPy and the standard library do all of it, because the client has no codec. Nothing sets a text or background colour,
so that the page's own, light or dark, stay readable.
"""

import base64
import html
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augment.samples.colours import Colour, bright, class_colour

IMAGES_MAX = 12
"""Images of one page: together less than a megabyte."""

_SIDE_PX = 160
_TINT = 0.5
_NAME_MAX = 40
_LEGEND_MAX = 12

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """One image and what is drawn on it, in pixels of the image.

    image:          uint8 (H, W, 3) RGB.
    caption:        text.
    legend:         names of what is drawn, each with its colour.
    mask:           integer (H, W), class indices; class 0 is not drawn.
    boxes:          (N, 4), x_min, y_min, x_max, y_max.
    instance_masks: (N, H, W), 0 and 1, one for each box.
    keypoints:      (K, 2), x and y; not finite if it is missing.
    keypoint_labels: (K,), integers that choose colours.
    is_hidden:      bool (K,), keypoints that are drawn as rings.
    """

    image: Pixels
    caption: str = ""
    legend: Sequence[tuple[str, Colour]] = ()
    mask: NDArray[np.integer] | None = None
    boxes: NDArray[np.floating] | None = None
    instance_masks: NDArray[np.integer] | None = None
    keypoints: NDArray[np.floating] | None = None
    keypoint_labels: NDArray[np.integer] | None = None
    is_hidden: NDArray[np.bool_] | None = None

    def draw(self) -> Pixels:
        """Return the image with its targets, 160 pixels on its longer side or a little less."""
        height, width = self.image.shape[:2]
        pixels = resize(self.image, *_fitted_size(height, width))
        scale = pixels.shape[1] / width, pixels.shape[0] / height
        if self.mask is not None:
            mask = _nearest(self.mask, *pixels.shape[:2])
            for value in np.unique(mask[mask > 0]):
                _tint(pixels, mask == value, class_colour(int(value) % 256))
        for number, mask in enumerate(() if self.instance_masks is None else self.instance_masks):
            _tint(pixels, _nearest(mask, *pixels.shape[:2]) != 0, bright(number))
        for number, box in enumerate(() if self.boxes is None else self.boxes):
            _draw_box(pixels, np.asarray(box, float) * (*scale, *scale), bright(number))
        for number, point in enumerate(() if self.keypoints is None else self.keypoints):
            if np.isfinite(point).all():
                label = number if self.keypoint_labels is None else int(self.keypoint_labels[number])
                is_hidden = self.is_hidden is not None and bool(self.is_hidden[number])
                _draw_disc(pixels, (np.asarray(point, float) + 0.5) * scale, bright(label), is_ring=is_hidden)
        return pixels

    def html(self) -> str:
        """Return a figure: the image, the caption, and the names of the legend underlined in their colours."""
        source = base64.b64encode(png(self.draw())).decode()
        names = [
            f'<span style="border-bottom:3px solid rgb{colour}">{_escaped(shortened(name))}</span>'
            for name, colour in self.legend[:_LEGEND_MAX]
        ]
        if len(self.legend) > _LEGEND_MAX:
            names.append(f"and {len(self.legend) - _LEGEND_MAX} more")
        caption = _escaped(self.caption)
        lines = [caption, *([" ".join(names)] if names else [])]
        return (
            f'<figure style="margin:0;width:{_SIDE_PX}px"><img alt="{caption}" '
            f'src="data:image/png;base64,{source}" style="max-width:100%">'
            f'<figcaption style="font-size:smaller;overflow-wrap:anywhere">{"<br>".join(lines)}</figcaption></figure>'
        )


def page(title: str, thumbnails: Sequence[Thumbnail] = (), lines: Iterable[str] = ()) -> str:
    """Return HTML of a title in code, up to IMAGES_MAX images side by side, and lines of text; all text is escaped."""
    figures = "".join(each.html() for each in thumbnails[:IMAGES_MAX])
    images = f'<div style="display:flex;flex-wrap:wrap;gap:8px;margin:4px 0">{figures}</div>' if figures else ""
    return f"<div><code>{_escaped(title)}</code></div>{images}" + "".join(
        f"<div>{_escaped(line)}</div>" for line in lines
    )


def steps(title: str, names: Iterable[tuple[str, str]], lines: Iterable[str] = ()) -> str:
    """Return HTML of a title in code, a numbered list of names with their parameters, and lines of text."""
    items = "".join(f"<li>{_escaped(name)} <code>{_escaped(given)}</code></li>" for name, given in names)
    return f"{page(title)}<ol>{items}</ol>" + "".join(f"<div>{_escaped(line)}</div>" for line in lines)


def num_slices(batch_size: int) -> int:
    """Return into how many equal slices a batch is cut so that one has the rows of a page, or few more."""
    return max(
        number
        for number in range(1, batch_size + 1)
        if batch_size % number == 0 and batch_size // number >= min(batch_size, IMAGES_MAX)
    )


def png(pixels: Pixels) -> bytes:
    """Encode uint8 (H, W, 3) as PNG (ISO/IEC 15948): each row as its difference to the row above (filter 2, Up)."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows - above], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # eight bits, RGB, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def pixels_of(image: NDArray[np.generic]) -> Pixels:
    """Return uint8 (H, W, 3) to look at, of an image in either layout; floats are stretched over their own range."""
    array = np.asarray(image)
    if array.shape[-1] != 3 and array.shape[0] == 3:
        array = np.moveaxis(array, 0, -1)
    if array.dtype != np.uint8:
        floats = np.nan_to_num(array.astype(np.float64))
        low, high = floats.min(), floats.max()
        array = np.rint((floats - low) * (255 / (high - low or 1))).astype(np.uint8)
    return array


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Return a new image: means of the pixels where it gets smaller, pixels repeated where it gets larger."""
    made = image
    for axis, size in ((0, height), (1, width)):
        length = made.shape[axis]
        if size >= length:
            made = np.take(made, np.arange(size) * length // size, axis=axis)
        else:
            starts = np.arange(size) * length // size
            sums = np.add.reduceat(made, starts, axis=axis, dtype=np.uint32)
            counts = np.diff(np.append(starts, length)).reshape([-1 if axis == each else 1 for each in range(3)])
            made = (sums / counts + 0.5).astype(np.uint8)
    return np.array(made)


def _fitted_size(height: int, width: int) -> tuple[int, int]:
    """Return the size for display: small images are enlarged a whole number of times, so that pixels stay square."""
    longest = max(height, width)
    if longest <= _SIDE_PX:
        factor = _SIDE_PX // longest
        return height * factor, width * factor
    return max(1, round(height * _SIDE_PX / longest)), max(1, round(width * _SIDE_PX / longest))


def _nearest(mask: NDArray[np.integer], height: int, width: int) -> NDArray[np.integer]:
    """Return the mask at another size: each pixel takes the class in its middle."""
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(np.int64)
    fitted: NDArray[np.integer] = mask[rows[:, np.newaxis], columns]
    return fitted


def _tint(pixels: Pixels, where: NDArray[np.bool_], colour: Colour) -> None:
    pixels[where] = np.rint(pixels[where] * (1 - _TINT) + np.array(colour) * _TINT)


def _draw_box(pixels: Pixels, corners: NDArray[np.floating], colour: Colour) -> None:
    """Draw a frame of two pixels inside of the box's edges, and a black one inside of that: it shows on any image."""
    height, width = pixels.shape[:2]
    limits = np.array([width, height, width, height])
    x_min, y_min, x_max, y_max = (int(each) for each in np.clip(np.rint(corners), 0, limits))
    x_max, y_max = max(x_max, x_min + 1), max(y_max, y_min + 1)
    for line_px, shown in ((3, (0, 0, 0)), (2, colour)):
        for part in (
            np.s_[y_min : y_min + line_px, x_min:x_max],
            np.s_[max(y_max - line_px, y_min) : y_max, x_min:x_max],
            np.s_[y_min:y_max, x_min : x_min + line_px],
            np.s_[y_min:y_max, max(x_max - line_px, x_min) : x_max],
        ):
            pixels[part] = shown


def _draw_disc(pixels: Pixels, centre: NDArray[np.floating], colour: Colour, *, is_ring: bool) -> None:
    """Draw a disc with a black edge; a ring leaves its middle unchanged."""
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    distance = np.hypot(columns + 0.5 - centre[0], rows + 0.5 - centre[1])
    pixels[(distance > 3) & (distance <= 4)] = 0
    pixels[(distance <= 3) & (distance > (1.5 if is_ring else -1))] = colour


def shortened(text: str) -> str:
    """Return the end of a long text, which tells paths apart."""
    return text if len(text) <= _NAME_MAX else "…" + text[1 - _NAME_MAX :]


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)
