"""Every variant of TIFF that can be written is read correctly or refused with its name, judged by its samples."""

import contextlib
import io
import itertools
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from augment.errors import Reason, RecordError
from augment.images.decode import decode_image, probe
from augment.images.headers import turn_upright
from augment.images.masks import decode_mask
from tests.augment.images import tiff_writer
from tests.augment.images.tiff_writer import PREDICTABLE, Samples, Variant

HEIGHT, WIDTH = 21, 35
SMOOTH = frozenset({"jpeg"})
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
MINISWHITE, MINISBLACK, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
PREMULTIPLIED, ALPHA = 1, 2
COLOURS = (MINISWHITE, MINISBLACK, RGB, PALETTE, CMYK, YCBCR, LAB)
REMEDY = re.compile("(save it|store them|write (masks|their indices)) as ")
ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")
BLOCKS: tuple[dict[str, Any], ...] = ({}, {"rows": 5}, {"tile": (16, 16)}, {"tile": (32, 48)})
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "images.md"


def every() -> Iterator[Variant]:
    """Yield the product of all fields, without impossible files: a codec's own bits and samples, a predictor's bits."""
    for bits, photometric, extra in itertools.product(
        (1, 2, 4, 8, 12, 16, 32), COLOURS, ((), (0,), (PREMULTIPLIED,), (ALPHA,))
    ):
        for planar, compression, order, block in itertools.product((1, 2), tiff_writer.COMPRESSIONS, ORDERS, BLOCKS):
            kinds = (UNSIGNED, SIGNED, FLOAT) if bits in {16, 32} else (UNSIGNED, SIGNED) if bits == 8 else (UNSIGNED,)
            for kind in kinds:
                variant = Variant(bits, photometric, extra, planar, compression, order, kind=kind, **block)
                for predictor in (1, 3 if kind == FLOAT else 2):
                    if is_possible(variant, predictor):
                        yield Variant(
                            bits,
                            photometric,
                            extra,
                            planar,
                            compression,
                            order,
                            kind=kind,
                            predictor=predictor,
                            **block,
                        )


def is_possible(variant: Variant, predictor: int) -> bool:
    if predictor != 1 and (variant.compression not in PREDICTABLE or variant.bits not in {8, 16, 32}):
        return False
    num_samples = 1 if variant.planar == 2 else variant.num_samples
    if variant.compression == "jpeg":
        return variant.bits == 8 and variant.kind == UNSIGNED and num_samples in {1, 3, 4}
    if variant.compression == "webp":
        return variant.bits == 8 and variant.kind == UNSIGNED and num_samples in {3, 4}
    return not (variant.photometric == PALETTE and variant.bits > 16)


def rare() -> Iterator[Variant]:
    """Yield fields that change little else, with a few of the others."""
    usual = [
        Variant(bits, photometric, compression=compression, planar=planar)
        for bits, photometric in ((1, 0), (1, 1), (4, 1), (8, 0), (8, 1), (8, 3), (8, 2), (16, 1), (16, 2))
        for compression in ("none", "deflate")
        for planar in (1, 2)
    ]
    for variant in usual:
        fields = {name: getattr(variant, name) for name in variant.__dataclass_fields__}
        changes: tuple[dict[str, Any], ...] = (
            {"fill_order": 2},
            {"big": True},
            {"big": True, "order": ">", "rows": 4},
            *({"orientation": orientation} for orientation in range(2, 9)),
            {"orientation": 6, "tile": (16, 16)},
        )
        for more in changes:
            yield Variant(**(fields | more))
    for chroma, compression in itertools.product(((2, 1), (2, 2), (4, 2)), ("none", "lzw")):
        yield Variant(photometric=YCBCR, compression=compression, chroma=chroma)
        yield Variant(photometric=YCBCR, compression=compression, chroma=chroma, rows=4)
    for extra in ((0, 0), (PREMULTIPLIED, 0), (ALPHA, 0), (ALPHA, 0, 0), (0, 0, 0)):
        for planar, compression in itertools.product((1, 2), ("none", "lzw")):
            yield Variant(8, RGB, extra, planar, compression)


