"""Text to a document: reads YAML 1.2 or JSON into plain values, with the line of each path.

Pipelines, mixes and the ``data.yaml`` of datasets are read here, each with its own ``DocumentLimits``.

A document holds what JSON can express (RFC 8259): mappings with text keys, lists, text, finite numbers, true, false and
null. Unquoted words are read by the core schema of YAML 1.2.2 (section 10.3.2), so ``no``, ``1_000`` and ``2024-01-01``
are text. Tags, anchors and aliases are refused, because with them a document of a hundred bytes could name code or grow
to a billion values. The reader walks the parser's events with an explicit stack and never recurses; no object is ever
constructed from a name in the text.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from augment.errors import PipelineError, Problem
from augment.validation import JSON, abridged

Scalar = None | bool | int | float | str

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAX_DIGITS: Final = 400  # reading an integer takes the square of its length; longer ones are too large anyway
_TOO_LARGE: Final[int] = 10**_MAX_DIGITS


def plain_scalar(text: str) -> Scalar:
    """Return the value of an unquoted word by the core schema."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            return _TOO_LARGE
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


Loc = tuple[str | int, ...]

MAX_TEXT_BYTES: Final = 65_536
"""Largest text: a pipeline of 64 nodes with all parameters takes 20 kB; reading 64 kB takes up to half a second."""

MAX_DEPTH: Final = 48
"""Deepest nesting of lists and mappings. A pipeline nests eight containers, three levels each, plus the values."""

MAX_VALUES: Final = 10_000
"""Most values in one document that arrives as values: about as many as 64 kB of text hold."""

MAX_KEY: Final = 128
"""Most characters of a key; the longest argument of a transform has 24. Keys are repeated in messages."""

MAX_INTEGER: Final = 2**53 - 1
"""Largest integer: JSON's readers (RFC 7493) and the digest (RFC 8785) cannot distinguish larger ones."""

_NOT_FINITE_IN_JSON: Final = frozenset({"NaN", "Infinity", "-Infinity"})
"""Words that Python and others write into JSON, which has no such numbers; in YAML they are text."""


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """Limits of one kind of document. ``kind`` names it in messages, ``content`` is the remedy for an empty one.

    With ``only_text_keys`` a key that YAML reads as a number or null is a problem, else the key is its text.
    """

    kind: str
    content: str
    max_bytes: int
    max_depth: int
    only_text_keys: bool = True


PIPELINE: Final = DocumentLimits("a pipeline", "`transforms:` and a list of transforms", MAX_TEXT_BYTES, MAX_DEPTH)

_DROPPED: Final = "\0"
"""Part of a path that marks a dropped value; no key contains this character."""


