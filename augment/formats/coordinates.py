"""Coordinates as text: how many digits are written, and what is measured on polygons."""

import math
import re
from collections.abc import Iterable, Sequence

from augment.annotations import Corners, Polygons

DECIMALS = 5
"""Pixels are written to a hundred-thousandth and read back to it: finer than float32, in which boxes are augmented,
holds them at 256 pixels (1.5e-5), and coarser than what sums and quotients of float64 lose."""


_DECIMAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


def decimal(text: str) -> float:
    """The finite number that a text says; NaN where it says none (Python itself takes ``1_0`` and ``nan`` for one)."""
    number = float(text) if _DECIMAL.fullmatch(text) else math.nan
    return number if math.isfinite(number) else math.nan


def rounded(values: Iterable[float]) -> list[float]:
    """Pixels to a hundred-thousandth; whole numbers stay whole (``3.0``), and there is no ``-0.0``."""
    return [round(float(value), DECIMALS) + 0.0 for value in values]


def polygon_area(polygon: Sequence[float]) -> float:
    """The area inside of [x, y, x, y, …], by the shoelace formula; positive where it runs clockwise on the screen."""
    xs, ys = polygon[::2], polygon[1::2]
    return sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs))) / 2


def enclosing(polygons: Polygons) -> Corners:
    """The box around all of these polygons."""
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)