def samples_of(variant: Variant) -> Samples:
    """Make noise, or a smooth image for lossy codecs; premultiplied colours are not larger than their alpha."""
    rng = np.random.default_rng(0)
    shape = HEIGHT, WIDTH, variant.num_samples
    if variant.kind == FLOAT:
        return rng.random(shape).astype(f"f{variant.bits // 8}")
    low, high = (
        (-(2 ** (variant.bits - 1)), 2 ** (variant.bits - 1)) if variant.kind == SIGNED else (0, 2**variant.bits)
    )
    size = max(1, 2 ** (variant.bits - 1).bit_length() // 8)
    samples: Samples = rng.integers(low, high, shape).astype(f"{'i' if low else 'u'}{size}")
    if variant.compression in SMOOTH:
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        samples = np.stack([40 + 2 * x + y * (i % 3) for i in range(shape[2])], axis=-1).astype(np.uint8)
    across, down = variant.chroma
    samples[..., 1:3] = samples[::down, ::across, 1:3].repeat(down, 0).repeat(across, 1)[:HEIGHT, :WIDTH]
    num_colours = variant.num_samples - len(variant.extra)
    if variant.extra[:1] == (PREMULTIPLIED,) and variant.photometric != PALETTE and variant.kind == UNSIGNED:
        alpha = samples[..., num_colours : num_colours + 1].astype(np.uint64)
        colours = samples[..., :num_colours].astype(np.uint64) * alpha // (2**variant.bits - 1)
        samples[..., :num_colours] = colours.astype(samples.dtype)
    return samples


def colours_of(variant: Variant) -> NDArray[np.uint16] | None:
    """Make a palette."""
    if variant.photometric != PALETTE:
        return None
    return np.random.default_rng(1).integers(0, 65_536, (2**variant.bits, 3)).astype(np.uint16)


def file_of(variant: Variant) -> tuple[Samples, bytes]:
    samples = samples_of(variant)
    return samples, tiff_writer.write(samples, variant, colours=colours_of(variant))


def pixels_of(variant: Variant, samples: Samples) -> NDArray[np.uint8] | None:
    """Return the pixels that docs/rules.md states for the samples, or None if it refuses them."""
    if variant.kind != UNSIGNED or variant.bits > 16:
        return None
    white = 2**variant.bits - 1
    if (colours := colours_of(variant)) is not None:
        rgb = (colours >> 8)[samples[..., 0]].astype(np.uint8)
        upper = samples[..., 1:]
    else:
        levels = samples.astype(int)
        levels = levels * 255 // white if variant.bits < 8 else levels >> variant.bits - 8
        num_colours = variant.num_samples - len(variant.extra)
        upper = levels[..., num_colours:]
        stored = np.ascontiguousarray(levels[..., :num_colours], np.uint8)
        rgb = _rgb(stored, variant.photometric)
    if variant.extra[:1] == (ALPHA,):
        alpha = upper[..., :1].astype(float)
        rgb = np.floor((rgb * alpha + 255 * (255 - alpha)) / 255 + 0.5).astype(np.uint8)
    if variant.extra[:1] == (PREMULTIPLIED,):
        rgb = np.minimum(255, rgb + 255 - upper[..., :1].astype(int)).astype(np.uint8)
    return turn_upright(rgb, variant.orientation)


def _rgb(stored: NDArray[np.uint8], photometric: int) -> NDArray[np.uint8]:
    if photometric in {MINISWHITE, MINISBLACK}:
        return np.repeat(255 - stored if photometric == MINISWHITE else stored, 3, axis=2)
    mode = {RGB: "RGB", CMYK: "CMYK", YCBCR: "YCbCr", LAB: "LAB"}[photometric]
    return np.asarray(Image.frombytes(mode, stored.shape[1::-1], stored.tobytes()).convert("RGB"))


def tolerance(variant: Variant) -> int:
    """Return the allowed error in levels, for codecs, another rounding of YCbCr, and division by alpha."""
    if variant.compression in SMOOTH:
        return 12
    return 3 if variant.extra[:1] == (PREMULTIPLIED,) else 2 if variant.photometric == YCBCR else 0


def read(reader: Callable[[bytes], Any], data: bytes, variant: Variant) -> NDArray[Any] | None:
    """Return a reader's result for the file, or None if it refuses it with a reason and a remedy."""
    try:
        return np.asarray(reader(data))
    except RecordError as error:
        refusal = error
    told = f"{variant} is refused: {refusal.detail}"
    if refusal.reason not in {Reason.FORMAT, Reason.ANNOTATION} or not REMEDY.search(refusal.detail):
        pytest.fail(told)
    return None


def is_read(variant: Variant) -> bool:
    """Return True if its pixels are right, False if it is refused with a remedy; fail otherwise."""
    samples, data = file_of(variant)
    expected, pixels = pixels_of(variant, samples), read(decode_image, data, variant)
    if pixels is None:
        return False
    assert expected is not None, f"{variant} has no rule and is read"
    assert pixels.shape == expected.shape, variant
    assert (probe(data).height, probe(data).width) == expected.shape[:2], variant
    away = np.abs(pixels.astype(int) - expected).max()
    assert away <= tolerance(variant), f"{variant} is {away} levels away"
    return True


def check_mask(variant: Variant) -> None:
    """Check that a mask has the samples as stored, upright, or is refused with its name."""
    samples, data = file_of(variant)
    indices = read(decode_mask, data, variant)
    if indices is None:
        return
    assert variant.kind == UNSIGNED, f"{variant}: signed indices are read"
    assert variant.photometric in {MINISWHITE, MINISBLACK, PALETTE}, variant
    expected = turn_upright(samples[..., :1].astype(np.uint8 if variant.bits <= 8 else np.uint16), variant.orientation)
    away = np.abs(indices.astype(int) - expected[..., 0]).max()
    assert away <= tolerance(variant), f"the mask {variant} is {away} indices away"


def sampled(variants: Iterator[Variant], one_in: int) -> Iterator[Variant]:
    """Return one in so many, chosen by their names: the same ones in every run."""
    return (variant for variant in variants if zlib.crc32(str(variant).encode()) % one_in == 0)


def test_a_variant_is_read_right_or_refused_with_its_remedy() -> None:
    outcomes = [is_read(variant) for variant in sampled(every(), 100)]
    assert 40 < sum(outcomes) < len(outcomes)


def test_a_mask_of_any_variant_is_read_right_or_refused_with_its_remedy() -> None:
    for variant in sampled(every(), 200):
        check_mask(variant)


def test_fields_that_change_little_are_read_right_or_refused() -> None:
    for variant in rare():
        is_read(variant)
        check_mask(variant)
    assert is_read(Variant(photometric=YCBCR, chroma=(2, 2)))


@pytest.mark.long
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16, 32])
def test_every_variant_is_read_right_or_refused_with_its_remedy(bits: int) -> None:
    for variant in every():
        if variant.bits == bits:
            is_read(variant)
            check_mask(variant)


