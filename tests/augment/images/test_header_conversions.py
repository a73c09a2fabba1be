"""Conversions that a header announces, compared with those that decoding makes."""

import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from augment.errors import RecordError
from augment.images import headers
from augment.images.decode import decode_image, probe
from augment.images.headers import Conversion
from tests.augment.images import hostile, test_other_variants, test_png_variants, test_tiff_variants
from tests.augment.images.tiff_writer import Variant

GREY, ALPHA, FRAMES = Conversion.GREY, Conversion.ALPHA, Conversion.FRAMES
BIT_DEPTH, COLOUR_SPACE, COLOUR_PROFILE = Conversion.BIT_DEPTH, Conversion.COLOUR_SPACE, Conversion.COLOUR_PROFILE
COLOUR_KEY, EXTRA_CHANNELS = Conversion.COLOUR_KEY, Conversion.EXTRA_CHANNELS


def test_every_kind_has_a_name_of_its_own_and_a_sentence() -> None:
    assert len({str(kind) for kind in Conversion}) == len(Conversion) == 8
    for kind in Conversion:
        assert Conversion(str(kind)) is kind
        assert kind.feature
        assert kind.result


def test_the_documentation_has_every_kind() -> None:
    """The page lists each conversion with all formats that are tried here."""
    lines = test_tiff_variants.DOCUMENTATION.read_text().splitlines()
    names = {"pgm": "PNM", "pbm": "PNM", "ppm": "PNM", "mpo": "JPEG", "webp": "WebP"}
    for kind in Conversion:
        start = f"| `{kind}` | {kind.feature} | {kind.result} | ".replace("L*a*b*", r"L\*a\*b\*")
        [told] = [line.removeprefix(start) for line in lines if line.startswith(start)]
        tried = {case[:4].strip(",") for case, (_, kinds) in _CASES.items() if kind in kinds}
        assert told == "every format |" or {names.get(each, each.upper()) for each in tried} <= set(
            re.findall(r"\w+", told)
        ), kind


# ---------------------------------------------------------------------------------------------------------------- PNG


def test_png_of_every_variant_is_converted_as_its_header_says() -> None:
    for variant in test_png_variants.variants():
        samples, data, _ = test_png_variants.made(variant)
        pixels = decode_image(data)
        is_palette = variant["colour"] == test_png_variants.PALETTE
        is_key_white = not is_palette and np.all(samples[3, 4] == 2 ** variant["depth"] - 1)
        has_channel = variant["colour"] in {test_png_variants.GREY_ALPHA, test_png_variants.RGB_ALPHA}
        opaque = data if has_channel else _without_chunk(data, b"tRNS")
        expected = {
            BIT_DEPTH: samples.dtype == np.uint16 and bool(np.any(samples & 0xFF)),
            GREY: not is_palette and samples.shape[2] < 3 and _is_grey(pixels),
            ALPHA: has_channel or (opaque != data and samples.dtype != np.uint16),
            COLOUR_KEY: samples.dtype == np.uint16 and opaque != data,
        }
        assert set(probe(data).conversions) == {kind for kind, is_met in expected.items() if is_met}, variant
        if not has_channel and not is_key_white:
            assert np.array_equal(pixels, decode_image(opaque)) == (not expected[ALPHA]), variant


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _without_chunk(data: bytes, kind: bytes) -> bytes:
    at = data.find(kind)
    if at < 0:
        return data
    return data[: at - 4] + data[at + 8 + int.from_bytes(data[at - 4 : at], "big") :]


def test_palette_whose_alphas_are_all_opaque_loses_nothing() -> None:
    colours = hostile.chunk(b"PLTE", bytes([100, 0, 0, 0, 100, 0]))
    for alphas, kinds in ((b"\xff\xff", ()), (b"\xff\x80", (ALPHA,))):
        data = hostile.png([b"\0\1"], (1, 2), 8, 3, before=colours + hostile.chunk(b"tRNS", alphas))
        assert probe(data).conversions == kinds
        assert np.array_equal(decode_image(data), [[[100, 0, 0], [0, 100, 0]]]) == (not kinds)


