"""Decoding: accepted files, refused files, and independence of the process."""

import io
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import GifImagePlugin, Image, ImageFile

from augment.errors import CallError, Reason, RecordError
from augment.images import decode, pillow
from tests.augment.images import hostile


def refusal(data: bytes, **options: Any) -> RecordError:
    with pytest.raises(RecordError) as caught:
        decode.decode_image(data, **options)
    assert caught.value.key == ""
    assert "\n" not in caught.value.detail
    return caught.value


# ------------------------------------------------------------------------------------------------- accepted and refused


@pytest.mark.parametrize("name", hostile.ACCEPTED)
def test_decode_takes_an_odd_image(name: str) -> None:
    data = hostile.ACCEPTED[name]
    image = decode.decode_image(data)
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
def test_decode_refuses_a_bad_image_with_its_reason(name: str) -> None:
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
    data = hostile.saved(hostile.pattern(), "PNG")
    error = refusal(data, max_pixels=959)
    assert error.reason == Reason.TOO_MANY_PIXELS
    assert error.detail == "40x24 is 960 pixels; the limit is 959 (AUGMENT_MAX_PIXELS)"
    assert decode.decode_image(data, max_pixels=960).shape == (24, 40, 3)


@pytest.mark.parametrize("max_pixels", [0, -1])
def test_decode_needs_room_for_a_pixel(max_pixels: int) -> None:
    with pytest.raises(CallError, match="AUGMENT_MAX_PIXELS"):
        decode.decode_image(b"", max_pixels=max_pixels)


def test_decode_says_what_a_file_is_that_is_no_image() -> None:
    assert "an HTML page; allowed are bmp, gif, jpeg" in refusal(b"<html><body>").detail
    assert "empty" in refusal(b"").detail


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg, progressive", "png", "bmp", "gif", "ppm", "tiff", "webp", "jpeg, CMYK"]
)
def test_decode_refuses_every_cut_of_a_file(name: str) -> None:
    data = hostile.ACCEPTED[name]
    whole = decode.decode_image(data)
    for length in range(0, len(data), max(len(data) // 200, 1)):
        try:
            image = decode.decode_image(data[:length])
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

    monkeypatch.setitem(pillow.READERS, "webp", opened)
    for options in ({}, {"lossless": True}, {"exif": b"Exif\0\0" + hostile.exif_block(6)}):
        data = hostile.saved(hostile.pattern(), "WEBP", **options)
        assert refusal(data, max_pixels=959).detail.startswith("40x24 is 960 pixels")


# ------------------------------------------------------------------------------------------------------------ mutations


@pytest.mark.timeout(60)
def test_decode_of_any_bytes_is_an_image_or_a_refusal() -> None:
    rng = np.random.default_rng(137)
    seeds = [data for data in hostile.ACCEPTED.values() if len(data) < 20_000]
    outcomes = dict.fromkeys((None, *Reason), 0)
    for _ in range(4000):
        data = _mutant(seeds, rng)
        num_eighths = int(rng.integers(1, 9))
        try:
            header = decode.probe(data, max_pixels=1_000_000)
            sizes = (header.height, header.width), decode.reduced_size(header.height, header.width, num_eighths)
            image = decode.decode_image(data, max_pixels=1_000_000, eighths=lambda height, width: num_eighths)  # noqa: ARG005, B023
        except RecordError as error:
            outcomes[error.reason] += 1
        else:
            assert image.shape[:2] in sizes
            outcomes[None] += 1
    assert min(outcomes[each] for each in (None, Reason.FORMAT, Reason.UNDECODABLE, Reason.TOO_MANY_PIXELS)) > 20


def test_probe_takes_whatever_decode_takes() -> None:
    """Reading a header to name conversions refuses nothing."""
    rng = np.random.default_rng(138)
    seeds = [data for data in hostile.ACCEPTED.values() if len(data) < 20_000]
    num_taken = 0
    for _ in range(2000):
        data = _mutant(seeds, rng)
        try:
            image = decode.decode_image(data, max_pixels=1_000_000)
        except RecordError:
            continue
        header = decode.probe(data, max_pixels=1_000_000)
        assert (header.height, header.width) == image.shape[:2]
        num_taken += 1
    assert num_taken > 200


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


# ------------------------------------------------------------------------------------------ the process that it runs in


def test_decode_does_not_depend_on_pillows_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {name: decode.decode_image(data) for name, data in hostile.ACCEPTED.items()}
    monkeypatch.setattr(GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_ALWAYS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # a warning above it, an error above twice as many
    for name, data in hostile.ACCEPTED.items():
        assert np.array_equal(decode.decode_image(data), expected[name]), name
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert refusal(hostile.REFUSED["gif, 4 gigapixels"][0]).reason == Reason.TOO_MANY_PIXELS


def test_decode_will_not_make_up_what_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(CallError, match="LOAD_TRUNCATED_IMAGES"):
        decode.decode_image(hostile.REFUSED["png, cut"][0])


def test_decode_leaves_others_their_warnings() -> None:
    data = hostile.ACCEPTED["tiff, tag data behind the end"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode.decode_image(data)
        assert not caught
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    assert caught
    assert caught[0].filename.endswith("TiffImagePlugin.py")


def test_decode_is_safe_between_threads() -> None:
    names = list(hostile.ACCEPTED) * 4
    expected = {name: decode.decode_image(data) for name, data in hostile.ACCEPTED.items()}
    barrier = threading.Barrier(8)

    def work(start: int) -> bool:
        barrier.wait()
        order = names[start * 7 :] + names[: start * 7]
        return all(np.array_equal(decode.decode_image(hostile.ACCEPTED[name]), expected[name]) for name in order)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(8)))


def test_decode_gives_each_caller_an_array_of_its_own() -> None:
    for data in hostile.ACCEPTED.values():
        first = decode.decode_image(data)
        kept = first.copy()
        first[:] = 0
        assert np.array_equal(decode.decode_image(data), kept)


def test_decode_tells_its_versions() -> None:
    versions = decode.versions()
    assert versions["simplejpeg"] == simplejpeg.__version__
    assert all(versions.values())


def test_the_page_names_every_other_kind_with_its_remedy() -> None:
    page = (Path(__file__).parents[3] / "docs" / "images.md").read_text(encoding="utf-8")
    rows = [f"| {name} | {remedy} |" for name, remedy, _ in decode.OTHER_KINDS]
    assert "\n".join(rows) in page, "write this into docs/images.md:\n" + "\n".join(rows)
