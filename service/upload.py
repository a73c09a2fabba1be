"""An uploaded file on its way from the connection to the disk: never whole in memory, never past its bound."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from anyio import to_thread
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from augment.errors import StorageError
from service.errors import MalformedError, TooLargeError

FILE_FIELD = "file"

_WRITE_BYTES = 2**20
_MAX_FIELD_BYTES = 4096
_MAX_PARTS = 16


class Spool:
    """A file that grows as the body comes; TooLargeError beyond ``max_bytes``. Removed by whoever named it."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.num_bytes = 0
        self._path = path
        self._max_bytes = max_bytes
        self._waiting = bytearray()
        self._file: IO[bytes] | None = None

    async def __aenter__(self) -> Self:
        self._file = await to_thread.run_sync(self._path.open, "xb")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.flush(at_least=1)
        if self._file is not None:
            self._file.close()

    def add(self, data: bytes) -> None:
        """Take some bytes; ``flush`` writes them."""
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes:
            raise TooLargeError(
                f"the upload has more than the {self._max_bytes} bytes left in the home (AUGMENT_MAX_HOME_BYTES); "
                "delete datasets or outputs, or raise the limit"
            )
        self._waiting += data

    async def flush(self, at_least: int = _WRITE_BYTES) -> None:
        """Write what waits, where it is enough to be worth a thread."""
        if len(self._waiting) < at_least or self._file is None:
            return
        data, self._waiting = self._waiting, bytearray()
        try:
            await to_thread.run_sync(self._file.write, data)
        except OSError as error:
            raise StorageError(f"the upload cannot be written: {error.strerror}; free space and try again") from error


async def receive_raw(request: Request, spool: Spool) -> None:
    """The body is the file."""
    async for chunk in request.stream():
        spool.add(chunk)
        await spool.flush()


async def receive_multipart(request: Request, spool: Spool) -> dict[str, str]:
    """The part ``file`` is the file; the text fields are returned. MalformedError where it is no whole form."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    form = _Form(spool)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), form.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
            await spool.flush()
        parser.finalize()
    except (MultipartParseError, ValueError) as error:
        raise MalformedError(
            f"the body is no multipart form ({error}); send it as `curl -F file=@photos.zip` does"
        ) from error
    if not form.ended:
        raise MalformedError("the form is cut short: its last boundary is missing; send it whole")
    if not form.has_file:
        raise MalformedError(f"the form has no file; send the archive in the field {FILE_FIELD!r}")
    return form.fields()


@dataclass(slots=True)
class _Form:
    """What the parser finds, part by part."""

    spool: Spool
    ended: bool = False
    has_file: bool = False
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

    def fields(self) -> dict[str, str]:
        try:
            return {name: bytes(text).decode() for name, text in self._texts.items()}
        except UnicodeDecodeError as error:
            raise MalformedError("a field of the form is not UTF-8 text; send it as UTF-8") from error

    def _begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > _MAX_PARTS:
            raise MalformedError(f"the form has more than {_MAX_PARTS} parts; send one archive")
        self._disposition = b""

    def _end_header(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _start_data(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        if name == FILE_FIELD:
            if self.has_file:
                raise MalformedError(f"the form has the field {FILE_FIELD!r} twice; send one archive")
            self.has_file = True
            self._take = self.spool.add
            return
        if name in self._texts:
            raise MalformedError(f"the form has the field {name[:100]!r} twice; send it once")
        text = self._texts[name] = bytearray()

        def take(data: bytes) -> None:
            text.extend(data)
            if len(text) > _MAX_FIELD_BYTES:
                raise MalformedError(f"the field {name[:100]!r} has more than {_MAX_FIELD_BYTES} bytes; send less")

        self._take = take

    def _end(self) -> None:
        self.ended = True
