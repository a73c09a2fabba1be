"""Checks of callers' arguments, quoted values for messages, and "did you mean"; every refusal is a CallError.

A message names the argument, the value received, the limit and the remedy. Each function returns the value in the form
that the rest of the package uses: an ``int`` for NumPy's integer, a ``Path`` for text.
"""

import difflib
import itertools
import json
import math
import operator
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeVar

from augment.errors import CallError, JSONError

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
"""A value of a JSON document."""

T = TypeVar("T")

MAX_QUOTED: Final = 60
"""Number of characters of a value that a message repeats."""


def escaped(text: str) -> str:
    """Return the text on one line, with every character escaped that a terminal or UTF-8 cannot show."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def abridged(text: str, most: int = MAX_QUOTED) -> str:
    """Return the text as it appears inside a message's quotes: escaped, with at most ``most`` characters."""
    text = escaped(text[: most + 1])
    return text if len(text) <= most else f"{text[: most - 1]}…"


def quoted(value: object, most: int = MAX_QUOTED) -> str:
    """Return a value as it appears in messages: Python's spelling, text in quotes, at most ``most`` characters."""
    try:
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        text = repr(value[: most + 1] if isinstance(value, str | bytes) else value)
    except Exception:  # noqa: BLE001 - a foreign __repr__ may raise anything; the message is still written
        text = f"a {type(value).__name__}"
    return abridged(text if text.isprintable() else " ".join(text.split()), most)


def quoted_json(value: object, most: int = MAX_QUOTED) -> str:
    """Return a value of a JSON or YAML document as it appears in messages: JSON's spelling, else that of ``quoted``."""
    try:
        return abridged(json.dumps(value, ensure_ascii=False), most)
    except (TypeError, ValueError, RecursionError):
        return quoted(value, most)


def option(default: T, description: str, *, output_member: str | None = None, **schema: object) -> T:
    """Return a dataclass field that describes an option; ``schema`` is for pydantic's ``Field``.

    ``output_member`` names the option's member in the object ``output`` of a request, if it belongs there.
    """
    metadata = {"description": description, "output_member": output_member, "schema": schema}
    described: T = field(default=default, metadata=metadata)
    return described


