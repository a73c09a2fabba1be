"""Pillow behind an allowlist, a pixel limit and one rule for colours.

Each format's reader is called directly and never through ``Image.open``, which would try every reader registered in
the process and compare the size with a process-wide limit by a warning. Nothing here changes Pillow for the rest of
the process; threads may call it at the same time.
"""

import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from augment.errors import CallError, Reason, RecordError
from augment.images import headers
from augment.images.headers import Conversion

_TIFF_PLANES, _TIFF_YCBCR, _TIFF_LOW_BIT_FIRST, _TIFF_WEBP = 2, 6, 2, 50001
"""Values of the tags PlanarConfiguration, PhotometricInterpretation, FillOrder and Compression."""
_SAVE_PLAINLY = "save it as PNG, or as grey or RGB of 8 or 16 bits unsigned, interleaved and little-endian"


class _TiffFile(TiffImagePlugin.TiffImageFile):
    """Pillow's reader without the cases that it reads wrongly.

    Pillow's own decoder of uncompressed samples mixes up separate planes of anything but 8 bits (opencv#29567 has such
    files) and YCbCr with fewer chroma samples, and cannot read samples whose low bit comes first. Pillow leaves
    compressed samples to libtiff, which reads these cases right.
    """

    _stored_compression = ""

    @property
    def _compression(self) -> str:
        tags = self.tag_v2
        by_libtiff = (
            self._planar_configuration == _TIFF_PLANES
            or tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _TIFF_YCBCR
            or tags.get(TiffImagePlugin.FILLORDER) == _TIFF_LOW_BIT_FIRST
        )
        return "tiff_none" if by_libtiff and self._stored_compression == "raw" else self._stored_compression

    @_compression.setter
    def _compression(self, name: str) -> None:
        self._stored_compression = name

    def _setup(self) -> None:
        """Raise RecordError if no tag says which value is white, or if the samples would be read wrongly."""
        tags = self.tag_v2
        if not set(_several(tags.get(TiffImagePlugin.SAMPLEFORMAT, 1))) <= {1, 4}:  # unsigned or missing
            raise _unclear_white()
        if tags.get(TiffImagePlugin.COMPRESSION) == _TIFF_WEBP:
            raise _unread("WebP, which few builds of libtiff decode")
        try:
            super()._setup()
        except SyntaxError:
            bits = sorted(set(_several(tags.get(TiffImagePlugin.BITSPERSAMPLE, 1))))
            if bits == [32]:
                raise _unclear_white() from None
            raise _unread(
                f"{tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)} samples of {' and '.join(map(str, bits))} bits, "
                f"{'big' if self.tag_v2.prefix == b'MM' else 'little'}-endian, with photometric interpretation "
                f"{tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION)}"
            ) from None
        extra = _several(tags.get(TiffImagePlugin.EXTRASAMPLES, ()))
        is_ycbcr = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _TIFF_YCBCR
        if self._planar_configuration == _TIFF_PLANES and (
            self.mode in {"LA", "La", "PA", "LAB"} or (is_ycbcr and extra) or (len(extra) > 1 and any(extra))
        ):
            raise _unread("separate planes of L*a*b*, or of alpha and others than red, green and blue")


def _several(value: Any) -> tuple[Any, ...]:
    """Return the values of a TIFF tag as a tuple; Pillow gives a single value bare."""
    return value if isinstance(value, tuple) else (value,)


def _unread(what: str) -> RecordError:
    return RecordError("", Reason.FORMAT, f"it is a TIFF of {what}, which is not read; {_SAVE_PLAINLY}")


def _unclear_white() -> RecordError:
    return RecordError(
        "",
        Reason.FORMAT,
        "its samples are signed, 32-bit or floating-point, and no tag says which value is white; "
        "store them as 8 or 16 bits unsigned",
    )


READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,  # also the first image of an MPO, which is a JPEG followed by others
    "png": PngImagePlugin.PngImageFile,
    "ppm": PpmImagePlugin.PpmImageFile,
    "tiff": _TiffFile,
    "webp": WebPImagePlugin.WebPImageFile,
}

