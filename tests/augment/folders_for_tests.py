"""Folders of small images, and of files that are not images."""

import io
import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from augment.formats import files
from augment.formats.format import Format, Listing
from augment.formats.tree import Tree

LONG_AGO_S = 1_000_000_000
"""A time of modification that no scan doubts."""


def pattern(shade: int = 0, *, height: int = 8, width: int = 8, image_format: str = "png") -> bytes:
    """Return an encoded image of one shade; different shades have different bytes of equal number."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (shade % 256, shade // 256 % 256, 255)).save(file, image_format)
    return file.getvalue()


def lay(root: Path, contents: Mapping[str, bytes | None]) -> Path:
    """Write files below ``root``, long ago; None is an empty folder."""
    root.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        path = root / name
        if data is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    return root


def lay_images(root: Path, *names: str) -> Path:
    """Write images of different shades."""
    return lay(root, {name: pattern(shade) for shade, name in enumerate(names)})


def grown(root: Path) -> Tree:
    """The names of all files below a folder."""
    return files.grow(root, Listing())


def listed(chosen: Format, root: Path) -> Listing:
    """Return the listing of a folder by a format."""
    listing = Listing()
    chosen.find(grown(root), listing)
    return listing


@contextmanager
def as_nobody() -> Iterator[None]:
    """Drop the privileges that make every file readable, if there are any."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Make this process unable to open further files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
