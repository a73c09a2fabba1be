"""From uint8 pixels to the floats a network eats: the ``normalize:`` section of a pipeline.

Samples stay uint8 on their way; normalisation is arithmetic on a finished batch, done by whoever needs floats. The
section is canonical: whatever was left out is filled in, so that its digest does not depend on how it was written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from augment.document import JSON
from augment.errors import PipelineError, Problem
from augment.spelling import did_you_mean

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""Of ImageNet's training pictures in [0, 1], red, green, blue: the constants that torchvision's models expect."""


class Normalization(Protocol):
    """How uint8 pixels become float32."""

    def canonical(self) -> dict[str, JSON]:
        """Return the section with everything filled in; ``parse`` reads it back to an equal value."""
        ...

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise uint8 (..., H, W, 3): float32 of the same shape, a new array."""
        ...


@dataclass(frozen=True, slots=True)
class Standard:
    """Standard score: ``(x / max_pixel_value - mean) / std`` for each channel.

    Computed in float64 for the 256 possible values of each channel and rounded once to float32.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    max_pixel_value: float = 255.0

    def canonical(self) -> dict[str, JSON]:
        return {
            "method": "standard",
            "mean": list(self.mean),
            "std": list(self.std),
            "max_pixel_value": self.max_pixel_value,
        }

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        levels = np.arange(256, dtype=np.float64)[:, np.newaxis] / self.max_pixel_value
        table = ((levels - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        return _look_up(table, images)


@dataclass(frozen=True, slots=True)
class MinMax:
    """Min-max of the format: ``x / 255``, so that black is 0 and white is 1. Rounded once, from float64 to float32."""

    def canonical(self) -> dict[str, JSON]:
        return {"method": "min_max"}

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        levels = np.arange(256, dtype=np.float64) / 255.0
        return _look_up(np.repeat(levels.astype(np.float32)[:, np.newaxis], 3, axis=1), images)


def parse(section: Mapping[str, Any]) -> Normalization:
    """Read a section; raises PipelineError with every problem in it, placed below ``normalize``."""
    method = section.get("method")
    if method is None:
        raise PipelineError([_problem(f"`method` is missing; write one of {_listed(_METHODS)}")])
    if not isinstance(method, str) or method not in _METHODS:
        hint = did_you_mean(method, _METHODS) if isinstance(method, str) else ""
        raise PipelineError([_problem(f"{method!r} is not a method; there are {_listed(_METHODS)}{hint}", "method")])
    return _METHODS[method]({key: value for key, value in section.items() if key != "method"})


def _standard(params: Mapping[str, Any]) -> Standard:
    problems = _unknown(params, ("mean", "std", "max_pixel_value"))
    mean = _channels(params.get("mean", IMAGENET_MEAN), "mean", problems, positive=False)
    std = _channels(params.get("std", IMAGENET_STD), "std", problems, positive=True)
    top = params.get("max_pixel_value", 255.0)
    if not _is_number(top) or not 0 < top <= _LARGEST:
        problems.append(_problem(f"{top!r} is not a number in (0, {_LARGEST:g}]; 255 is usual", "max_pixel_value"))
    if problems:
        raise PipelineError(problems)
    return Standard(mean, std, float(top))


def _min_max(params: Mapping[str, Any]) -> MinMax:
    if problems := _unknown(params, ()):
        raise PipelineError(problems)
    return MinMax()


_METHODS: Final[Mapping[str, Callable[[Mapping[str, Any]], Normalization]]] = {
    "standard": _standard,
    "min_max": _min_max,
}
_LARGEST: Final = 65_535.0
_SMALLEST_STD: Final = 1e-6


def _channels(value: object, name: str, problems: list[Problem], *, positive: bool) -> tuple[float, float, float]:
    """Read three numbers (one stands for three), or note what is wrong and return zeros."""
    numbers = [value] * 3 if _is_number(value) else value
    low = _SMALLEST_STD if positive else -_LARGEST
    if (
        isinstance(numbers, list | tuple)
        and len(numbers) == 3
        and all(_is_number(number) and low <= number <= _LARGEST for number in numbers)
    ):
        red, green, blue = (float(number) for number in numbers)
        return red, green, blue
    problems.append(_problem(f"{value!r} is not three numbers in [{low:g}, {_LARGEST:g}], one for each channel", name))
    return 0.0, 0.0, 0.0


def _problem(msg: str, *place: str) -> Problem:
    return Problem(("normalize", *place), msg)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unknown(params: Mapping[str, Any], known: Sequence[str]) -> list[Problem]:
    return [_problem(f"`{key}` is unknown here{did_you_mean(key, known)}", key) for key in params if key not in known]


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _look_up(table: NDArray[np.float32], images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Map each channel by its column of a (256, 3) table."""
    if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-1] != 3:
        raise TypeError(f"images are uint8 (..., H, W, 3), not {images.dtype} {images.shape}")
    result = np.empty(images.shape, dtype=np.float32)
    for channel in range(3):
        np.take(table[:, channel], images[..., channel], out=result[..., channel], mode="clip")
    return result
