"""Masks: class indices are read as stored, and objects' masks are drawn as by pycocotools."""

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, TiffImagePlugin
from pycocotools import mask as coco_mask

from augment.errors import Reason, RecordError
from augment.images import masks
from augment.samples import annotations
from augment.samples.annotations import Rle


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """Build a PNG of grey samples of less than eight bits, which Pillow does not write."""
    height, width = values.shape
    packed = np.packbits(
        (values[:, :, np.newaxis] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(height, -1), 1
    )
    rows = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


INDICES = np.arange(12, dtype=np.uint8).reshape(3, 4)

# ---------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "GIF"])
def test_grey_values_are_the_indices(image_format: str) -> None:
    np.testing.assert_array_equal(masks.decode_mask(encoded(Image.fromarray(INDICES), image_format)), INDICES)


@pytest.mark.parametrize("image_format", ["PNG", "GIF", "BMP"])
def test_indices_of_a_palette_count_and_not_its_colours(image_format: str) -> None:
    image = Image.fromarray(INDICES).convert("P")
    image.putdata(INDICES.ravel().tolist())
    image.putpalette([255 - value for value in range(36)])
    np.testing.assert_array_equal(masks.decode_mask(encoded(image, image_format)), INDICES)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_of_few_bits_is_not_stretched(bits: int) -> None:
    values = INDICES.astype(int) % 2**bits
    np.testing.assert_array_equal(masks.decode_mask(grey_png(values, bits)), values)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_tiff_whose_white_is_zero_keeps_its_values(mode: str) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 0
    image = Image.fromarray(INDICES % 2 * (255 if mode == "1" else 1)).convert(mode)
    data = encoded(image, "TIFF", tiffinfo=tags)
    with Image.open(io.BytesIO(data)) as written:
        assert written.tag_v2[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] == 0  # type: ignore[attr-defined]
    stored = {"1": 1 - INDICES % 2, "L": 255 - INDICES % 2}[mode]  # what the writer had to invert
    np.testing.assert_array_equal(masks.decode_mask(data), stored)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_kept(image_format: str) -> None:
    values = INDICES.astype(np.uint16) * 5000
    decoded = masks.decode_mask(encoded(Image.fromarray(values), image_format))
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, values)


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int64]),
        hnp.array_shapes(min_dims=2, max_dims=2),
        elements=st.integers(0, 255),
    )
)
def test_mask_comes_back_from_its_png(values: np.ndarray) -> None:
    decoded = masks.decode_mask(masks.encode_mask(values))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, values)


def test_large_indices_come_back_from_sixteen_bits_and_larger_ones_are_refused() -> None:
    values = np.array([[0, 256], [65_535, 7]])
    np.testing.assert_array_equal(masks.decode_mask(masks.encode_mask(values)), values)
    for wrong in (-1, 65_536):
        with pytest.raises(RecordError, match=f"a mask holds .*{wrong}.*a PNG holds 0 to 65535") as caught:
            masks.encode_mask(np.array([[0, wrong]]))
        assert caught.value.reason is Reason.NOT_RENDERABLE


@pytest.mark.parametrize(
    ("mode", "colour"), [("RGB", (1, 2, 3)), ("RGBA", (1, 2, 3, 255)), ("RGBA", (1,) * 4), ("LA", 1)]
)
def test_mask_with_colours_or_transparent_pixels_is_refused(mode: str, colour: Any) -> None:
    with pytest.raises(RecordError, match=r"class indices.*write their indices as PNG") as caught:
        masks.decode_mask(encoded(Image.new(mode, (4, 3), colour)))
    assert caught.value.reason is Reason.ANNOTATION


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_equal_opaque_channels_are_the_indices(mode: str, image_format: str) -> None:
    image = Image.fromarray(INDICES).convert(mode)
    np.testing.assert_array_equal(masks.decode_mask(encoded(image, image_format)), INDICES)


# --------------------------------------------------------------------------------------------------------- legends

