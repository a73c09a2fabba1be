"""Every image is decoded upright."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from augment.images.decode import decode_image, probe
from tests.augment.images import hostile

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
    """Encode the same pixels with and without an orientation, in every format that can hold one."""
    jpeg, png, webp = (hostile.saved(hostile.pattern(), name) for name in ("JPEG", "PNG", "WEBP"))
    block = hostile.exif_block(orientation)
    chunk = hostile.chunk(b"eXIf", hostile.exif_block(orientation, ">"))
    cmyk = hostile.ACCEPTED["jpeg, CMYK"]
    tag = {274: (3, 1, orientation)}
    grey = hostile.pattern()[..., 0].tobytes()
    return {
        "jpeg": (hostile.with_orientation(jpeg, orientation), jpeg),
        "jpeg by Pillow": (hostile.with_orientation(cmyk, orientation), cmyk),
        "png": (hostile.png_chunk_inserted(png, chunk), png),
        "png, behind the pixels": (png[:-12] + chunk + png[-12:], png),
        "webp": (hostile.saved(hostile.pattern(), "WEBP", exif=b"Exif\0\0" + block), webp),
        "tiff": (hostile.tiff(grey, hostile.SIZE, 8, more=tag), hostile.tiff(grey, hostile.SIZE, 8)),
        "tiff, LZW": (
            hostile.saved(hostile.pattern(), "TIFF", compression="tiff_lzw", tiffinfo={274: orientation}),
            hostile.saved(hostile.pattern(), "TIFF", compression="tiff_lzw"),
        ),
    }


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_turns_every_format_upright(orientation: int) -> None:
    for name, (tagged, plain) in _oriented(orientation).items():
        expected = _TURNS[orientation](decode_image(plain))
        image = decode_image(tagged)
        assert np.array_equal(image, expected), name
        assert image.flags.c_contiguous
        header = probe(tagged)
        assert (header.height, header.width) == image.shape[:2], name


@pytest.mark.parametrize(("order", "kind"), [("<", 1), ("<", 3), (">", 3), (">", 4)])
def test_decode_reads_an_orientation_of_any_integer_type(order: str, kind: int) -> None:
    block = b"Exif\0\0" + hostile.exif_block(6, order, kind)
    data = hostile.behind_soi(hostile.saved(hostile.pattern(), "JPEG"), hostile.segment(0xE1, block))
    assert decode_image(data).shape == (40, 24, 3)


def test_decode_takes_the_first_of_two_orientations() -> None:
    data = hostile.saved(hostile.pattern(), "JPEG")
    assert decode_image(hostile.with_orientation(hostile.with_orientation(data, 1), 6)).shape == (40, 24, 3)
    assert decode_image(hostile.with_orientation(hostile.with_orientation(data, 6), 1)).shape == (24, 40, 3)


def test_decode_does_not_read_an_orientation_from_xmp() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for image_format, options in (("JPEG", {"xmp": xmp}), ("WEBP", {"xmp": xmp}), ("TIFF", {"tiffinfo": {700: xmp}})):
        data = hostile.saved(hostile.pattern(), image_format, **options)
        assert xmp in data
        assert decode_image(data).shape == (24, 40, 3)
