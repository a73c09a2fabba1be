"""Decoder of encoded bytes to upright ``uint8 (H, W, 3) RGB``, which refuses everything else.

The pixels are a function of the bytes (and of ``eighths``) alone; no setting of the process changes them. (Pillow's
own limit, ``PIL.Image.MAX_IMAGE_PIXELS``, also holds for GIF, TIFF and WebP: above twice its value they are refused.)
Every function here may be called from many threads at once.

**Formats.** ``ALLOWED`` lists them. Each is recognised by its first bytes, never by a file's name. The list holds the
formats that the loaders of the field read (torchvision, timm, ``datasets``) and whose decoders were tested on hostile
files. Pillow has no decoder for HEIC. Some builds since 11.3 decode AVIF, with one of several codecs, so replicas
would disagree on a record; and Pillow's header hides what is lost (10 and 12 bits, HDR, wide gamut). Plain (ASCII) PNM
is left out because reading it takes seconds for a photograph. A file of another kind is refused with the name of its
kind and a remedy (``OTHER_KINDS``).

**Decoders.** simplejpeg decodes a JPEG whose header is ``plain`` (see ``headers``): it is faster, it can decode to
N/8 of the size, and it corrupts memory when it meets a lossless frame. Pillow decodes everything else, and what
simplejpeg refuses for another reason than missing pixels. Both contain libjpeg-turbo and give the same pixels. OpenCV's
decoders never get encoded bytes: small files can crash them.

**Colours.**

- Grey becomes three equal channels; a palette becomes its colours; 1 bit becomes 0 and 255.
- Alpha (a channel, a palette's, a transparent colour) is composited on white, as a web page shows it. Dropping it
  would show the colours under the transparent parts.
- 16 bits a sample become the upper 8 (``v >> 8``), as libpng does it; 12 bits likewise. The transparent *colour* of a
  16-bit PNG is ignored.
- CMYK, YCCK, YCbCr and L*a*b* become RGB by Pillow's own conversion. ICC profiles and gamma chunks are ignored: loaders
  of the field ignore them.
- Signed, 32-bit and floating-point samples are refused: nothing says which value is white.

**Frames.** The first image of an animation or a multi-page file; of an animated PNG the one that all readers show.

**Orientation.** EXIF orientation is applied in every format that can hold it: JPEG, PNG, TIFF and WebP.

**Truncated files** are refused, even if a part could be shown. So is a JPEG that has its end but lacks pixels.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import features
from PIL.Image import DecompressionBombError
from PIL.ImageFile import ImageFile

from augment import validation
from augment.errors import AugmentError, CallError, Reason, RecordError, StorageError
from augment.images import headers, pillow

ALLOWED: tuple[str, ...] = tuple(sorted(pillow.READERS))
"""The formats that are decoded, as named in ``Header.format``."""

DEFAULT_MAX_PIXELS = 50_000_000
"""imgproxy's default for the same bound."""

FULL = 8
"""Eighths of a decode at full size."""

_MAGIC = re.compile(
    rb"(?P<jpeg>\xff\xd8\xff)|(?P<png>\x89PNG\r\n\x1a\n)|(?P<webp>RIFF.{4}WEBP)|(?P<gif>GIF8[79]a)|(?P<bmp>BM)"
    rb"|(?P<tiff>II\x2a\x00|MM\x00\x2a|II\x2b\x00|MM\x00\x2b)|(?P<ppm>P[456][\s#])",
    re.DOTALL,
)
# Kinds of files often found in image folders. Naming the kind saves the user a look into the file.
OTHER_KINDS = (
    ("an HTML page", "download the image itself", re.compile(rb"\s*<(!doctype html|html|head|body)", re.IGNORECASE)),
    (
        "SVG or XML",
        "convert a drawing to PNG: rsvg-convert FILE -o OUT.png",
        re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml|svg|!doctype svg|!--)", re.IGNORECASE),
    ),
    (
        "AVIF",
        "convert it to PNG: avifdec FILE OUT.png",
        re.compile(rb".{4}ftyp(avi[fs]|mif1.{4}(.{4}){0,3}avif)", re.DOTALL),
    ),
    (
        "HEIC (or HEIF)",
        "convert it to JPEG: heif-convert FILE OUT.jpg, or on a Mac sips -s format jpeg FILE --out OUT.jpg",
        re.compile(rb".{4}ftyp(he|mif|msf)", re.DOTALL),
    ),
    (
        "a video",
        "take images out of it: ffmpeg -i FILE frame-%05d.png",
        re.compile(
            rb".{4}(ftyp|moov|mdat)|\x1a\x45\xdf\xa3|RIFF.{4}AVI |\x00\x00\x01[\xba\xb3]|FLV\x01|OggS|\x30\x26\xb2\x75",
            re.DOTALL,
        ),
    ),
    (
        "JPEG 2000",
        "convert it to PNG: opj_decompress -i FILE -o OUT.png",
        re.compile(rb".{4}jP {2}|\xff\x4f\xff\x51", re.DOTALL),
    ),
    ("JPEG XL", "convert it to PNG: djxl FILE OUT.png", re.compile(rb".{4}JXL |\xff\x0a", re.DOTALL)),
    ("plain (ASCII) PNM", "save it in its binary form", re.compile(rb"P[123][\s#]")),
    ("a Photoshop document", "export it as PNG", re.compile(rb"8BPS")),
    ("a PDF document", "convert its pages to PNG: pdftoppm -png FILE OUT", re.compile(rb"%PDF")),
    ("an icon", "save it as PNG", re.compile(rb"\x00\x00[\x01\x02]\x00")),
    ("a zip archive", "unpack it, or upload it as a dataset", re.compile(rb"PK\x03\x04")),
    ("compressed with gzip", "decompress it: gunzip FILE", re.compile(rb"\x1f\x8b")),
    ("text in base64", "decode it: base64 -d FILE", re.compile(rb"data:image/|/9j/4|iVBORw0KGgo|UklGR")),
)
# libjpeg's messages (jerror.h) for entropy-coded data that ends early or is corrupt; it fills the rest with grey.
_PIXELS_MISSING = re.compile("[Pp]remature end|bad Huffman code|Inconsistent progression|instead of RST")
_DETAIL_CHARS = 200


