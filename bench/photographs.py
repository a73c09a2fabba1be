"""Folders of photographs for the cases, made of the user's: as many as a case needs, no two of them equal."""

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from bench.work import Work

NUM_CLASSES = 4
LARGE = (4032, 3024)
"""A phone's photograph: 12 megapixels."""
_NUM_LARGE = 24

TAKEN_S = 1_577_836_800
"""When the files say that they were written (2020): of files as young as the scan, the service hashes every read."""


def jpegs_in(folder: Path) -> list[Path]:
    """The JPEG files below a folder, in order; ValueError where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"} and path.is_file())
    if not found:
        raise ValueError(f"{folder} holds no JPEG file; give a folder of photographs")
    return found


def lay_down(source: Path, into: Path, work: Work) -> None:
    """As many photographs as an epoch of the work needs, in class folders: the user's, in rounds if they are too few.

    Each file gets a comment of its own (a COM segment, ITU-T T.81 B.2.4.5), so that no cache takes two for one.
    """
    _write(jpegs_in(source), into, work.num_images)


def lay_down_large(source: Path, into: Path, work: Work) -> None:
    """Photographs of 12 megapixels: some of the user's, resized up by Pillow (Lanczos) and saved at quality 90."""
    large = into.with_name(f"{into.name}-originals")
    large.mkdir()
    made = []
    for number, path in enumerate(jpegs_in(source)[:_NUM_LARGE]):
        with Image.open(path) as image:
            size = LARGE if image.width >= image.height else LARGE[::-1]
            made.append(large / f"{number:02d}.jpg")
            image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(made[-1], quality=90)
    _write(made, into, work.num_images)


def describe(folder: Path) -> dict[str, object]:
    """What is measured on, for the report: how many, how large, and a digest of their bytes in the order of names."""
    digest = hashlib.sha256()
    sizes, num_bytes = [], 0
    for path in jpegs_in(folder):
        data = path.read_bytes()
        digest.update(data)
        num_bytes += len(data)
        with Image.open(path) as image:
            sizes.append(image.width * image.height)
    return {
        "num_files": len(sizes),
        "mean_kilobytes": round(num_bytes / len(sizes) / 1000),
        "median_megapixels": round(sorted(sizes)[len(sizes) // 2] / 1e6, 2),
        "sha256": digest.hexdigest(),
    }


def _write(files: list[Path], into: Path, num: int) -> None:
    for number, data in _numbered(files, num):
        path = into / f"class-{number % NUM_CLASSES}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (TAKEN_S, TAKEN_S))
    os.sync()  # what is still written while the first run is measured would be charged to nobody


def _numbered(files: list[Path], num: int) -> Iterator[tuple[int, bytes]]:
    for number in range(num):
        data = files[number % len(files)].read_bytes()
        comment = f"image {number}".encode()
        segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
        yield number, data[:2] + segment + data[2:]
