"""Writer of TIFF files of any variant, byte by byte from the specification (TIFF 6.0, technical notes 1 and 2).

The given samples are compared with what is read. Pillow, libtiff and tifffile are not used, except for the codecs of
JPEG and WebP.
"""

import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

Samples = NDArray[Any]
"""(H, W, S): any integers or floats."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Layout of samples in a TIFF file; names and numbers are those of the specification's tags.

    ``kind`` is the sample format: 1 unsigned, 2 signed, 3 floating point. There are ``rows`` in a strip, or tiles of
    ``tile`` (height, width). ``chroma`` is how many columns and rows of YCbCr share their Cb and Cr, interleaved.
    """

    bits: int = 8
    photometric: int = 1
    extra: tuple[int, ...] = ()
    planar: int = 1
    compression: str = "none"
    order: Literal["<", ">"] = "<"
    rows: int | None = None
    tile: tuple[int, int] | None = None
    predictor: int = 1
    orientation: int = 1
    kind: int = 1
    fill_order: int = 1
    big: bool = False
    chroma: tuple[int, int] = (1, 1)

    @property
    def num_samples(self) -> int:
        return {2: 3, 5: 4, 6: 3, 8: 3}.get(self.photometric, 1) + len(self.extra)

    def __str__(self) -> str:
        values = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return " ".join(f"{name}={value}" for name, value in values if value != getattr(PLAIN, name)) or "plain"


PLAIN = Variant()
COMPRESSIONS: Mapping[str, int] = {
    "none": 1,
    "lzw": 5,
    "jpeg": 7,
    "deflate": 8,
    "old deflate": 32946,
    "packbits": 32773,
    "lzma": 34925,
    "zstd": 50000,
    "webp": 50001,
}
REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
PREDICTABLE = frozenset({"lzw", "deflate", "old deflate", "lzma", "zstd"})


def write(samples: Samples, variant: Variant, *, colours: NDArray[np.uint16] | None = None) -> bytes:
    """Write the file; ``colours`` (2**bits, 3) are a palette's. Samples are stored unturned for any ``orientation``."""
    height, width, num_samples = samples.shape
    blocks = [_encoded(block, variant) for block in _blocks(samples, variant)]
    tags: dict[int, tuple[int, tuple[int, ...]]] = {
        256: (4, (width,)),
        257: (4, (height,)),
        258: (3, (variant.bits,) * num_samples),
        259: (3, (COMPRESSIONS[variant.compression],)),
        262: (3, (variant.photometric,)),
        266: (3, (variant.fill_order,)),
        274: (3, (variant.orientation,)),
        277: (3, (num_samples,)),
        284: (3, (variant.planar,)),
    }
    if variant.photometric == 6:
        tags[530] = (3, variant.chroma)
    if variant.predictor != 1:
        tags[317] = (3, (variant.predictor,))
    if variant.extra:
        tags[338] = (3, variant.extra)
    if variant.kind != 1:
        tags[339] = (3, (variant.kind,) * num_samples)
    if colours is not None:
        tags[320] = (3, tuple(colours.T.ravel().tolist()))
    if variant.tile is not None:
        tags |= {322: (4, (variant.tile[1],)), 323: (4, (variant.tile[0],))}
        places, counts = 324, 325
    else:
        tags[278] = (4, (variant.rows or height,))
        places, counts = 273, 279
    start = 16
    offsets = []
    for block in blocks:
        offsets.append(start)
        start += len(block) + len(block) % 2
    wide = 16 if variant.big else 4
    tags |= {places: (wide, tuple(offsets)), counts: (wide, tuple(map(len, blocks)))}
    body = b"".join(block + b"\0" * (len(block) % 2) for block in blocks)
    return _file(tags, body, variant)


def _file(tags: Mapping[int, tuple[int, tuple[int, ...]]], body: bytes, variant: Variant) -> bytes:
    order, big = variant.order, variant.big
    start = 16 + len(body)
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head = mark + (struct.pack(order + "HHQ", 8, 0, start) if big else struct.pack(order + "L", start) + bytes(8))
    inline = 8 if big else 4
    entry = 12 + 8 * big
    behind = start + (8 if big else 2) + entry * len(tags) + inline
    entries, values = b"", b""
    for tag in sorted(tags):
        kind, numbers = tags[tag]
        packed = struct.pack(order + {3: "H", 4: "L", 16: "Q"}[kind] * len(numbers), *numbers)
        if len(packed) > inline:
            held = struct.pack(order + ("Q" if big else "L"), behind + len(values))
            values += packed + b"\0" * (len(packed) % 2)
        else:
            held = packed.ljust(inline, b"\0")
        entries += struct.pack(order + ("HHQ" if big else "HHL"), tag, kind, len(numbers)) + held
    return head + body + struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + bytes(inline) + values


def _blocks(samples: Samples, variant: Variant) -> Iterator[Samples]:
    """Yield strips or tiles in the order of the file, each (rows, columns, S): S is 1 for separate planes."""
    height, width, num_samples = samples.shape
    planes = [samples] if variant.planar == 1 else [samples[..., i : i + 1] for i in range(num_samples)]
    rows, columns = variant.tile or (variant.rows or height, width)
    for plane in planes:
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                block = plane[top : top + rows, left : left + columns]
                if variant.tile is not None:
                    low, right = rows - block.shape[0], columns - block.shape[1]
                    block = np.pad(block, ((0, low), (0, right), (0, 0)), mode="edge")
                yield block


