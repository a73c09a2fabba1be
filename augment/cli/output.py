"""The command's output: results to standard output, everything about the run to standard error.

With ``--json`` standard output has one JSON document and nothing else. Progress is a bar on a terminal, a line every
ten seconds elsewhere, and JSON lines with ``--json``. rich is imported only when something is drawn.

A failed write to standard output (disk full, reader gone) raises StorageError or ReaderLeftError at once. Python alone
reports it like an error of any file, or at exit, when nothing can handle it any more.
"""

import faulthandler
import io
import json
import os
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from augment.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from _typeshed import ReadableBuffer
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID
    from rich.table import Table

    from augment.expansion.progress import Progress
    from augment.samples.sample import Refusal

PLAIN_INTERVAL_S = 10.0
"""Interval of progress lines if standard error is not a terminal; seldom enough for a log."""
JSON_INTERVAL_S = 1.0
RATE_WINDOW_S = 30.0
_WIDTH_WITH_BAR = 72

JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON document to standard output instead of text.")]


def path(text: str | Path) -> Path:
    """Return a path argument. An empty one is refused: it comes from an unset variable, not from a wish for ``.``."""
    if not str(text):
        raise typer.BadParameter("the path is empty; write . for the current folder")
    return Path(text)


def silence_libraries() -> None:
    """Keep libraries from writing to standard error, in this process and in its workers.

    Codecs written in C print hundreds of lines about a broken file there, in the middle of a progress bar.
    """
    if sys.stderr is None:  # closed by the parent process
        return
    own = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors, buffering=1)
    if faulthandler.is_enabled():
        faulthandler.enable(own)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = own


def console(*, stderr: bool = False) -> "Console":
    """Return a console without highlighting and markup, which would change paths and digests."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def table() -> "Table":
    """Return a table without lines."""
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))


def say(text: str = "") -> None:
    """Write one line of a result to standard output, unwrapped."""
    typer.echo(text)


def note(text: str) -> None:
    """Write one line about the run to standard error."""
    typer.echo(text, err=True)


def write_json(document: Any) -> None:
    """Write the command's one JSON document to standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def columns(rows: "Sequence[Sequence[str]]") -> "Iterator[str]":
    """Yield each row of a table as one line: names to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for name, *numbers in rows:
        cells = (number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))
        yield "  ".join((name.ljust(widths[0]), *cells)).rstrip()


def refusals(some: "Iterable[Refusal]") -> list[dict[str, str]]:
    """Return refusals as JSON."""
    return [{"key": one.key, "reason": str(one.reason), "detail": one.detail} for one in some]


def count(number: int, noun: str) -> str:
    """Return a number with its noun, like ``1 image`` or ``12,000 images``; ``noun`` is the singular."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def size(num_bytes: float) -> str:
    """Return a number of bytes with a decimal unit: 1.3 MB is 1,300,000 bytes."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


class StageProgress:
    """Progress of one stage on standard error.

    ``show`` may be called at any rate, from one thread.
    """

    def __init__(self, stage: str, *, as_json: bool, failed_are: str = "refused") -> None:
        self._stage = stage
        self._failed_are = failed_are
        self._as_json = as_json
        self._rate = Rate()
        self._shown = time.monotonic()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if not self._as_json and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task(self._stage, total=None, **self._columns(0, None, 0, "", ""))
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int | None = None, failed: int = 0, kept: int = 0) -> None:
        """Show that ``done`` of ``total`` (None: not known yet) are done and ``failed`` of them failed.

        ``kept`` of them existed before the run and do not count for the speed.
        """
        now = time.monotonic()
        rate = self._rate.add(now, done - kept)
        left_s = (total - done) / rate if total is not None and rate else None
        speed = "" if rate is None else f"{rate:,.0f}/s"
        left = "" if left_s is None else f"{_duration(left_s)} left"
        if self._bar is not None and self._task is not None:
            texts = self._columns(done, total, failed, speed, left)
            self._bar.update(self._task, completed=done, total=total, **texts)
        elif now - self._shown >= (JSON_INTERVAL_S if self._as_json else PLAIN_INTERVAL_S):
            self._shown = now
            if self._as_json:
                event = {"stage": self._stage, "done": done, "total": total, "failed": failed}
                note(json.dumps(event | {"rate": rate and round(rate, 1), "eta_s": left_s and round(left_s)}))
            else:
                counts = f"{self._stage}: {done:,}" + ("" if total is None else f" of {total:,}")
                failures = f"{failed:,} {self._failed_are}"
                note(", ".join(part for part in (counts, failures, speed, left) if part))

    def _columns(self, done: int, total: int | None, failed: int, speed: str, left: str) -> "dict[str, Any]":
        """Return the texts of the bar's columns by name."""
        from rich.text import Text

        counts = f"{done:,}" + ("" if total is None else f"/{total:,}")
        failures = Text(f"{failed:,} {self._failed_are}", style="red" if failed else "dim")
        return {"counts": counts, "speed": speed, "left": left, "failures": failures}

    def show_expansion(self, progress: "Progress") -> None:
        """Show the progress of an expansion."""
        self.show(progress.done, progress.total, progress.failed, progress.kept)


class Rate:
    """Items per second over the last half minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, done: int) -> float | None:
        """Add a measurement and return the rate, or None if it is not known yet."""
        self._samples.append((now_s, done))
        while len(self._samples) > 2 and self._samples[0][0] < now_s - RATE_WINDOW_S:
            self._samples.popleft()
        first_s, first = self._samples[0]
        return (done - first) / (now_s - first_s) if done > first and now_s > first_s else None


def _bar() -> "Bar":
    from rich.progress import BarColumn, ProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    class FieldColumn(ProgressColumn):
        def __init__(self, name: str) -> None:
            super().__init__()
            self._name = name

        def render(self, task: Any) -> Any:
            return task.fields[self._name]

    screen = console(stderr=True)
    bar = [BarColumn(bar_width=None)] if screen.width >= _WIDTH_WITH_BAR else []
    fields = [FieldColumn(name) for name in ("counts", "speed", "left", "failures")]
    return Bar(TextColumn("{task.description}"), *bar, *fields, console=screen, expand=bool(bar), transient=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class ReaderLeftError(BaseException):
    """The reader of standard output has closed it (``| head -1``). The command ends silently, as others do."""

    EXIT_CODE = 128 + signal.SIGPIPE


class _Descriptor(io.FileIO):
    """File of the descriptor, below all buffers."""

    def write(self, data: "ReadableBuffer", /) -> int | None:  # type: ignore[override]
        """Write to the descriptor. Raises StorageError if that fails, ReaderLeftError if the reader has closed it."""
        try:
            return super().write(data)
        except OSError as error:
            # The contents of the buffers are lost. Writing them again at exit would report the error twice.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                raise ReaderLeftError from None
            raise StorageError(
                f"cannot write standard output: {error.strerror}; free space, or redirect it elsewhere"
            ) from error


def watch() -> None:
    """Replace ``sys.stdout`` so that failed writes raise; leave it if it is closed or already replaced."""
    former = sys.stdout
    if not isinstance(former, io.TextIOWrapper) or former is not sys.__stdout__:
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(1, "wb", closefd=False)),
        encoding=former.encoding,
        errors=former.errors,
        line_buffering=former.line_buffering,
    )
