"""Encoded bytes to pixels: what is accepted, what is refused, and which pixels come out."""

import contextlib
import io
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageFile

from augment import decode, pillow_decode
from augment.errors import CallError, Reason, RecordError
from tests.augment import hostile


def refusal(data: bytes, **options: Any) -> RecordError:
    with pytest.raises(RecordError) as caught:
        decode.decode(data, **options)
    assert caught.value.key == ""
    assert "\n" not in caught.value.detail
    return caught.value


# ------------------------------------------------------------------------------------------------- accepted and refused


@pytest.mark.parametrize("name", hostile.ACCEPTED)
def test_decode_takes_an_odd_picture(name: str) -> None:
    data = hostile.ACCEPTED[name]
    image = decode.decode(data)
    assert image.shape == (*hostile.SIZE, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert image.flags.owndata
    header = decode.probe(data)
    assert (header.height, header.width) == hostile.SIZE
    assert header.format in decode.ALLOWED


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", hostile.REFUSED)
def test_decode_refuses_a_bad_picture_with_its_reason(name: str) -> None:
    data, reason = hostile.REFUSED[name]
    assert refusal(data).reason == reason


@pytest.mark.parametrize(
    "name", [name for name, (_, reason) in hostile.REFUSED.items() if reason != Reason.UNDECODABLE]
)
def test_probe_refuses_what_decode_refuses_by_the_header(name: str) -> None:
    data, reason = hostile.REFUSED[name]
    with pytest.raises(RecordError) as caught:
        decode.probe(data)
    assert caught.value.reason == reason


def test_decode_names_the_limit_on_pixels_and_its_setting() -> None:
    data = hostile.saved(hostile.picture(), "PNG")
    error = refusal(data, max_pixels=959)
    assert error.reason == Reason.TOO_MANY_PIXELS
    assert error.detail == "40x24 is 960 pixels; the limit is 959 (AUGMENT_MAX_PIXELS)"
    assert decode.decode(data, max_pixels=960).shape == (24, 40, 3)


@pytest.mark.parametrize("max_pixels", [0, -1])
def test_decode_needs_room_for_a_pixel(max_pixels: int) -> None:
    with pytest.raises(CallError, match="AUGMENT_MAX_PIXELS"):
        decode.decode(b"", max_pixels=max_pixels)


def test_decode_says_what_a_file_is_that_is_no_picture() -> None:
    assert "an HTML page; allowed are bmp, gif, jpeg" in refusal(b"<html><body>").detail
    assert "empty" in refusal(b"").detail


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg, progressive", "png", "bmp", "gif", "ppm", "tiff", "webp", "jpeg, CMYK"]
)
def test_decode_refuses_every_cut_of_a_file(name: str) -> None:
    data = hostile.ACCEPTED[name]
    whole = decode.decode(data)
    for length in range(0, len(data), max(len(data) // 200, 1)):
        try:
            image = decode.decode(data[:length])
        except RecordError:
            continue
        assert length > len(data) * 0.9, length  # only what stands behind the pixels may be missing,
        assert np.array_equal(image, whole)  # and then all of them are there


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("jpeg, segments without end", "more than 4096 segments"),
        ("jpeg, much junk between segments", "more than 65536 bytes"),
        ("jpeg, fill bytes without end", "more than 65536 bytes"),
        ("jpeg, scans without end", "more than 100 scans"),
        ("png, chunks without end", "more than 65536 chunks"),
    ],
)
def test_decode_bounds_what_a_header_may_cost(name: str, limit: str) -> None:
    assert limit in refusal(hostile.REFUSED[name][0]).detail


def test_decode_makes_no_canvas_for_a_webp_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(_: io.BytesIO) -> ImageFile.ImageFile:
        raise AssertionError("the reader allocates as it opens")

    monkeypatch.setitem(pillow_decode.READERS, "webp", opened)
    for options in ({}, {"lossless": True}, {"exif": b"Exif\0\0" + hostile.exif_block(6)}):
        data = hostile.saved(hostile.picture(), "WEBP", **options)
        assert refusal(data, max_pixels=959).detail.startswith("40x24 is 960 pixels")


# ------------------------------------------------------------------------------------------------------------ mutations


