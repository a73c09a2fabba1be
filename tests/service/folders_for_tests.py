"""Folders of small images, and the type of the fixture that starts a service."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

Run = Callable[..., TestClient]
"""Function that starts a service with these settings; it ends with the test."""


def pattern(seed: int, size: tuple[int, int] = (24, 32)) -> NDArray[np.uint8]:
    """Return an image of noise, the same for the same seed."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def write_folder(root: Path, *names: str) -> Path:
    """Create a folder of different images with these names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pattern(sum(name.encode()))).save(path)
    return root
