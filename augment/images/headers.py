"""Headers of JPEG and PNG files, the EXIF orientation, and the changes that decoding makes, all without a codec.

- **JPEG**: frame, size and orientation before the first scan (ITU-T T.81, annex B). The walk decides which decoder may
  see the bytes, so it is strict: ``plain`` is true only if every byte up to the first scan is accounted for and nothing
  but an 8-bit Huffman-coded DCT frame of one or three components follows. Any decoder that keeps to T.81 must then read
  the same frame.
- **PNG**: size, depth and orientation from the chunks (W3C, PNG third edition, 5 and 11).
- **EXIF** is a TIFF directory inside an image file (CIPA DC-008, 4.6.4 and 4.6.8). Only the orientation tag of its
  first directory is read, by a walk that is bounded by the block's length and never fails: a broken block means an
  upright image, as in browsers. Orientation in XMP or in ImageMagick's "Raw profile" text is not read, as neither
  browsers nor OpenCV do.
- **Conversions**: the changes that decoding makes, as far as the header shows. Only decoding can show if a pixel
  really changes: an alpha channel may be opaque everywhere.
"""

import functools
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

PREFIX = b"Exif\0\0"
UPRIGHT = 1
_SIDEWAYS = frozenset({5, 6, 7, 8})
_TAG_ORIENTATION = 0x0112
_Value = TypeVar("_Value", bound=np.generic)
_INTEGER_TYPES = {1: "B", 3: "H", 4: "L"}


class Conversion(StrEnum):
    """Kind of change that an image undergoes when it becomes 8-bit RGB; its value is its name in files and answers.

    ``feature`` describes such an image, ``result`` what is read instead. A lossless change is not a conversion: a
    palette's colours, an orientation, YCbCr (every JPEG's), samples of fewer than 8 bits.
    """

    feature: str
    result: str

    BIT_DEPTH = "bit_depth", "more than 8 bits a channel", "the upper 8 are read"
    GREY = "grey", "one channel, or a palette of greys", "it is read as three equal channels"
    ALPHA = "alpha", "transparency", "it is composited on white"
    COLOUR_KEY = "colour_key", "a transparent colour of 16 bits", "it is ignored"
    EXTRA_CHANNELS = "extra_channels", "channels besides colour and alpha", "they are ignored"
    COLOUR_SPACE = "colour_space", "colours in CMYK, YCCK or L*a*b*", "they are converted to RGB without a profile"
    COLOUR_PROFILE = "colour_profile", "a colour profile other than sRGB", "it is ignored, colours are read as sRGB"
    FRAMES = "frames", "several frames or pages", "only the first is read"

    def __new__(cls, value: str, feature: str = "", result: str = "") -> Self:
        """Make a member from its name in files and the two halves of a sentence."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.feature, member.result = feature, result
        return member


def is_sideways(orientation: int) -> bool:
    """Return True if turning the image upright swaps its height and width."""
    return orientation in _SIDEWAYS


def orientation_of(block: bytes) -> int:
    """Return the orientation (1 to 8) in an EXIF block, with or without its prefix, or 1 if it has none."""
    value = _integer_of(block.removeprefix(PREFIX), _TAG_ORIENTATION) or UPRIGHT
    return value if 1 <= value <= 8 else UPRIGHT


def _integer_of(block: bytes, tag_id: int) -> int | None:
    """Return the first value of a tag in the first directory of a TIFF block, or None; never fails."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return None
    (start,) = struct.unpack_from(order + "L", block, 4)
    if start + 2 > len(block):
        return None
    (num_entries,) = struct.unpack_from(order + "H", block, start)
    for offset in range(start + 2, min(start + 2 + 12 * num_entries, len(block) - 11), 12):
        tag, kind, count = struct.unpack_from(order + "HHL", block, offset)
        if tag == tag_id:
            if kind not in _INTEGER_TYPES or count < 1:
                return None
            value: int = struct.unpack_from(order + _INTEGER_TYPES[kind], block, offset + 8)[0]
            return value
    return None


