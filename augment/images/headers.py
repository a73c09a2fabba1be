"""Headers of JPEG and PNG files and the EXIF orientation, read without a codec.

- **JPEG**: frame, size and orientation before the first scan (ITU-T T.81, annex B). The walk decides which decoder may
  see the bytes, so it is strict: ``plain`` is true only if every byte up to the first scan is accounted for and nothing
  but an 8-bit Huffman-coded DCT frame of one or three components follows. Any decoder that keeps to T.81 must then read
  the same frame.
- **PNG**: size, depth and orientation from the chunks (W3C, PNG third edition, 5 and 11).
- **EXIF** is a TIFF directory inside an image file (CIPA DC-008, 4.6.4 and 4.6.8). Only the orientation tag of its
  first directory is read, by a walk that is bounded by the block's length and never fails: a broken block means an
  upright image, as in browsers. Orientation in XMP or in ImageMagick's "Raw profile" text is not read, as neither
  browsers nor OpenCV do.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

PREFIX = b"Exif\0\0"
UPRIGHT = 1
_SIDEWAYS = frozenset({5, 6, 7, 8})
_TAG_ORIENTATION = 0x0112
_Value = TypeVar("_Value", bound=np.generic)
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


def turn_upright(image: NDArray[_Value], orientation: int) -> NDArray[_Value]:
    """Flip and rotate (H, W, ...) as the orientation asks; a C-contiguous array, the same one where nothing turns."""
    if is_sideways(orientation):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


MAX_SEGMENTS = 4096
"""An ICC profile fills at most 255 segments and extended XMP some hundreds; each costs a step in Python."""

MAX_JUNK_BYTES = 65_536
"""Bytes between segments that belong to none. Cameras and editors leave a handful; decoders step over them singly."""

MAX_SCANS = 100
"""GraphicsMagick's default (``jpeg:max-scan-number``). Each scan of a progressive picture passes over all of it, and a
scan may have fewer than a hundred bytes; encoders write about ten."""

_EOI, _SOS, _APP1 = 0xD9, 0xDA, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # less DHT, JPG and DAC, which share the range
_SEQUENTIAL = frozenset({0xC0, 0xC1})  # baseline and extended: a scan codes every block, so it cannot be a short one
_PLAIN_FRAMES = _SEQUENTIAL | {0xC2}  # progressive; all three are Huffman-coded DCT
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not an escaped byte, a restart or a fill byte
_MARKER_AND_LENGTH = re.compile(rb"\xff[\x02-\xcf\xda-\xfe](?:\x00[\x02-\xff]|[\x01-\xff].)", re.DOTALL)
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # an escaped byte, TEM, RSTn, SOI: none belongs here


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """The frame of a JPEG file.

    ``height`` and ``width`` are as stored, before ``orientation`` (1 to 8) turns them. ``plain`` is explained above.
    ``end`` is where the data of the first scan begin.
    """

    height: int
    width: int
    sequential: bool
    orientation: int
    plain: bool
    end: int


def scan_jpeg(data: bytes) -> JpegHeader:
    """Walk the markers up to the first scan; raises ValueError, whose message says what is wrong.

    Takes some microseconds for an ordinary file and is bounded by MAX_SEGMENTS and MAX_JUNK_BYTES for any other.
    """
    plain = True
    orientation: int | None = None
    frame: tuple[int, int, int, int, int] | None = None  # marker, precision, height, width, number of components
    end = 0
    for segment in _segments(data):
        plain = plain and segment.clean
        end = segment.end
        if segment.marker in _FRAMES:
            if frame is not None:
                raise ValueError("it has more than one frame header")
            if segment.end - segment.start < 8:
                raise ValueError("its frame header is too short")
            frame = (segment.marker, *struct.unpack_from(">BHHB", data, segment.start + 2))
        elif segment.marker == _APP1 and orientation is None and data.startswith(PREFIX, segment.start + 2):
            orientation = orientation_of(data[segment.start + 2 : segment.end])
    if frame is None:
        raise ValueError("no frame header stands before its first scan")
    marker, precision, height, width, num_components = frame
    if height == 0 or width == 0:
        raise ValueError(f"its frame is {width}x{height} pixels")
    plain = plain and marker in _PLAIN_FRAMES and precision == 8 and num_components in (1, 3)
    return JpegHeader(height, width, marker in _SEQUENTIAL, orientation or UPRIGHT, plain, end)


def check_scans(data: bytes, header: JpegHeader) -> None:
    """Raise ValueError where the picture has more than MAX_SCANS scans; a nanosecond a byte, for progressive files."""
    # What follows the picture (a phone's film, a second picture) holds such bytes too: many are only a hint.
    if header.sequential or data.count(b"\xff\xda", header.end) < MAX_SCANS:
        return
    if _num_scans(data, header.end) > MAX_SCANS:
        raise ValueError(f"it has more than {MAX_SCANS} scans")


class _Segment(NamedTuple):
    """``start`` is where the length stands, behind the marker; ``clean`` where T.81 would have it so."""

    marker: int
    start: int
    end: int
    clean: bool


def _segments(data: bytes) -> Iterator[_Segment]:
    """The segments behind the start of image, the last of them the header of the first scan."""
    position, junk = 2, 0
    for _ in range(MAX_SEGMENTS):
        plainly = _MARKER_AND_LENGTH.match(data, position)  # nearly every segment of nearly every file
        if plainly is not None:
            marker, start = data[position + 1], position + 2
            position = start + (data[start] << 8 | data[start + 1])
            if position <= len(data):
                yield _Segment(marker, start, position, clean=junk == 0)
                if marker == _SOS:
                    return
                continue
            raise ValueError("it ends before its first scan")
        at = data.find(b"\xff", position)
        if at < 0:
            raise ValueError("it ends before its first scan")
        while data[at + 1 : at + 2] == b"\xff" and at - position < MAX_JUNK_BYTES:
            at += 1  # fill bytes may precede a marker (B.1.1.2)
        start = at + 2
        if start >= len(data) or data[at + 1] == _EOI:
            raise ValueError("it ends before its first scan")
        junk += at - position
        if junk > MAX_JUNK_BYTES:
            raise ValueError(f"more than {MAX_JUNK_BYTES} bytes before its first scan belong to no segment")
        marker = data[at + 1]
        if marker in _WITHOUT_LENGTH:
            yield _Segment(marker, start, start, clean=False)
            position = start
            continue
        length = int.from_bytes(data[start : start + 2], "big")
        position = start + max(length, 2)
        if position > len(data):
            raise ValueError("it ends before its first scan")
        yield _Segment(marker, start, position, clean=junk == 0 and length >= 2)
        if marker == _SOS:
            return
    raise ValueError(f"more than {MAX_SEGMENTS} segments stand before its first scan")


def _num_scans(data: bytes, position: int) -> int:
    """Count the scans, from behind the first one's header to the end of the picture or of the data."""
    num_scans = 1
    for _ in range(MAX_SEGMENTS):
        match = _MARKER_IN_SCAN.search(data, position)
        if match is None or data[match.end() - 1] == _EOI:
            return num_scans
        num_scans += data[match.end() - 1] == _SOS
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        position = match.end() + max(length, 2)
    raise ValueError(f"more than {MAX_SEGMENTS} segments stand between its scans")