def table() -> list[str]:
    """Return the table of samples that are read: a line for each kind, a column for each number of bits."""
    colours = {1: "grey", 0: "grey, white is 0", 3: "palette", 2: "RGB", 5: "CMYK", 6: "YCbCr", 8: "L\\*a\\*b\\*"}
    extras = {(): "", (0,): ", and one that says nothing", (1,): ", multiplied by alpha", (2,): ", alpha"}
    bits = (1, 2, 4, 8, 12, 16, 32)
    lines = [f"| samples | {' | '.join(map(str, bits))} bits |", f"|---|{'---|' * len(bits)}"]
    for photometric, name in colours.items():
        for extra, more in extras.items():
            cells = [cell(Variant(each, photometric, extra)) for each in bits]
            if set(cells) != {"-"}:
                lines.append(f"| {name}{more} | {' | '.join(cells)} |")
    return lines


def cell(variant: Variant) -> str:
    """Return the layouts of these samples that are read."""
    if variant.photometric == PALETTE and variant.bits > 16:
        return "-"
    layouts = itertools.product((1, 2), ORDERS)
    found = [each for each in layouts if is_read(replace(variant, planar=each[0], order=each[1]))]
    if len(found) in {0, 4}:
        return "yes" if found else "-"
    planars, orders = {planar for planar, _ in found}, {order for _, order in found}
    assert len(found) == len(planars) * len(orders), f"{variant}: no words for {found}"
    words = [] if len(planars) == 2 else ["interleaved" if planars == {1} else "planes"]
    return " ".join(words + ([] if len(orders) == 2 else ["little-endian" if orders == {"<"} else "big-endian"]))


def test_the_documentation_tells_what_is_read() -> None:
    text = DOCUMENTATION.read_text()
    codecs = [name for name in tiff_writer.COMPRESSIONS if is_read(Variant(photometric=RGB, compression=name))]
    assert "\n".join(table()) in text, "write this into docs/images.md:\n" + "\n".join(table())
    assert f"Compressions that are read: {', '.join(codecs)}." in " ".join(text.split())


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_that_tifffile_writes_are_read_right(compression: str | None, byteorder: Any, dtype: type) -> None:
    planes: NDArray[Any] = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (3, HEIGHT, WIDTH)).astype(dtype)
    file = io.BytesIO()
    tifffile.imwrite(
        file, planes, photometric="rgb", planarconfig="separate", compression=compression, byteorder=byteorder
    )
    expected = (planes >> (8 if dtype == np.uint16 else 0)).transpose(1, 2, 0)
    assert np.array_equal(decode_image(file.getvalue()), expected)


def test_tifffile_reads_the_same_samples() -> None:
    """Checks the writer itself, because the other tests would miss an error common to writer and reader."""
    codecs = {"none", "deflate", "old deflate", "packbits", "lzma"}
    num_read = 0
    for variant in sampled(every(), 40):
        if variant.compression not in codecs or variant.bits not in {8, 16, 32}:
            continue
        samples, data = file_of(variant)
        with contextlib.suppress(ValueError):  # what needs imagecodecs
            found = tifffile.imread(io.BytesIO(data))
            found = found.transpose(1, 2, 0) if variant.planar == 2 and found.ndim == 3 else found
            assert np.array_equal(found.reshape(samples.shape), samples), variant
            num_read += 1
    assert num_read > 50
