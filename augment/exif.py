"""The one EXIF fact that moves pixels: the orientation, and how it turns a picture upright.

EXIF is a TIFF directory inside a picture file (CIPA DC-008, 4.6.4 and 4.6.8). Only the orientation tag of its first
directory is read, by a walk that is bounded by the block's length and never fails: a broken block is an upright
picture, as browsers have it. Orientation in XMP or in ImageMagick's "Raw profile" text is not read, as neither browsers
nor OpenCV do.
"""

import struct

import numpy as np
from numpy.typing import NDArray

PREFIX = b"Exif\0\0"
UPRIGHT = 1
_SIDEWAYS = frozenset({5, 6, 7, 8})
_TAG_ORIENTATION = 0x0112
_INTEGER_TYPES = {1: "B", 3: "H", 4: "L"}


def is_sideways(orientation: int) -> bool:
    """Whether turning the picture upright swaps its height and width."""
    return orientation in _SIDEWAYS


def orientation_of(block: bytes) -> int:
    """The orientation (1 to 8) that an EXIF block states, with or without its prefix; 1 where it states none."""
    block = block.removeprefix(PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return UPRIGHT
    (start,) = struct.unpack_from(order + "L", block, 4)
    if start + 2 > len(block):
        return UPRIGHT
    (num_entries,) = struct.unpack_from(order + "H", block, start)
    for offset in range(start + 2, min(start + 2 + 12 * num_entries, len(block) - 11), 12):
        tag, kind, count = struct.unpack_from(order + "HHL", block, offset)
        if tag == _TAG_ORIENTATION:
            if kind not in _INTEGER_TYPES or count < 1:
                return UPRIGHT
            value: int = struct.unpack_from(order + _INTEGER_TYPES[kind], block, offset + 8)[0]
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def turn_upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Flip and rotate (H, W, C) as the orientation asks; a C-contiguous array, the same one where nothing turns."""
    if is_sideways(orientation):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
