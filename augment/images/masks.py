"""Masks: their encoded bytes to class indices and back, and instance masks as COCO writes them.

A mask file says for each pixel which class it belongs to, by a number. Only lossless formats can: PNG, TIFF, BMP and
GIF with one channel (grey, palette, 1 bit; 16 bits in PNG and TIFF). A palette's indices count, never its colours; 1
bit becomes 0 and 1. Pictures with colours and JPEG are refused.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from augment.errors import Reason, RecordError
from augment.images import decode, headers, pillow
from augment.samples import annotations
from augment.samples.annotations import Polygons, Rle

IGNORED = 255
"""The value of pixels that belong to no class, as PASCAL VOC and Cityscapes have it."""

_LOSSLESS = frozenset({"png", "tiff", "bmp", "gif"})


def decode_mask(data: bytes, *, max_pixels: int = decode.DEFAULT_MAX_PIXELS) -> NDArray[np.integer[Any]]:
    """Decode class indices: uint8 (H, W), uint16 where the file has 16 bits; upright, as its image is; a new array.

    Raises RecordError with an empty key where it is no such file.
    """
    header = decode.probe(data, max_pixels=max_pixels)
    if header.format not in _LOSSLESS:
        detail = f"a mask in {header.format}, which changes values; write masks as PNG with one channel"
        raise RecordError("", Reason.ANNOTATION, detail)
    with decode.Refusals(header.format):
        indices = pillow.load_indices(pillow.open_picture(data, header.format, max_pixels))
    if indices is None:
        detail = "a mask has one channel of class indices, this file has colours; write their indices as PNG"
        raise RecordError("", Reason.ANNOTATION, detail)
    if header.format == "png":  # a TIFF's reader turns it
        return headers.turn_upright(indices, headers.scan_png(data).orientation)
    return indices


def encode_mask(mask: NDArray[np.integer[Any]]) -> bytes:
    """Encode (H, W) class indices as PNG: 8 bits where they suffice, else 16. RecordError where 16 do not."""
    low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        detail = f"a mask holds {low} to {high}; a PNG holds 0 to {np.iinfo(np.uint16).max}"
        raise RecordError("", Reason.NOT_RENDERABLE, detail)
    dtype = np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16
    return pillow.save_png(Image.fromarray(np.ascontiguousarray(mask, dtype=dtype)))


def rasterise(mask: Polygons | Rle | None, height: int, width: int) -> NDArray[np.uint8]:
    """An object's mask as uint8 (H, W) of 0 and 1, a new array; all 0 for None.

    Polygons are drawn by pycocotools. Raises ValueError where run lengths are none, or those of another picture.
    """
    if isinstance(mask, Rle):
        if (mask.height, mask.width) != (height, width):
            raise ValueError(f"a mask of {mask.width} x {mask.height} for a picture of {width} x {height}")
        runs = annotations.read(mask.counts, height=height, width=width)
        values = np.repeat(np.arange(len(runs), dtype=np.uint8) & 1, runs)
        return np.ascontiguousarray(values.reshape(width, height).T)
    if not mask:
        return np.zeros((height, width), np.uint8)
    polygons: Any = [list(part) for part in mask]
    return np.ascontiguousarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))))


def run_lengths(mask: NDArray[np.uint8]) -> Rle:
    """An object's mask, (H, W) of 0 and not 0, as COCO's compressed run lengths."""
    runs: Any = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return Rle(mask.shape[0], mask.shape[1], runs["counts"].decode())
