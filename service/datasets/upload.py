"""Writing of an uploaded file to disk as it arrives, within the home's limit."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from anyio import to_thread
from starlette.requests import Request

from service.asgi.receive import Fields, receive_form, receive_raw
from service.errors import MalformedError
from service.home import Quota, storing

FILE_FIELD = "file"

_WRITE_BYTES = 2**20
_MAX_FIELD_BYTES = 4096
_MAX_PARTS = 16


class Spool:
    """File that is written as the body arrives. Raises NoRoomError beyond the home's limit. The caller removes it.

    Room is reserved before it is written, each time twice the bytes received, so that a stalled upload reserves little
    more than it has sent.
    """

    def __init__(self, path: Path, quota: Quota) -> None:
        self.num_bytes = 0
        self._path = path
        self._quota = quota
        self._waiting = bytearray()

    async def __aenter__(self) -> Self:
        with ExitStack() as stack:
            self._kept = stack.enter_context(await to_thread.run_sync(self._quota.reserve, self._path, _WRITE_BYTES))
            self._file = stack.enter_context(await to_thread.run_sync(self._open))
            self._held = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._held.close()

    def add(self, data: bytes) -> None:
        """Buffer some bytes; ``flush`` writes them."""
        self.num_bytes += len(data)
        self._waiting += data

    async def flush(self, *, all_of_it: bool = False) -> None:
        """Write the buffered bytes if they are worth a thread; with ``all_of_it`` always."""
        if not self._waiting or (len(self._waiting) < _WRITE_BYTES and not all_of_it):
            return
        data, self._waiting = self._waiting, bytearray()
        await to_thread.run_sync(self._write, data, self.num_bytes)

    def _write(self, data: bytearray, num_bytes: int) -> None:
        if num_bytes > self._kept.num_bytes:
            self._quota.grow(self._kept, num_bytes, 2 * num_bytes)
        with storing("the upload cannot be written"):
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]

    def _open(self) -> IO[bytes]:
        with storing("the upload cannot be written"):
            return self._path.open("xb", 0)  # without a buffer, so that closing it writes nothing


async def receive(request: Request, spool: Spool, *, is_form: bool) -> dict[str, str]:
    """Write the body, or the part ``file`` of a form, to the spool. Return the form's text fields.

    Raises MalformedError.
    """
    if not is_form:
        await receive_raw(request, spool)
        return {}
    begun = _OneFile()
    fields = Fields(begun.begin, _MAX_FIELD_BYTES, _MAX_PARTS, "curl -F file=@photos.zip")
    texts = await receive_form(request, spool, fields)
    if not begun.has_file:
        raise MalformedError(f"the form has no file; send the archive in the field {FILE_FIELD!r}")
    return texts


@dataclass(slots=True)
class _OneFile:
    has_file: bool = False

    def begin(self, name: str, _: str) -> bool:
        if name != FILE_FIELD:
            return False
        if self.has_file:
            raise MalformedError(f"the form has the field {FILE_FIELD!r} twice; send one archive")
        self.has_file = True
        return True
