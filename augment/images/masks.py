"""Masks: decoding to class indices, encoding, and COCO's instance masks.

A mask file holds a number for each pixel: its class. Only lossless formats can do that: PNG, TIFF, BMP and GIF. One
channel (grey, palette, 1 bit; 16 bits in PNG and TIFF) and three equal ones are indices. A palette's indices count,
not its colours; 1 bit becomes 0 and 1. JPEG is refused.

A dataset may map values or colours to classes in a ``Legend``. A file with a value or a colour that the legend does
not list is refused, because guessing would give wrong labels.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from augment.errors import Reason, RecordError
from augment.images import decode, headers, pillow
from augment.samples import annotations
from augment.samples.annotations import Polygons, Rle

IGNORED = 255
"""Value of pixels that belong to no class, as in PASCAL VOC and Cityscapes."""

_LOSSLESS = frozenset({"png", "tiff", "bmp", "gif"})
_ONE_CHANNEL = frozenset({0, 3})
"""Colour types of PNG (section 11.2.1): grey and palette."""
_PNG = b"\x89PNG\r\n\x1a\n"

Legend = tuple[tuple[int, ...], ...]
"""Values ``(7,)`` or colours ``(128, 0, 0)`` of the classes in mask files, in the order of the indices.

Empty if the files hold indices."""

MAX_LEGEND = IGNORED
"""Limit of a legend's entries: their indices are below the value of pixels without a class."""


class MaskContent(NamedTuple):
    """Decoded mask. ``by_legend`` is True if the legend gave the indices, False if the file holds them."""

    indices: NDArray[np.integer[Any]]
    by_legend: bool


def decode_mask(
    data: bytes, *, max_pixels: int = decode.DEFAULT_MAX_PIXELS, legend: Legend = ()
) -> NDArray[np.integer[Any]]:
    """Decode class indices: uint8 (H, W), or uint16 for a file of 16 bits; upright, a new array.

    Raises RecordError with an empty key if the file is not a mask, or holds values that the legend does not list.
    """
    return read_mask(data, max_pixels=max_pixels, legend=legend).indices


def read_mask(data: bytes, *, max_pixels: int, legend: Legend = ()) -> MaskContent:
    """Decode class indices as ``decode_mask`` does, and report their origin."""
    header = decode.probe(data, max_pixels=max_pixels)
    if header.format not in _LOSSLESS:
        raise _refused(f"a mask in {header.format}, which changes values; write masks as PNG with one channel")
    with decode.DecoderGuard(header.format):
        stored = pillow.load_mask(pillow.open_image(data, header.format, max_pixels))
    if stored is None:
        raise _refused(
            "a mask has class indices or opaque colours of 8 bits, this file neither; write their indices as PNG"
        )
    content = _indices(stored, legend)
    if header.format == "png":  # a TIFF's reader turns it
        turned = headers.turn_upright(content.indices, headers.scan_png(data).orientation)
        return content._replace(indices=turned)
    return content


def is_index_png(data: bytes) -> bool:
    """Return True for a PNG with one channel; its values are indices unless a legend says otherwise."""
    return data.startswith(_PNG) and data[25:26] != b"" and data[25] in _ONE_CHANNEL


def _indices(stored: pillow.StoredMask, legend: Legend) -> MaskContent:
    """Apply a legend of colours to colours, and one of values (or of greys) to one channel."""
    values, palette = stored
    has_colours = bool(legend) and len(legend[0]) > 1
    if has_colours and palette is not None:
        return _of_palette(values, palette, legend)
    if has_colours and all(len(set(entry)) == 1 for entry in legend):
        legend, has_colours = tuple(entry[:1] for entry in legend), False
    if values.ndim > 2 and not has_colours:
        values = _one_channel(values)
    if not legend or (has_colours and values.ndim == 2):
        return MaskContent(values, by_legend=False)
    indices, listed = _look_up(values if has_colours else values[..., np.newaxis], legend)
    if not has_colours:
        is_ignored = ~listed & (values == IGNORED)
        indices[is_ignored], listed[is_ignored] = IGNORED, True
    if not listed.all():
        raise _unlisted(values[~listed][0])
    return MaskContent(indices, by_legend=True)


