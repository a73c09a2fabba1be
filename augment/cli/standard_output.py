"""Standard output that says what became of it: whoever writes a result must know that it did not arrive.

Python would tell so as any error of any file, or at exit, when nobody listens. Here each failure has its own name at
the place where it happens, whoever writes: our own words, a table, the help.
"""

import io
import os
import signal
import sys
from typing import TYPE_CHECKING

from augment.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class ReaderLeftError(BaseException):
    """Nobody reads standard output any more (``| head -1``): the command ends as others do, without a word."""

    EXIT_CODE = 128 + signal.SIGPIPE


class _Descriptor(io.FileIO):
    """The descriptor itself, below all buffers."""

    def write(self, data: "ReadableBuffer", /) -> int | None:  # type: ignore[override]
        """Raises StorageError where it is full, ReaderLeftError where nobody reads it."""
        try:
            return super().write(data)
        except OSError as error:
            # What buffers still hold is lost; at exit it must not be tried, and told, once more.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                raise ReaderLeftError from None
            raise StorageError(
                f"cannot write standard output: {error.strerror}; free space, or send it elsewhere"
            ) from error


def watch() -> None:
    """Put it in the place of ``sys.stdout``; where that is closed, or somebody's own, it stays as it is."""
    former = sys.stdout
    if not isinstance(former, io.TextIOWrapper) or former is not sys.__stdout__:
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(1, "wb", closefd=False)),
        encoding=former.encoding,
        errors=former.errors,
        line_buffering=former.line_buffering,
    )
