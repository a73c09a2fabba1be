"""Reception of request bodies into files: raw bodies and multipart forms.

Bytes are passed to the sink as they arrive and never collected here. The sink decides when a write is worth a thread.

File names of parts have several spellings (RFC 7578, section 4.2). Browsers, curl, requests and httpx send UTF-8 in
``filename`` and write ``"`` and line ends as ``%22``, ``%0D`` and ``%0A`` (WHATWG, HTML, section 4.10.21.8). Older
clients escape ``"`` and the backslash with a backslash. If ``filename*`` (RFC 8187) is sent, it takes precedence.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from augment.validation import quoted
from service.errors import MalformedError


class Sink(Protocol):
    """Destination of the bytes of files."""

    def add(self, data: bytes) -> None:
        """Buffer the next bytes of the latest file."""
        ...

    async def flush(self, *, all_of_it: bool = False) -> None:
        """Write the buffered bytes if they are worth a thread; with ``all_of_it`` always."""
        ...


@dataclass(frozen=True, slots=True)
class Fields:
    """Limits and file fields of a form.

    ``begin`` gets the name and the file name of each part and returns True if the part is a file; it may raise. Each
    text field may come once, with at most ``max_text_bytes``, or with its own limit in ``longer``. ``example`` is a
    command that sends such a form.
    """

    begin: Callable[[str, str], bool]
    max_text_bytes: int
    max_parts: int
    example: str
    longer: Mapping[str, int] = field(default_factory=dict)


async def receive_raw(request: Request, sink: Sink) -> None:
    """Write the body to the sink as one file."""
    async for chunk in request.stream():
        sink.add(chunk)
        await sink.flush()
    await sink.flush(all_of_it=True)


async def receive_form(request: Request, sink: Sink, fields: Fields) -> dict[str, str]:
    """Write the files of a form to the sink and return its text fields. Raises MalformedError for a broken form."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    if not options.get(b"boundary"):
        raise MalformedError(
            f"the Content-Type has no boundary parameter for the form; send it as `{fields.example}` does"
        )
    form = _Form(sink, fields)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), form.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
            await sink.flush()
        parser.finalize()
    except (MultipartParseError, ValueError) as error:
        raise MalformedError(
            f"the body is not a multipart form ({error}); send it as `{fields.example}` does"
        ) from error
    if not form.has_ended:
        raise MalformedError("the form is cut short: its last boundary is missing; send it whole")
    await sink.flush(all_of_it=True)
    return form.texts()


_CODINGS = {b"content-encoding": "Content-Encoding", b"content-transfer-encoding": "Content-Transfer-Encoding"}
"""Headers that announce a compressed or base64 part (RFC 7578, section 4.7, deprecates the second)."""


@dataclass(slots=True)
class _Form:
    """Callbacks of the multipart parser, and the text fields."""

    sink: Sink
    fields: Fields
    has_ended: bool = False
    _texts: dict[str, bytearray] = field(default_factory=dict)
    _num_parts: int = 0
    _header_name: bytearray = field(default_factory=bytearray)
    _header_value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _take: Callable[[bytes], object] = bytes.__len__

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._start_data,
            "on_part_data": lambda data, start, end: self._take(data[start:end]),
            "on_end": self._end,
        }

    def texts(self) -> dict[str, str]:
        try:
            return {name: bytes(text).decode() for name, text in self._texts.items()}
        except UnicodeDecodeError as error:
            raise MalformedError("a field of the form is not UTF-8 text; send it as UTF-8") from error

    def _begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > self.fields.max_parts:
            raise MalformedError(f"the form has more than {self.fields.max_parts} parts; send fewer")
        self._disposition = b""

    def _end_header(self) -> None:
        name, value = bytes(self._header_name).lower(), bytes(self._header_value)
        if name == b"content-disposition":
            self._disposition = value
        elif name in _CODINGS and value.strip().lower() not in {b"", b"identity", b"binary", b"7bit", b"8bit"}:
            raise MalformedError(
                f"a part of the form has the header {_CODINGS[name]}: {value[:100].decode(errors='replace')}, and "
                "parts are not decoded; leave the header out and send the file unencoded"
            )
        self._header_name.clear()
        self._header_value.clear()

    def _start_data(self) -> None:
        name, filename = part_names(self._disposition)
        if self.fields.begin(name, filename):
            self._take = self.sink.add
            return
        if name in self._texts:
            raise MalformedError(f"the form has the field {quoted(name, 100)} twice; send it once")
        text = self._texts[name] = bytearray()
        limit = self.fields.longer.get(name, self.fields.max_text_bytes)

        def take(data: bytes) -> None:
            text.extend(data)
            if len(text) > limit:
                raise MalformedError(f"the field {quoted(name, 100)} has more than {limit} bytes; send less")

        self._take = take

    def _end(self) -> None:
        self.has_ended = True


_PARAMETER = re.compile(rb';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_QUOTED_PAIR = re.compile(rb'\\(["\\])')
_ESCAPES = ((b"%22", b'"'), (b"%0D", b"\r"), (b"%0A", b"\n"))
_CHARSETS = {b"utf-8": "utf-8", b"iso-8859-1": "latin-1"}
"""Charsets that RFC 5987 required; today's clients send UTF-8."""


def part_names(disposition: bytes) -> tuple[str, str]:
    """Return ``name`` and the file name (NFC) of a part's Content-Disposition, empty if missing."""
    parameters: dict[bytes, bytes] = {}
    for match in _PARAMETER.finditer(disposition):
        quoted, plain = match[2], match[3]
        parameters[match[1].lower()] = plain.strip() if quoted is None else _QUOTED_PAIR.sub(rb"\1", quoted)
    charset, _, value = parameters.get(b"filename*", b"").partition(b"'")
    _, marked, value = value.partition(b"'")
    if marked and charset.lower() in _CHARSETS:
        filename = unquote_to_bytes(value).decode(_CHARSETS[charset.lower()], errors="replace")
    else:
        filename = _unescaped(parameters.get(b"filename", b""))
    return _unescaped(parameters.get(b"name", b"")), unicodedata.normalize("NFC", filename)


def _unescaped(value: bytes) -> str:
    for escape, char in _ESCAPES:
        value = value.replace(escape, char)
    return value.decode(errors="replace")
