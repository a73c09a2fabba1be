"""Every variant of PNG is read by the rules: bit depths, colour types, interlace, filters, transparency, palettes."""

import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from augment.errors import RecordError
from augment.images.decode import decode_image, probe
from augment.images.headers import turn_upright
from augment.images.masks import decode_mask
from tests.augment.images import hostile

HEIGHT, WIDTH = 13, 21
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
NUM_SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), PALETTE: (1, 2, 4, 8), RGB: (8, 16), GREY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, step of rows, step of columns (W3C, PNG third edition, 8.1)."""


def write(samples: NDArray[Any], depth: int, colour: int, *, interlaced: bool, before: bytes, filters: bool) -> bytes:
    """Build a file of these samples, (H, W, S); with ``filters`` its rows alternate among the five of them."""
    passes = [samples]
    if interlaced:
        passes = [samples[row::down, column::right] for row, column, down, right in ADAM7]
    step = max(1, depth * samples.shape[2] // 8)
    data = b"".join(_filtered(_rows(each, depth), step, filters=filters) for each in passes if each.size)
    header = struct.pack(">LLBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, interlaced)
    chunks = (
        hostile.chunk(b"IHDR", header),
        before,
        hostile.chunk(b"IDAT", zlib.compress(data)),
        hostile.chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _rows(samples: NDArray[Any], depth: int) -> NDArray[np.uint8]:
    flat = samples.reshape(len(samples), -1)
    if depth >= 8:
        return np.frombuffer(flat.astype(f">u{depth // 8}").tobytes(), np.uint8).reshape(len(flat), -1)
    bits = flat[:, :, np.newaxis] >> np.arange(depth)[::-1] & 1
    return np.packbits(bits.reshape(len(flat), -1).astype(np.uint8), axis=1)


def _filtered(rows: NDArray[np.uint8], step: int, *, filters: bool) -> bytes:
    """Filter by none, sub, up, average and Paeth, row by row (9.2)."""
    out = b""
    above = np.zeros(rows.shape[1], np.int64)
    for number, row in enumerate(rows.astype(np.int64)):
        left = np.concatenate([np.zeros(step, np.int64), row])[: len(row)]
        corner = np.concatenate([np.zeros(step, np.int64), above])[: len(row)]
        guess = left + above - corner
        apart = [np.abs(guess - each) for each in (left, above, corner)]
        paeth = np.where(
            (apart[0] <= apart[1]) & (apart[0] <= apart[2]), left, np.where(apart[1] <= apart[2], above, corner)
        )
        kind = number % 5 if filters else 0
        prediction = (np.zeros_like(row), left, above, (left + above) // 2, paeth)[kind]
        out += bytes([kind]) + ((row - prediction) % 256).astype(np.uint8).tobytes()
        above = row
    return out


def variants() -> Iterator[dict[str, Any]]:
    """Yield all variants; a key is a colour or the alphas of tRNS."""
    for colour, depths in DEPTHS.items():
        for depth, interlaced, filters, key, bits in itertools.product(
            depths, (False, True), (False, True), (False, True), (False, True)
        ):
            if key and colour in {GREY_ALPHA, RGB_ALPHA}:
                continue
            sizes = sorted({2**depth, 2**depth // 2 + 1, 2}) if colour == PALETTE else [0]
            for num_colours in sizes:
                yield {
                    "colour": colour,
                    "depth": depth,
                    "interlaced": interlaced,
                    "filters": filters,
                    "key": key,
                    "significant_bits": bits,
                    "num_colours": num_colours,
                }


def made(variant: dict[str, Any]) -> tuple[NDArray[Any], bytes, NDArray[np.uint8]]:
    """Return samples, the file, and the expected pixels."""
    rng = np.random.default_rng(0)
    colour, depth = variant["colour"], variant["depth"]
    white = 2**depth - 1
    high = variant["num_colours"] or white + 1
    samples = rng.integers(0, high, (HEIGHT, WIDTH, NUM_SAMPLES[colour])).astype(np.uint16 if depth == 16 else np.uint8)
    before = b""
    if variant["significant_bits"]:
        before += hostile.chunk(b"sBIT", bytes([min(depth, 5)] * {PALETTE: 3}.get(colour, NUM_SAMPLES[colour])))
    levels = samples.astype(int) >> 8 if depth == 16 else samples.astype(int) * 255 // white
    alpha = np.full((HEIGHT, WIDTH, 1), 255)
    if colour == PALETTE:
        palette = rng.integers(0, 256, (variant["num_colours"], 3))
        before += hostile.chunk(b"PLTE", palette.astype(np.uint8).tobytes())
        levels = palette[samples[..., 0]]
        if variant["key"]:
            alphas = rng.integers(0, 256, max(1, variant["num_colours"] // 2))
            before += hostile.chunk(b"tRNS", alphas.astype(np.uint8).tobytes())
            alpha = np.concatenate([alphas, np.full(256, 255)])[samples]
    elif variant["key"]:
        key = samples[3, 4]
        before += hostile.chunk(b"tRNS", key.astype(">u2").tobytes())
        if depth < 16:  # that of 16 bits is ignored
            alpha = np.where((samples == key).all(axis=2, keepdims=True), 0, 255)
    elif colour in {GREY_ALPHA, RGB_ALPHA}:
        levels, alpha = levels[..., :-1], levels[..., -1:]
    rgb = np.broadcast_to(levels, (HEIGHT, WIDTH, 3))
    data = write(samples, depth, colour, interlaced=variant["interlaced"], before=before, filters=variant["filters"])
    return samples, data, np.floor((rgb * alpha + 255 * (255 - alpha)) / 255 + 0.5).astype(np.uint8)


def test_every_variant_is_read_by_the_rules() -> None:
    num_read = 0
    for variant in variants():
        _, data, expected = made(variant)
        assert np.array_equal(decode_image(data), expected), variant
        num_read += 1
    assert num_read > 200


def test_a_mask_of_every_variant_has_its_samples_or_is_refused() -> None:
    for variant in variants():
        samples, data, _ = made(variant)
        if variant["colour"] in {GREY, PALETTE}:
            indices = decode_mask(data)
            assert indices.dtype == samples.dtype
            assert np.array_equal(indices, samples[..., 0]), variant
        else:
            with pytest.raises(RecordError, match="write their indices as PNG"):
                decode_mask(data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_upright_as_its_image_is(orientation: int) -> None:
    samples = np.random.default_rng(0).integers(0, 200, (HEIGHT, WIDTH, 1)).astype(np.uint8)
    exif = hostile.chunk(b"eXIf", hostile.exif_block(orientation, ">"))
    data = write(samples, 8, GREY, interlaced=False, before=exif, filters=False)
    indices, header = decode_mask(data), probe(data)
    assert indices.shape == (header.height, header.width)
    assert np.array_equal(indices, turn_upright(samples, orientation)[..., 0])
    assert np.array_equal(indices, decode_image(data)[..., 0])