def integer(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return an integer of Python's or NumPy's, in [``least``, ``most``]; 1.0 and True are refused."""
    number: int | None = None
    if not isinstance(value, bool) and type(value).__name__ not in {"bool", "bool_"}:
        try:
            number = operator.index(value)  # type: ignore[arg-type]  # this call finds out the type
        except TypeError:
            number = None
    if number is None or number < least or (most is not None and number > most):
        limit = f"of at least {least}" if most is None else f"in [{least}, {most}]"
        raise CallError(f"{name} is {quoted(value)}; it must be an integer {limit}")
    return number


def seconds(name: str, value: object) -> float:
    """Return a number of seconds above 0, as a float."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise CallError(f"{name} is {quoted(value)}; give a number of seconds above 0")


def flag(name: str, value: object) -> bool:
    """Return True or False, of Python's or NumPy's, as a bool."""
    if isinstance(value, bool) or type(value).__name__ in {"bool", "bool_"}:
        return bool(value)
    raise CallError(f"{name} is {quoted(value)}; it must be True or False")


def text(name: str, value: object, what: str = "text that UTF-8 can hold") -> str:
    """Return text without half of a surrogate pair; ``what`` says in the message what is expected."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise CallError(f"{name} is {quoted(value)}; it must be {what}")


def path(name: str, value: object, what: str = "the path of a folder") -> Path:
    """Return a path from text or a pathlib.Path. An empty one, which means the current folder, is refused."""
    if isinstance(value, str | os.PathLike):
        given = os.fspath(value)
        if isinstance(given, str) and given and "\0" not in given:
            return Path(given)
    raise CallError(f"{name} is {quoted(value)}; it must be {what}, as text or as a pathlib.Path")


def instance(name: str, value: object, kind: type[T], remedy: str) -> T:
    """Return an object of this class; ``remedy`` tells the caller how to get one."""
    if isinstance(value, kind):
        return value
    raise CallError(f"{name} is {quoted(value)}; {remedy}")


def many(name: str, values: Iterable[T]) -> Iterable[T]:
    """Return an iterable that is not text, whose elements would be letters."""
    given: object = values
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return values
    raise CallError(f"{name} is {quoted(given)}; give a list")


def workers(name: str, value: Any) -> Any:
    """Return workers, or None. A number is refused, because nothing would end the workers it starts."""
    if value is None or (callable(getattr(value, "submit", None)) and hasattr(value, "num_workers")):
        return value
    number = value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else ""
    raise CallError(
        f"{name} is {quoted(value)}; give augment.LocalWorkers({number}), or None to render in this process"
    )


def function(name: str, value: Callable[..., T] | None) -> Callable[..., T] | None:
    """Return a callable, or None."""
    if value is None or callable(value):
        return value
    raise CallError(f"{name} is {quoted(value)}; it must be a function, or None")


SEED_MAX: Final = 2**64 - 1
"""Largest seed: the largest integer that clients in any language can hold."""

DEFAULT_QUALITY: Final = 90
"""Quality of JPEG and WebP, from 1 to 100."""

MaxFailures: TypeAlias = int | float
"""An integer is a count, a float is a fraction of all."""


@dataclass(frozen=True, slots=True)
class FailureBudget:
    """Number of failures allowed: a count, a fraction of all above 0 and below 1, or None for any number.

    Raises CallError for anything else: 1.0 could mean one or all.
    """

    max_failures: MaxFailures | None

    def __post_init__(self) -> None:
        given = self.max_failures
        if given is None or (isinstance(given, float) and 0 < given < 1):
            return
        try:
            object.__setattr__(self, "max_failures", integer("max_failures", given, 0))
        except CallError:
            told = f"max_failures is {quoted(given)}; give a count like 10, or a fraction above 0 and below 1 like 0.01"
            raise CallError(told) from None

    @classmethod
    def parse(cls, given: str) -> Self:
        """Read the budget from a command line or a query."""
        number: Any = given
        with suppress(ValueError):  # the constructor refuses the text
            number = int(given) if given.isdecimal() else float(given)
        return cls(number)

    def allows(self, num_failed: int, total: int) -> bool:
        """Return True if this many failures among ``total`` are within the budget; a fraction is rounded down."""
        if self.max_failures is None:
            return True
        is_fraction = isinstance(self.max_failures, float)
        return num_failed <= (int(self.max_failures * total) if is_fraction else self.max_failures)


MAX_JSON_DEPTH: Final = 64
"""Deepest nesting of lists and objects: a request around a pipeline, which itself has at most 48."""

MAX_JSON_INTEGER: Final = SEED_MAX
"""Largest integer accepted in a document."""

_STRING_IN_JSON: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_MAY_BE_TOO_LARGE: Final = re.compile(r"[eE]\+?[0-9]{3}|[0-9]{20}")
_MAY_BE_HALF_A_PAIR: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


class _Flaw:
    """Mark in a document for a refused value, so that its path can be found; ``key`` is a key inside the value."""

    def __init__(self, msg: str, key: str | None = None) -> None:
        self.msg, self.key = msg, key


def read_json(name: str, given: str) -> JSON:
    """Read JSON that means the same to every reader (RFC 7493). Raises JSONError with the path of the first flaw.

    Refused are duplicate keys, numbers that are not finite or beyond 2^64 - 1, half of a surrogate pair, a byte order
    mark, and more than ``MAX_JSON_DEPTH`` nested lists and objects. ``name`` is the text's name in the message. 16 MB
    of polygons take about 0.3 s longer than with ``json.loads``.
    """
    if given.startswith("\ufeff"):
        raise JSONError(name, (), "it begins with a byte order mark (U+FEFF); remove it")
    if given.count("[") + given.count("{") > MAX_JSON_DEPTH:
        brackets = re.sub(r"[^][{}]+", "", _STRING_IN_JSON.sub("", given))
        if max(itertools.accumulate(1 if each in "[{" else -1 for each in brackets), default=0) > MAX_JSON_DEPTH:
            msg = f"lists and objects are nested too deeply, more than {MAX_JSON_DEPTH} (MAX_JSON_DEPTH); flatten it"
            raise JSONError(name, (), msg)
    flaws: list[_Flaw] = []

    def flaw(msg: str, key: str | None = None) -> _Flaw:
        flaws.append(_Flaw(msg, key))
        return flaws[-1]

    def pairs(members: list[tuple[str, Any]]) -> Any:
        found = dict(members)
        if len(found) == len(members):
            return found
        twice = next(key for key, number in Counter(key for key, _ in members).items() if number > 1)
        return flaw(f"the key {quoted(twice)} appears twice in one object; keep one", twice)

    def whole(digits: str) -> Any:
        number = int(digits) if len(digits) <= len(str(MAX_JSON_INTEGER)) + 1 else None
        if number is not None and abs(number) <= MAX_JSON_INTEGER:
            return number
        return flaw(f"the number {quoted(digits)} has {len(digits)} digits; whole numbers go up to {MAX_JSON_INTEGER}")

    def real(digits: str) -> Any:
        number = float(digits)
        return (
            number if math.isfinite(number) else flaw(f"the number {quoted(digits)} is too large; write a smaller one")
        )

    numbers: dict[str, Any] = {"parse_int": whole, "parse_float": real} if _MAY_BE_TOO_LARGE.search(given) else {}
    try:
        document = json.loads(
            given,
            object_pairs_hook=pairs,
            parse_constant=lambda word: flaw(f"{word} is not a JSON number; write a number or null"),
            **numbers,
        )
    except json.JSONDecodeError as error:
        msg = f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise JSONError(name, (), msg, error.lineno) from error
    if flaws or _MAY_BE_HALF_A_PAIR.search(given):
        _refuse_first_flaw(name, document)
    found: JSON = document
    return found


def _refuse_first_flaw(name: str, document: Any) -> None:
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    half = "the text has half of a surrogate pair, which is not a character; remove it"
    while waiting:
        loc, value = waiting.pop()
        if isinstance(value, _Flaw):
            raise JSONError(name, loc if value.key is None else (*loc, value.key), value.msg)
        inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
        if any(isinstance(each, str) and _is_half(each) for each in (value, *(key for key, _ in inner))):
            raise JSONError(name, loc, half)
        waiting += [((*loc, key), each) for key, each in reversed(inner)]


def _is_half(given: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in given)


LONGEST: Final = 64
"""Length above which a word is not compared: comparing takes the square of the length."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``'; did you mean `Word`?'``, or an empty string if no known word is similar.

    Case does not count, nor do ``-`` and ``_``: ``horizontal_flip`` is near ``HorizontalFlip``.
    """
    if len(word) > LONGEST:
        return ""
    by_plain_form = {_plain(candidate): candidate for candidate in known}
    nearest = difflib.get_close_matches(_plain(word), by_plain_form, n=1, cutoff=0.7)
    return f"; did you mean `{by_plain_form[nearest[0]]}`?" if nearest else ""


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