@dataclass(frozen=True, slots=True)
class Document:
    """Content of a text before any transform is looked up.

    ``root`` is the caller's own value if the document came as one; it must not be changed. ``lines`` has the line of
    each path, counted from 1, and is empty if there was no text. ``name`` is the caller's name for the document.
    ``problems`` are those that a lenient reader left to be reported with all others: at such a path ``root`` has null,
    or the first value of a duplicate key.
    """

    root: JSON
    name: str = ""
    lines: Mapping[Loc, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def problem(self, loc: Loc, msg: str) -> Problem:
        """Return the problem at a path, with the line of that path or of the nearest one around it."""
        for length in range(len(loc), -1, -1):
            if (line := self.lines.get(loc[:length])) is not None:
                return Problem(loc, msg, line)
        return Problem(loc, msg)

    def at(self, loc: Loc) -> JSON:
        """Return the value at a path, or None."""
        value: JSON = self.root
        for part in loc:
            if isinstance(value, Mapping):
                value = value.get(str(part))
            elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def notice(self, loc: Loc, msg: str) -> str:
        """Return a sentence for the user about a path, with its line if known."""
        return str(Problem((), msg, self.problem(loc, msg).line))


def parse(text: str, *, name: str = "", lenient: bool = False, limits: DocumentLimits = PIPELINE) -> Document:
    """Read YAML 1.2 or JSON. Raises PipelineError with the line if it is neither or breaks a limit.

    ``lenient`` leaves problems that hide no others (a value or a key that a pipeline may not hold, a duplicate key) in
    the document.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limits.max_bytes:
        raise _refused(f"the text has {size} bytes, {limits.kind} may have {limits.max_bytes}; leave something out")
    reader = _Reader(limits, is_json=text.removeprefix("\ufeff").lstrip()[:1] == "{")
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            reader.take(event)
    except ReaderError as error:
        raise _refused(f"the character U+{_code_point(error.character):04X} is not allowed; remove it") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part.strip() for part in (error.context, error.problem) if part)
        raise _refused(f"this is not YAML: {what}", None if mark is None else mark.line + 1) from error
    except (YAMLError, ValueError, OverflowError) as error:  # the last two: an escape like \UFFFFFFFF
        raise _refused(f"this is not YAML: {error}") from error
    if not reader.finished:
        raise _refused(f"the document is empty; write {limits.content}")
    if reader.problems and not lenient:
        raise PipelineError(reader.problems)
    return Document(reader.root, name, reader.lines, tuple(reader.problems))


def from_value(value: Any, *, name: str = "", lenient: bool = False) -> Document:
    """Read a document that is already values, such as a request body. Raises PipelineError for values outside JSON.

    ``lenient`` is that of ``parse``.
    """
    problems: list[Problem] = []
    count = 0
    waiting: list[tuple[Loc, Any]] = [((), value)]
    while waiting:
        loc, item = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            raise _refused(f"the document has more than {MAX_VALUES} values (MAX_VALUES); leave some out")
        if len(loc) > MAX_DEPTH:
            raise PipelineError([Problem(loc[:4], _too_deep(MAX_DEPTH))])
        if isinstance(item, Mapping):
            problems += [Problem(loc, wrong) for key in item if (wrong := _wrong_key(key)) is not None]
            waiting.extend(((*loc, key), inner) for key, inner in item.items() if _wrong_key(key) is None)
        elif isinstance(item, list | tuple):
            waiting.extend(((*loc, i), inner) for i, inner in enumerate(item))
        elif (wrong := _wrong_scalar(item)) is not None:
            problems.append(Problem(loc, wrong))
    if problems and not lenient:
        raise PipelineError(problems)
    return Document(_mended(value) if problems else value, name, problems=tuple(problems))


def _mended(value: Any) -> Any:
    """Return a copy without the keys that JSON cannot hold, and with null for such values."""
    if isinstance(value, Mapping):
        return {key: _mended(inner) for key, inner in value.items() if _wrong_key(key) is None}
    if isinstance(value, list | tuple):
        return [_mended(inner) for inner in value]
    return value if _wrong_scalar(value) is None else None


def _refused(msg: str, line: int | None = None) -> PipelineError:
    return PipelineError([Problem((), msg, line)])


def _too_deep(most: int) -> str:
    return f"lists and mappings nest more than {most} deep; flatten it"


def _wrong_scalar(value: object) -> str | None:
    """Return why JSON cannot hold this value, or None."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if abs(value) <= MAX_INTEGER else f"whole numbers may go up to {MAX_INTEGER} (2^53 - 1)"
    if isinstance(value, float):
        return None if math.isfinite(value) else _not_finite(value)
    if not isinstance(value, str):
        return f"a document cannot hold a {type(value).__name__}; use numbers, text, lists and mappings"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "the text has half of a surrogate pair, which is not a character; remove it"
    return None


def _not_finite(value: object) -> str:
    return f"{value} is not a finite number; write a number"


def _wrong_key(key: object) -> str | None:
    if not isinstance(key, str):
        return _key_is_not_text(key)
    if len(key) > MAX_KEY:
        return f"the key `{abridged(key)}` has {len(key)} characters, keys may have {MAX_KEY} (MAX_KEY); shorten it"
    return _wrong_scalar(key)


def _key_is_not_text(key: object) -> str:
    return f"the key `{abridged(str(key))}` is not text; write it in quotes"


def _code_point(character: object) -> int:
    return ord(character) if isinstance(character, str) else int(str(character))


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read."""

    value: list[JSON] | dict[str, JSON]
    loc: Loc
    line: int
    key: str | None = None
    dropped: bool = False
    """True if the value of ``key`` must be dropped because the key is a problem."""


class _Reader:
    """Builder of values from the parser's events, which refuses invalid content with its line.

    ``problems`` are those after which reading can continue.
    """

    def __init__(self, limits: DocumentLimits, *, is_json: bool) -> None:
        self.root: JSON = None
        self.lines: dict[Loc, int] = {}
        self.problems: list[Problem] = []
        self._limits = limits
        self._is_json = is_json
        self.finished = False
        self._open: list[_Open] = []
        self._num_documents = 0

    def take(self, event: Any) -> None:
        line = 0 if event.start_mark is None else event.start_mark.line + 1
        match type(event).__name__:
            case "DocumentStartEvent":
                self._start_document(event, line)
            case "AliasEvent":
                raise _refused(f"`*{abridged(event.anchor)}` is an alias; write the value out", line)
            case "ScalarEvent":
                self._refuse_marks(event, line)
                self._scalar(event, line)
            case "SequenceStartEvent":
                self._refuse_marks(event, line)
                self._start([], line)
            case "MappingStartEvent":
                self._refuse_marks(event, line)
                self._start({}, line)
            case "SequenceEndEvent" | "MappingEndEvent":
                closed = self._open.pop()
                self._put(closed.value)

    def _start_document(self, event: Any, line: int) -> None:
        self._num_documents += 1
        if self._num_documents > 1:
            raise _refused(f"a second document begins here; {self._limits.kind} is one document", line)
        if event.version not in {None, (1, 2)}:
            raise _refused(f"the document requires %YAML {event.version[0]}.{event.version[1]}; write YAML 1.2", line)

    def _refuse_marks(self, event: Any, line: int) -> None:
        if event.anchor:
            raise _refused(f"`&{abridged(event.anchor)}` is an anchor; write the value out wherever it is needed", line)
        if event.tag:
            raise _refused(f"`{abridged(event.tag)}` is a tag; {self._limits.kind} holds plain values only", line)

    def _scalar(self, event: Any, line: int) -> None:
        text = _join_surrogates(event.value)
        parent = self._open[-1] if self._open else None
        if parent is not None and isinstance(parent.value, dict) and parent.key is None:
            self._key(parent, text, plain_scalar(text) if event.implicit[0] else text, line)
            return
        value = plain_scalar(text) if event.implicit[0] else text
        loc = self._next_loc()
        wrong = _wrong_scalar(value)
        if self._is_json and event.implicit[0] and text in _NOT_FINITE_IN_JSON:
            wrong = _not_finite(text)
        if wrong is not None:
            self._note(loc, wrong, line)
            value = None
        self.lines[loc] = line
        self._put(value)

    def _key(self, parent: _Open, text: str, value: JSON, line: int) -> None:
        parent.key, parent.dropped = text, True
        if not self._limits.only_text_keys:
            value = text
        if not isinstance(value, str):
            self._note(parent.loc, _key_is_not_text(text), line)
        elif wrong := _wrong_key(value):
            self._note(parent.loc, wrong, line)
        elif value in parent.value:
            first = self.lines[(*parent.loc, value)]
            msg = f"`{abridged(value)}` is written twice (first in line {first}); keep one"
            self._note((*parent.loc, value), msg, line)
        else:
            parent.dropped = False
            self.lines[(*parent.loc, value)] = line

    def _note(self, loc: Loc, msg: str, line: int) -> None:
        """Record a problem, unless it is inside a dropped value, whose own problem is reported."""
        if not any(each.dropped for each in self._open[:-1]):
            self.problems.append(Problem(loc, msg, line))

    def _start(self, value: list[JSON] | dict[str, JSON], line: int) -> None:
        parent = self._open[-1] if self._open else None
        if parent is not None and isinstance(parent.value, dict) and parent.key is None:
            raise PipelineError([Problem(parent.loc, "a key is a list or a mapping; keys must be text", line)])
        loc = self._next_loc()
        if len(self._open) >= self._limits.max_depth:
            raise PipelineError([Problem(loc[:4], _too_deep(self._limits.max_depth), line)])
        self.lines.setdefault(loc, line)
        self._open.append(_Open(value, loc, line))

    def _next_loc(self) -> Loc:
        if not self._open:
            return ()
        parent = self._open[-1]
        if isinstance(parent.value, dict):
            return (*parent.loc, str(parent.key), *((_DROPPED,) if parent.dropped else ()))
        return (*parent.loc, len(parent.value))

    def _put(self, value: JSON) -> None:
        if not self._open:
            self.root = value
            self.finished = True
            return
        parent = self._open[-1]
        if isinstance(parent.value, dict):
            if not parent.dropped:
                parent.value[str(parent.key)] = value
            parent.key, parent.dropped = None, False
        else:
            parent.value.append(value)


def _join_surrogates(text: str) -> str:
    r"""Join a pair of surrogates that JSON wrote as two escapes (``\ud83d\ude00``); half a pair is kept."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
