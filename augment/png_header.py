"""What a PNG file's chunks say beside its pixels: size, depth and orientation (W3C, PNG third edition, 5 and 11)."""

import struct
from dataclasses import dataclass

from augment import exif

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_CHUNKS = 65_536
"""Encoders cut the pixels into chunks of 8 kB and more, so that 65,536 hold half a gigabyte; each costs Pillow some
microseconds, and an empty chunk has only 12 bytes."""


@dataclass(frozen=True, slots=True)
class PngHeader:
    """``height`` and ``width`` are as stored, before ``orientation`` (1 to 8) turns them."""

    height: int
    width: int
    bit_depth: int
    orientation: int


def scan(data: bytes) -> PngHeader:
    """Read the first chunk and walk the others; raises ValueError, whose message says what is wrong.

    The eXIf chunk may stand behind the pixels (11.3.4.5), where a reader that stops at the first pixel misses it.
    """
    if data[12:16] != b"IHDR" or len(data) < 29:
        raise ValueError("its first chunk is not a whole IHDR")
    width, height, bit_depth = struct.unpack_from(">LLB", data, 16)
    if height == 0 or width == 0:
        raise ValueError(f"its header says {width}x{height} pixels")
    orientation = exif.UPRIGHT
    position = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            break
        (length,) = struct.unpack_from(">L", data, position)
        kind = data[position + 4 : position + 8]
        if kind == b"eXIf":
            orientation = exif.orientation_of(data[position + 8 : position + 8 + length])
        elif kind == b"IEND":
            break
        position += 12 + length
    else:
        raise ValueError(f"it has more than {MAX_CHUNKS} chunks")
    return PngHeader(height, width, bit_depth, orientation)