def _encoded(block: Samples, variant: Variant) -> bytes:
    if variant.compression in {"jpeg", "webp"}:
        return _as_image(block, variant.compression)
    if variant.predictor == 2:
        differences = block.astype(np.int64)
        differences[:, 1:] -= block[:, :-1].astype(np.int64)
        block = (differences % 2**variant.bits).astype(f"u{variant.bits // 8}")
    packed = packed_rows(block if variant.chroma == (1, 1) else _clumps(block, variant), variant.bits, variant.order)
    if variant.predictor == 3:
        packed = _predicted_floats(block, variant.bits)
    encoded = CODECS[variant.compression](packed)
    return encoded.translate(REVERSED) if variant.fill_order == 2 else encoded


def _clumps(block: Samples, variant: Variant) -> Samples:
    """Return groups of Y, row by row, with the Cb and Cr that they share (section 21), and the size of a group."""
    across, down = variant.chroma
    block = np.pad(block, ((0, -block.shape[0] % down), (0, -block.shape[1] % across), (0, 0)), mode="edge")
    rows, columns = block.shape[0] // down, block.shape[1] // across
    luma = block[..., 0].reshape(rows, down, columns, across).swapaxes(1, 2).reshape(rows, columns, -1)
    return np.concatenate([luma, block[::down, ::across, 1:]], axis=2).reshape(rows, -1, 1)


def packed_rows(block: Samples, bits: int, order: Literal["<", ">"]) -> list[bytes]:
    """Pack each row from its most significant bit on, filled up to whole bytes."""
    rows = block.reshape(len(block), -1)
    if bits % 8 == 0:
        return [row.astype(row.dtype.newbyteorder(order)).tobytes() for row in rows]
    shifts = np.arange(bits - 1, -1, -1)
    return [np.packbits((row[:, np.newaxis] >> shifts & 1).astype(np.uint8).ravel()).tobytes() for row in rows]


def _predicted_floats(block: Samples, bits: int) -> list[bytes]:
    """Apply technical note 3: group bytes by significance, then replace each by its difference to the sample before."""
    num_samples = block.shape[2]
    big = block.astype(f">f{bits // 8}").reshape(len(block), -1)
    out = []
    for row in big:
        planes = np.frombuffer(row.tobytes(), np.uint8).reshape(-1, bits // 8).T.ravel().astype(np.int64)
        planes[num_samples:] -= planes[:-num_samples].copy()
        out.append((planes % 256).astype(np.uint8).tobytes())
    return out


def _as_image(block: Samples, codec: str) -> bytes:
    image = block[..., 0] if block.shape[2] == 1 else block
    mode = {1: "L", 3: "RGB", 4: "CMYK" if codec == "jpeg" else "RGBA"}[block.shape[2]]
    out = io.BytesIO()
    if mode == "CMYK":
        image = 255 - image  # Pillow turns them round, as Adobe's applications have it
    opened = Image.frombytes(mode, image.shape[1::-1], np.ascontiguousarray(image, np.uint8).tobytes())
    if codec == "webp":
        opened.save(out, "WEBP", lossless=True, exact=True)
    else:
        options = {"keep_rgb": True} if mode == "RGB" else {}
        opened.save(out, "JPEG", quality=100, subsampling=0, **options)
    return out.getvalue()


def _packbits(rows: list[bytes]) -> bytes:
    """Encode runs of equal bytes, and of others, that end with a row."""
    out = bytearray()
    for row in rows:
        at = 0
        while at < len(row):
            run = 1
            while run < 128 and row[at + run : at + run + 1] == row[at : at + 1]:
                run += 1
            if run > 1:
                out += bytes([257 - run, row[at]])
                at += run
                continue
            end = at + 1
            while end < len(row) and end - at < 128 and row[end] != row[end - 1]:
                end += 1
            out += bytes([end - at - 1]) + row[at:end]
            at = end
    return bytes(out)


def _lzw(rows: list[bytes]) -> bytes:
    """Pack codes from the most significant bit on; a code grows one early (section 13)."""
    data = b"".join(rows)
    text, num_bits = 256, 0

    def emit(code: int) -> None:
        nonlocal text, num_bits
        text = text << width | code
        num_bits += width

    table = {bytes([value]): value for value in range(256)}
    following, width = 258, 9
    text = 0
    emit(256)
    prefix = b""
    for value in data:
        longer = prefix + bytes([value])
        if longer in table:
            prefix = longer
            continue
        emit(table[prefix])
        table[longer] = following
        following += 1
        width = max(9, following.bit_length())
        if following == 4094:
            emit(256)
            table = {bytes([each]): each for each in range(256)}
            following, width = 258, 9
        prefix = bytes([value])
    if prefix:
        emit(table[prefix])
        following += 1
        width = max(9, following.bit_length())
    emit(257)
    padding = -num_bits % 8
    return (text << padding).to_bytes((num_bits + padding) // 8, "big")


def _zstd(rows: list[bytes]) -> bytes:
    return bytes(pa.compress(b"".join(rows), codec="zstd", asbytes=True))


CODECS: Mapping[str, Callable[[list[bytes]], bytes]] = {
    "none": b"".join,
    "lzw": _lzw,
    "deflate": lambda rows: zlib.compress(b"".join(rows)),
    "old deflate": lambda rows: zlib.compress(b"".join(rows)),
    "packbits": _packbits,
    "lzma": lambda rows: lzma.compress(b"".join(rows), lzma.FORMAT_XZ),
    "zstd": _zstd,
}