def turn_upright(image: NDArray[_Value], orientation: int) -> NDArray[_Value]:
    """Flip and rotate (H, W, ...) to be upright: a C-contiguous array, the same one if the image is upright."""
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
"""Bytes between segments that belong to none. Cameras and editors leave a handful; decoders skip them one by one."""

MAX_SCANS = 100
"""GraphicsMagick's default (``jpeg:max-scan-number``). Each scan of a progressive image passes over all of it, and a
scan may have fewer than a hundred bytes; encoders write about ten."""

_EOI, _SOS, _APP1, _APP2 = 0xD9, 0xDA, 0xE1, 0xE2
_JPEG_PROFILE = b"ICC_PROFILE\0"
_MULTI_IMAGE = b"MPF\0"
_TAG_NUM_IMAGES = 0xB001
"""Tag of the index of a file with several images (CIPA DC-007, 5.2.3): each but the first follows the first's end."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # without DHT, JPG and DAC, which share the range
_SEQUENTIAL = frozenset({0xC0, 0xC1})  # baseline and extended: a scan codes every block, so no scan is short
_PLAIN_FRAMES = _SEQUENTIAL | {0xC2}  # progressive; all three are Huffman-coded DCT
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not an escaped byte, a restart or a fill byte
_MARKER_AND_LENGTH = re.compile(rb"\xff[\x02-\xcf\xda-\xfe](?:\x00[\x02-\xff]|[\x01-\xff].)", re.DOTALL)
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # an escaped byte, TEM, RSTn, SOI: none is valid here


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """The frame of a JPEG file.

    ``height`` and ``width`` are as stored, before ``orientation`` (1 to 8) turns them. ``plain`` is defined in the
    module's docstring. ``end`` is the offset of the first scan's data. ``profile`` is the first part of an ICC profile,
    with its two bytes of numbering.
    """

    height: int
    width: int
    sequential: bool
    orientation: int
    plain: bool
    end: int
    num_components: int
    profile: bytes | None
    num_images: int

    def conversions(self) -> tuple[Conversion, ...]:
        """Return the changes that decoding makes."""
        profile = self.profile
        if profile is not None:
            profile = profile[2:] if profile[:2] == b"\1\1" else b""  # one of several parts is longer than any sRGB
        return only(
            {
                Conversion.GREY: self.num_components == 1,
                Conversion.COLOUR_SPACE: self.num_components == 4,
                Conversion.COLOUR_PROFILE: profile is not None and not is_srgb(profile),
                Conversion.FRAMES: self.num_images > 1,
            }
        )


def scan_jpeg(data: bytes) -> JpegHeader:
    """Walk the markers up to the first scan. Raises ValueError with the reason if they are invalid.

    Takes some microseconds for an ordinary file and is bounded by MAX_SEGMENTS and MAX_JUNK_BYTES for any other.
    """
    plain = True
    orientation: int | None = None
    profile: bytes | None = None
    num_images = 1
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
        elif segment.marker == _APP2:
            body = data[segment.start + 2 : segment.end]
            if body.startswith(_JPEG_PROFILE):
                profile = profile or body[len(_JPEG_PROFILE) :]
            elif body.startswith(_MULTI_IMAGE):
                num_images = _integer_of(body[len(_MULTI_IMAGE) :], _TAG_NUM_IMAGES) or 1
    if frame is None:
        raise ValueError("it has no frame header before its first scan")
    marker, precision, height, width, num_components = frame
    if height == 0 or width == 0:
        raise ValueError(f"its frame is {width}x{height} pixels")
    plain = plain and marker in _PLAIN_FRAMES and precision == 8 and num_components in (1, 3)
    return JpegHeader(
        height,
        width,
        marker in _SEQUENTIAL,
        orientation or UPRIGHT,
        plain,
        end,
        num_components,
        profile,
        num_images,
    )


def check_scans(data: bytes, header: JpegHeader) -> None:
    """Raise ValueError if the image has more than MAX_SCANS scans; costs a nanosecond a byte, for progressive files."""
    # What follows the image (a phone's film, a second image) has such bytes too, so a high count is only a hint.
    if header.sequential or data.count(b"\xff\xda", header.end) < MAX_SCANS:
        return
    if _num_scans(data, header.end) > MAX_SCANS:
        raise ValueError(f"it has more than {MAX_SCANS} scans")


class _Segment(NamedTuple):
    """Segment of a JPEG: ``start`` is the offset of its length, ``clean`` is True if T.81 allows the segment."""

    marker: int
    start: int
    end: int
    clean: bool


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments after the start of image; the last is the header of the first scan."""
    position, junk = 2, 0
    for _ in range(MAX_SEGMENTS):
        plainly = _MARKER_AND_LENGTH.match(data, position)  # matches nearly every segment of nearly every file
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
    raise ValueError(f"it has more than {MAX_SEGMENTS} segments before its first scan")


