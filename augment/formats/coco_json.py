"""COCO's JSON, read strictly and element by element: what it holds is looked at where it stands, never all at once.

A file of a million annotations is some 450 MB of text, and five times that as objects of Python. Here the text stays,
the elements of the long lists come one after another with their place in it, and each is read again when its picture's
turn comes (``element``). Strictly: UTF-8, one object outside, no name twice in one object, no NaN and no infinity,
whole numbers of at most 18 digits, nothing behind the end.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from augment import keys
from augment.errors import DatasetError
from augment.formats import files
from augment.formats.tree import Tree

MAX_BYTES = 2 * 2**30
"""Of one file; LVIS, the largest in wide use, has 1.1 GB."""

_MAX_DIGITS = 18
_HEAD_BYTES = 64 * 2**10
_SPACE = re.compile(r"[ \t\n\r]*")
_LOOKS_LIKE = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')


class Element(NamedTuple):
    """A member of the object outside, or one element of a member that is a list.

    ``start`` is its place in the text; None says that the list begins.
    """

    member: str
    start: int | None
    value: Any = None


class _NotStrictError(ValueError):
    """Something that Python's reader would accept."""


def looks_like(path: Path) -> bool:
    """Whether the beginning of a file could be COCO's."""
    head = files.head(path, _HEAD_BYTES)
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and _LOOKS_LIKE.search(head) is not None


def read_text(files: Tree, path: str) -> str:
    """The text of one of the files. Raises DatasetError, StorageError."""
    try:
        return files.read_text(path, max_bytes=MAX_BYTES)
    except ValueError as error:
        raise DatasetError(str(error)) from error


def elements(text: str, name: str, lists: Collection[str]) -> Iterator[Element]:
    """Every member of the object outside; of those called as in ``lists`` each element of the list that they are.

    Raises DatasetError with line and column where the text is not strict JSON or such a member is no list.
    """
    seen: set[str] = set()
    at = _expect(text, name, 0, "{", "an object,")
    while not seen or text[at : at + 1] == ",":
        at = _skip(text, at + 1 if seen else at)
        if not seen and text[at : at + 1] == "}":
            break
        start = at
        member, at = _decoded(text, name, start)
        if not isinstance(member, str):
            _refuse(text, name, start, "a name in quotes should stand here")
        if member in seen:
            _refuse(text, name, start, f"{_shown(member)} is written twice; keep one")
        seen.add(member)
        at = _expect(text, name, at, ":", "a colon")
        if member in lists:
            at = _expect(text, name, at, "[", f"the list {member},")
            yield Element(member, None)
            while text[at : at + 1] != "]":
                value, end = _decoded(text, name, at)
                yield Element(member, at, value)
                at = _skip(text, end)
                if text[at : at + 1] == ",":
                    at = _skip(text, at + 1)
                    if text[at : at + 1] == "]":
                        _refuse(text, name, at, "a comma stands before the end of a list")
                elif text[at : at + 1] != "]":
                    _refuse(text, name, at, "a comma or the end of a list should stand here")
            at += 1
        else:
            value, end = _decoded(text, name, at)
            yield Element(member, at, value)
            at = end
        at = _skip(text, at)
    at = _expect(text, name, at, "}", "a comma or the end of the object,")
    if at < len(text):
        _refuse(text, name, at, "something stands behind the end of the object")


def element(text: str, start: int) -> Any:
    """Read again what ``elements`` found at this place."""
    return _DECODER.raw_decode(text, start)[0]


def _expect(text: str, name: str, at: int, char: str, what: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != char:
        _refuse(text, name, at, f"{what} {char} should stand here")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _decoded(text: str, name: str, at: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        _refuse(text, name, error.pos, error.msg[:1].lower() + error.msg[1:])
    except _NotStrictError as error:
        _refuse(text, name, at, f"in what begins here, {error}")
    except RecursionError:
        _refuse(text, name, at, "what begins here nests too deep")
    return value, end


def _refuse(text: str, name: str, at: int, what: str) -> NoReturn:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    found = "the file ends" if at >= len(text) else f"{text[at : at + 12]!r} stands there"
    raise DatasetError(f"{keys.printable(name)} is not JSON: line {line}, column {column}: {what} ({found})")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise _NotStrictError(f"{_shown(twice)} is written twice")
    return found


def _constant(text: str) -> NoReturn:
    raise _NotStrictError(f"{text} is no number of JSON")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise _NotStrictError(f"a whole number has {len(text)} digits, of {_MAX_DIGITS} allowed")
    return int(text)


def _decimal(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotStrictError(f"the number {_shown(text)} is too large")
    return number


def _shown(text: str) -> str:
    return keys.printable(text if len(text) <= 40 else f"{text[:39]}…")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer, parse_float=_decimal, strict=True
)