@pytest.mark.timeout(60)
def test_decode_of_any_bytes_is_a_picture_or_a_refusal() -> None:
    rng = np.random.default_rng(137)
    seeds = [data for data in hostile.ACCEPTED.values() if len(data) < 20_000]
    outcomes = dict.fromkeys((None, *Reason), 0)
    for _ in range(4000):
        data = _mutant(seeds, rng)
        num_eighths = int(rng.integers(1, 9))
        try:
            header = decode.probe(data, max_pixels=1_000_000)
            sizes = (header.height, header.width), decode.reduced_size(header.height, header.width, num_eighths)
            image = decode.decode(data, max_pixels=1_000_000, eighths=lambda height, width: num_eighths)  # noqa: ARG005, B023
        except RecordError as error:
            outcomes[error.reason] += 1
        else:
            assert image.shape[:2] in sizes
            outcomes[None] += 1
    assert min(outcomes[each] for each in (None, Reason.FORMAT, Reason.UNDECODABLE, Reason.TOO_MANY_PIXELS)) > 20


def _mutant(seeds: list[bytes], rng: np.random.Generator) -> bytes:
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(min(len(data), int(rng.choice([32, 128, 1024, len(data)])))))
        match int(rng.integers(4)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at : at + 2] = rng.choice([b"\0\0", b"\xff\xff", b"\x7f\xff", b"\0\1"])
            case 2:
                del data[at : at + int(rng.integers(1, 40))]
            case _:
                other = seeds[rng.integers(len(seeds))]
                data[at:at] = other[int(rng.integers(len(other))) :][: int(rng.integers(1, 200))]
        if not data:
            break
    return bytes(data)


# -------------------------------------------------------------------------------------------------------------- colours


def test_decode_makes_grey_three_equal_channels() -> None:
    grey = hostile.picture()[..., 0]
    for data in (hostile.saved(grey, "PNG"), hostile.saved(grey, "BMP"), hostile.saved(grey, "TIFF")):
        assert np.array_equal(decode.decode(data), np.stack([grey] * 3, axis=-1))


def test_decode_gives_a_palette_its_colours() -> None:
    quantised = Image.fromarray(hostile.picture()).quantize(32)
    expected = np.array(quantised.convert("RGB"))
    for image_format in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(decode.decode(hostile.saved(quantised, image_format)), expected)


def test_decode_reads_runs() -> None:
    assert np.all(decode.decode(hostile.rle_bmp(hostile.SIZE)) == (50, 100, 200))


