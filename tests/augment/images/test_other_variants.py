"""Variants of BMP, GIF and WebP are read by the rules or refused with their name."""

import io
import itertools
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from augment.errors import RecordError
from augment.images.decode import decode_image
from augment.images.masks import decode_mask
from tests.augment.images import hostile

HEIGHT, WIDTH = 9, 13
RGB555, RGB565 = (0x7C00, 0x03E0, 0x001F), (0xF800, 0x07E0, 0x001F)
XRGB, XBGR, ARGB = (0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000), (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
LAYOUTS: list[tuple[int, tuple[int, ...] | None]] = [
    (1, None),
    (4, None),
    (8, None),
    (16, None),
    (16, RGB555),
    (16, RGB565),
    (24, None),
    (32, None),
]
LAYOUTS += [(32, XRGB), (32, XBGR), (32, ARGB)]


def bmp(
    stored: NDArray[Any], bits: int, masks: tuple[int, ...] | None, palette: NDArray[Any], header: int, *, down: bool
) -> bytes:
    """Build a file of these values, with a header of this many bytes; ``down``: the first row is the upper one."""
    rows = stored if down else stored[::-1]
    if bits < 8:
        digits = (rows[:, :, np.newaxis] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(len(rows), -1)
        packed = [row.tobytes() for row in np.packbits(digits, axis=1)]
    else:
        packed = [row.astype("<u4").view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes() for row in rows]
    pixels = b"".join(row + bytes(-len(row) % 4) for row in packed)
    colours = b"".join(bytes([*colour[::-1]]) + b"\0" * (header != 12) for colour in palette.tolist())
    height = -HEIGHT if down else HEIGHT
    if header == 12:
        head = struct.pack("<LHHHH", 12, WIDTH, HEIGHT, 1, bits)
    else:
        compression = 0 if masks is None else 3
        head = struct.pack(
            "<LllHHLLLLLL", header, WIDTH, height, 1, bits, compression, len(pixels), 0, 0, len(palette), 0
        )
        fields = b"".join(struct.pack("<L", mask) for mask in masks or ())
        head = (head + fields).ljust(header, b"\0") if header > 40 else head + fields[:12]
    start = 14 + len(head) + len(colours)
    return b"BM" + struct.pack("<LLL", start + len(pixels), 0, start) + head + colours + pixels


def levels(values: NDArray[Any], mask: int) -> tuple[NDArray[Any], int]:
    """Return the masked bits of values, and their white."""
    low = (mask & -mask).bit_length() - 1
    white = mask >> low
    return (values.astype(np.int64) & mask) >> low, white


@pytest.mark.parametrize(("bits", "masks"), LAYOUTS)
def test_bmp_of_any_layout_is_read_by_the_rules(bits: int, masks: tuple[int, ...] | None) -> None:
    rng = np.random.default_rng(0)
    for header, down in itertools.product((12, 40, 108, 124), (False, True)):
        if header == 12 and (down or masks is not None or bits in {16, 32}):
            continue
        if masks is not None and len(masks) == 4 and header == 40:
            continue  # there is no place for the mask of alpha
        palette = rng.integers(0, 256, (2**bits if bits <= 8 else 0, 3))
        stored = rng.integers(0, 2**bits, (HEIGHT, WIDTH))
        data = bmp(stored, bits, masks, palette, header, down=down)
        case = f"{bits} bits, masks {masks}, header {header}, down {down}"
        if bits <= 8:
            expected = palette[stored].astype(float)
        else:
            named = masks or {16: RGB555, 24: XRGB, 32: XRGB}[bits]
            parts = [levels(stored, mask) for mask in named]
            expected = np.stack([np.round(255 * part / white) for part, white in parts[:3]], axis=-1)
            if len(named) == 4:
                alpha = parts[3][0][..., np.newaxis].astype(float)
                expected = np.floor((expected * alpha + 255 * (255 - alpha)) / 255 + 0.5)
        if masks == XBGR:
            with pytest.raises(RecordError, match=r"Unsupported BMP bitfields layout; save it as PNG"):
                decode_image(data)
            continue
        away = np.abs(decode_image(data) - expected).max()
        assert away <= (1 if bits == 16 else 0), f"{case} is {away} levels away"  # five bits become eight
        if bits <= 8:
            assert np.array_equal(decode_mask(data), stored), case


def gif(
    stored: NDArray[np.uint8],
    palette: NDArray[np.uint8],
    *,
    local: bool = False,
    interlaced: bool = False,
    transparent: int | None = None,
    offset: tuple[int, int] = (0, 0),
    screen: tuple[int, int] = (HEIGHT, WIDTH),
) -> bytes:
    """Build a file of one frame; its codes restart every few, so that no code grows."""
    size = max(2, (len(palette) - 1).bit_length())
    table = palette.tobytes().ljust(3 * 2**size, b"\0")
    rows = stored
    if interlaced:
        rows = np.concatenate([stored[first::step] for first, step in ((0, 8), (4, 8), (2, 4), (1, 2))])
    codes = [2**size]
    for number, value in enumerate(rows.ravel().tolist()):
        if number and number % (2**size - 2) == 0:
            codes.append(2**size)
        codes.append(value)
    number = sum(code << place * (size + 1) for place, code in enumerate([*codes, 2**size + 1]))
    data = number.to_bytes(-(-(len(codes) + 1) * (size + 1) // 8), "little")
    blocks = b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
    flags = 0x80 | size - 1
    screen_head = struct.pack("<HHBBB", screen[1], screen[0], 0 if local else flags, 0, 0)
    control = b"" if transparent is None else b"!\xf9\4" + struct.pack("<BHBB", 1, 0, transparent, 0)
    frame = struct.pack(
        "<HHHHB", offset[1], offset[0], stored.shape[1], stored.shape[0], (flags if local else 0) | interlaced << 6
    )
    tables = (b"", table) if local else (table, b"")
    return b"GIF89a" + screen_head + tables[0] + control + b"," + frame + tables[1] + bytes([size]) + blocks + b"\0;"


@pytest.mark.parametrize("num_colours", [2, 3, 16, 100, 256])
def test_gif_of_any_layout_is_read_by_the_rules(num_colours: int) -> None:
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (num_colours, 3)).astype(np.uint8)
    stored = rng.integers(0, num_colours, (HEIGHT, WIDTH)).astype(np.uint8)
    for local, interlaced, transparent in itertools.product((False, True), (False, True), (None, 1)):
        data = gif(stored, palette, local=local, interlaced=interlaced, transparent=transparent)
        expected = palette[stored]
        if transparent is not None:
            expected = np.where((stored == transparent)[..., np.newaxis], 255, expected)
        case = f"local {local}, interlaced {interlaced}, transparent {transparent}"
        assert np.array_equal(decode_image(data), expected), case
        assert np.array_equal(decode_mask(data), stored), case


def test_what_a_gifs_frame_leaves_bare_is_its_background_or_white() -> None:
    """Return the background colour as in Pillow and the specification, or white if one is transparent."""
    palette = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    for transparent, bare in ((None, [10, 20, 30]), (0, [255, 255, 255])):
        pixels = decode_image(gif(np.ones((4, 5), np.uint8), palette, offset=(2, 3), transparent=transparent))
        assert pixels[0, 0].tolist() == bare
        assert np.all(pixels[2:6, 3:8] == (40, 50, 60))


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("animated", [False, True])
def test_webp_of_any_kind_is_read_by_the_rules(mode: str, *, lossless: bool, animated: bool) -> None:
    rgb = hostile.pattern()
    alpha = np.linspace(0, 255, rgb[..., 0].size).reshape(rgb.shape[:2]).astype(np.uint8)[..., np.newaxis]
    image = Image.fromarray(np.concatenate([rgb, alpha], axis=-1) if mode == "RGBA" else rgb)
    options: dict[str, Any] = {"save_all": True, "append_images": [Image.new(mode, image.size)]} if animated else {}
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=lossless, exact=True, quality=100, **options)
    expected = np.floor((rgb * (alpha / 255) + (255 - alpha)) + 0.5) if mode == "RGBA" else rgb
    assert np.abs(decode_image(file.getvalue()) - expected.astype(float)).max() <= (0 if lossless else 12)
