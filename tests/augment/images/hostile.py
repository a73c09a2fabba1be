"""Unusual, broken and dangerous image files, built byte by byte.

``ACCEPTED`` can be decoded, ``REFUSED`` cannot; the names say what is unusual about them.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from augment.errors import Reason

SIZE = 24, 40  # height, width: no two sides equal, none a multiple of 16


def pattern(height: int = SIZE[0], width: int = SIZE[1]) -> NDArray[np.uint8]:
    """A smooth image without any symmetry: uint8 (H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    channels = 40 + 180 * x / max(width, 2), 220 - 190 * y / max(height, 2), 60 + 90 * x * y / (height * width)
    return np.stack(channels, axis=-1).astype(np.uint8)


def saved(image: NDArray[np.uint8] | Image.Image, image_format: str, **options: object) -> bytes:
    """Encode the image with Pillow."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, image_format, **options)
    return out.getvalue()


# ---------------------------------------------------------------------------------------------------------------- EXIF


def exif_block(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """Build a TIFF directory with a resolution unit and an orientation, of integer type ``kind`` (3 SHORT, 4 LONG)."""
    value = struct.pack(order + {1: "B3x", 3: "H2x", 4: "L"}[kind], orientation)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    unit = struct.pack(order + "HHLHH", 0x0128, 3, 1, 2, 0)
    entry = struct.pack(order + "HHL", 0x0112, kind, 1) + value
    return mark + struct.pack(order + "LH", 8, 2) + unit + entry + bytes(4)


# ---------------------------------------------------------------------------------------------------------------- JPEG


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def behind_soi(jpeg: bytes, inserted: bytes) -> bytes:
    return jpeg[:2] + inserted + jpeg[2:]


def behind_jfif(jpeg: bytes, inserted: bytes) -> bytes:
    return jpeg[:20] + inserted + jpeg[20:]


def with_frame(
    jpeg: bytes, *, marker: int | None = None, precision: int | None = None, size: tuple[int, int] | None = None
) -> bytes:
    """Return the same file with a frame header of another type."""
    data = bytearray(jpeg)
    at = next(jpeg.index(bytes((0xFF, start))) for start in (0xC0, 0xC2) if bytes((0xFF, start, 0)) in jpeg)
    if marker is not None:
        data[at + 1] = marker
    if precision is not None:
        data[at + 4] = precision
    if size is not None:
        data[at + 5 : at + 9] = struct.pack(">HH", *size)
    return bytes(data)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    return behind_soi(jpeg, segment(0xE1, b"Exif\0\0" + exif_block(orientation)))


def with_scans(jpeg: bytes, num_repeated: int) -> bytes:
    """Return a progressive file with its last scan repeated this many more times."""
    start, end = jpeg.rindex(b"\xff\xda"), jpeg.rindex(b"\xff\xd9")
    return jpeg[:end] + jpeg[start:end] * num_repeated + jpeg[end:]


# ----------------------------------------------------------------------------------------------------------------- PNG


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png(
    rows: Iterable[bytes],
    size: tuple[int, int],
    depth: int,
    colour: int,
    *,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """Build a PNG of unfiltered rows; ``colour`` is its colour type, the chunks go before and after the pixels."""
    header = struct.pack(">LLBBBBB", size[1], size[0], depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png16(samples: NDArray[np.uint16], *, before: bytes = b"") -> bytes:
    """Encode (H, W) or (H, W, 3) as a PNG of 16 bits a sample."""
    rows = (row.astype(">u2").tobytes() for row in samples)
    return png(rows, samples.shape[:2], 16, 0 if samples.ndim == 2 else 2, before=before)


def png_chunk_inserted(data: bytes, inserted: bytes) -> bytes:
    """Return the same file with a chunk after IHDR."""
    return data[:33] + inserted + data[33:]


# ----------------------------------------------------------------------------------------------------------------- BMP


def rle_bmp(size: tuple[int, int]) -> bytes:
    """Build a BMP of one run-length-encoded colour, with as many runs as 24 rows of 40 pixels need."""
    palette = bytes([200, 100, 50, 0]) * 256
    rows = bytes([40, 7, 0, 0]) * 24 + b"\0\1"
    header = struct.pack(
        "<LLLLllHHLLLLLL", 0, 0, 54 + len(palette), 40, size[1], size[0], 1, 8, 1, len(rows), 0, 0, 0, 0
    )
    return b"BM" + header + palette + rows


# ---------------------------------------------------------------------------------------------------------------- TIFF


def tiff(
    pixels: bytes,
    size: tuple[int, int],
    bits: int,
    *,
    photometric: int = 1,
    more: Mapping[int, tuple[int, int, int]] | None = None,
) -> bytes:
    """Build an uncompressed one-strip TIFF; ``more`` maps tags to (type, count, value or offset)."""
    tags = {
        256: (3, 1, size[1]),
        257: (3, 1, size[0]),
        258: (3, 1, bits),
        259: (3, 1, 1),
        262: (3, 1, photometric),
        273: (4, 1, 8),
        277: (3, 1, 1),
        278: (3, 1, size[0]),
        279: (4, 1, len(pixels)),
    } | dict(more or {})
    entries = b"".join(struct.pack("<HHLL", tag, *tags[tag]) for tag in sorted(tags))
    start = 8 + len(pixels) + len(pixels) % 2
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return (b"II*\0" + struct.pack("<L", start) + pixels).ljust(start, b"\0") + directory


# ------------------------------------------------------------------------------------------------------ the collections


def _jpeg() -> bytes:
    return saved(pattern(), "JPEG", quality=90)


def _cmyk() -> bytes:
    return saved(Image.fromarray(pattern()).convert("CMYK"), "JPEG")


def _animation(image_format: str) -> bytes:
    frames = [Image.fromarray(pattern()), Image.fromarray(255 - pattern())]
    return saved(frames[0], image_format, save_all=True, append_images=frames[1:])


def accepted() -> dict[str, bytes]:
    """Build unusual files that are valid images, of SIZE each."""
    image = Image.fromarray(pattern())
    grey = pattern()[..., 0]
    adobe = _cmyk().index(b"Adobe")
    return {
        "jpeg": _jpeg(),
        "jpeg, progressive": saved(pattern(), "JPEG", progressive=True),
        "jpeg, grey": saved(grey, "JPEG"),
        "jpeg, RGB without YCbCr": saved(pattern(), "JPEG", keep_rgb=True),
        "jpeg, CMYK": _cmyk(),
        "jpeg, YCCK": _cmyk()[: adobe + 11] + b"\2" + _cmyk()[adobe + 12 :],
        "jpeg, junk between segments": behind_jfif(_jpeg(), b"\0\1\2\3"),
        "jpeg, fill bytes": behind_jfif(_jpeg(), b"\xff\xff\xff"),
        "jpeg, EXIF that points nowhere": behind_soi(_jpeg(), segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
        "jpeg, EXIF that says orientation 9": with_orientation(_jpeg(), 9),
        "jpeg, a film behind it": _jpeg() + b"\xff\xda" * 500,
        "mpo": _animation("MPO"),
        "png": saved(pattern(), "PNG"),
        "png, interlaced palette": saved(image.quantize(16), "PNG", interlace=1),
        "png, LA": saved(image.convert("LA"), "PNG"),
        "png, RGBA": saved(image.convert("RGBA"), "PNG"),
        "png, 1 bit": saved(image.convert("1"), "PNG"),
        "png, 16-bit grey": png16(grey.astype(np.uint16) * 257),
        "png, 16-bit colour": png16(pattern().astype(np.uint16) * 257),
        "png, animated": _animation("PNG"),
        "png, animation control of no frames": png_chunk_inserted(saved(pattern(), "PNG"), chunk(b"acTL", bytes(8))),
        "png, broken EXIF": png_chunk_inserted(saved(pattern(), "PNG"), chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff")),
        "webp": saved(pattern(), "WEBP"),
        "webp, lossless with alpha": saved(image.convert("RGBA"), "WEBP", lossless=True),
        "webp, animated": _animation("WEBP"),
        "gif": saved(image.quantize(64), "GIF"),
        "gif, animated": _animation("GIF"),
        "bmp": saved(pattern(), "BMP"),
        "bmp, run-length encoded": rle_bmp(SIZE),
        "bmp, 1 bit": saved(image.convert("1"), "BMP"),
        "tiff": saved(pattern(), "TIFF"),
        "tiff, LZW": saved(pattern(), "TIFF", compression="tiff_lzw"),
        "tiff, JPEG inside": saved(pattern(), "TIFF", compression="jpeg"),
        "tiff, CMYK": saved(image.convert("CMYK"), "TIFF"),
        "tiff, L*a*b*": saved(image.convert("LAB"), "TIFF"),
        "tiff, two pages": _animation("TIFF"),
        "tiff, tag data behind the end": tiff(grey.tobytes(), SIZE, 8, more={305: (2, 900, 5_000_000)}),
        "tiff, two resolutions": tiff(grey.tobytes(), SIZE, 8, more={296: (3, 2, 0x0002_0002)}),
        "pgm": saved(grey, "PPM"),
        "pbm": saved(image.convert("1"), "PPM"),
        "ppm": saved(pattern(), "PPM"),
        "pgm, white is 4095": b"P5\n# a comment\n40 24\n4095\n" + (grey.astype(">u2") * 16).tobytes(),
    }


def refused() -> dict[str, tuple[bytes, Reason]]:
    """Build files that must be refused, with the reason."""
    bad, large, unknown = Reason.UNDECODABLE, Reason.TOO_MANY_PIXELS, Reason.FORMAT
    progressive = saved(pattern(), "JPEG", progressive=True)
    grey = pattern()[..., 0]
    float32 = {258: (3, 1, 32), 339: (3, 1, 3)}
    cases = {
        "nothing": (b"", unknown),
        "zero bytes": (bytes(4096), unknown),
        "text": (b"not an image\n", unknown),
        "an HTML page called .jpg": (b"<!DOCTYPE html>\n<html><body>404</body></html>", unknown),
        "SVG": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', unknown),
        "plain PNM": (b"P3 1 1 255 1 2 3\n", unknown),
        "AVIF": (b"\0\0\0\x1cftypavif" + bytes(40), unknown),
        "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), unknown),
        "tiff, floats": (tiff(grey.astype("<f4").tobytes(), SIZE, 32, more=float32), unknown),
        "tiff, 32-bit integers": (tiff(grey.astype("<u4").tobytes(), SIZE, 32), unknown),
        "jpeg, 4 gigapixels": (with_frame(_jpeg(), size=(65_500, 65_500)), large),
        "png, 3.6 gigapixels": (png([b""], (60_000, 60_000), 8, 2), large),
        "gif, 4 gigapixels": (b"GIF89a\xff\xff\xff\xff\0\0\0" + b",\0\0\0\0\xff\xff\xff\xff\0\2\2\x4c\1\0;", large),
        "bmp, 3.6 gigapixels": (
            b"BM" + struct.pack("<LLLLllHHLLLLLL", 54, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
            large,
        ),
        "bmp, 40 megapixels of runs": (rle_bmp((4000, 10_000)), large),
        "tiff, 4 gigapixels": (tiff(b"", (65_535, 65_535), 8), large),
        "webp, 268 megapixels": (b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(8), large),
        "ppm, 10 gigapixels": (b"P6 100000 100000 255\n", large),
        "jpeg, lossless frame": (with_frame(_jpeg(), marker=0xC3), bad),
        "jpeg, arithmetic lossless frame": (with_frame(_jpeg(), marker=0xCB), bad),
        "jpeg, hierarchical frame": (with_frame(_jpeg(), marker=0xC5), bad),
        "jpeg, 12 bits": (with_frame(_jpeg(), precision=12), bad),
        "jpeg, larger than its data": (with_frame(_jpeg(), size=(900, 900)), bad),
        "jpeg, cut and closed": (_jpeg()[:-40] + b"\xff\xd9", bad),
        "jpeg, no rows": (with_frame(_jpeg(), size=(0, 40)), bad),
        "jpeg, two frames": (behind_soi(_jpeg(), segment(0xC0, b"\x08\0\x18\0\x28\1\1\x11\0")), bad),
        "jpeg, start of image alone": (b"\xff\xd8\xff", bad),
        "jpeg, segments without end": (b"\xff\xd8" + segment(0xE2, b"") * 100_000, bad),
        "jpeg, junk without end": (b"\xff\xd8\xff\xe0\0\2" + bytes(10_000_000), bad),
        "jpeg, much junk between segments": (behind_jfif(_jpeg(), bytes(70_000)), bad),
        "jpeg, fill bytes without end": (b"\xff\xd8" + b"\xff" * 10_000_000, bad),
        "jpeg, scans without end": (with_scans(progressive, 2000), bad),
        "png, chunks without end": (b"\x89PNG\r\n\x1a\n" + _ihdr() + chunk(b"prVt", b"") * 400_000, bad),
        "png, text without end": (png_chunk_inserted(saved(pattern(), "PNG"), _bomb(b"zTXt", b"k\0\0")), bad),
        "png, profile without end": (png_chunk_inserted(saved(pattern(), "PNG"), _bomb(b"iCCP", b"p\0\0")), bad),
        "png, wrong checksum": (saved(pattern(), "PNG")[:29] + bytes(4) + saved(pattern(), "PNG")[33:], bad),
        "png, header not first": (b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"") + saved(pattern(), "PNG")[8:], bad),
        "png, two headers": (png_chunk_inserted(saved(pattern(), "PNG"), _ihdr(SIZE[0], 7)), bad),
        "png, no width": (png([b""], (24, 0), 8, 2), bad),
        "webp, a header alone": (b"RIFF\x04\0\0\0WEBPVP8 ", bad),
        "webp, lying size": (saved(pattern(), "WEBP")[:26] + b"\x10\x01" + saved(pattern(), "WEBP")[28:], bad),
        "gif, no image": (b"GIF89a\x28\0\x18\0\0\0\0;", bad),
        "bmp, a header alone": (b"BM" + bytes(60), bad),
        "tiff, no directory": (b"II*\0\xff\xff\xff\x7f", bad),
        "tiff, strip behind the end": (tiff(b"", SIZE, 8, more={273: (4, 1, 1 << 30)}), bad),
    }
    whole = {name: data for name, data in accepted().items() if "behind" not in name}
    return cases | {f"{name}, cut": (data[: len(data) * 2 // 3], bad) for name, data in whole.items() if name in _CUT}


# Of an animation two thirds are a whole first image; TIFF keeps its directory at the end or the start.
_CUT = frozenset(
    {"jpeg", "jpeg, progressive", "jpeg, CMYK", "png", "png, interlaced palette", "webp", "gif", "bmp", "tiff", "ppm"}
    | {"pgm, white is 4095", "pgm", "tiff, LZW"}
)


def _ihdr(height: int = SIZE[0], width: int = SIZE[1]) -> bytes:
    return chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0))


def _bomb(kind: bytes, prefix: bytes) -> bytes:
    return chunk(kind, prefix + zlib.compress(bytes(100_000_000), 1))


ACCEPTED = accepted()
REFUSED = refused()