def test_decode_makes_one_bit_black_and_white() -> None:
    bits = np.random.default_rng(0).random((9, 13)) < 0.5
    expected = np.repeat(np.where(bits, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    for image_format in ("PNG", "TIFF", "PPM", "BMP"):
        assert np.array_equal(decode.decode(hostile.saved(Image.fromarray(bits), image_format)), expected)


def test_decode_composites_alpha_on_white_exactly() -> None:
    colour, alpha = np.mgrid[0:256, 0:256].astype(np.uint8)
    rgba = np.stack([colour, 255 - colour, colour // 2, alpha], axis=-1)
    a = alpha[..., None].astype(np.float64)
    expected = np.floor((rgba[..., :3] * a + 255 * (255 - a)) / 255 + 0.5)
    for data in (hostile.saved(rgba, "PNG"), hostile.saved(rgba, "TIFF")):
        assert np.array_equal(decode.decode(data), expected)
    grey = np.stack([colour, alpha], axis=-1)
    pixels = decode.decode(hostile.saved(Image.fromarray(grey, "LA"), "PNG"))
    assert np.array_equal(pixels, np.repeat(expected[..., :1], 3, axis=2))


def test_decode_hides_what_lies_under_transparent_pixels() -> None:
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[..., 0] = 200
    for image_format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert np.all(decode.decode(hostile.saved(rgba, image_format, **options)) == 255)


def test_decode_of_a_transparent_palette_colour_is_white() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putdata([0, 1])
    for image_format in ("PNG", "GIF"):
        pixels = decode.decode(hostile.saved(picture, image_format, transparency=1))
        assert pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_decode_of_a_transparent_palette_is_composited() -> None:
    palette = hostile.chunk(b"PLTE", bytes([100, 0, 0, 0, 100, 0])) + hostile.chunk(b"tRNS", bytes([128, 255]))
    pixels = decode.decode(hostile.png([b"\0\1"], (1, 2), 8, 3, before=palette))
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
    pixels = decode.decode(hostile.png([row], (1, len(expected)), depth, 0, before=before))
    assert pixels[0, :, 0].tolist() == expected


def test_decode_of_a_transparent_colour_is_white() -> None:
    before = hostile.chunk(b"tRNS", bytes([0, 1, 0, 2, 0, 3]))
    pixels = decode.decode(hostile.png([bytes([1, 2, 3, 1, 2, 4])], (1, 2), 8, 2, before=before))
    assert pixels.tolist() == [[[255, 255, 255], [1, 2, 4]]]


def test_decode_ignores_a_transparent_colour_of_sixteen_bits() -> None:
    samples = np.full((1, 2, 3), 0x0700, dtype=np.uint16)
    before = hostile.chunk(b"tRNS", bytes([0, 7] * 3))
    assert np.all(decode.decode(hostile.png16(samples, before=before)) == 7)


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
        assert np.array_equal(decode.decode(data), expected)
    colour = np.stack([deep, deep[::-1], 65535 - deep], axis=-1)
    assert np.array_equal(decode.decode(hostile.png16(colour)), colour >> 8)
    assert np.array_equal(decode.decode(b"P6 4 2 65535\n" + colour.astype(">u2").tobytes()), colour >> 8)


def test_decode_obeys_a_tiff_that_calls_zero_white() -> None:
    deep = _deep()
    pixels = decode.decode(hostile.tiff(deep.astype("<u2").tobytes(), deep.shape, 16, photometric=0))
    assert np.array_equal(pixels[..., 0], 255 - (deep >> 8))
    grey = hostile.picture()[..., 0]
    assert np.array_equal(decode.decode(hostile.tiff(grey.tobytes(), grey.shape, 8, photometric=0))[..., 0], 255 - grey)


def test_decode_keeps_the_upper_eight_of_twelve_bits() -> None:
    pixels = decode.decode(hostile.tiff(bytes([0xFF, 0xF0, 0x10, 0x80, 0x07, 0xFF]), (1, 4), 12))
    assert pixels[0, :, 0].tolist() == [0xFF, 0x01, 0x80, 0x7F]


@pytest.mark.parametrize(("white", "expected"), [(1, [0, 255]), (15, [0, 255]), (100, [0, 255]), (4095, [0, 255])])
def test_decode_stretches_a_pnm_to_its_white(white: int, expected: list[int]) -> None:
    samples = np.array([0, white], dtype=np.uint8 if white < 256 else ">u2")
    assert decode.decode(b"P5 2 1 %d\n" % white + samples.tobytes())[0, :, 0].tolist() == expected
    middle = np.array([white // 3] * 6, dtype=samples.dtype)
    assert np.all(np.abs(decode.decode(b"P6 2 1 %d\n" % white + middle.tobytes()) - 255 * (white // 3) / white) <= 0.51)


def test_decode_turns_cmyk_into_rgb() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.all(decode.decode(hostile.saved(red, "TIFF")) == (255, 0, 0))
    assert np.all(np.abs(decode.decode(hostile.saved(red, "JPEG", quality=100)).astype(int) - (255, 0, 0)) < 4)


def test_decode_ignores_an_icc_profile() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for image_format in ("PNG", "JPEG", "TIFF", "WEBP"):
        plain = hostile.saved(hostile.picture(), image_format)
        tagged = hostile.saved(hostile.picture(), image_format, icc_profile=profile)
        assert profile[:64] in tagged or image_format == "PNG"
        assert np.array_equal(decode.decode(tagged), decode.decode(plain))


def test_decode_takes_the_first_picture_of_several() -> None:
    first = hostile.picture()
    for name in ("png, animated", "gif, animated", "webp, animated", "tiff, two pages", "mpo"):
        assert np.abs(decode.decode(hostile.ACCEPTED[name]).astype(int) - first).mean() < 8, name


# ---------------------------------------------------------------------------------------------------------- orientation

_TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


def _oriented(orientation: int) -> dict[str, tuple[bytes, bytes]]:
    """The same stored pixels with and without an orientation, in every format that has a place for one."""
    jpeg, png, webp = (hostile.saved(hostile.picture(), name) for name in ("JPEG", "PNG", "WEBP"))
    block = hostile.exif_block(orientation)
    chunk = hostile.chunk(b"eXIf", hostile.exif_block(orientation, ">"))
    cmyk = hostile.ACCEPTED["jpeg, CMYK"]
    tag = {274: (3, 1, orientation)}
    grey = hostile.picture()[..., 0].tobytes()
    return {
        "jpeg": (hostile.with_orientation(jpeg, orientation), jpeg),
        "jpeg by Pillow": (hostile.with_orientation(cmyk, orientation), cmyk),
        "png": (hostile.png_chunk_inserted(png, chunk), png),
        "png, behind the pixels": (png[:-12] + chunk + png[-12:], png),
        "webp": (hostile.saved(hostile.picture(), "WEBP", exif=b"Exif\0\0" + block), webp),
        "tiff": (hostile.tiff(grey, hostile.SIZE, 8, more=tag), hostile.tiff(grey, hostile.SIZE, 8)),
        "tiff, LZW": (
            hostile.saved(hostile.picture(), "TIFF", compression="tiff_lzw", tiffinfo={274: orientation}),
            hostile.saved(hostile.picture(), "TIFF", compression="tiff_lzw"),
        ),
    }


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_turns_every_format_upright(orientation: int) -> None:
    for name, (tagged, plain) in _oriented(orientation).items():
        expected = _TURNS[orientation](decode.decode(plain))
        image = decode.decode(tagged)
        assert np.array_equal(image, expected), name
        assert image.flags.c_contiguous
        header = decode.probe(tagged)
        assert (header.height, header.width) == image.shape[:2], name


@pytest.mark.parametrize(("order", "kind"), [("<", 1), ("<", 3), (">", 3), (">", 4)])
def test_decode_reads_an_orientation_of_any_integer_type(order: str, kind: int) -> None:
    block = b"Exif\0\0" + hostile.exif_block(6, order, kind)
    data = hostile.behind_soi(hostile.saved(hostile.picture(), "JPEG"), hostile.segment(0xE1, block))
    assert decode.decode(data).shape == (40, 24, 3)


def test_decode_takes_the_first_of_two_orientations() -> None:
    data = hostile.saved(hostile.picture(), "JPEG")
    assert decode.decode(hostile.with_orientation(hostile.with_orientation(data, 1), 6)).shape == (40, 24, 3)
    assert decode.decode(hostile.with_orientation(hostile.with_orientation(data, 6), 1)).shape == (24, 40, 3)


def test_decode_does_not_read_an_orientation_from_xmp() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for image_format, options in (("JPEG", {"xmp": xmp}), ("WEBP", {"xmp": xmp}), ("TIFF", {"tiffinfo": {700: xmp}})):
        data = hostile.saved(hostile.picture(), image_format, **options)
        assert xmp in data
        assert decode.decode(data).shape == (24, 40, 3)


# ----------------------------------------------------------------------------------------------- simplejpeg and Pillow


def _by_pillow(data: bytes) -> NDArray[np.uint8]:
    return pillow_decode.load_rgb(pillow_decode.open_picture(data, "jpeg", 10**9))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 31), (240, 135)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"keep_rgb": True}])
def test_both_decoders_give_the_same_pixels(size: tuple[int, int], subsampling: str, options: dict[str, Any]) -> None:
    if "keep_rgb" not in options:
        options = {"subsampling": subsampling, **options}
    noise = np.random.default_rng(5).integers(0, 256, (*size, 3), dtype=np.uint8)
    for image in (hostile.picture(*size), noise, noise[..., 0]):
        data = hostile.saved(image, "JPEG", quality=75, **(options if image.ndim == 3 else {}))
        assert np.array_equal(simplejpeg.decode_jpeg(data), _by_pillow(data))


def test_both_decoders_give_the_same_pixels_of_photographs(skimage_data: Path) -> None:
    photographs = sorted(skimage_data.glob("*.jp*g"))
    assert photographs
    for path in photographs:
        data = path.read_bytes()
        assert np.array_equal(decode.decode(data), _by_pillow(data))


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("jpeg", True),
        ("jpeg, progressive", True),
        ("jpeg, grey", True),
        ("mpo", True),
        ("jpeg, CMYK", False),
        ("jpeg, YCCK", False),
        ("jpeg, junk between segments", False),
        ("png", False),
    ],
)
def test_simplejpeg_sees_plain_frames_alone(name: str, seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _seen_by_simplejpeg(hostile.ACCEPTED[name], monkeypatch) == seen


@pytest.mark.parametrize("marker", sorted(set(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}))
def test_simplejpeg_never_sees_another_kind_of_frame(marker: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _seen_by_simplejpeg(hostile.with_frame(hostile.ACCEPTED["jpeg"], marker=marker), monkeypatch)


@pytest.mark.parametrize("precision", [1, 2, 7, 9, 12, 16])
def test_simplejpeg_never_sees_another_precision(precision: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _seen_by_simplejpeg(hostile.with_frame(hostile.ACCEPTED["jpeg"], precision=precision), monkeypatch)


def _seen_by_simplejpeg(data: bytes, monkeypatch: pytest.MonkeyPatch) -> bool:
    seen = []
    real = simplejpeg.decode_jpeg

    def watched(*args: Any, **options: Any) -> Any:
        seen.append(args)
        return real(*args, **options)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", watched)
    with contextlib.suppress(RecordError):
        decode.decode(data)
    return bool(seen)


# ---------------------------------------------------------------------------------------------------------- N/8 decode


@pytest.mark.parametrize("num_eighths", range(1, 9))
def test_decode_reduces_to_exactly_so_many_eighths(num_eighths: int) -> None:
    rng = np.random.default_rng(num_eighths)
    sizes = [(1, 1), (1, 9), (8, 8), (15, 64), (63, 100), *rng.integers(1, 300, (60, 2)).tolist()]
    for height, width in sizes:
        data = hostile.saved(hostile.picture(height, width), "JPEG")
        for orientation in (1, int(rng.integers(2, 9))):
            asked: list[tuple[int, int]] = []

            def eighths(height: int, width: int, asked: list[tuple[int, int]] = asked) -> int:
                asked.append((height, width))
                return num_eighths

            image = decode.decode(hostile.with_orientation(data, orientation), eighths=eighths)
            upright = (width, height) if orientation >= 5 else (height, width)
            assert asked == [upright]
            assert image.shape[:2] == decode.reduced_size(*upright, num_eighths)
            assert image.shape[:2] == tuple(-(-side * num_eighths // 8) for side in upright)


def test_decode_of_eight_eighths_is_the_whole_picture() -> None:
    data = hostile.ACCEPTED["jpeg"]
    assert np.array_equal(decode.decode(data, eighths=lambda height, width: 8), decode.decode(data))  # noqa: ARG005


def test_decode_to_a_half_looks_like_the_half() -> None:
    data = hostile.saved(hostile.picture(64, 96), "JPEG", quality=95)
    half = decode.decode(data, eighths=lambda height, width: 4).astype(int)  # noqa: ARG005
    expected = decode.decode(data).reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - expected).max() < 4


@pytest.mark.parametrize("name", ["png", "webp", "jpeg, CMYK", "jpeg, junk between segments"])
def test_decode_asks_for_eighths_only_where_simplejpeg_decodes(name: str) -> None:
    def never(height: int, width: int) -> int:
        raise AssertionError((height, width))

    assert decode.decode(hostile.ACCEPTED[name], eighths=never).shape == (*hostile.SIZE, 3)


@pytest.mark.parametrize("num_eighths", [0, 9, -1])
def test_decode_refuses_eighths_that_are_none(num_eighths: int) -> None:
    with pytest.raises(CallError, match="eighths"):
        decode.decode(hostile.ACCEPTED["jpeg"], eighths=lambda height, width: num_eighths)  # noqa: ARG005


def test_decode_lets_the_callers_own_error_through() -> None:
    def fails(height: int, width: int) -> int:
        raise KeyError(height, width)

    with pytest.raises(KeyError):
        decode.decode(hostile.ACCEPTED["jpeg"], eighths=fails)


# ------------------------------------------------------------------------------------------ the process that it runs in


def test_decode_does_not_depend_on_pillows_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {name: decode.decode(data) for name, data in hostile.ACCEPTED.items()}
    monkeypatch.setattr(GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_ALWAYS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # a warning above it, an error above twice as many
    for name, data in hostile.ACCEPTED.items():
        assert np.array_equal(decode.decode(data), expected[name]), name
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert refusal(hostile.REFUSED["gif, 4 gigapixels"][0]).reason == Reason.TOO_MANY_PIXELS


def test_decode_will_not_make_up_what_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(CallError, match="LOAD_TRUNCATED_IMAGES"):
        decode.decode(hostile.REFUSED["png, cut"][0])


def test_decode_leaves_others_their_warnings() -> None:
    data = hostile.ACCEPTED["tiff, tag data behind the end"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode.decode(data)
        assert not caught
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    assert caught
    assert caught[0].filename.endswith("TiffImagePlugin.py")


def test_decode_is_safe_between_threads() -> None:
    names = list(hostile.ACCEPTED) * 4
    expected = {name: decode.decode(data) for name, data in hostile.ACCEPTED.items()}
    barrier = threading.Barrier(8)

    def work(start: int) -> bool:
        barrier.wait()
        order = names[start * 7 :] + names[: start * 7]
        return all(np.array_equal(decode.decode(hostile.ACCEPTED[name]), expected[name]) for name in order)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(8)))


def test_decode_gives_each_caller_an_array_of_its_own() -> None:
    for data in hostile.ACCEPTED.values():
        first = decode.decode(data)
        kept = first.copy()
        first[:] = 0
        assert np.array_equal(decode.decode(data), kept)


def test_decode_tells_its_versions() -> None:
    versions = decode.versions()
    assert versions["simplejpeg"] == simplejpeg.__version__
    assert all(versions.values())
