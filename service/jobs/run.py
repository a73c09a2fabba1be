"""One job's expansion: described and checked for a client, run in a thread of its own; its output as a tar stream.

A run is ``augment.expansion.expand.Expansion.run``, as the command line calls it; it can be told to stop at any
time, and leaves a folder from which the next one resumes, whoever runs it.

The same folder gives the same tar, and one piece is in memory at a time. Members have the folder's paths, sorted;
headers (POSIX.1-2001 if a name is long) hold no time and no owner. The folder is held, shared, while it is read: no run
changes it meanwhile.
"""

import tarfile
import threading
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from anyio import to_thread

from augment.errors import StorageError
from augment.expansion import folder, lock
from augment.expansion.expand import Expansion
from augment.expansion.progress import Progress, Summary
from augment.expansion.spec import ExpansionSpec, check_same
from augment.render.pipeline import Pipeline
from augment.transforms.resolve import resolve
from augment.workers.task import Workers
from service.datasets import registry
from service.datasets.registry import Datasets
from service.errors import NoRoomError
from service.home import Quota, folder_bytes
from service.jobs.table import JobWanted

_MEASURE_S = 60.0
"""How often a run measures the home anew: uploads and other jobs fill it too."""


class StoppedRun(BaseException):
    """A run was told to stop. No Exception: like Ctrl-C it is no failure of anything."""


class Run:
    """What a client may see of a run, and how to stop it; safe between threads."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ask the run to end; it does a few times a second, and its workers stop before their next record."""
        self._stopped.set()

    def check(self) -> None:
        """Raise StoppedRun once the run was asked to end."""
        if self._stopped.is_set():
            raise StoppedRun

    def __call__(self, expansion: Expansion, workers: Workers, room: "Room") -> Summary:
        """Bring the folder to the expansion's end; raises what ``Expansion.run`` does, StoppedRun, NoRoomError."""

        def note(progress: Progress) -> None:
            self.progress = progress
            self.check()
            room.check(progress.size_bytes)

        self.check()
        return expansion.run(workers, progress=note)


class Room:
    """What AUGMENT_MAX_HOME_BYTES leaves to one output; of one thread."""

    def __init__(self, quota: Quota, out: Path) -> None:
        self._quota = quota
        self._out = out
        self._others = 0
        self._measure_at = 0.0

    def check(self, size_bytes: int) -> None:
        """Raise NoRoomError where an output of so many bytes has no room beside all others."""
        now = time.monotonic()
        if now >= self._measure_at:
            self._others = self._quota.used_bytes() - folder_bytes(self._out)
            self._measure_at = now + _MEASURE_S
        if self._others + size_bytes >= self._quota.max_bytes:
            raise NoRoomError(
                f"the home would hold more than {self._quota.max_bytes} bytes (AUGMENT_MAX_HOME_BYTES): {size_bytes} "
                f"in this output and {self._others} beside it; delete datasets or outputs, or raise the limit, then "
                "resume"
            )


def describe(datasets: Datasets, out: Path, wanted: JobWanted) -> Expansion:
    """The expansion, checked against dataset, pipeline and folder; nothing is written. It reads the disk.

    Raises NotFoundError, ConflictError, PipelineError, CallError, and OutputError where the folder is another's.
    """
    pipeline = None if wanted.pipeline is None else Pipeline(resolve(wanted.pipeline))
    if pipeline is not None:
        registry.check(datasets, pipeline.spec)
    references = {name: datasets.get(name) for name in wanted.references}
    expansion = Expansion(datasets.get(wanted.dataset), out, pipeline, wanted, references=references)
    text = folder.read_text(out, folder.DESCRIPTION)
    if text is not None:
        check_same(ExpansionSpec.from_json(text, folder.DESCRIPTION), expansion.spec, out, update=wanted.update)
    return expansion


_PIECE_BYTES = 2**20


async def stream(root: Path) -> AsyncGenerator[bytes, None]:
    """The tar in pieces of about a MiB, each read in a thread. OutputError where a run works in the folder."""
    pieces = _pieces(root)
    try:
        while (piece := await to_thread.run_sync(next, pieces, None)) is not None:
            yield piece
    finally:
        await to_thread.run_sync(pieces.close)


def _pieces(root: Path) -> Generator[bytes, None, None]:
    with lock.locked(root, shared=True):
        piece = bytearray()
        for part in _parts(root):
            piece += part
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece) + bytes(2 * tarfile.BLOCKSIZE)


def _parts(root: Path) -> Generator[bytes, None, None]:
    paths = sorted(path for _, inside in folder.walk(root) for path in inside)
    for path in paths:
        if path.startswith(folder.HIDDEN):
            continue
        try:
            with (root / path).open("rb") as file:
                header = tarfile.TarInfo(path)
                header.size = left = file.seek(0, 2)
                file.seek(0)
                yield header.tobuf(tarfile.PAX_FORMAT)
                while left:
                    data = file.read(min(left, _PIECE_BYTES))
                    if not data:
                        raise StorageError(f"{path} was cut while the output was read; ask again")
                    left -= len(data)
                    yield data
                yield bytes(-header.size % tarfile.BLOCKSIZE)
        except OSError as error:
            raise folder.storage_error("read", path, error) from error
