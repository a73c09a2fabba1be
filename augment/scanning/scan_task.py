"""Scan as a task, so that a hostile header reaches a worker process and not the caller."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path

from augment.datasets import keys
from augment.formats.files import Watch
from augment.images import decode
from augment.scanning import assemble
from augment.scanning.scan import scan
from augment.workers.files import ProgressFile
from augment.workers.task import Guard

_TICK_S = 0.1

MAX_NAMED = 3
"""Number of links that a refusal names."""


@dataclass(frozen=True, slots=True)
class ScanReport:
    """Result of a scan; ``targets`` are sorted.

    ``outside`` names links that lead out of the allowed folders; if there are any, nothing was scanned.
    """

    digest: str = ""
    format: str = ""
    num_records: int = 0
    num_refused: int = 0
    classes: tuple[str, ...] = ()
    splits: tuple[tuple[str, int], ...] = ()
    targets: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanTask:
    """Scan ``root`` and write its manifest to ``sink``.

    Every link below ``root`` must lead into one of the folders ``within`` (resolved paths; empty: links are free).
    ``progress`` is a file. The scan is aborted if one file or folder takes more than ``timeout_s``.
    """

    root: Path
    format: str | None
    sink: Path
    progress: Path
    within: tuple[Path, ...] = ()
    max_pixels: int = decode.DEFAULT_MAX_PIXELS
    max_files: int | None = None
    bad_annotations: str = assemble.REFUSE
    ignore: tuple[str, ...] = ()
    timeout_s: float | None = None

    def run(self, guard: Guard) -> ScanReport:  # noqa: ARG002 - a scan decodes nothing, so no record needs its guard
        """Scan. Raises what ``scan.scan`` raises, and DatasetError if one file takes too long."""
        if self.timeout_s is None:
            return self._scan(None)
        return _watched(self._scan, Watch(self.timeout_s))

    def _scan(self, watch: Watch | None) -> ScanReport:
        if self.within:
            outside = tuple(_some(links_outside(self.root, self.within, watch)))
            if outside:
                return ScanReport(outside=outside)
        shown = ProgressFile(self.progress, "scanning")
        shown.show(0)
        dataset = scan(
            self.root,
            format=self.format,
            sink=self.sink,
            progress=shown.show,
            max_pixels=self.max_pixels,
            max_files=self.max_files,
            bad_annotations=self.bad_annotations,
            ignore=self.ignore,
            watch=watch,
        )
        return ScanReport(
            digest=dataset.digest,
            format=dataset.format,
            num_records=dataset.num_records,
            num_refused=dataset.num_refused,
            classes=dataset.classes,
            splits=tuple(dataset.splits.items()),
            targets=tuple(sorted(dataset.targets)),
            notices=dataset.notices,
        )


def links_outside(root: Path, within: Sequence[Path], watch: Watch | None = None) -> Iterator[str]:
    """Yield the links below a folder that lead out of all of these (resolved) folders, as paths relative to it.

    Folders behind links are entered once. The target of a link may change later. Then its bytes are no longer the
    scanned ones, and reading the record is refused.
    """
    seen: set[str] = set()
    pending = [""]
    while pending:
        place = pending.pop()
        if watch is not None:
            watch.at(keys.printable(place))
        try:
            entries = list(os.scandir(root / place))
        except OSError:  # the scan comes next and reports it
            continue
        for entry in entries:
            path = f"{place}/{entry.name}" if place else entry.name
            if entry.is_symlink():
                target = Path(os.path.realpath(entry.path))
                if not any(target.is_relative_to(folder) for folder in within):
                    yield keys.printable(path)
                elif target.is_dir() and str(target) not in seen:
                    seen.add(str(target))
                    pending.append(path)
            elif entry.is_dir(follow_symlinks=False):
                pending.append(path)


def _watched(scan: Callable[[Watch], ScanReport], watch: Watch) -> ScanReport:
    """Scan in a separate thread, which is abandoned if it hangs; the worker with such a thread is replaced."""
    ended: Future[ScanReport] = Future()

    def carry_out() -> None:
        try:
            ended.set_result(scan(watch))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that waits
            ended.set_exception(error)

    thread = threading.Thread(target=carry_out, name="scan", daemon=True)
    thread.start()
    try:
        while not ended.done():
            # Ends the process if C code holds the interpreter's lock, because then nothing here can run.
            signal.setitimer(signal.ITIMER_REAL, 2 * watch.timeout_s + 1)
            wait([ended], timeout=_TICK_S)
            watch.check()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    thread.join()
    return ended.result()


def _some(links: Iterator[str]) -> Iterator[str]:
    for _, link in zip(range(MAX_NAMED), links, strict=False):
        yield link
