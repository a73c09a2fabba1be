"""Pixels to encoded bytes, and back."""

import io
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from augment.errors import CallError, Reason, RecordError
from augment.images.decode import decode_image, probe
from augment.images.encode import EXTENSIONS, check_options, encode_image
from tests.augment.images import hostile

FORMATS = sorted(EXTENSIONS)


@pytest.fixture(scope="module")
def photograph(skimage_data: Path) -> np.ndarray:
    return decode_image((skimage_data / "coffee.png").read_bytes())


@given(image=hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
@settings(max_examples=60, deadline=None)
def test_png_gives_back_what_it_was_given(image: np.ndarray) -> None:
    assert np.array_equal(decode_image(encode_image(image, "png")), image)


@pytest.mark.parametrize("image_format", FORMATS)
def test_encode_is_read_back_by_others(image_format: str, photograph: np.ndarray) -> None:
    data = encode_image(photograph, image_format, 95)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format or "").lower() == image_format
        pixels = np.array(image.convert("RGB"))
    assert np.array_equal(pixels, decode_image(data))
    assert np.abs(pixels.astype(int) - photograph).mean() < 3


@pytest.mark.parametrize("image_format", FORMATS)
def test_encode_gives_the_same_bytes_in_any_thread(image_format: str, photograph: np.ndarray) -> None:
    part = photograph[:100, :100]
    expected = encode_image(part, image_format)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: encode_image(part, image_format), range(12))) == {expected}


@pytest.mark.parametrize("image_format", FORMATS)
def test_encode_takes_any_memory_layout_and_leaves_it_alone(image_format: str) -> None:
    image = hostile.pattern(30, 50)
    expected = encode_image(image, image_format)
    wide = np.zeros((60, 50, 3), dtype=np.uint8)
    wide[::2] = image
    frozen = image.copy()
    frozen.flags.writeable = False
    for same in (np.asfortranarray(image), wide[::2], image[::-1][::-1], frozen):
        assert encode_image(same, image_format) == expected
    assert np.array_equal(image, hostile.pattern(30, 50))


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_quality_costs_bytes(image_format: str, photograph: np.ndarray) -> None:
    sizes = [len(encode_image(photograph, image_format, quality)) for quality in (1, 50, 90, 100)]
    assert sizes == sorted(set(sizes))


def test_png_has_no_quality(photograph: np.ndarray) -> None:
    assert encode_image(photograph, "png", 1) == encode_image(photograph, "png", 100)


def test_png_is_smaller_than_pillows_fastest(photograph: np.ndarray) -> None:
    ours = encode_image(photograph, "png")
    assert len(ours) < len(hostile.saved(photograph, "PNG", compress_level=1))
    assert len(ours) < 1.1 * len(
        hostile.saved(photograph, "PNG", compress_level=9, compress_type=zlib.Z_DEFAULT_STRATEGY)
    )


def test_jpeg_halves_the_chroma() -> None:
    with Image.open(io.BytesIO(encode_image(hostile.pattern(), "jpeg"))) as image:
        assert [(horizontal, vertical) for _, horizontal, vertical, _ in image.layer] == [(2, 2), (1, 1), (1, 1)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("quality", [0, -1, 101])
def test_encode_refuses_a_quality_outside_its_range(quality: int) -> None:
    with pytest.raises(CallError, match=rf"quality is {quality}; it must be an integer in \[1, 100\]"):
        encode_image(hostile.pattern(), "jpeg", quality)


@pytest.mark.parametrize(("name", "meant"), [("jpg", "jpeg"), ("JPEG", "jpeg"), ("wepb", "webp"), ("pgn", "png")])
def test_encode_says_which_format_was_meant(name: str, meant: str) -> None:
    with pytest.raises(
        CallError, match=f"image_format is '{name}'; it is one of jpeg, png, webp; did you mean '{meant}'"
    ):
        check_options(name)


@pytest.mark.parametrize("shape", [(16_384, 1), (1, 16_384)])
def test_encode_refuses_what_a_webp_cannot_hold(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), dtype=np.uint8)
    with pytest.raises(RecordError, match="16383") as caught:
        encode_image(image, "webp")
    assert caught.value.reason == Reason.NOT_RENDERABLE
    assert decode_image(encode_image(image, "png")).shape == image.shape
    assert decode_image(encode_image(image, "jpeg")).shape == image.shape


@pytest.mark.parametrize(("image_format", "limit"), [("webp", 16_383), ("jpeg", 65_500)])
def test_encode_takes_the_longest_side_and_not_one_more(image_format: str, limit: int) -> None:
    longest = np.zeros((1, limit, 3), dtype=np.uint8)
    assert decode_image(encode_image(longest, image_format)).shape == longest.shape
    with pytest.raises(RecordError, match=str(limit)):
        encode_image(np.zeros((1, limit + 1, 3), dtype=np.uint8), image_format)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_encode_takes_images_alone(shape: tuple[int, ...]) -> None:
    with pytest.raises(CallError, match="uint8"):
        encode_image(np.zeros(shape, dtype=np.uint8), "png")


def test_every_format_that_is_written_is_read() -> None:
    for image_format, extension in EXTENSIONS.items():
        assert probe(encode_image(hostile.pattern(), image_format)).format == image_format
        assert extension.isalpha()
