"""Curves of docs/normalisation.md: ``python -m tests.curves docs/images/normalisation.png``."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from augment.normalize.images import normalize_images

SPREAD = (
    ("min_max", {"method": "min_max"}),
    ("log", {"method": "log"}),
    ("gamma, 2.2", {"method": "gamma"}),
    ("gamma, 1/2.2", {"method": "gamma", "gamma": 1 / 2.2}),
)
NUMBERS = {"mean": 0.4, "std": 0.12}
TAILS = (
    ("standard", {"method": "standard", **NUMBERS}),
    ("tanh", {"method": "tanh", **NUMBERS}),
    ("arctan", {"method": "arctan", **NUMBERS}),
    ("min_max, [-1, 1]", {"method": "min_max", "output": [-1, 1]}),
)
LEVELS = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 256, 1), 3, axis=2)


def draw(path: Path) -> None:
    """Draw both plots in one image."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _curves(left, SPREAD, "from black to white, in [0, 1]")
    _curves(right, TAILS, "around a mean of 0.4 with a deviation of 0.12")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _curves(axes: Axes, methods: Sequence[tuple[str, Mapping[str, Any]]], title: str) -> None:
    for name, section in methods:
        axes.plot(np.arange(256), normalize_images(LEVELS, section)[0, :, 0], label=name)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("value of a pixel", fontsize=9)
    axes.set_xlim(0, 255)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
