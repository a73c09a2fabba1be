"""Encoder of pixels as JPEG, PNG or WebP. The same pixels, format and quality give the same bytes.

Each format's other settings are fixed here, so that a user only chooses ``quality``; ``python -m bench.codecs FOLDER``
measures them on the photographs of a folder.

- JPEG with 4:2:0 chroma, as Pillow, OpenCV and torchvision write by default; by simplejpeg, a fifth faster than Pillow.
- PNG with zlib's run-length strategy, OpenCV's default: a third of the time of Pillow's default for 3 % more bytes.
  Always exact; ``quality`` has no meaning for it.
- WebP, lossy, by method 2: half the time of Pillow's default (4) for equal size.
"""

import difflib
import io
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from augment import validation
from augment.errors import CallError, Reason, RecordError
from augment.images import pillow
from augment.samples.inputs import as_image

EXTENSIONS: Mapping[str, str] = MappingProxyType({"jpeg": "jpg", "png": "png", "webp": "webp"})
"""The formats that are written, and the extensions of their files."""

DEFAULT_QUALITY = validation.DEFAULT_QUALITY

_LOSSY = frozenset({"jpeg", "webp"})


def format_like(encoding: str) -> str:
    """Return the format for copies of an original with this ``decode.encoding``: its own if lossy, else PNG."""
    return encoding if encoding in _LOSSY else "png"


# The longest side that each encoder takes: libjpeg's JPEG_MAX_DIMENSION, libwebp's WEBP_MAX_DIMENSION, 31 bits in PNG.
_MAX_SIDE_PX = {"jpeg": 65_500, "png": 2**31 - 1, "webp": 16_383}
_WEBP_METHOD = 2


def encode_image(image: NDArray[np.uint8], image_format: str, quality: int = DEFAULT_QUALITY) -> bytes:
    """Encode uint8 (H, W, 3) RGB without changing it; safe to call from many threads.

    ``quality`` is 1 to 100. Raises CallError for an unknown format or a quality outside that range, and RecordError
    (``not_renderable``, with an empty key) for an image longer than the format allows.
    """
    check_options(image_format, quality)
    quality = int(quality)
    pixels = np.ascontiguousarray(as_image(image))
    height, width = pixels.shape[:2]
    limit = _MAX_SIDE_PX[image_format]
    if max(height, width) > limit:
        raise RecordError(
            "",
            Reason.NOT_RENDERABLE,
            f"{width}x{height} pixels: a side of a {image_format} file has at most {limit}; "
            "choose another image format or add a transform that resizes",
        )
    if image_format == "jpeg":
        jpeg: bytes = simplejpeg.encode_jpeg(pixels, quality, colorspace="RGB", colorsubsampling="420")
        return jpeg
    pillow_image = Image.fromarray(pixels)
    if image_format == "png":
        return pillow.save_png(pillow_image)
    out = io.BytesIO()
    pillow_image.save(out, "WEBP", quality=quality, method=_WEBP_METHOD)
    return out.getvalue()


def check_options(image_format: str, quality: int = DEFAULT_QUALITY) -> None:
    """Raise CallError unless ``encode_image`` accepts these options."""
    validation.text("image_format", image_format, f"one of {', '.join(EXTENSIONS)}")
    if image_format not in EXTENSIONS:
        near = difflib.get_close_matches(image_format.lower(), [*EXTENSIONS, *EXTENSIONS.values()], n=1)
        known = {extension: name for name, extension in EXTENSIONS.items()}
        hint = f"; did you mean {known.get(near[0], near[0])!r}?" if near else ""
        raise CallError(f"image_format is {image_format!r}; it is one of {', '.join(EXTENSIONS)}{hint}")
    validation.integer("quality", quality, 1, 100)
