"""Cost of transforms, ours and Albumentations' own: ``python -m bench.transforms``, ``--every`` for all of them.

Processor microseconds of one call on a uint8 photograph of 224 x 224 in one thread: the median of calls that take
turns, with the same draws on both sides. A transform that replaces no other is measured alone.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from skimage import data

from augment import transforms
from augment.transforms.albumentations_import import A, cv2, disable_ipp, use_one_thread
from augment.transforms.catalogue import ParamsError, catalogue, fill, transform_class
from augment.transforms.entry import MissingTargetError

# ruff: noqa: T201 - a benchmark prints


SIDE_PX: Final = 224
SECONDS: Final = 1.0
"""Time for one transform; at most ``CALLS`` on each side, at least three."""
CALLS: Final = 300

NEEDED: Final[Mapping[str, Mapping[str, Any]]] = {
    "CenterCrop": {"height": 192, "width": 192},
    "Crop": {"x_min": 16, "y_min": 16, "x_max": 208, "y_max": 208},
    "CropAndPad": {"px": [-16, 16]},
    "LongestMaxSize": {"max_size": 200},
    "PadIfNeeded": {"min_height": 256, "min_width": 256},
    "RandomCrop": {"height": 192, "width": 192},
    "RandomResizedCrop": {"size": [224, 224]},
    "RandomSizedCrop": {"min_max_height": [100, 200], "size": [224, 224]},
    "Resize": {"height": 200, "width": 200},
    "SmallestMaxSize": {"max_size": 200},
    "XYMasking": {"num_masks_x": 2, "num_masks_y": 1, "mask_x_length": [10, 40], "mask_y_length": [10, 40]},
}
"""Parameters that are required; the others have their defaults."""


def measure(sides: Sequence[Callable[[], object]]) -> list[float]:
    """Return the median processor microseconds per call of sides that take turns."""
    for side in sides:
        side()
    spent: list[list[float]] = [[] for _ in sides]
    end = time.perf_counter() + SECONDS
    while len(spent[0]) < 3 or (len(spent[0]) < CALLS and time.perf_counter() < end):
        for side, times in zip(sides, spent, strict=True):
            start = time.process_time_ns()
            side()
            times.append((time.process_time_ns() - start) / 1_000)
    return [statistics.median(times) for times in spent]


def side_of(cls: Any, params: Mapping[str, Any], image: np.ndarray) -> Callable[[], object]:
    """Return a call that draws anew each time, and ends with contiguous pixels as the engine requires."""
    transform = cls(**params)
    transform.set_random_seed(0)
    return lambda: np.ascontiguousarray(transform(image=image)["image"])


def rows(*, every: bool) -> list[tuple[str, float | None, float]]:
    """Return each transform with the time of the original, if ours replaces one, and that of the catalogue's."""
    photograph: np.ndarray = data.astronaut()
    image = cv2.resize(photograph, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    found: list[tuple[str, float | None, float]] = []
    for name, info in catalogue().items():
        if info.container or info.donors or info.references or info.requires:
            continue
        cls = transform_class(name)
        replaces = cls.__module__.startswith(f"{transforms.__name__}.") and hasattr(A, name)
        if not (every or replaces):
            continue
        try:
            params = fill(name, {"p": 1.0, **NEEDED.get(name, {})})
            ours = side_of(cls, params, image)
            if replaces:
                before, after = measure([side_of(getattr(A, name), params, image), ours])
                found.append((name, before, after))
            else:
                found.append((name, None, measure([ours])[0]))
        except (ParamsError, ValueError, MissingTargetError):
            continue  # it needs more targets than an image
    return sorted(found, key=lambda row: -(row[1] or row[2]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.transforms", description=__doc__)
    parser.add_argument("--every", action="store_true", help="also those that are Albumentations' own")
    given = parser.parse_args()
    use_one_thread()
    disable_ipp()
    warnings.simplefilter("ignore")  # two transforms warn whenever they are built
    print("| transform | Albumentations, µs | ours, µs | times faster |\n|---|---|---|---|")
    for name, before, after in rows(every=given.every):
        if before is None:
            print(f"| {name} | {after:,.0f} | | |")
        else:
            print(f"| {name} | {before:,.0f} | {after:,.0f} | {before / after:.1f} |")


if __name__ == "__main__":
    main()