def test_animated_png_has_frames_besides_the_image_that_is_read() -> None:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    still = hostile.saved(first, "PNG")
    hidden = hostile.saved(first, "PNG", save_all=True, default_image=True, append_images=[second])
    cases = {
        hostile.saved(first, "PNG", save_all=True, append_images=[second]): True,
        hidden: True,  # one frame, and the image that all readers show is none
        still: False,
        hostile.png_chunk_inserted(still, hostile.chunk(b"acTL", bytes(8))): False,
        hostile.png_chunk_inserted(still, hostile.chunk(b"acTL", b"\xff" * 8)): False,
        still[:-12] + hostile.chunk(b"acTL", bytes([0, 0, 0, 2] * 2)) + still[-12:]: False,  # too late to count
    }
    assert struct.unpack(">L", hidden[hidden.index(b"acTL") + 4 :][:4]) == (1,)
    for data, has_frames in cases.items():
        assert probe(data).conversions == ((FRAMES,) if has_frames else ())
        assert np.all(decode_image(data) == (255, 0, 0))


@pytest.mark.parametrize(
    ("chunks", "is_srgb"),
    [
        ({b"gAMA": (45455,)}, True),
        ({b"gAMA": (45460,)}, True),
        ({b"gAMA": (100_000,)}, False),
        ({b"gAMA": (100_000,), b"sRGB": b"\0"}, True),
        ({b"cHRM": (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), b"gAMA": (45455,)}, True),
        ({b"cHRM": (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)}, False),
        ({b"cICP": b"\1\x0d\0\1", b"gAMA": (100_000,)}, True),
        ({b"cICP": b"\x09\x10\0\1", b"sRGB": b"\0"}, False),
        ({b"iCCP": b"p\0\0broken"}, False),
    ],
)
def test_png_of_other_colours_than_srgb_says_so_and_is_read_as_srgb(chunks: dict[bytes, Any], *, is_srgb: bool) -> None:
    plain = hostile.saved(hostile.pattern(), "PNG")
    data = plain
    for kind, content in chunks.items():
        body = content if isinstance(content, bytes) else struct.pack(f">{len(content)}L", *content)
        data = hostile.png_chunk_inserted(data, hostile.chunk(kind, body))
    assert probe(data).conversions == (() if is_srgb else (COLOUR_PROFILE,))
    assert np.array_equal(decode_image(data), decode_image(plain))


# ---------------------------------------------------------------------------------------------------------------- TIFF


def test_tiff_of_any_variant_is_converted_as_its_header_says() -> None:
    variants = [*test_tiff_variants.sampled(test_tiff_variants.every(), 150), *test_tiff_variants.rare()]
    met: set[Conversion] = set()
    for variant in variants:
        samples, data = test_tiff_variants.file_of(variant)
        try:
            pixels = decode_image(data)
        except RecordError:
            continue
        num_colours = variant.num_samples - len(variant.extra)
        is_palette = variant.photometric == test_tiff_variants.PALETTE
        has_alpha = variant.extra[:1] in {(1,), (2,)} and not (is_palette and variant.extra == (1,))
        expected = {
            BIT_DEPTH: samples.dtype == np.uint16,
            GREY: num_colours == 1 and not is_palette and _is_grey(pixels),
            ALPHA: has_alpha,
            EXTRA_CHANNELS: len(variant.extra) > has_alpha,
            COLOUR_SPACE: variant.photometric in {test_tiff_variants.CMYK, test_tiff_variants.LAB},
        }
        kinds = probe(data).conversions
        assert set(kinds) == {kind for kind, is_met in expected.items() if is_met}, variant
        met.update(kinds)
    assert met == {BIT_DEPTH, GREY, ALPHA, EXTRA_CHANNELS, COLOUR_SPACE}


def test_channels_that_say_nothing_are_ignored() -> None:
    variant = Variant(8, test_tiff_variants.RGB, (0,))
    samples, data = test_tiff_variants.file_of(variant)
    assert probe(data).conversions == (EXTRA_CHANNELS,)
    assert np.array_equal(decode_image(data), samples[..., :3])


# ------------------------------------------------------------------------------------------------- formats of all kinds