def _num_scans(data: bytes, position: int) -> int:
    """Count the scans, from the end of the first one's header to the end of the image or of the data."""
    num_scans = 1
    for _ in range(MAX_SEGMENTS):
        match = _MARKER_IN_SCAN.search(data, position)
        if match is None or data[match.end() - 1] == _EOI:
            return num_scans
        num_scans += data[match.end() - 1] == _SOS
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        position = match.end() + max(length, 2)
    raise ValueError(f"it has more than {MAX_SEGMENTS} segments between its scans")


_WEBP_FRAME_BYTES = 16
"""Bytes before the chunks of an animation's frame (RFC 9649, 2.7.1.2)."""


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


_PNG_GREY, _PNG_RGB, _PNG_PALETTE, _PNG_GREY_ALPHA, _PNG_RGB_ALPHA = 0, 2, 3, 4, 6
"""Colour types (11.2.1)."""
_NOTED_CHUNKS = frozenset({b"tRNS", b"iCCP", b"sRGB", b"cICP", b"gAMA", b"cHRM", b"PLTE", b"acTL", b"fcTL"})
_BEFORE_PIXELS = frozenset({b"acTL", b"fcTL"})
_SRGB_CICP = b"\1\x0d\0\1"
_SRGB_GAMMA = (45455,)
_SRGB_CHROMATICITIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_PNG_TOLERANCE = 1000
"""Tolerance, in 1/100,000: files that state sRGB round it in different ways."""
_MAX_PROFILE_BYTES = 65_536
"""Profiles of a matrix and curves, like sRGB, are far shorter."""