colours = st.tuples(*[st.integers(0, 255)] * 3)
legends = st.lists(colours, min_size=1, max_size=9, unique=True).map(tuple)


@given(st.data(), legends)
def test_colours_become_the_indices_of_their_entries(data: st.DataObject, legend: masks.Legend) -> None:
    indices = data.draw(hnp.arrays(np.uint8, (3, 4), elements=st.integers(0, len(legend) - 1)))
    shown = Image.fromarray(np.array(legend, np.uint8)[indices])
    found, by_legend = masks.read_mask(encoded(shown), max_pixels=100, legend=legend)
    np.testing.assert_array_equal(found, indices)
    assert by_legend


@given(st.data(), legends, colours)
def test_colour_that_is_not_listed_refuses_the_mask_by_name(
    data: st.DataObject, legend: masks.Legend, other: tuple[int, int, int]
) -> None:
    assume(other not in legend and any(len(set(each)) > 1 for each in legend))
    pixels = np.array(legend, np.uint8)[
        data.draw(hnp.arrays(np.uint8, (3, 4), elements=st.integers(0, len(legend) - 1)))
    ]
    pixels[1, 2] = other
    with pytest.raises(RecordError, match="the colour {}, {}, {} is not listed".format(*other)):
        masks.decode_mask(encoded(Image.fromarray(pixels)), legend=legend)


@given(st.data(), st.lists(st.integers(0, 255), min_size=1, max_size=9, unique=True), st.sampled_from(["L", "RGB"]))
def test_values_become_the_indices_of_their_entries(data: st.DataObject, listed: list[int], mode: str) -> None:
    """The legend has values, or colours that are all grey."""
    indices = data.draw(hnp.arrays(np.uint8, (3, 4), elements=st.integers(0, len(listed) - 1)))
    shown = Image.fromarray(np.array(listed, np.uint8)[indices]).convert(mode)
    for legend in (tuple((value,) for value in listed), tuple((value,) * 3 for value in listed)):
        np.testing.assert_array_equal(masks.decode_mask(encoded(shown), legend=legend), indices)


def test_value_that_is_not_listed_refuses_the_mask_and_255_is_no_class_unless_it_is_listed() -> None:
    data = encoded(Image.fromarray(np.array([[0, 7, 255]], np.uint8)))
    assert masks.decode_mask(data, legend=((7,), (0,))).tolist() == [[1, 0, 255]]
    assert masks.decode_mask(data, legend=((0,), (7,), (255,))).tolist() == [[0, 1, 2]]
    with pytest.raises(RecordError, match="the value 7 is not listed for any class"):
        masks.decode_mask(data, legend=((0,), (255,)))


def _paletted(indices: list[int], palette: list[int]) -> bytes:
    image = Image.fromarray(np.array([indices], np.uint8))
    image.putpalette(palette)
    return encoded(image)


CITY = ((0, 0, 0), (128, 0, 0), (0, 128, 0))


@pytest.mark.parametrize(
    ("palette", "found", "by_legend"),
    [
        ([0, 0, 0, 128, 0, 0, 0, 128, 0], [0, 1, 2], False),  # both say the same
        ([9, 9, 9, 8, 8, 8, 7, 7, 7], [0, 1, 2], False),  # other colours: only the indices can count
        ([0, 128, 0, 0, 0, 0, 128, 0, 0], [2, 0, 1], True),  # a palette in the order that a tool found the colours in
    ],
)
def test_palette_counts_by_its_colours_if_the_legend_lists_them_elsewhere(
    palette: list[int], found: list[int], *, by_legend: bool
) -> None:
    content = masks.read_mask(_paletted([0, 1, 2], palette), max_pixels=9, legend=CITY)
    assert (content.indices.tolist(), content.by_legend) == ([found], by_legend)


def test_palette_that_a_legend_lists_half_of_is_refused() -> None:
    with pytest.raises(RecordError, match="the colour 5, 6, 7 is not listed"):
        masks.decode_mask(_paletted([0, 1, 2], [0, 128, 0, 0, 0, 0, 5, 6, 7]), legend=CITY)