_WEBP_FRAME_BYTES = 16
"""What stands before the chunks of an animation's frame (RFC 9649, 2.7.1.2)."""


def is_lossy_webp(data: bytes) -> bool:
    """True if the first image of a WebP file is lossy (VP8), False if it is lossless or missing."""
    position = 12
    for _ in range(MAX_SEGMENTS):
        kind = data[position : position + 4]
        if kind in {b"VP8 ", b"VP8L"}:
            return kind == b"VP8 "
        if kind == b"ANMF":
            position += 8 + _WEBP_FRAME_BYTES
            continue
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
        if position >= len(data):
            break
    return False


SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_CHUNKS = 65_536
"""Encoders cut the pixels into chunks of 8 kB and more, so that 65,536 hold half a gigabyte; each costs Pillow some
microseconds, and an empty chunk has only 12 bytes."""


@dataclass(frozen=True, slots=True)
class PngHeader:
    """``height`` and ``width`` are as stored, before ``orientation`` (1 to 8) turns them."""

    height: int
    width: int
    orientation: int


def scan_png(data: bytes) -> PngHeader:
    """Read the first chunk and walk the others; raises ValueError, whose message says what is wrong.

    The eXIf chunk may stand behind the pixels (11.3.4.5), where a reader that stops at the first pixel misses it.
    """
    if data[12:16] != b"IHDR" or len(data) < 29:
        raise ValueError("its first chunk is not a whole IHDR")
    width, height = struct.unpack_from(">LL", data, 16)
    if height == 0 or width == 0:
        raise ValueError(f"its header says {width}x{height} pixels")
    orientation = UPRIGHT
    position = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            break
        (length,) = struct.unpack_from(">L", data, position)
        kind = data[position + 4 : position + 8]
        if kind == b"eXIf":
            orientation = orientation_of(data[position + 8 : position + 8 + length])
        elif kind == b"IEND":
            break
        position += 12 + length
    else:
        raise ValueError(f"it has more than {MAX_CHUNKS} chunks")
    return PngHeader(height, width, orientation)