@dataclass(frozen=True, slots=True)
class Header:
    """Format and size of an image before it is decoded; ``height`` and ``width`` are those of the upright image.

    ``conversions`` are the changes that decoding makes, as far as the header shows.
    """

    format: str
    height: int
    width: int
    conversions: tuple[headers.Conversion, ...] = ()


@dataclass(frozen=True, slots=True)
class _Stored:
    """Image as stored in its file; ``image`` is set if Pillow read the header."""

    height: int
    width: int
    orientation: int
    jpeg: headers.JpegHeader | None = None
    png: headers.PngHeader | None = None
    image: ImageFile | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        sideways = headers.is_sideways(self.orientation)
        return (self.width, self.height) if sideways else (self.height, self.width)

    def conversions(self, data: bytes) -> tuple[headers.Conversion, ...]:
        """Return the changes that decoding makes."""
        if self.image is not None:
            return pillow.conversions(self.image, data)
        header = self.jpeg or self.png
        return () if header is None else header.conversions()


def probe(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Header:
    """Read the header alone: tens of microseconds, whatever the size of the image (tenths of a millisecond for WebP).

    Raises RecordError as ``decode_image`` does for the format and the number of pixels, and if no header is usable.
    Only the header is read, except that the blocks of a GIF and the chunks of a PNG are counted.
    """
    data, image_format = _recognise(data, max_pixels)
    with DecoderGuard(image_format):
        stored = _read_header(data, image_format, max_pixels)
        return Header(image_format, *stored.upright_size, stored.conversions(data))


def decode_image(
    data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, eighths: Callable[[int, int], int] | None = None
) -> NDArray[np.uint8]:
    """Decode the first image: uint8 (H, W, 3) RGB, upright, C-contiguous, a new array that the caller owns.

    ``eighths`` gets the upright height and width, and returns to how many eighths (1 to 8) of the size to decode. It is
    called only for a JPEG that simplejpeg decodes, since others gain nothing. Such an image has ``reduced_size``; every
    other has its full size.

    Raises RecordError with an empty key: ``format``, ``too_many_pixels`` (before anything is decoded) or
    ``undecodable``.
    """
    validation.function("eighths", eighths)
    data, image_format = _recognise(data, max_pixels)
    with DecoderGuard(image_format):
        stored = _read_header(data, image_format, max_pixels)
        if stored.jpeg is not None:
            headers.check_scans(data, stored.jpeg)
    if stored.jpeg is not None and stored.jpeg.plain:
        num_eighths = FULL if eighths is None else eighths(*stored.upright_size)
        size = reduced_size(stored.height, stored.width, num_eighths)
        with DecoderGuard(image_format):
            image = _simplejpeg(data, *size)
        if image is not None:
            return headers.turn_upright(image, stored.orientation)
    with DecoderGuard(image_format):
        opened = stored.image or pillow.open_image(data, image_format, max_pixels)
        if opened.size != (stored.width, stored.height):
            raise ValueError("it states two different sizes")
        return headers.turn_upright(pillow.load_rgb(opened), stored.orientation)


def encoding(data: bytes) -> str:
    """Return the format of an image from its bytes, or ``webp-lossless`` for lossless WebP.

    Raises RecordError if the format is not allowed. Only the first chunks are read.
    """
    _, image_format = _recognise(data, DEFAULT_MAX_PIXELS)
    return "webp-lossless" if image_format == "webp" and not headers.is_lossy_webp(data) else image_format


def reduced_size(height: int, width: int, eighths: int) -> tuple[int, int]:
    """Return the size of an image decoded to this many eighths, rounded up as in libjpeg."""
    if not 1 <= eighths <= FULL:
        raise CallError(f"eighths is {eighths}; an image is decoded to 1 to {FULL} eighths of its size")
    return -(-height * eighths // FULL), -(-width * eighths // FULL)


def versions() -> dict[str, str]:
    """Return versions of the libraries that affect pixels or encoded bytes; simplejpeg has its own libjpeg-turbo."""
    names = ("libjpeg_turbo", "webp", "libtiff", "littlecms2", "zlib", "zlib_ng")
    bundled = {f"pillow-{name.replace('_', '-')}": str(features.version(name) or "absent") for name in names}
    return {"pillow": PIL.__version__, **bundled, "simplejpeg": simplejpeg.__version__}


def _recognise(data: object, max_pixels: int) -> tuple[bytes, str]:
    """Return the bytes, and the format that their beginning names."""
    validation.integer("max_pixels (AUGMENT_MAX_PIXELS)", max_pixels, 1)
    if isinstance(data, bytearray | memoryview):
        data = bytes(data)
    if not isinstance(data, bytes):
        raise CallError(
            f"data is {validation.quoted(data)}; give the bytes of a file, as pathlib.Path(name).read_bytes() returns"
        )
    match = _MAGIC.match(data)
    if match is not None and match.lastgroup is not None:
        return data, match.lastgroup
    kind = next(((name, remedy) for name, remedy, magic in OTHER_KINDS if magic.match(data, 0, 512)), None)
    if kind is None:
        what = "of an unknown format" if data else "empty"
        raise RecordError("", Reason.FORMAT, f"the file is {what}; allowed are {', '.join(ALLOWED)}")
    name, remedy = kind
    raise RecordError("", Reason.FORMAT, f"the file is {name}; allowed are {', '.join(ALLOWED)}: {remedy}")


def _read_header(data: bytes, image_format: str, max_pixels: int) -> _Stored:
    if image_format == "jpeg":
        jpeg = headers.scan_jpeg(data)
        pillow.check_pixels(jpeg.height, jpeg.width, max_pixels)
        return _Stored(jpeg.height, jpeg.width, jpeg.orientation, jpeg=jpeg)
    if image_format == "png":
        png = headers.scan_png(data)
        pillow.check_pixels(png.height, png.width, max_pixels)
        return _Stored(png.height, png.width, png.orientation, png=png)
    image = pillow.open_image(data, image_format, max_pixels)
    orientation = headers.orientation_of(image.info.get("exif", b"")) if image_format == "webp" else headers.UPRIGHT
    return _Stored(image.height, image.width, orientation, image=image)


def _simplejpeg(data: bytes, height: int, width: int) -> NDArray[np.uint8] | None:
    """Decode to the least eighths that give this size, or return None if Pillow must decide.

    simplejpeg raises for what libjpeg calls a warning. If the warning means missing pixels, this raises ValueError.
    After any other (a broken ICC segment, bytes between segments) the image is still whole.
    """
    try:
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except ValueError as error:
        if _PIXELS_MISSING.search(str(error)):
            raise
        return None
    return image


class DecoderGuard:
    """Context that turns every exception of a decoder into a refusal of the record.

    This is the one place that catches everything: on hostile bytes Pillow raises OSError, ValueError, SyntaxError,
    TypeError, EOFError, struct.error, zlib.error and more, none of them documented. The bytes are in memory, so no
    error of input or output can be hidden here.
    """

    __slots__ = ("_format",)

    def __init__(self, image_format: str) -> None:
        self._format = image_format

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, AugmentError):
            return
        if isinstance(error, MemoryError):  # the number of pixels is bounded, so the machine has too little memory
            words = f"memory ran out while a {self._format} file was decoded; use fewer workers"
            raise StorageError(words) from error
        if isinstance(error, DecompressionBombError):
            detail = f"{_detail(self._format, error)} (twice PIL.Image.MAX_IMAGE_PIXELS)"
            raise RecordError("", Reason.TOO_MANY_PIXELS, detail) from error
        raise RecordError("", Reason.UNDECODABLE, _detail(self._format, error)) from error


def _detail(image_format: str, error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{image_format}: {text}"[:_DETAIL_CHARS]