def _rgb() -> Image.Image:
    return Image.fromarray(hostile.pattern())


def _rgba() -> Image.Image:
    image = _rgb().convert("RGBA")
    image.putalpha(Image.fromarray(np.ascontiguousarray(hostile.pattern()[..., 0])))
    return image


def _frames(image: Image.Image, image_format: str, **options: Any) -> bytes:
    return hostile.saved(
        image, image_format, save_all=True, append_images=[Image.new(image.mode, image.size)], **options
    )


def _bmp_v5(profile: bytes, kind: bytes) -> bytes:
    """Build a BMP of 24 bits whose header of 124 bytes names a profile after the pixels."""
    plain = hostile.saved(_rgb(), "BMP")
    pixels = plain[54:]
    header = bytearray(plain[14:54].ljust(124, b"\0"))
    header[:4] = struct.pack("<L", 124)
    header[56:60] = kind
    header[112:120] = struct.pack("<LL", 124 + len(pixels), len(profile))
    return b"BM" + struct.pack("<LLL", 138 + len(pixels) + len(profile), 0, 138) + bytes(header) + pixels + profile


def _pnm(magic: str, white: int, *, num_images: int = 1) -> bytes:
    kind = ">u2" if white > 255 else "u1"
    pixels = hostile.pattern() if magic == "P6" else hostile.pattern()[..., 0]
    pixels = pixels.astype(int) * white // 255
    return f"{magic} 40 24 {white}\n".encode() + pixels.astype(kind).tobytes() + b"P6 1 1 255\n???" * (num_images - 1)


def _bmp_with_alpha() -> bytes:
    stored = np.random.default_rng(0).integers(0, 2**32, (test_other_variants.HEIGHT, test_other_variants.WIDTH))
    masks = test_other_variants.ARGB
    return test_other_variants.bmp(stored, 32, masks, np.empty((0, 3), int), 124, down=False)


def _greys() -> Image.Image:
    """A palette of greys, not in their order."""
    image = Image.fromarray(hostile.pattern()[..., 0] // 16, "P")
    image.putpalette([level for grey in range(16) for level in [255 - 16 * grey] * 3])
    return image


def _all_greys() -> Image.Image:
    return Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))


def _with_transparency(image_format: str) -> bytes:
    return hostile.saved(_rgb().quantize(16), image_format, transparency=3)


