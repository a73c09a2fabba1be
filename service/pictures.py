"""Pictures of a one-shot request on their way from the connection to files: a raw body, or a multipart form.

They lie where rendered batches lie (in memory where there is room), under names that are never used again, and go with
the request: a worker that comes late finds nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio import to_thread
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from augment.errors import CallError, StorageError
from augment.oneshot import Source
from service.batch_files import BatchFiles
from service.errors import MalformedError

PICTURE_FIELDS = frozenset({"images", "image"})
TEXT_FIELDS = frozenset({"pipeline", "seed", "copies", "image_format", "quality", "format"})
_NOT_YET = frozenset({"masks", "annotations"})

_FLUSH_BYTES = 2**20
_MAX_TEXT_BYTES = 2**16
"""A pipeline's text has at most so many."""


@dataclass(slots=True)
class Pictures:
    """The files of one request; ``close`` removes them all, results among them."""

    files: BatchFiles
    max_pictures: int
    expected_bytes: int
    sources: list[Source] = field(default_factory=list)
    _paths: list[Path] = field(default_factory=list)
    _waiting: list[tuple[Path, bytearray]] = field(default_factory=list)
    _num_waiting: int = 0

    def new_file(self, num_bytes: int) -> Path:
        """An empty file that goes with the request."""
        path = self.files.new(num_bytes)
        self._paths.append(path)
        return path

    def begin(self, name: str) -> None:
        """What comes now is another picture."""
        if len(self.sources) >= self.max_pictures:
            raise CallError(
                f"there are more than {self.max_pictures} pictures (AUGMENT_MAX_PICTURES); send them in several "
                "requests, or register a dataset"
            )
        path = self.new_file(self.expected_bytes)
        self.sources.append(Source(name or f"picture {len(self.sources)}", path))
        self._waiting.append((path, bytearray()))

    def add(self, data: bytes) -> None:
        """The next bytes of the picture; ``flush`` writes them."""
        self._waiting[-1][1].extend(data)
        self._num_waiting += len(data)

    async def flush(self, at_least: int = _FLUSH_BYTES) -> None:
        """Write what waits, where it is enough to be worth a thread."""
        if self._num_waiting < at_least:
            return
        waiting, self._waiting, self._num_waiting = self._waiting, [(self._waiting[-1][0], bytearray())], 0
        try:
            await to_thread.run_sync(_append, waiting)
        except OSError as error:
            raise StorageError(f"a picture cannot be kept: {error.strerror}; free space and try again") from error

    def close(self) -> None:
        """Remove everything."""
        for path in self._paths:
            path.unlink(missing_ok=True)


async def receive_raw(request: Request, pictures: Pictures) -> None:
    """The body is the picture."""
    pictures.begin("")
    async for chunk in request.stream():
        pictures.add(chunk)
        await pictures.flush()
    await pictures.flush(at_least=1)


async def receive_form(request: Request, pictures: Pictures) -> dict[str, str]:
    """The parts ``images`` are the pictures; the text fields are returned. MalformedError where it is no whole form."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    form = _Form(pictures)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), form.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
            await pictures.flush()
        parser.finalize()
    except (MultipartParseError, ValueError) as error:
        raise MalformedError(
            f"the body is no multipart form ({error}); send it as `curl -F images=@cat.jpg`"
        ) from error
    if not form.ended:
        raise MalformedError("the form is cut short: its last boundary is missing; send it whole")
    await pictures.flush(at_least=1)
    if not pictures.sources:
        raise CallError("the form has no picture; send one or more in the field 'images'")
    return form.texts()


@dataclass(slots=True)
class _Form:
    """What the parser finds, part by part."""

    pictures: Pictures
    ended: bool = False
    _texts: dict[str, bytearray] = field(default_factory=dict)
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
        self._disposition = b""

    def _end_header(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _start_data(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        if name in PICTURE_FIELDS:
            self.pictures.begin(options.get(b"filename", b"").decode(errors="replace"))
            self._take = self.pictures.add
            return
        if name in _NOT_YET:
            raise CallError(f"the field {name!r} is not taken yet: this service moves pictures alone; leave it out")
        if name not in TEXT_FIELDS:
            known = ", ".join(sorted(TEXT_FIELDS))
            raise CallError(f"the form has a field {name[:100]!r}; send images, and {known}")
        if name in self._texts:
            raise CallError(f"the form has the field {name!r} twice; send it once")
        text = self._texts[name] = bytearray()

        def take(data: bytes) -> None:
            text.extend(data)
            if len(text) > _MAX_TEXT_BYTES:
                raise CallError(f"the field {name!r} has more than {_MAX_TEXT_BYTES} bytes; send less")

        self._take = take

    def _end(self) -> None:
        self.ended = True


def _append(waiting: list[tuple[Path, bytearray]]) -> None:
    for path, data in waiting:
        if data:
            with path.open("r+b") as file:
                file.seek(0, 2)
                file.write(data)
