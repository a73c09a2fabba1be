"""Cost of decoding and encoding a folder's photographs, side by side: ``python -m bench.codecs FOLDER``.

Prints for each codec processor milliseconds per megapixel (the best of some passes, which a busy machine disturbs
least), kilobytes per megapixel for encoders, and if simplejpeg and Pillow decode the same pixels.
"""

import argparse
import functools
import io
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from augment.errors import RecordError
from augment.images import pillow
from augment.images.decode import DEFAULT_MAX_PIXELS, decode_image, probe
from augment.images.encode import EXTENSIONS, encode_image

# ruff: noqa: T201 - a benchmark prints


T = TypeVar("T")
PASSES = 5


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--max-files", type=int, default=50)
    options = arguments.parse_args()
    encoded = _photographs(options.folder, options.max_files)
    if not encoded:
        arguments.error(f"{options.folder} holds no image that decodes")
    images = [decode_image(data) for data in encoded]
    megapixels = sum(image.shape[0] * image.shape[1] for image in images) / 1e6
    print(f"{len(images)} images, {megapixels:.1f} megapixels")

    jpegs = [encode_image(image, "jpeg") for image in images]
    same = all(np.array_equal(simplejpeg.decode_jpeg(data), _by_pillow(data)) for data in jpegs)
    print(f"simplejpeg and Pillow decode the same pixels: {same}\n")
    _line("probe", megapixels, encoded, probe)
    _line("decode", megapixels, jpegs, decode_image)
    for num_eighths in (4, 2, 1):
        _line(f"decode to {num_eighths}/8", megapixels, jpegs, _reduced(num_eighths))
    _line("decode, Pillow", megapixels, jpegs, _by_pillow)
    print()
    for name in EXTENSIONS:
        _line(name, megapixels, images, functools.partial(encode_image, image_format=name))
    _line("jpeg, Pillow", megapixels, images, _saved("JPEG", quality=90))
    for level in (1, 6):
        _line(f"png, Pillow, level {level}", megapixels, images, _saved("PNG", compress_level=level))
    rle: dict[str, Any] = {"compress_level": 6, "compress_type": zlib.Z_RLE}
    _line("png, Pillow, level 6, RLE", megapixels, images, _saved("PNG", **rle))
    for method in (0, 2, 4, 6):
        _line(f"webp, Pillow, method {method}", megapixels, images, _saved("WEBP", quality=90, method=method))


def _photographs(folder: Path, max_files: int) -> list[bytes]:
    found: list[bytes] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        try:
            decode_image(data)
        except RecordError:
            continue
        found.append(data)
        if len(found) == max_files:
            break
    return found


def _line(name: str, megapixels: float, inputs: Sequence[T], work: Callable[[T], object]) -> None:
    best = float("inf")
    num_bytes = 0
    for _ in range(PASSES):
        start = time.process_time()
        outputs = [work(each) for each in inputs]
        best = min(best, time.process_time() - start)
        num_bytes = sum(len(each) for each in outputs if isinstance(each, bytes))
    size = f"{num_bytes / 1e3 / megapixels:9.1f} kB/MP" if num_bytes else ""
    print(f"{name:28} {best * 1e3 / megapixels:9.3f} ms/MP{size}")


def _by_pillow(data: bytes) -> NDArray[np.uint8]:
    return pillow.load_rgb(pillow.open_image(data, "jpeg", DEFAULT_MAX_PIXELS))


def _reduced(num_eighths: int) -> Callable[[bytes], NDArray[np.uint8]]:
    return lambda data: decode_image(data, eighths=lambda height, width: num_eighths)  # noqa: ARG005 - same for all


def _saved(image_format: str, **options: Any) -> Callable[[NDArray[np.uint8]], bytes]:
    def save(image: NDArray[np.uint8]) -> bytes:
        out = io.BytesIO()
        Image.fromarray(image).save(out, image_format, **options)
        return out.getvalue()

    return save


if __name__ == "__main__":
    main()