def test_one_channel_has_its_indices_though_there_are_colours() -> None:
    data = encoded(Image.fromarray(INDICES % 3))
    indices, by_legend = masks.read_mask(data, max_pixels=99, legend=CITY)
    assert (indices.tolist(), by_legend) == ((INDICES % 3).tolist(), False)


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
def test_mask_in_a_format_that_changes_values_is_refused(image_format: str) -> None:
    with pytest.raises(RecordError, match=f"a mask in {image_format.lower()}, which changes values") as caught:
        masks.decode_mask(encoded(Image.new("L", (8, 8)), image_format))
    assert caught.value.reason is Reason.ANNOTATION


def test_mask_above_the_limit_on_pixels_and_a_truncated_one_are_refused() -> None:
    data = masks.encode_mask(np.zeros((100, 100), np.uint8))
    with pytest.raises(RecordError, match="10000 pixels; the limit is 9999"):
        masks.decode_mask(data, max_pixels=9999)
    noise = masks.encode_mask(np.random.default_rng(0).integers(0, 255, (50, 50)))
    with pytest.raises(RecordError):
        masks.decode_mask(noise[: len(noise) // 2])


# -------------------------------------------------------------------------------------------------------- objects

binary = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.integers(0, 1))


@given(binary)
def test_object_comes_back_from_its_run_lengths(values: np.ndarray) -> None:
    runs = masks.run_lengths(values)
    np.testing.assert_array_equal(masks.rasterise(runs, *values.shape), values)
    assert sum(annotations.read(runs.counts, height=runs.height, width=runs.width)) == values.size


points = st.lists(st.tuples(st.floats(-1, 21), st.floats(-1, 21)), min_size=3, max_size=6)


@given(st.lists(points.map(lambda some: [value for point in some for value in point]), max_size=3))
def test_polygons_are_drawn_as_pycocotools_draws_them(polygons: list[Any]) -> None:
    drawn = masks.rasterise(tuple(map(tuple, polygons)), 20, 20)
    expected = np.zeros((20, 20), np.uint8)
    for part in coco_mask.frPyObjects(polygons, 20, 20) if polygons else ():
        expected |= coco_mask.decode(part)
    np.testing.assert_array_equal(drawn, expected)


def test_object_without_a_mask_is_empty_and_another_size_an_error() -> None:
    assert not masks.rasterise(None, 3, 4).any()
    assert masks.rasterise((), 3, 4).shape == (3, 4)
    with pytest.raises(ValueError, match="a mask of 4 x 3 for an image of 4 x 4"):
        masks.rasterise(Rle(3, 4, "<"), 4, 4)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30), st.integers(0, 9), st.integers(0, 9))
def test_run_lengths_of_strangers_are_whole_or_refused(counts: str, height: int, width: int) -> None:
    try:
        runs = annotations.read(counts, height=height, width=width)
    except ValueError:
        return
    assert min(runs, default=0) >= 0
    assert sum(runs) == height * width
    np.testing.assert_array_equal(masks.rasterise(Rle(height, width, counts), height, width).sum(), sum(runs[1::2]))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("", "make 0 pixels, not 4 x 4"),
        ("P", "end inside a number"),
        ("é", "cannot contain 'é'"),
        ("o" * 14, "cannot contain 'o' there"),
        ("@", "run 0 is -16 pixels long"),
        ("Q1", "make 33 pixels, not 4 x 4"),
    ],
)
def test_run_lengths_that_are_none_are_named(counts: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        annotations.read(counts, height=4, width=4)


def test_hostile_run_lengths_kill_nobody() -> None:
    code = """
import random
from augment.images import masks
from augment.samples.annotations import Rle

chance = random.Random(7)
for _ in range(20_000):
    counts = "".join(chr(chance.randint(48, 111)) for _ in range(chance.randint(0, 30)))
    height, width = chance.randint(0, 20), chance.randint(0, 20)
    try:
        masks.rasterise(Rle(height, width, counts), height, width)
    except ValueError:
        pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