MAX_RLE_PIXELS = 8_000_000
"""Pillow decodes run-length-encoded BMP in Python: some 80 ns a pixel, and a few bytes can claim millions."""

_PNG_BIT_DEPTH_AT = 24

_quiet: ContextVar[bool] = ContextVar("_quiet", default=False)


class _Warnings:
    """Replacement for the module ``warnings`` in Pillow's modules: silent while this thread decodes.

    ``warnings.catch_warnings`` swaps a list that all threads share, and under ``-W error`` a warning would decide
    whether a record decodes.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    def warn(
        self, message: Warning | str, category: type[Warning] | None = None, stacklevel: int = 1, **kwargs: Any
    ) -> None:
        if not _quiet.get():
            warnings.warn(message, category, stacklevel + 1, **kwargs)


for _module in (Image, PngImagePlugin, TiffImagePlugin):
    _module.warnings = _Warnings()  # type: ignore[attr-defined]


@contextmanager
def _quietly() -> Iterator[None]:
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Refuse an image of more pixels than the limit, before it is decoded."""
    if height * width > max_pixels:
        raise RecordError(
            "",
            Reason.TOO_MANY_PIXELS,
            f"{width}x{height} is {height * width} pixels; the limit is {max_pixels} (AUGMENT_MAX_PIXELS)",
        )


def open_image(data: bytes, image_format: str, max_pixels: int) -> ImageFile.ImageFile:
    """Read the header with the reader of this format; raises whatever Pillow raises on bad bytes.

    Raises RecordError if the image is too large, or if the file does not say which value is white.
    """
    if image_format == "webp":  # its reader makes a canvas when it opens
        check_pixels(*_webp_canvas(data), max_pixels)
    if data.startswith(b"MM\0\x2b"):
        raise _unread("more than 4 GB by its header (BigTIFF), big-endian")
    try:
        with _quietly():
            image = READERS[image_format](io.BytesIO(data))
    except OSError as error:
        if str(error).startswith(("Unsupported BMP bitfields", "Unsupported BMP compression")):
            raise RecordError("", Reason.FORMAT, f"bmp: {error}; save it as PNG") from error
        raise
    check_pixels(image.height, image.width, max_pixels)
    if image.tile and image.tile[0][0] == "bmp_rle" and image.height * image.width > MAX_RLE_PIXELS:
        raise RecordError(
            "",
            Reason.TOO_MANY_PIXELS,
            f"{image.width}x{image.height} pixels in a run-length-encoded BMP; the limit is {MAX_RLE_PIXELS}; "
            "save it as PNG",
        )
    if image.mode == "F" or (image.mode == "I" and image_format == "tiff"):
        raise _unclear_white()
    if image_format == "png" and "transparency" in image.info:
        _mend_colour_key(image, bit_depth=data[_PNG_BIT_DEPTH_AT])
    return image


_ANOTHER_PNM = re.compile(rb"\s*P[456][\s#]")
_BMP_V5_BYTES, _BMP_EMBEDDED, _BMP_LINKED = 124, b"DEBM", b"KNIL"


def conversions(image: ImageFile.ImageFile, data: bytes) -> tuple[Conversion, ...]:
    """Return the changes that decoding makes to an image that ``open_image`` opened and that is not loaded yet."""
    mode = image.mode
    bits, num_samples, has_frames = 8, len(image.getbands()), getattr(image, "is_animated", False)
    profile: bytes | None = image.info.get("icc_profile")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = max(_several(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, 1)))
        num_samples = image.tag_v2.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    elif isinstance(image, PpmImagePlugin.PpmImageFile):
        bits = 16 if _white_of(image) > 255 else 8
        has_frames = _ANOTHER_PNM.match(data, _end_of_pnm(image, bits)) is not None
    elif isinstance(image, GifImagePlugin.GifImageFile):
        has_frames = headers.has_frames_gif(data)
    elif isinstance(image, BmpImagePlugin.BmpImageFile):
        profile = _bmp_profile(data)
    return headers.only(
        {
            Conversion.BIT_DEPTH: bits > 8,
            Conversion.GREY: mode in {"1", "L", "LA", "La"} or mode.startswith("I") or _has_palette_of_greys(image),
            Conversion.ALPHA: image.has_transparency_data,
            Conversion.EXTRA_CHANNELS: num_samples > len(image.getbands()),
            Conversion.COLOUR_SPACE: mode in {"CMYK", "LAB"},
            Conversion.COLOUR_PROFILE: profile is not None and not headers.is_srgb(profile),
            Conversion.FRAMES: bool(has_frames),
        }
    )