_CASES: dict[str, tuple[Callable[[], bytes], tuple[Conversion, ...]]] = {
    "jpeg": (lambda: hostile.ACCEPTED["jpeg"], ()),
    "jpeg, grey": (lambda: hostile.ACCEPTED["jpeg, grey"], (GREY,)),
    "jpeg, grey, progressive": (lambda: hostile.saved(_rgb().convert("L"), "JPEG", progressive=True), (GREY,)),
    "jpeg, RGB without YCbCr": (lambda: hostile.ACCEPTED["jpeg, RGB without YCbCr"], ()),
    "jpeg, CMYK": (lambda: hostile.ACCEPTED["jpeg, CMYK"], (COLOUR_SPACE,)),
    "jpeg, YCCK": (lambda: hostile.ACCEPTED["jpeg, YCCK"], (COLOUR_SPACE,)),
    "jpeg, turned": (lambda: hostile.with_orientation(hostile.ACCEPTED["jpeg"], 6), ()),
    "mpo": (lambda: hostile.ACCEPTED["mpo"], (FRAMES,)),
    "mpo of one": (lambda: hostile.saved(_rgb(), "MPO"), ()),
    "webp": (lambda: hostile.saved(_rgb(), "WEBP"), ()),
    "webp, lossless": (lambda: hostile.saved(_rgb(), "WEBP", lossless=True), ()),
    "webp, alpha": (lambda: hostile.saved(_rgba(), "WEBP"), (ALPHA,)),
    "webp, lossless with alpha": (lambda: hostile.saved(_rgba(), "WEBP", lossless=True), (ALPHA,)),
    "webp, animated": (lambda: _frames(_rgb(), "WEBP"), (FRAMES,)),
    "webp, animated with alpha": (lambda: _frames(_rgba(), "WEBP"), (ALPHA, FRAMES)),
    "gif": (lambda: hostile.saved(_rgb().quantize(16), "GIF"), ()),
    "gif, grey": (lambda: hostile.saved(_rgb().convert("L"), "GIF"), (GREY,)),
    "gif, grey, all 256": (lambda: hostile.saved(_all_greys(), "GIF"), (GREY,)),
    "gif, transparent": (lambda: _with_transparency("GIF"), (ALPHA,)),
    "gif, animated": (lambda: _frames(_rgb().quantize(16), "GIF"), (FRAMES,)),
    "gif, animated, comment": (lambda: _frames(_rgb().quantize(16), "GIF", comment=b"?" * 999), (FRAMES,)),
    "gif, comment": (lambda: hostile.saved(_rgb().quantize(16), "GIF", comment=b"," * 999), ()),
    "png, 2 bits": (lambda: hostile.png([b"\x1b"], (1, 4), 2, 0), (GREY,)),
    "png, palette": (lambda: hostile.saved(_rgb().quantize(16), "PNG"), ()),
    "png, palette of greys": (lambda: hostile.saved(_greys(), "PNG"), (GREY,)),
    "png, palette, transparent": (lambda: _with_transparency("PNG"), (ALPHA,)),
    "png, 16-bit colour": (lambda: hostile.ACCEPTED["png, 16-bit colour"], (BIT_DEPTH,)),
    "png, animated": (lambda: hostile.ACCEPTED["png, animated"], (FRAMES,)),
    "bmp": (lambda: hostile.saved(_rgb(), "BMP"), ()),
    "bmp, alpha": (_bmp_with_alpha, (ALPHA,)),
    "bmp, grey": (lambda: hostile.saved(_rgb().convert("L"), "BMP"), (GREY,)),
    "bmp, palette of greys": (lambda: hostile.saved(_greys(), "BMP"), (GREY,)),
    "bmp, palette": (lambda: hostile.saved(_rgb().quantize(16), "BMP"), ()),
    "bmp, 1 bit": (lambda: hostile.saved(_rgb().convert("1"), "BMP"), (GREY,)),
    "tiff": (lambda: hostile.saved(_rgb(), "TIFF"), ()),
    "tiff, two pages": (lambda: _frames(_rgb(), "TIFF"), (FRAMES,)),
    "tiff, I;16": (lambda: hostile.saved(_grey16(), "TIFF"), (BIT_DEPTH, GREY)),
    "tiff, palette of greys": (lambda: hostile.saved(_greys(), "TIFF"), (GREY,)),
    "tiff, palette": (lambda: hostile.saved(_rgb().quantize(16), "TIFF"), ()),
    "tiff, CMYK": (lambda: hostile.saved(_rgb().convert("CMYK"), "TIFF"), (COLOUR_SPACE,)),
    "tiff, L*a*b*": (lambda: hostile.saved(_rgb().convert("LAB"), "TIFF", icc_profile=None), (COLOUR_SPACE,)),
    "tiff, alpha": (lambda: hostile.saved(_rgba(), "TIFF"), (ALPHA,)),
    "pbm": (lambda: hostile.saved(_rgb().convert("1"), "PPM"), (GREY,)),
    "pgm": (lambda: _pnm("P5", 255), (GREY,)),
    "pgm, white is 100": (lambda: _pnm("P5", 100), (GREY,)),
    "pgm, white is 4095": (lambda: _pnm("P5", 4095), (BIT_DEPTH, GREY)),
    "pgm, 16 bits": (lambda: _pnm("P5", 65_535), (BIT_DEPTH, GREY)),
    "ppm": (lambda: _pnm("P6", 255), ()),
    "ppm, 16 bits": (lambda: _pnm("P6", 65_535), (BIT_DEPTH,)),
    "ppm, three images": (lambda: _pnm("P6", 255, num_images=3), (FRAMES,)),
    "pgm, 16 bits, two images": (lambda: _pnm("P5", 65_535, num_images=2), (BIT_DEPTH, GREY, FRAMES)),
    "pbm, two images": (lambda: 2 * hostile.saved(_rgb().convert("1"), "PPM"), (GREY, FRAMES)),
}


