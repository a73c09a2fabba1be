"""Checks of callers' arguments, quoted values for messages, and "did you mean"; every refusal is a CallError.

A message names the argument, the value received, the limit and what to give instead. Each function returns the value
in the one form that the rest of the package knows: an ``int`` for NumPy's integer, a ``Path`` for text.
"""

import difflib
import math
import operator
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

from augment.errors import CallError

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
"""A value of a JSON document."""

T = TypeVar("T")

_SHOWN_CHARS = 60


def shown(value: object) -> str:
    """A value as it may stand in a message: one line, not long, always encodable."""
    try:
        text = " ".join(ascii(value).split()) if not isinstance(value, str) else repr(value)
    except Exception:  # noqa: BLE001 - a stranger's __repr__ may do anything, and the message must be written all the same
        text = f"a {type(value).__name__}"
    text = text.encode("ascii", "backslashreplace").decode() if not text.isprintable() else text
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


def integer(name: str, value: object, least: int, most: int | None = None) -> int:
    """An integer of Python's or NumPy's, both ends included; not 1.0 nor True, which are other things than 1."""
    number: int | None = None
    if not isinstance(value, bool) and type(value).__name__ not in {"bool", "bool_"}:
        try:
            number = operator.index(value)  # type: ignore[arg-type]  # what it is, is the question
        except TypeError:
            number = None
    if number is None or number < least or (most is not None and number > most):
        limit = f"of at least {least}" if most is None else f"in [{least}, {most}]"
        raise CallError(f"{name} is {shown(value)}; it must be an integer {limit}")
    return number


def seconds(name: str, value: object) -> float:
    """A number of seconds above 0."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise CallError(f"{name} is {shown(value)}; give a number of seconds above 0")


def flag(name: str, value: object) -> bool:
    """True or False, of Python's or NumPy's."""
    if isinstance(value, bool) or type(value).__name__ in {"bool", "bool_"}:
        return bool(value)
    raise CallError(f"{name} is {shown(value)}; it must be True or False")


def text(name: str, value: object, what: str = "text that UTF-8 can hold") -> str:
    """Text without half a character; ``what`` says what it is to be."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise CallError(f"{name} is {shown(value)}; it must be {what}")


def path(name: str, value: object, what: str = "the path of a folder") -> Path:
    """A path as text or as pathlib has it; not an empty one, which would be the folder one is in."""
    if isinstance(value, str | os.PathLike):
        given = os.fspath(value)
        if isinstance(given, str) and given and "\0" not in given:
            return Path(given)
    raise CallError(f"{name} is {shown(value)}; it must be {what}, as text or as a pathlib.Path")


def instance(name: str, value: object, kind: type[T], remedy: str) -> T:
    """An object of the package's own; ``remedy`` says how to come by one."""
    if isinstance(value, kind):
        return value
    raise CallError(f"{name} is {shown(value)}; {remedy}")


def many(name: str, values: Iterable[T]) -> Iterable[T]:
    """Something with elements, and not text, whose elements are letters."""
    given: object = values
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return values
    raise CallError(f"{name} is {shown(given)}; give a list")


def workers(name: str, value: Any) -> Any:
    """Workers, or None; not their number, which says nothing of who ends them."""
    if value is None or (callable(getattr(value, "submit", None)) and hasattr(value, "num_workers")):
        return value
    number = value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else ""
    raise CallError(
        f"{name} is {shown(value)}; give augment.LocalWorkers({number}), or None to render in this very process"
    )


def function(name: str, value: Callable[..., T] | None) -> Callable[..., T] | None:
    """Something that can be called, or None."""
    if value is None or callable(value):
        return value
    raise CallError(f"{name} is {shown(value)}; it must be a function, or None")


LONGEST: Final = 64
"""Longer words are no misspelling, and comparing them takes the square of their length."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``'; did you mean `Word`?'``, or an empty string where nothing known is near.

    Upper and lower case do not count, nor do ``-`` and ``_``: ``horizontal_flip`` is near ``HorizontalFlip``.
    """
    if len(word) > LONGEST:
        return ""
    by_plain_form = {_plain(candidate): candidate for candidate in known}
    nearest = difflib.get_close_matches(_plain(word), by_plain_form, n=1, cutoff=0.7)
    return f"; did you mean `{by_plain_form[nearest[0]]}`?" if nearest else ""


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
