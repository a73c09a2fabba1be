"""JPEG: the choice of the decoder, the agreement of both, and decoding to eighths."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from augment.errors import CallError, RecordError
from augment.images import pillow
from augment.images.decode import decode_image, reduced_size
from tests.augment.images import hostile

# ------------------------------------------------------------------------------------------------ simplejpeg and Pillow


def _by_pillow(data: bytes) -> NDArray[np.uint8]:
    return pillow.load_rgb(pillow.open_image(data, "jpeg", 10**9))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 31), (240, 135)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"keep_rgb": True}])
def test_both_decoders_give_the_same_pixels(size: tuple[int, int], subsampling: str, options: dict[str, Any]) -> None:
    if "keep_rgb" not in options:
        options = {"subsampling": subsampling, **options}
    noise = np.random.default_rng(5).integers(0, 256, (*size, 3), dtype=np.uint8)
    for image in (hostile.pattern(*size), noise, noise[..., 0]):
        data = hostile.saved(image, "JPEG", quality=75, **(options if image.ndim == 3 else {}))
        assert np.array_equal(simplejpeg.decode_jpeg(data), _by_pillow(data))


def test_both_decoders_give_the_same_pixels_of_photographs(skimage_data: Path) -> None:
    photographs = sorted(skimage_data.glob("*.jp*g"))
    assert photographs
    for path in photographs:
        data = path.read_bytes()
        assert np.array_equal(decode_image(data), _by_pillow(data))


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
        decode_image(data)
    return bool(seen)


# ----------------------------------------------------------------------------------------------------------- N/8 decode


@pytest.mark.parametrize("num_eighths", range(1, 9))
def test_decode_reduces_to_exactly_so_many_eighths(num_eighths: int) -> None:
    rng = np.random.default_rng(num_eighths)
    sizes = [(1, 1), (1, 9), (8, 8), (15, 64), (63, 100), *rng.integers(1, 300, (60, 2)).tolist()]
    for height, width in sizes:
        data = hostile.saved(hostile.pattern(height, width), "JPEG")
        for orientation in (1, int(rng.integers(2, 9))):
            asked: list[tuple[int, int]] = []

            def eighths(height: int, width: int, asked: list[tuple[int, int]] = asked) -> int:
                asked.append((height, width))
                return num_eighths

            image = decode_image(hostile.with_orientation(data, orientation), eighths=eighths)
            upright = (width, height) if orientation >= 5 else (height, width)
            assert asked == [upright]
            assert image.shape[:2] == reduced_size(*upright, num_eighths)
            assert image.shape[:2] == tuple(-(-side * num_eighths // 8) for side in upright)


def test_decode_of_eight_eighths_is_the_whole_image() -> None:
    data = hostile.ACCEPTED["jpeg"]
    assert np.array_equal(decode_image(data, eighths=lambda height, width: 8), decode_image(data))  # noqa: ARG005


def test_decode_to_a_half_looks_like_the_half() -> None:
    data = hostile.saved(hostile.pattern(64, 96), "JPEG", quality=95)
    half = decode_image(data, eighths=lambda height, width: 4).astype(int)  # noqa: ARG005
    expected = decode_image(data).reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - expected).max() < 4


@pytest.mark.parametrize("name", ["png", "webp", "jpeg, CMYK", "jpeg, junk between segments"])
def test_decode_asks_for_eighths_only_where_simplejpeg_decodes(name: str) -> None:
    def never(height: int, width: int) -> int:
        raise AssertionError((height, width))

    assert decode_image(hostile.ACCEPTED[name], eighths=never).shape == (*hostile.SIZE, 3)


@pytest.mark.parametrize("num_eighths", [0, 9, -1])
def test_decode_refuses_eighths_that_are_none(num_eighths: int) -> None:
    with pytest.raises(CallError, match="eighths"):
        decode_image(hostile.ACCEPTED["jpeg"], eighths=lambda height, width: num_eighths)  # noqa: ARG005


def test_decode_lets_the_callers_own_error_through() -> None:
    def fails(height: int, width: int) -> int:
        raise KeyError(height, width)

    with pytest.raises(KeyError):
        decode_image(hostile.ACCEPTED["jpeg"], eighths=fails)