def _grey16() -> Image.Image:
    return Image.fromarray(hostile.pattern()[..., 0].astype(np.uint16) * 257)


@pytest.mark.parametrize("name", _CASES)
def test_image_is_converted_as_its_header_says(name: str) -> None:
    make, kinds = _CASES[name]
    data = make()
    assert probe(data).conversions == kinds
    pixels = decode_image(data)
    opened = Image.open(io.BytesIO(data))
    with opened:
        opened.load()
        assert (GREY in kinds) == _is_grey(pixels)
        assert (COLOUR_SPACE in kinds) == (opened.mode in {"CMYK", "LAB"})
        assert (ALPHA in kinds) == (
            not np.array_equal(pixels, np.asarray(opened.convert("RGB"))) and opened.has_transparency_data
        )
        if not name.startswith(("ppm", "pgm", "pbm")):  # Pillow knows no second image
            assert (FRAMES in kinds) == (getattr(opened, "n_frames", 1) > 1)


def test_two_byte_samples_that_differ_below_the_upper_byte_are_read_alike() -> None:
    """The header says that something may be lost; in this file it is."""
    low = np.arange(256, dtype=np.uint16).reshape(1, 256) + 0x4200
    files = (
        hostile.png16(low),
        hostile.png16(np.stack([low] * 3, axis=-1)),
        hostile.tiff(low.tobytes(), low.shape, 16),
        b"P5 256 1 65535\n" + low.astype(">u2").tobytes(),
    )
    for data in files:
        assert BIT_DEPTH in probe(data).conversions
        assert np.all(decode_image(data) == 0x42)


def test_gif_is_walked_to_its_second_frame_and_no_further() -> None:
    animated = hostile.ACCEPTED["gif, animated"]
    assert headers.has_frames_gif(animated)
    found = [headers.has_frames_gif(animated[:length]) for length in range(len(animated))]
    assert found == sorted(found), "a cut file has the frames that begin before the cut"
    assert not headers.has_frames_gif(animated[: found.index(True) - 1])
    assert not headers.has_frames_gif(b"GIF89a")


# ------------------------------------------------------------------------------------------------------------- profiles

SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
ADOBE = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))


def _s15(*values: float) -> bytes:
    return struct.pack(f">{len(values)}l", *(round(value * 65_536) for value in values))


