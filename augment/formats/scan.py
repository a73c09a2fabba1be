"""A scan: every file that a format lists is read once, hashed, and recorded or refused.

Threads read and hash; what comes out is the same whatever their number. In memory there are the names of all files and
the columns of what was found (together some 400 bytes a record at the end, measured over 200,000), and of encoded bytes
at any time at most one large file and a small one for each thread.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock

from augment import decode, read
from augment.errors import Reason, RecordError, StorageError
from augment.formats.listing import FileGroup
from augment.formats.previous import Previous
from augment.formats.watch import Watch

DEFAULT_MAX_FILE_BYTES = 256 * 2**20
"""Holds an uncompressed picture of four bytes a pixel at the default limit on pixels."""

_LARGE_BYTES = 16 * 2**20
"""Files above this are read one at a time."""

_CHUNK = 32
"""Files that one thread takes at a time."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A file that is a picture by its header; ``digest`` is the record's."""

    height: int
    width: int
    size_bytes: int
    mtime_ns: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Found:
    """One file and what became of it; ``path`` is relative to the root."""

    group: FileGroup
    path: str
    verdict: Picture | Refused


@dataclass(frozen=True, slots=True)
class Limits:
    """What a scan accepts."""

    max_pixels: int = decode.DEFAULT_MAX_PIXELS
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES


class Examiner:
    """Examines files of one dataset, from several threads at once."""

    def __init__(self, root: Path, limits: Limits, previous: Previous | None, watch: Watch | None = None) -> None:
        self._root = root
        self._limits = limits
        self._previous = previous
        self._one_large = Lock()
        self._watch = watch or Watch(math.inf)

    def examine_all(self, groups: Iterable[FileGroup], *, num_threads: int) -> Iterator[list[Found]]:
        """What became of each file, a few at a time, in the order of the groups."""
        files = (
            (group, f"{group.folder}/{name}" if group.folder else name) for group in groups for name in group.names
        )
        with ThreadPoolExecutor(num_threads, thread_name_prefix="scan") as pool:
            pending: deque[Future[list[Found]]] = deque()
            try:
                while True:
                    while len(pending) < 4 * num_threads and (chunk := tuple(islice(files, _CHUNK))):
                        pending.append(pool.submit(self._examine_some, chunk))
                    if not pending:
                        return
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _examine_some(self, files: tuple[tuple[FileGroup, str], ...]) -> list[Found]:
        try:
            return [Found(group, path, self._examine(group, path)) for group, path in files]
        finally:
            self._watch.done()

    def _examine(self, group: FileGroup, path: str) -> Picture | Refused:
        full = self._root / path
        self._watch.at(path)
        try:
            verdict = self._judge(group, path, full)
        except read.NotAFileError as error:
            return Refused(Reason.UNREADABLE, str(error))
        except FileNotFoundError:
            detail = "a link to nothing" if full.is_symlink() else "it went away while the folder was scanned"
            return Refused(Reason.UNREADABLE, detail)
        except OSError as error:
            blamed = read.at_fault(error, path)
            if isinstance(blamed, StorageError):
                raise blamed from error
            return Refused(blamed.reason, blamed.detail)
        except RecordError as error:
            return Refused(error.reason, error.detail)
        if group.misplaced is not None:
            return Refused(Reason.MISPLACED, group.misplaced)
        return verdict

    def _judge(self, group: FileGroup, path: str, full: Path) -> Picture | Refused:
        status = full.stat()
        read.check_regular(status)  # before it is opened: opening a device may do something
        if self._previous is not None:
            known = self._previous.find(path, status, group.class_name)
            if known is not None and known.height * known.width <= self._limits.max_pixels:
                return Picture(known.height, known.width, known.size_bytes, known.mtime_ns, known.digest)
        limit = self._limits.max_file_bytes
        if status.st_size > limit:
            detail = f"{status.st_size} bytes, of {limit} allowed (max_file_bytes)"
            return Refused(Reason.TOO_MANY_BYTES, detail)
        if status.st_size == 0:
            return Refused(Reason.FORMAT, "the file is empty")
        is_large = status.st_size > _LARGE_BYTES
        if is_large:
            self._watch.done()  # it waits for its turn, which is no fault of its own
        with self._one_large if is_large else nullcontext():
            self._watch.at(path)
            content = read.read_file(full, max_bytes=limit)
            if not content.steady or len(content.data) != content.size_bytes:
                return Refused(Reason.CHANGED, "it was written to while it was read; scan the dataset again")
            header = decode.probe(content.data, max_pixels=self._limits.max_pixels)
            digest = read.record_digest(read.content_digest(content.data), group.class_name)
        return Picture(header.height, header.width, content.size_bytes, content.mtime_ns, digest)
