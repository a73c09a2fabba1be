"""Every kind of image becomes RGB by the stated rule."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from augment.images.decode import decode_image
from tests.augment.images import hostile


def test_decode_makes_grey_three_equal_channels() -> None:
    grey = hostile.pattern()[..., 0]
    for data in (hostile.saved(grey, "PNG"), hostile.saved(grey, "BMP"), hostile.saved(grey, "TIFF")):
        assert np.array_equal(decode_image(data), np.stack([grey] * 3, axis=-1))


def test_decode_gives_a_palette_its_colours() -> None:
    quantised = Image.fromarray(hostile.pattern()).quantize(32)
    expected = np.array(quantised.convert("RGB"))
    for image_format in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(decode_image(hostile.saved(quantised, image_format)), expected)


def test_decode_reads_runs() -> None:
    assert np.all(decode_image(hostile.rle_bmp(hostile.SIZE)) == (50, 100, 200))


def test_decode_makes_one_bit_black_and_white() -> None:
    bits = np.random.default_rng(0).random((9, 13)) < 0.5
    expected = np.repeat(np.where(bits, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    for image_format in ("PNG", "TIFF", "PPM", "BMP"):
        assert np.array_equal(decode_image(hostile.saved(Image.fromarray(bits), image_format)), expected)


def test_decode_composites_alpha_on_white_exactly() -> None:
    colour, alpha = np.mgrid[0:256, 0:256].astype(np.uint8)
    rgba = np.stack([colour, 255 - colour, colour // 2, alpha], axis=-1)
    a = alpha[..., None].astype(np.float64)
    expected = np.floor((rgba[..., :3] * a + 255 * (255 - a)) / 255 + 0.5)
    for data in (hostile.saved(rgba, "PNG"), hostile.saved(rgba, "TIFF")):
        assert np.array_equal(decode_image(data), expected)
    grey = np.stack([colour, alpha], axis=-1)
    pixels = decode_image(hostile.saved(Image.fromarray(grey, "LA"), "PNG"))
    assert np.array_equal(pixels, np.repeat(expected[..., :1], 3, axis=2))


def test_decode_hides_what_lies_under_transparent_pixels() -> None:
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[..., 0] = 200
    for image_format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert np.all(decode_image(hostile.saved(rgba, image_format, **options)) == 255)


def test_decode_of_a_transparent_palette_colour_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    for image_format in ("PNG", "GIF"):
        pixels = decode_image(hostile.saved(image, image_format, transparency=1))
        assert pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_decode_of_a_transparent_palette_is_composited() -> None:
    palette = hostile.chunk(b"PLTE", bytes([100, 0, 0, 0, 100, 0])) + hostile.chunk(b"tRNS", bytes([128, 255]))
    pixels = decode_image(hostile.png([b"\0\1"], (1, 2), 8, 3, before=palette))
    assert pixels.tolist() == [[[177, 127, 127], [0, 100, 0]]]


@pytest.mark.parametrize(
    ("depth", "row", "key", "expected"),
    [
        (1, b"\x40", 1, [0, 255, 0]),
        (2, b"\x1b", 2, [0, 85, 255, 255]),
        (4, b"\x1f\x70", 7, [17, 255, 255]),
        (8, b"\x07\x08", 7, [255, 8]),
        (16, b"\x07\x00\x08\x00", 0x0700, [7, 8]),  # several colours share what eight bits are left: the key is ignored
    ],
)
def test_decode_of_a_transparent_grey_is_white(depth: int, row: bytes, key: int, expected: list[int]) -> None:
    before = hostile.chunk(b"tRNS", key.to_bytes(2, "big"))
    pixels = decode_image(hostile.png([row], (1, len(expected)), depth, 0, before=before))
    assert pixels[0, :, 0].tolist() == expected


def test_decode_of_a_transparent_colour_is_white() -> None:
    before = hostile.chunk(b"tRNS", bytes([0, 1, 0, 2, 0, 3]))
    pixels = decode_image(hostile.png([bytes([1, 2, 3, 1, 2, 4])], (1, 2), 8, 2, before=before))
    assert pixels.tolist() == [[[255, 255, 255], [1, 2, 4]]]


def test_decode_ignores_a_transparent_colour_of_sixteen_bits() -> None:
    samples = np.full((1, 2, 3), 0x0700, dtype=np.uint16)
    before = hostile.chunk(b"tRNS", bytes([0, 7] * 3))
    assert np.all(decode_image(hostile.png16(samples, before=before)) == 7)


def _deep() -> NDArray[np.uint16]:
    return np.array([[0, 1, 255, 256], [0x1234, 0x8000, 0xFEFF, 0xFFFF]], dtype=np.uint16)


def test_decode_keeps_the_upper_eight_of_sixteen_bits() -> None:
    deep = _deep()
    expected = np.repeat((deep >> 8)[..., None], 3, axis=2)
    for data in (
        hostile.png16(deep),
        hostile.tiff(deep.astype("<u2").tobytes(), deep.shape, 16),
        b"P5 4 2 65535\n" + deep.astype(">u2").tobytes(),
    ):
        assert np.array_equal(decode_image(data), expected)
    colour = np.stack([deep, deep[::-1], 65535 - deep], axis=-1)
    assert np.array_equal(decode_image(hostile.png16(colour)), colour >> 8)
    assert np.array_equal(decode_image(b"P6 4 2 65535\n" + colour.astype(">u2").tobytes()), colour >> 8)


def test_decode_obeys_a_tiff_that_calls_zero_white() -> None:
    deep = _deep()
    pixels = decode_image(hostile.tiff(deep.astype("<u2").tobytes(), deep.shape, 16, photometric=0))
    assert np.array_equal(pixels[..., 0], 255 - (deep >> 8))
    grey = hostile.pattern()[..., 0]
    assert np.array_equal(decode_image(hostile.tiff(grey.tobytes(), grey.shape, 8, photometric=0))[..., 0], 255 - grey)


def test_decode_keeps_the_upper_eight_of_twelve_bits() -> None:
    pixels = decode_image(hostile.tiff(bytes([0xFF, 0xF0, 0x10, 0x80, 0x07, 0xFF]), (1, 4), 12))
    assert pixels[0, :, 0].tolist() == [0xFF, 0x01, 0x80, 0x7F]


@pytest.mark.parametrize(("white", "expected"), [(1, [0, 255]), (15, [0, 255]), (100, [0, 255]), (4095, [0, 255])])
def test_decode_stretches_a_pnm_to_its_white(white: int, expected: list[int]) -> None:
    samples = np.array([0, white], dtype=np.uint8 if white < 256 else ">u2")
    assert decode_image(b"P5 2 1 %d\n" % white + samples.tobytes())[0, :, 0].tolist() == expected
    middle = np.array([white // 3] * 6, dtype=samples.dtype)
    assert np.all(np.abs(decode_image(b"P6 2 1 %d\n" % white + middle.tobytes()) - 255 * (white // 3) / white) <= 0.51)


def test_decode_turns_cmyk_into_rgb() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.all(decode_image(hostile.saved(red, "TIFF")) == (255, 0, 0))
    assert np.all(np.abs(decode_image(hostile.saved(red, "JPEG", quality=100)).astype(int) - (255, 0, 0)) < 4)


def test_decode_ignores_an_icc_profile() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for image_format in ("PNG", "JPEG", "TIFF", "WEBP"):
        plain = hostile.saved(hostile.pattern(), image_format)
        tagged = hostile.saved(hostile.pattern(), image_format, icc_profile=profile)
        assert profile[:64] in tagged or image_format == "PNG"
        assert np.array_equal(decode_image(tagged), decode_image(plain))


def test_decode_takes_the_first_image_of_several() -> None:
    first = hostile.pattern()
    for name in ("png, animated", "gif, animated", "webp, animated", "tiff, two pages", "mpo"):
        assert np.abs(decode_image(hostile.ACCEPTED[name]).astype(int) - first).mean() < 8, name
