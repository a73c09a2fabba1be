"""Reads the parameters of a section one by one and keeps what is wrong with each."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from augment import arguments
from augment.errors import PipelineError, Problem
from augment.normalize.statistics import DATASET, NAMED, Channels
from augment.spelling import did_you_mean

LARGEST: Final = 65_535.0
"""The greatest number in a section: white of 16 bits, beyond which nobody counts."""
SMALLEST_STD: Final = 1e-6


def problem(msg: str, *place: str) -> Problem:
    """A problem at a place below ``normalize``."""
    return Problem(("normalize", *place), msg)


def listed(names: Iterable[str]) -> str:
    """Names in backticks."""
    return ", ".join(f"`{name}`" for name in names)


class Reader:
    """The parameters of one section. A value that is wrong is noted, and the default taken in its place."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._known: list[str] = []
        self._problems: list[Problem] = []

    def wrong(self, msg: str, name: str) -> None:
        """Note what is wrong with a parameter."""
        self._problems.append(problem(msg, name))

    def close(self) -> None:
        """Raise PipelineError with all that was wrong, parameters that nobody asked for among it."""
        for name in self._params:
            if name not in self._known:
                hint = did_you_mean(str(name), self._known) or f"; there are {listed(self._known)}"
                self.wrong(f"`{str(name)[:100]}` is unknown here{hint}", str(name))
        if self._problems:
            raise PipelineError(self._problems)

    def allow(self, name: str) -> None:
        """A parameter that is not read may be there, being null."""
        self._known.append(name)

    def absent(self, names: Sequence[str], beside: str) -> None:
        """Note each of these parameters that is there, although it means nothing beside what is."""
        for name in names:
            self._known.append(name)
            if name in self._params:
                self.wrong(f"`{name}` means nothing beside `{beside}`; leave one of them out", name)

    def number(
        self, name: str, default: float, low: float, high: float, *, above: bool = False, hint: str = ""
    ) -> float:
        """A number in [low, high], or in (low, high] where it must lie ``above``."""
        value = self._take(name, default)
        if _is_number(value) and (low < value if above else low <= value) and value <= high:
            return float(value)
        opening = "(" if above else "["
        self.wrong(f"{arguments.shown(value)} is not a number in {opening}{low:g}, {high:g}]{hint}", name)
        return default

    def channels(self, name: str, default: Channels, low: float) -> Channels:
        """Three numbers from ``low``, one for each channel; one stands for three."""
        value = self._take(name, default)
        numbers = [value] * 3 if _is_number(value) else value
        if _is_numbers(numbers, 3) and all(low <= number <= LARGEST for number in numbers):
            red, green, blue = (float(number) for number in numbers)
            return red, green, blue
        self.wrong(
            f"{arguments.shown(value)} is not three numbers in [{low:g}, {LARGEST:g}], one for each channel", name
        )
        return default

    def interval(self, name: str, default: tuple[float, float]) -> tuple[float, float]:
        """Two numbers, the lower first."""
        value = self._take(name, default)
        if _is_numbers(value, 2) and -LARGEST <= value[0] < value[1] <= LARGEST:
            return float(value[0]), float(value[1])
        self.wrong(f"{arguments.shown(value)} is not two numbers in [{-LARGEST:g}, {LARGEST:g}], the lower first", name)
        return default

    def word(self, name: str, words: Sequence[str]) -> str | None:
        """One of some words; None where there is none."""
        value = self._take(name, None)
        if value is None or (isinstance(value, str) and value in words):
            return value
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        self.wrong(f"{arguments.shown(value)} is not one of {listed(words)}{hint}", name)
        return None

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._take(name, default)
        if isinstance(value, bool):
            return value
        self.wrong(f"{arguments.shown(value)} is not true or false", name)
        return default

    def statistics(
        self, mean: Channels, std: Channels, measured: Sequence[str] = (DATASET,)
    ) -> tuple[Channels, Channels] | str:
        """Mean and deviation as named, or as ``mean`` and ``std`` say; or one of the words ``measured``."""
        word = self.word("statistics", (*NAMED, *measured))
        if word is None:
            return self.channels("mean", mean, -LARGEST), self.channels("std", std, SMALLEST_STD)
        self.absent(("mean", "std"), f"statistics: {word}")
        return (NAMED[word].mean, NAMED[word].std) if word in NAMED else word

    def is_text(self, name: str) -> bool:
        """Whether a parameter that may be of two kinds is a word."""
        return isinstance(self._params.get(name), str)

    def is_given(self, name: str) -> bool:
        """Whether a parameter is there and not null."""
        return self._params.get(name) is not None

    def _take(self, name: str, default: Any) -> Any:
        self._known.append(name)
        value = self._params.get(name)
        return default if value is None else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_numbers(value: object, number: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == number and all(map(_is_number, value))
