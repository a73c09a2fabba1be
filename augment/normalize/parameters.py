"""Parameters of a ``normalize:`` section, read with all problems collected, and the named statistics.

Named means and deviations are of red, green and blue, of values in [0, 1], over all pixels of a dataset. They are
copied from their sources, not computed: training from published weights needs the numbers of that training.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar

from augment import validation
from augment.errors import PipelineError, Problem
from augment.validation import abridged, did_you_mean

T = TypeVar("T")

Channels: TypeAlias = tuple[float, float, float]

DATASET: Final = "dataset"
"""Statistics of the split that is trained on, known when a stream is declared."""
IMAGE: Final = "image"
"""Statistics of each image, all channels together."""
IMAGE_CHANNELS: Final = "image_channels"
"""Statistics of each channel of each image."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation, with their source."""

    mean: Channels
    std: Channels
    source: str


NAMED: Final[Mapping[str, Statistics]] = MappingProxyType(
    {
        "imagenet": Statistics(
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
            "torchvision, what its models expect; huggingface/pytorch-image-models, timm/data/constants.py",
        ),
        "inception": Statistics(
            (0.5, 0.5, 0.5),
            (0.5, 0.5, 0.5),
            "huggingface/pytorch-image-models, timm/data/constants.py: IMAGENET_INCEPTION_MEAN, _STD",
        ),
        "clip": Statistics(
            (0.48145466, 0.4578275, 0.40821073),
            (0.26862954, 0.26130258, 0.27577711),
            "huggingface/pytorch-image-models, timm/data/constants.py: OPENAI_CLIP_MEAN, _STD",
        ),
        "cifar10": Statistics(
            (0.4914, 0.4822, 0.4465),
            (0.2470, 0.2435, 0.2616),
            "KellerJordan/cifar10-airbench, airbench94.py: over all pixels of the training images. The 0.2023, "
            "0.1994, 0.2010 of many scripts is a mean of the images' own deviations, another quantity",
        ),
        "cifar100": Statistics(
            (0.5071, 0.4865, 0.4409),
            (0.2673, 0.2564, 0.2762),
            "weiaicunzai/pytorch-cifar100, conf/global_settings.py, rounded to four digits",
        ),
        "svhn": Statistics(
            (0.4377, 0.4438, 0.4728),
            (0.1980, 0.2010, 0.1970),
            "VICO-UoE/DatasetCondensation, utils.py",
        ),
        "mnist": Statistics(
            (0.1307, 0.1307, 0.1307),
            (0.3081, 0.3081, 0.3081),
            "pytorch/examples, mnist/main.py; grey, so the same three times",
        ),
    }
)


LARGEST: Final = 65_535.0
"""Greatest number in a section: the white of 16 bits."""
SMALLEST_STD: Final = 1e-6


def problem(msg: str, *place: str) -> Problem:
    """Make a problem located below ``normalize``."""
    return Problem(("normalize", *place), msg)


def listed(names: Iterable[str]) -> str:
    """Join names in backticks."""
    return ", ".join(f"`{name}`" for name in names)


class Reader:
    """Reader of one section's parameters. It notes an invalid value and uses the default instead."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._known: list[str] = []
        self._problems: list[Problem] = []

    def wrong(self, msg: str, name: str) -> None:
        """Note a problem with a parameter."""
        self._problems.append(problem(msg, name))

    def close(self) -> None:
        """Raise PipelineError with all problems, including unknown parameters."""
        for name in self._params:
            if name not in self._known:
                hint = did_you_mean(str(name), self._known) or f"; use {listed(self._known)}"
                self.wrong(f"`{abridged(str(name))}` is unknown here{hint}", str(name))
        if self._problems:
            raise PipelineError(self._problems)

    def allow(self, name: str) -> None:
        """Accept a parameter that is null and therefore not read."""
        self._known.append(name)

    def absent(self, names: Sequence[str], other: str) -> None:
        """Note a problem for each of these parameters that is given although it has no effect with ``other``."""
        for name in names:
            self._known.append(name)
            if name in self._params:
                self.wrong(f"`{name}` has no effect with `{other}`; leave one of them out", name)

    def number(
        self, name: str, default: float, low: float, high: float, *, above: bool = False, hint: str = ""
    ) -> float:
        """Read a number in [low, high], or in (low, high] if ``above`` is True."""
        value, opening = self._take(name, default), "(" if above else "["
        if _is_number(value) and (low < value if above else low <= value) and value <= high:
            return float(value)
        return self._refuse(name, value, f"a number in {opening}{low:g}, {high:g}]{hint}", default)

    def channels(self, name: str, default: Channels, low: float) -> Channels:
        """Read three numbers of at least ``low``, one for each channel, or one number for all."""
        value = self._take(name, default)
        numbers = [value] * 3 if _is_number(value) else value
        if _is_numbers(numbers, 3) and all(low <= number <= LARGEST for number in numbers):
            red, green, blue = (float(number) for number in numbers)
            return red, green, blue
        return self._refuse(name, value, f"three numbers in [{low:g}, {LARGEST:g}], one for each channel", default)

    def interval(self, name: str, default: tuple[float, float]) -> tuple[float, float]:
        """Read two numbers, the lower first."""
        value = self._take(name, default)
        if _is_numbers(value, 2) and -LARGEST <= value[0] < value[1] <= LARGEST:
            return float(value[0]), float(value[1])
        return self._refuse(name, value, f"two numbers in [{-LARGEST:g}, {LARGEST:g}], the lower first", default)

    def word(self, name: str, words: Sequence[str]) -> str | None:
        """Read one of these words, or None if the parameter is missing."""
        value = self._take(name, None)
        if value is None or (isinstance(value, str) and value in words):
            return value
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        return self._refuse(name, value, f"one of {listed(words)}{hint}", None)

    def flag(self, name: str, *, default: bool) -> bool:
        """Read true or false."""
        value = self._take(name, default)
        return value if isinstance(value, bool) else self._refuse(name, value, "true or false", default)

    def statistics(
        self, mean: Channels, std: Channels, measured: Sequence[str] = (DATASET,)
    ) -> tuple[Channels, Channels] | str:
        """Read mean and deviation, named or given as ``mean`` and ``std``, or return one of the words ``measured``."""
        word = self.word("statistics", (*NAMED, *measured))
        if word is None:
            return self.channels("mean", mean, -LARGEST), self.channels("std", std, SMALLEST_STD)
        self.absent(("mean", "std"), f"statistics: {word}")
        return (NAMED[word].mean, NAMED[word].std) if word in NAMED else word

    def is_text(self, name: str) -> bool:
        """Return True if a parameter is a text."""
        return isinstance(self._params.get(name), str)

    def is_given(self, name: str) -> bool:
        """Return True if a parameter is given and not null."""
        return self._params.get(name) is not None

    def _refuse(self, name: str, value: object, expected: str, default: T) -> T:
        self.wrong(f"{validation.quoted(value)} is not {expected}", name)
        return default

    def _take(self, name: str, default: Any) -> Any:
        self._known.append(name)
        value = self._params.get(name)
        return default if value is None else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_numbers(value: object, number: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == number and all(map(_is_number, value))