@dataclass(frozen=True, slots=True)
class PngHeader:
    """Header of a PNG file; ``height`` and ``width`` are as stored, before ``orientation`` (1 to 8) turns them.

    ``chunks`` has the content of the chunks that define the samples, the first of each kind.
    """

    height: int
    width: int
    bit_depth: int
    orientation: int
    colour_type: int
    chunks: Mapping[bytes, bytes]

    def conversions(self) -> tuple[Conversion, ...]:
        """Return the changes that decoding makes."""
        is_deep = self.bit_depth == 16
        key = self.chunks.get(b"tRNS")
        has_key = key is not None and self.colour_type in {_PNG_GREY, _PNG_RGB}
        has_alphas = key is not None and self.colour_type == _PNG_PALETTE and key.strip(b"\xff") != b""
        has_channel = self.colour_type in {_PNG_GREY_ALPHA, _PNG_RGB_ALPHA}
        colours = self.chunks.get(b"PLTE", b"") if self.colour_type == _PNG_PALETTE else b""
        has_greys = colours != b"" and colours[0::3] == colours[1::3] == colours[2::3]
        return only(
            {
                Conversion.BIT_DEPTH: is_deep,
                Conversion.GREY: self.colour_type in {_PNG_GREY, _PNG_GREY_ALPHA} or has_greys,
                Conversion.ALPHA: has_channel or has_alphas or (has_key and not is_deep),
                Conversion.COLOUR_KEY: has_key and is_deep,
                Conversion.COLOUR_PROFILE: not self._is_srgb(),
                Conversion.FRAMES: self._has_frames(),
            }
        )

    def _is_srgb(self) -> bool:
        """True if the chunk that counts (4.3: cICP, else iCCP, else sRGB, else the others) means sRGB or is missing."""
        chunks = self.chunks
        if (coded := chunks.get(b"cICP")) is not None:
            return coded == _SRGB_CICP
        if (named := chunks.get(b"iCCP")) is not None:
            packed = named.partition(b"\0")[2][1:]  # after the name and the method
            try:
                return is_srgb(zlib.decompressobj().decompress(packed, _MAX_PROFILE_BYTES))
            except zlib.error:
                return False
        if b"sRGB" in chunks:
            return True
        stated = ((b"gAMA", _SRGB_GAMMA), (b"cHRM", _SRGB_CHROMATICITIES))
        return all(_is_near(chunks[kind], usual) for kind, usual in stated if kind in chunks)

    def _has_frames(self) -> bool:
        """True if there are frames other than the image that all readers show, which may be outside the animation."""
        (num_frames,) = struct.unpack_from(">L", self.chunks.get(b"acTL", b"").ljust(4, b"\0"))
        return 0 < num_frames <= 0x8000_0000 and (num_frames > 1 or b"fcTL" not in self.chunks)


def _is_near(chunk: bytes, usual: Sequence[int]) -> bool:
    if len(chunk) != 4 * len(usual):
        return False
    values = struct.unpack(f">{len(usual)}L", chunk)
    return all(abs(value - each) <= _PNG_TOLERANCE for value, each in zip(values, usual, strict=True))


def scan_png(data: bytes) -> PngHeader:
    """Read the first chunk and walk the others. Raises ValueError with the reason if they are invalid.

    The eXIf chunk may follow the pixels (11.3.4.5), so a reader that stops at the first pixel would miss it.
    """
    if data[12:16] != b"IHDR" or len(data) < 29:
        raise ValueError("its first chunk is not a whole IHDR")
    width, height, bit_depth, colour_type = struct.unpack_from(">LLBB", data, 16)
    if height == 0 or width == 0:
        raise ValueError(f"its header says {width}x{height} pixels")
    orientation = UPRIGHT
    chunks: dict[bytes, bytes] = {}
    has_pixels = False
    position = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            break
        (length,) = struct.unpack_from(">L", data, position)
        kind = data[position + 4 : position + 8]
        if kind == b"eXIf":
            orientation = orientation_of(data[position + 8 : position + 8 + length])
        elif kind == b"IDAT":
            has_pixels = True
        elif kind in _NOTED_CHUNKS and not (has_pixels and kind in _BEFORE_PIXELS):
            chunks.setdefault(kind, data[position + 8 : position + 8 + length])
        elif kind == b"IEND":
            break
        position += 12 + length
    else:
        raise ValueError(f"it has more than {MAX_CHUNKS} chunks")
    return PngHeader(height, width, bit_depth, orientation, colour_type, chunks)


_GIF_BLOCKS_MAX = 2**21
"""Blocks of 255 bytes, as encoders write them, would be half a gigabyte; a step costs a tenth of a microsecond."""


def has_frames_gif(data: bytes) -> bool:
    """Return True if a GIF file has more than one frame; skips the content of its blocks."""
    position, num_frames, num_blocks = 13 + _gif_table_bytes(data[10:11]), 0, 0
    while num_frames < 2:
        introducer = data[position : position + 1]
        if introducer == b",":
            num_frames += 1
            position += 11 + _gif_table_bytes(data[position + 9 : position + 10])
        elif introducer == b"!":
            position += 2
        else:
            return False
        while position < len(data) and data[position]:
            position += 1 + data[position]
            num_blocks += 1
            if num_blocks > _GIF_BLOCKS_MAX:
                return False
        position += 1
    return True


