"""Folders of photographs for the cases, made from the user's: as many as a case needs, all different."""

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from bench.work import Work

NUM_CLASSES = 4
LARGE = (4032, 3024)
"""Size of a phone's photograph: 12 megapixels."""
_NUM_LARGE = 24

TAKEN_S = 1_577_836_800
"""Modification time of the files (2020): the service hashes every read of files as recent as the scan."""


def jpegs_in(folder: Path) -> list[Path]:
    """Return the JPEG files below a folder, in order. Raises ValueError if there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"} and path.is_file())
    if not found:
        raise ValueError(f"{folder} holds no JPEG file; give a folder of photographs")
    return found


def lay_down(source: Path, into: Path, work: Work) -> None:
    """Write the photographs of one epoch of the work into class folders: the user's, repeated if they are too few.

    Each file gets a different comment (a COM segment, ITU-T T.81 B.2.4.5), so that no cache takes two for one.
    """
    _write(jpegs_in(source), into, work.num_images)


def lay_down_large(source: Path, into: Path, work: Work) -> None:
    """Write photographs of 12 megapixels: some of the user's, enlarged by Pillow (Lanczos), at quality 90."""
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
    """Describe the photographs for the report: number, sizes, and a digest of their bytes in the order of names."""
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
    os.sync()  # pending writes would disturb the first measured run


def _numbered(files: list[Path], num: int) -> Iterator[tuple[int, bytes]]:
    for number in range(num):
        data = files[number % len(files)].read_bytes()
        comment = f"image {number}".encode()
        segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
        yield number, data[:2] + segment + data[2:]