def _one_channel(colours: NDArray[Any]) -> NDArray[Any]:
    """Return the values of three equal channels. Raises RecordError if they differ anywhere."""
    differ = (colours != colours[..., :1]).any(axis=2)
    if differ.any():
        first = ", ".join(map(str, colours[differ][0].tolist()))
        raise _refused(
            f"a mask has one channel of class indices, this file has colours and no list of them (the first: {first}); "
            "write their indices as PNG, or list them (labelmap.txt or class_dict.csv, for the formats masks and voc)"
        )
    return np.ascontiguousarray(colours[..., 0])


def _of_palette(values: NDArray[Any], palette: NDArray[np.uint8], legend: Legend) -> MaskContent:
    """Map a palette's colours if the legend lists them at other indices than the palette, else keep its indices.

    Tools write either. A colour that the legend lists is no accident, so a file that also has unlisted ones is refused.
    """
    used = np.unique(values)
    if used.size and used[-1] >= len(palette):
        raise _refused(f"it has the index {used[-1]}, of a palette of {len(palette)} colours; write the mask again")
    indices, listed = _look_up(palette[used], legend)
    if not (listed & (indices != used)).any():
        return MaskContent(values, by_legend=False)
    is_ignored = ~listed & (used == IGNORED)
    if not (listed | is_ignored).all():
        raise _unlisted(palette[used][~(listed | is_ignored)][0])
    table = np.full(len(palette), IGNORED, np.uint8)
    table[used[listed]] = indices[listed]
    return MaskContent(table[values], by_legend=True)


def _look_up(stored: NDArray[Any], legend: Legend) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the legend's index of each value or colour (along the last axis), and True for those that it lists."""
    numbers, entries = _as_numbers(stored), _as_numbers(np.array(legend))
    order = np.argsort(entries)
    places = np.searchsorted(entries[order], numbers).clip(max=len(entries) - 1)
    rows = order[places]
    return rows.astype(np.uint8), entries[rows] == numbers


def _as_numbers(stored: NDArray[Any]) -> NDArray[np.int32]:
    """Pack the values along the last axis into one number: a single one is below 65,536, else each is below 256."""
    numbers = stored[..., 0].astype(np.int32)
    for channel in range(1, stored.shape[-1]):
        numbers = numbers << 8 | stored[..., channel]
    return numbers


def _unlisted(value: NDArray[Any]) -> RecordError:
    what = "the value" if np.ndim(value) == 0 else "the colour"
    shown = ", ".join(map(str, np.atleast_1d(value).tolist()))
    return _refused(f"{what} {shown} is not listed for any class; list it, or write their indices as PNG")


def _refused(detail: str) -> RecordError:
    return RecordError("", Reason.ANNOTATION, detail)


def encode_mask(mask: NDArray[np.integer[Any]]) -> bytes:
    """Encode (H, W) class indices as PNG of 8 bits, or 16 if needed. Raises RecordError for larger ones."""
    low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        detail = f"a mask holds {low} to {high}; a PNG holds 0 to {np.iinfo(np.uint16).max}"
        raise RecordError("", Reason.NOT_RENDERABLE, detail)
    dtype = np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16
    return pillow.save_png(Image.fromarray(np.ascontiguousarray(mask, dtype=dtype)))


def rasterise(mask: Polygons | Rle | None, height: int, width: int) -> NDArray[np.uint8]:
    """Draw an object's mask as uint8 (H, W) of 0 and 1, a new array; all 0 for None.

    Polygons are drawn by pycocotools. Raises ValueError if run lengths are invalid or belong to another size.
    """
    if isinstance(mask, Rle):
        if (mask.height, mask.width) != (height, width):
            raise ValueError(f"a mask of {mask.width} x {mask.height} for an image of {width} x {height}")
        runs = annotations.read(mask.counts, height=height, width=width)
        values = np.repeat(np.arange(len(runs), dtype=np.uint8) & 1, runs)
        return np.ascontiguousarray(values.reshape(width, height).T)
    if not mask:
        return np.zeros((height, width), np.uint8)
    polygons: Any = [list(part) for part in mask]
    return np.ascontiguousarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))))


def run_lengths(mask: NDArray[np.uint8]) -> Rle:
    """Encode an object's mask, (H, W) of 0 and not 0, as COCO's compressed run lengths."""
    runs: Any = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return Rle(mask.shape[0], mask.shape[1], runs["counts"].decode())
