"""Files of rendered batches, in a memory-backed folder while it has room, else on the home's disk.

The folder in memory has a random name, which is stored in the home. After a kill the next service removes it, and two
services that share a memory file system never touch each other's files.
"""

import os
import secrets
import shutil
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from augment.errors import StorageError
from augment.render import result_file
from augment.render.result_file import Laid
from service.home import Home, write_whole

CHUNK_BYTES = 256 * 2**10
"""Bytes read at once if they pass through this process; each chunk waits for the reader."""

_PREFIX = "augment-"


class BatchFiles:
    """Files of one service. For the event loop's thread only; the home's lock must be held."""

    def __init__(self, home: Home, memory_folder: Path) -> None:
        remembered = home.path / "memory-folder"
        _remove_predecessors(remembered)
        self._disk = home.path / "tmp" / "batches"
        self._memory: Path | None = None
        self._num_made = 0
        self.reclaim: Callable[[int], int] = lambda _: 0
        """Function that removes about so many bytes of idle files, and returns the bytes removed."""
        try:
            self._disk.mkdir(mode=0o700)
            if os.access(memory_folder, os.W_OK | os.X_OK):
                folder = memory_folder / f"{_PREFIX}{secrets.token_hex(8)}"
                write_whole(remembered, str(folder).encode())  # first, so that the folder is removed after a kill
                folder.mkdir(mode=0o700)
                self._memory = folder
        except OSError as error:
            raise StorageError(f"no folder for rendered batches: {error}; make the home writable") from error

    def new(self, num_bytes: int, *, on_disk: bool = False) -> Path:
        """Create an empty file for about ``num_bytes``; ``result_file.write`` fills it.

        If neither folder has room, ``reclaim`` is called once. Raises StorageError.
        """
        in_memory = not on_disk and self._has_memory(num_bytes)
        if not in_memory and shutil.disk_usage(self._disk).free < num_bytes:
            self.reclaim(num_bytes)
            in_memory = not on_disk and self._has_memory(num_bytes)
        folder = self._memory if in_memory and self._memory is not None else self._disk
        self._num_made += 1
        path = folder / f"{self._num_made:012d}"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StorageError(
                f"a file for a rendered batch cannot be created: {error.strerror}; free space"
            ) from error
        return path

    def _has_memory(self, num_bytes: int) -> bool:
        return self._memory is not None and shutil.disk_usage(self._memory).free >= num_bytes

    def is_in_memory(self, path: Path) -> bool:
        """True if the file is in memory, so that reading it never waits for a disk."""
        return path.parent == self._memory

    def close(self) -> None:
        """Remove both folders."""
        for folder in (self._memory, self._disk):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class FilePart:
    """The first bytes of an open file in memory, which a connection may send without copying them."""

    descriptor: int
    num_bytes: int

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes, for a connection that must copy them. Raises StorageError if the file is shorter."""
        for start in range(0, self.num_bytes, CHUNK_BYTES):
            yield _read(self.descriptor, min(CHUNK_BYTES, self.num_bytes - start), start)


class BatchFile:
    """One finished file, which any number of readers may stream."""

    def __init__(self, path: Path, laid: Laid, *, in_memory: bool) -> None:
        self.path = path
        self.laid = laid
        self._in_memory = in_memory

    async def chunks(self) -> AsyncGenerator[FilePart | bytes, None]:
        """Yield the content in order. Once begun, it stays readable even if the file is removed.

        Content in memory is one part, valid until the next step. A disk is read in a thread. Raises StorageError.
        """
        size = self.laid.content_bytes
        if not size:
            return
        descriptor = _open(self.path)
        try:
            if self._in_memory:
                yield FilePart(descriptor, size)
                return
            for start in range(0, size, CHUNK_BYTES):
                yield await to_thread.run_sync(_read, descriptor, min(CHUNK_BYTES, size - start), start)
        finally:
            os.close(descriptor)

    def description(self) -> object:
        """Return the JSON value stored after the content. Reads the file."""
        return result_file.read_description(self.path, self.laid)

    def at_once(self) -> bytes | None:
        """Return a copy of the content if it is in memory and at most one chunk, else None."""
        if not self._in_memory or self.laid.content_bytes > CHUNK_BYTES:
            return None
        return bytes(result_file.read_content(self.path, self.laid))


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"a rendered batch cannot be opened: {error.strerror}; request it again") from error


def _read(descriptor: int, num_bytes: int, start: int) -> bytes:
    data = os.pread(descriptor, num_bytes, start)
    if len(data) < num_bytes:
        raise StorageError("a rendered batch was truncated; request it again")
    return data


def _remove_predecessors(remembered: Path) -> None:
    try:
        left = Path(remembered.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    if left.name.startswith(_PREFIX):
        shutil.rmtree(left, ignore_errors=True)