def _has_palette_of_greys(image: ImageFile.ImageFile) -> bool:
    """True if the palette holds only greys."""
    if image.palette is None or image.mode not in {"P", "PA"}:
        return False
    colours, layout = bytes(image.palette.palette), image.palette.rawmode
    if layout == "RGB;L":  # all reds, then all greens, then all blues
        number = len(colours) // 3
        red, green, blue = (colours[i * number : (i + 1) * number] for i in range(3))
    else:
        step = 4 if layout == "BGRX" else 3
        red, green, blue = (colours[i::step] for i in range(3))
    return red == green == blue != b""


def _white_of(image: PpmImagePlugin.PpmImageFile) -> int:
    """Return the largest value of a PNM's samples."""
    arguments: Any = image.tile[0][3]
    if image.mode == "1":
        return 1
    return int(arguments[1]) if isinstance(arguments, tuple) else 65_535 if image.mode == "I" else 255


def _end_of_pnm(image: PpmImagePlugin.PpmImageFile, bits: int) -> int:
    """Return where the samples of a PNM end; another image may follow."""
    row = -(-image.width // 8) if image.mode == "1" else image.width * len(image.getbands()) * bits // 8
    return int(image.tile[0][2]) + image.height * row


def _bmp_profile(data: bytes) -> bytes | None:
    """Return the profile that a BMP of version 5 holds, empty if it only names one, or None."""
    if int.from_bytes(data[14:18], "little") < _BMP_V5_BYTES or data[70:74] not in {_BMP_EMBEDDED, _BMP_LINKED}:
        return None
    start, length = (int.from_bytes(data[at : at + 4], "little") for at in (126, 130))
    return data[14 + start : 14 + start + length] if data[70:74] == _BMP_EMBEDDED else b""


def load_rgb(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    """Decode the first frame: uint8 (H, W, 3) RGB, a new array; raises whatever Pillow raises on bad bytes.

    ``augment.images.decode`` states the rules for colours. TIFF is returned upright (its reader turns it), every other
    format as stored. Raises CallError if the process has told Pillow to make up missing pixels.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise CallError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True in this process, so that the missing part of a cut file would "
            "be made up; set it to False"
        )
    image.info.pop("xmp", None)  # the TIFF reader would take an orientation from it
    with _quietly():
        if isinstance(image, PpmImagePlugin.PpmImageFile) and image.tile[0][0] == "ppm":
            return _from_unusual_pnm(image)
        image.load()
        if image.mode == "I" or image.mode.startswith("I;16"):
            return _from_deep_grey(image)
        if image.mode == "La":  # grey that was multiplied by its alpha
            return np.array(_on_white(image.convert("LA")))
        if image.has_transparency_data:
            return np.array(_on_white(image))
        return np.array(image.convert("RGB"))


class StoredMask(NamedTuple):
    """Samples as stored in a file: uint8 or uint16 (H, W), or uint8 (H, W, 3) of colours.

    ``palette`` has the colours of a palette, uint8 (N, 3); it is None for other files.
    """

    values: NDArray[np.uint8] | NDArray[np.uint16]
    palette: NDArray[np.uint8] | None = None


def load_mask(image: ImageFile.ImageFile) -> StoredMask | None:
    """Read samples without converting any; None if they are neither one channel nor opaque colours of 8 bits.

    A palette gives its indices, not its colours; 1 bit becomes 0 and 1, and 2 or 4 bits of grey keep their values. Grey
    with an opaque alpha is one channel. Raises whatever Pillow raises on bad bytes.
    """
    arguments: Any = image.tile[0][3] if image.tile else ""
    layout = arguments if isinstance(arguments, str) else str(arguments[0])
    with _quietly():
        image.load()
        if image.mode == "P":
            colours = bytes(image.getpalette("RGB") or b"")
            return StoredMask(np.array(image), np.frombuffer(colours, np.uint8).reshape(-1, 3))
        if image.mode in {"1", "L"}:
            return StoredMask(_as_stored(np.array(image).astype(np.uint8), image.mode, layout))
        if image.mode == "I" or image.mode.startswith("I;16"):
            return StoredMask(np.asarray(image).astype(np.uint16))
        if image.mode not in {"RGB", "RGBA", "LA"} or "16" in layout:
            return None
        values = np.array(image)
        if image.mode != "RGB" and (values[..., -1] != 255).any():
            return None
        return StoredMask(values[..., 0] if image.mode == "LA" else values[..., :3])


def save_png(image: Image.Image) -> bytes:
    """Return a PNG with the settings of ``augment.images.encode``."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return out.getvalue()


def _as_stored(values: NDArray[np.uint8], mode: str, layout: str) -> NDArray[np.uint8]:
    """Undo what Pillow does to grey samples by their layout, such as ``L;4`` or ``1;IR``: stretching and inverting."""
    details = layout.partition(";")[2]
    bits = 1 if mode == "1" else next((int(digit) for digit in details if digit in "24"), 8)
    white = 2**bits - 1
    if mode == "L" and bits < 8:
        values = values // (255 // white)
    return white - values if "I" in details else values


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Return height and width from the first chunk of a WebP file (RFC 9649, 2.5 to 2.7)."""
    if len(data) < 30:
        raise ValueError("it ends inside its header")
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return int.from_bytes(data[28:30], "little") & 0x3FFF, int.from_bytes(data[26:28], "little") & 0x3FFF


def _mend_colour_key(image: ImageFile.ImageFile, bit_depth: int) -> None:
    """Make a PNG's transparent colour comparable with the samples that Pillow decodes.

    Pillow stretches grey samples of 2 and 4 bits to 8 but not the colour. It halves samples of 16 bits but not the
    colour, and several colours would then share one value, so the colour is dropped.
    """
    if bit_depth == 16:
        del image.info["transparency"]
    elif image.mode == "L" and bit_depth < 8:
        image.info["transparency"] = image.info["transparency"] * 255 // (2**bit_depth - 1)


def _from_unusual_pnm(image: PpmImagePlugin.PpmImageFile) -> NDArray[np.uint8]:
    """Read a PNM whose white is neither 255 nor 65535; Pillow would read it sample by sample in Python.

    White becomes 255: a smaller one by rounding, a larger one by the equivalent of ``v >> 8`` for 16 bits.
    """
    _, _, offset, arguments = image.tile[0]
    _, white = cast("tuple[str, int]", arguments)
    data = cast("io.BytesIO", image.fp).getbuffer()
    channels = len(image.getbands())
    count = image.height * image.width * channels
    kind = np.dtype(np.uint8 if white < 256 else ">u2")
    if len(data) < offset + count * kind.itemsize:
        raise ValueError("image file is truncated")
    stored = np.frombuffer(data, kind, count, offset)
    samples = np.minimum(stored.astype(np.uint32), white)
    scaled = (samples * 255 + white // 2) // white if white < 255 else samples * 256 // (white + 1)
    pixels = scaled.astype(np.uint8).reshape(image.height, image.width, channels)
    return np.repeat(pixels, 3, axis=2) if channels == 1 else pixels


def _from_deep_grey(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    """Return the upper eight of 12 or 16 bits, as Pillow and libpng do for 16-bit colour."""
    bits, white_is_zero = 16, False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2[TiffImagePlugin.BITSPERSAMPLE][0]
        white_is_zero = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    if white_is_zero:  # Pillow inverts such samples only up to 8 bits
        grey = ~grey
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    canvas = Image.new("RGB", rgba.size, (255, 255, 255))
    canvas.paste(rgba, (0, 0), rgba)  # (colour * alpha + 255 * (255 - alpha)) / 255, rounded
    return canvas
