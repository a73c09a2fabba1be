"""Where the command's words go: results to standard output, everything about the run to standard error.

With ``--json`` standard output carries one JSON document and nothing else. Progress is a bar on a terminal, a line now
and then elsewhere, and JSON lines with ``--json``; rich is imported only where something is drawn.
"""

import json
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

PLAIN_INTERVAL_S = 10.0
"""How often progress is written where nobody watches a terminal: often enough to see life, seldom enough for a log."""
JSON_INTERVAL_S = 1.0

JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON document to standard output instead of text.")]


def console(*, stderr: bool = False) -> "Console":
    """A console that leaves paths and digests alone: no highlighting, no markup in data."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def say(text: str = "") -> None:
    """Write one line of a result to standard output, whatever its length."""
    typer.echo(text)


def note(text: str) -> None:
    """Write one line about the run to standard error."""
    typer.echo(text, err=True)


def write_json(document: Any) -> None:
    """Write the command's one JSON document to standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def count(number: int, noun: str) -> str:
    """A number with its noun, as in ``1 picture`` and ``12,000 pictures``; the noun is given in the singular."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def size(num_bytes: float) -> str:
    """A number of bytes for people: 1.3 MB is 1,300,000 bytes."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


class Progress:
    """How far a stage is, for whoever watches standard error.

    ``show`` may be called as often as the caller likes, from one thread.
    """

    def __init__(self, stage: str, *, as_json: bool) -> None:
        self._stage = stage
        self._as_json = as_json
        self._started = self._shown = time.monotonic()
        self._first: int | None = None
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if not self._as_json and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task(self._stage, total=None, failed=0)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int | None = None, failed: int = 0) -> None:
        """Say that ``done`` of ``total`` (None: nobody knows yet) are done, ``failed`` of them refused."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, failed=failed)
            return
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = done, now
        if now - self._shown >= (JSON_INTERVAL_S if self._as_json else PLAIN_INTERVAL_S):
            self._shown = now
            self._write_line(done, total, failed, rate=(done - self._first) / max(now - self._started, 1e-9))

    def _write_line(self, done: int, total: int | None, failed: int, *, rate: float) -> None:
        eta_s = (total - done) / rate if total is not None and rate > 0 else None
        if self._as_json:
            event = {"stage": self._stage, "done": done, "total": total, "failed": failed}
            note(json.dumps(event | {"rate": round(rate, 1), "eta_s": None if eta_s is None else round(eta_s)}))
            return
        of_total = "" if total is None else f" of {total:,}"
        eta = "" if eta_s is None else f", {_duration(eta_s)} left"
        note(f"{self._stage}: {done:,}{of_total}, {failed:,} refused, {rate:,.0f}/s{eta}")


def _bar() -> "Bar":
    from rich.progress import BarColumn, ProgressColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Counts(ProgressColumn):
        def render(self, task: Any) -> Text:
            total = "" if task.total is None else f"/{task.total:,.0f}"
            return Text(f"{task.completed:,.0f}{total}")

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s")

    class Left(ProgressColumn):
        max_refresh = 0.5

        def render(self, task: Any) -> Text:
            left = task.time_remaining
            return Text("" if task.total is None or left is None else f"{_duration(left)} left")

    class Refused(ProgressColumn):
        def render(self, task: Any) -> Text:
            failed = task.fields["failed"]
            return Text(f"{failed:,} refused", style="red" if failed else "dim")

    screen = console(stderr=True)
    bar = [BarColumn(bar_width=None)] if screen.width >= 72 else []
    return Bar(
        TextColumn("{task.description}"), *bar, Counts(), Rate(), Left(), Refused(),
        console=screen, expand=bool(bar), transient=True,
    )  # fmt: skip


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
