"""An output folder as a tar stream: the same bytes for the same folder, and one piece in memory at a time.

Members lie as in the folder, sorted by path; headers (POSIX.1-2001 where a name is long) hold no time, owner or mode
of their own. The folder is held, shared, while it is read: no run changes it meanwhile.
"""

import tarfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from anyio import to_thread

from augment.errors import StorageError
from augment.expansion import folder, lock

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