def _gif_table_bytes(flags: bytes) -> int:
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def only(conversions: Mapping[Conversion, bool]) -> tuple[Conversion, ...]:
    """Return the conversions that are True, in the order of the kinds."""
    return tuple(kind for kind in Conversion if conversions.get(kind))


_SRGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
"""XYZ of red, green and blue, adapted to D50 as profiles have it (IEC 61966-2-1, ICC.1 annex E)."""
_PRIMARIES_TOLERANCE = 0.004
_CURVE_TOLERANCE = 2.5 / 255
_CURVE_POINTS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)


@functools.lru_cache(maxsize=64)  # a dataset's images have few profiles
def is_srgb(profile: bytes) -> bool:
    """Return True if an ICC profile (ICC.1) is sRGB, or its curve for grey, to the precision of 8 bits; never fails.

    Names are not trusted. A profile with tables instead of a matrix counts as another.
    """
    try:
        tags = _profile_tags(profile)
        if profile[16:20] == b"GRAY":
            return _has_srgb_curve(tags[b"kTRC"])
        if profile[16:20] != b"RGB " or b"A2B0" in tags:
            return False
        for kind, usual in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _SRGB_PRIMARIES, strict=True):
            stated = _fixed(tags[kind], 8, 3)
            if any(abs(a - b) > _PRIMARIES_TOLERANCE for a, b in zip(stated, usual, strict=True)):
                return False
        return all(_has_srgb_curve(tags[kind]) for kind in (b"rTRC", b"gTRC", b"bTRC"))
    except (struct.error, KeyError, ValueError, ArithmeticError):
        return False


def _profile_tags(profile: bytes) -> dict[bytes, bytes]:
    (number,) = struct.unpack_from(">L", profile, 128)
    entries = (struct.unpack_from(">4sLL", profile, 132 + 12 * i) for i in range(min(number, 100)))
    return {name: profile[start : start + length] for name, start, length in entries}


def _has_srgb_curve(tag: bytes) -> bool:
    """True if the curve's values, encoded as sRGB, give the points again."""
    return all(
        abs(_encoded(value) - x) <= _CURVE_TOLERANCE for x, value in zip(_CURVE_POINTS, _curve(tag), strict=True)
    )


def _encoded(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


def _curve(tag: bytes) -> Iterable[float]:
    """Evaluate a curve (10.6, 10.18) at the points."""
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        gamma, a, b, c, d, e, f = (*_fixed(tag, 12, _PARAMETERS[kind]), *_ABSENT[kind])
        return [max(a * x + b, 0.0) ** gamma + e if x >= d else c * x + f for x in _CURVE_POINTS]
    (number,) = struct.unpack_from(">L", tag, 8)
    if number == 0:
        return _CURVE_POINTS
    values = struct.unpack_from(f">{number}H", tag, 12)
    if number == 1:
        return [x ** (values[0] / 256) for x in _CURVE_POINTS]
    return np.interp(_CURVE_POINTS, np.linspace(0, 1, number), np.array(values) / 65_535).tolist()


_PARAMETERS = {0: 1, 3: 5, 4: 7}
"""Number of parameters of a parametric curve, by its kind; no sRGB profile has the other kinds, which clip."""
_ABSENT: Mapping[int, tuple[float, ...]] = {0: (1, 0, 0, 0, 0, 0), 3: (0, 0), 4: ()}


def _fixed(tag: bytes, start: int, number: int) -> tuple[float, ...]:
    return tuple(value / 65_536 for value in struct.unpack_from(f">{number}l", tag, start))