def _para(kind: int, *values: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _s15(*values)


def _curv(*values: int) -> bytes:
    return b"curv" + bytes(4) + struct.pack(f">L{len(values)}H", len(values), *values)


def _table(size: int) -> bytes:
    x = np.linspace(0, 1, size)
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return _curv(*np.round(linear * 65_535).astype(int).tolist())


SRGB_CURVE = _para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _profile(curve: bytes, primaries: tuple[tuple[float, ...], ...] | None = None) -> bytes:
    """Build a display profile of these curves and primaries, or of grey without primaries."""
    tags = {b"wtpt": b"XYZ " + bytes(4) + _s15(0.9642, 1.0, 0.8249)}
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {b"%cTRC" % letter: curve for letter in b"rgb"}
        tags |= {b"%cXYZ" % c: b"XYZ " + bytes(4) + _s15(*xyz) for c, xyz in zip(b"rgb", primaries, strict=True)}
    start = 132 + 12 * len(tags)
    entries, body = b"", b""
    for name, content in tags.items():
        entries += name + struct.pack(">LL", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">L4sL4s4s4s12s4s28x", start + len(body), b"lcms", 0x4200000, b"mntr", b"RGB " if primaries else b"GRAY",
        b"XYZ ", bytes(12), b"acsp",
    )  # fmt: skip
    head += _s15(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + entries + body


PROFILES = {
    "sRGB": _profile(SRGB_CURVE, SRGB),
    "sRGB, table": _profile(_table(1024), SRGB),
    "sRGB, short table": _profile(_table(64), SRGB),
    "sRGB, seven parameters": _profile(_para(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0, 0), SRGB),
    "linear": _profile(_curv(), SRGB),
    "gamma 1.8": _profile(_curv(461), SRGB),
    "gamma 2.2": _profile(_para(0, 2.2), SRGB),
    "Adobe RGB": _profile(_curv(563), ADOBE),
    "Display P3": _profile(SRGB_CURVE, P3),
    "grey, sRGB": _profile(SRGB_CURVE),
    "grey, gamma 1.8": _profile(_curv(461)),
    "grey, linear": _profile(_curv()),
    "Pillow's sRGB": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
}


def _levels_lost(profile: bytes) -> int:
    """Return the most levels by which LittleCMS would change a colour to show it as sRGB."""
    mode = "L" if profile[16:20] == b"GRAY" else "RGB"
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), axis=-1).astype(np.uint8).reshape(-1, 1, 3)
    stored = grid if mode == "RGB" else np.arange(256, dtype=np.uint8).reshape(-1, 1)
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    change = ImageCms.buildTransform(
        source, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    shown = ImageCms.applyTransform(Image.fromarray(stored), change)
    assert shown is not None
    return int(np.abs(np.asarray(shown).astype(int) - stored.reshape(len(stored), 1, -1)).max())


@pytest.mark.parametrize("name", PROFILES)
def test_profile_counts_as_srgb_if_little_cms_would_change_next_to_nothing(name: str) -> None:
    profile = PROFILES[name]
    lost = _levels_lost(profile)
    assert lost <= 4 or lost >= 7, f"{lost}: no clear case"
    assert headers.is_srgb(profile) == (lost <= 4)


def test_profile_of_tables_or_of_cmyk_is_no_srgb() -> None:
    whole = PROFILES["sRGB"]
    assert not headers.is_srgb(whole.replace(b"wtpt", b"A2B0"))
    assert not headers.is_srgb(whole.replace(b"RGB ", b"CMYK"))


def test_no_bytes_of_a_profile_are_an_error() -> None:
    rng = np.random.default_rng(0)
    for profile in PROFILES.values():
        for length in (*range(0, len(profile), 7), len(profile)):
            headers.is_srgb(profile[:length])
        for _ in range(200):
            damaged = bytearray(profile)
            for at in rng.integers(0, len(profile), 4):
                damaged[at] = rng.integers(256)
            headers.is_srgb(bytes(damaged))
    for curve in (_para(0, -1e4), _para(3, 1e4, 1e4, 1e4, 0, 0), _para(3, 2.4, -1, -1, 0, 0), _para(1, 1, 1, 1)):
        assert not headers.is_srgb(_profile(curve, SRGB))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_profile_is_ignored_and_told_unless_it_is_srgbs(image_format: str) -> None:
    def file(profile: bytes | None) -> bytes:
        if image_format == "BMP":
            return _bmp_v5(profile or b"", b"DEBM" if profile else bytes(4))
        return hostile.saved(_rgb(), image_format, **({"icc_profile": profile} if profile else {}))

    plain = decode_image(file(None))
    for name, kinds in (("sRGB", ()), ("Adobe RGB", (COLOUR_PROFILE,))):
        data = file(PROFILES[name])
        assert probe(data).conversions == kinds
        assert np.array_equal(decode_image(data), plain)


def test_profile_in_several_parts_is_told() -> None:
    data = hostile.saved(_rgb(), "JPEG", icc_profile=PROFILES["sRGB"] + bytes(100_000))
    assert probe(data).conversions == (COLOUR_PROFILE,)
    assert probe(hostile.saved(_rgb().convert("L"), "JPEG", icc_profile=PROFILES["grey, linear"])).conversions == (
        GREY,
        COLOUR_PROFILE,
    )


def test_png_profile_that_expands_without_end_costs_little() -> None:
    body = b"p\0\0" + zlib.compress(bytes(100_000_000), 1)
    data = hostile.png_chunk_inserted(hostile.saved(_rgb(), "PNG"), hostile.chunk(b"iCCP", body))
    assert probe(data).conversions == (COLOUR_PROFILE,)


def test_bmp_that_links_to_a_profile_is_told() -> None:
    assert probe(_bmp_v5(b"/profiles/a.icc\0", b"KNIL")).conversions == (COLOUR_PROFILE,)
