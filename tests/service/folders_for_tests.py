"""Folders of small images, and what tests call the fixture that starts a service."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

Run = Callable[..., TestClient]
"""Starts a service with these settings; it ends with the test."""


def pattern(seed: int, size: tuple[int, int] = (24, 32)) -> NDArray[np.uint8]:
    """An image of noise, the same for the same seed."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def write_folder(root: Path, *names: str) -> Path:
    """A folder of images under these names, each another one."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pattern(sum(name.encode()))).save(path)
    return root
