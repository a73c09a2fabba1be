"""Cost of normalising a batch compared with a plain cast to floats: ``python -m bench.floats``.

64 images of 224 x 224: milliseconds, the best of some passes, which a busy machine disturbs least, and the ratio to
NumPy's own cast of the same pixels into new memory, channels first.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from augment.normalize.pixel_format import convert
from augment.normalize.section import parse

# ruff: noqa: T201 - a benchmark prints


PASSES = 15
SECTIONS = (
    {"method": "standard", "statistics": "imagenet"},
    {"method": "min_max", "input": "image"},
    {"method": "standard", "statistics": "image"},
)


def main() -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), np.uint8)

    def cast() -> None:
        floats = np.empty((64, 3, 224, 224), np.float32)
        np.copyto(floats, images.transpose(0, 3, 1, 2))

    floor = _best(cast)
    print(f"{'cast to float32 NCHW':50} {floor:6.1f} ms")
    for section in SECTIONS:
        method = parse(section)
        for dtype in ("float32", "float16"):
            for layout in ("NCHW", "NHWC"):
                took = _best(partial(convert, images, method, dtype, layout))
                name = f"{' '.join(section.values())} {dtype} {layout}"
                print(f"{name:50} {took:6.1f} ms {took / floor:6.2f}")


def _best(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(PASSES):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


if __name__ == "__main__":
    main()
