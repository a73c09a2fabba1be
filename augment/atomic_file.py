"""Files that appear under their names whole or not at all, and the wait until the disk has them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield the path of a draft, which takes the place of the file when the block ends well, and else is removed.

    ``durable`` waits until the disk has the file under its name. OSError passes.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}.tmp")
    try:
        yield draft
        if durable:
            sync(draft)
        draft.replace(path)
        if durable:
            sync(path.parent)
    finally:
        with suppress(OSError):  # where nothing can be written, nothing can be removed
            draft.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(fd)
