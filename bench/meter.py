"""Cost of a tree of processes: CPU-seconds of all that ever lived in it, and memory of all that live now.

The harness makes itself the reaper of orphans (prctl(2), PR_SET_CHILD_SUBREAPER), so that all processes of a run stay
below it, however they fork. It waits for none of them before the last reading: ended ones stay as zombies, whose times
the kernel keeps. A process holds its own time and that of the children it waited for. Time lost that way (children of a
process that ignores SIGCHLD) is found by sampling: the last time seen of each process is kept, and the larger sum
counts.
"""

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

_PR_SET_CHILD_SUBREAPER = 36
_TICKS_S = 1 / os.sysconf("SC_CLK_TCK")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the system's own folder is what is measured
PERIOD_S = 0.5
"""Time between two readings of memory; one costs the harness some milliseconds, which are not charged to a run."""


class Process(NamedTuple):
    """One process: its own CPU-seconds, and those of the children it waited for."""

    pid: int
    parent: int
    started: int
    own_s: float
    waited_s: float


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU-seconds of a tree up to now. ``waited_s`` counts what parents waited for, ``seen_s`` what was ever seen."""

    waited_s: float
    seen_s: float

    @property
    def total_s(self) -> float:
        return max(self.waited_s, self.seen_s)


def become_reaper() -> None:
    """Make this process the parent of all orphans below it."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed; the bench needs Linux")


class Meter:
    """Meter of one tree: all processes below this one but ``apart``. Use it as a context manager around a run."""

    def __init__(self) -> None:
        self.apart: set[int] = set()
        self.peak_bytes = 0
        self._last: dict[tuple[int, int], float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._shared_before = _shared_bytes()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def cpu(self) -> Cpu:
        """Return all CPU-seconds of the tree until now."""
        with self._lock:
            processes = list(tree(os.getpid(), self.apart))
            for each in processes:
                self._last[each.pid, each.started] = each.own_s
            waited_s = sum(each.own_s + each.waited_s for each in processes)
            return Cpu(waited_s, sum(self._last.values()))

    def take_memory(self) -> None:
        """Raise the peak if memory is above it now."""
        self.peak_bytes = max(self.peak_bytes, self.memory())

    def memory(self) -> int:
        """Return the bytes of the tree: its proportional share of mapped memory, and the unmapped files of /dev/shm."""
        pss = shared = 0
        for each in tree(os.getpid(), self.apart):
            found = _pss(each.pid)
            pss, shared = pss + found[0], shared + found[1]
        return pss - shared + max(shared, _shared_bytes() - self._shared_before)

    def _watch(self) -> None:
        while not self._ended.wait(PERIOD_S):
            self.cpu()
            self.take_memory()


def tree(root: int, apart: set[int]) -> Iterator[Process]:
    """Yield the living and the zombies below a process, each once, without those ``apart`` and their descendants.

    Reads again if a process came or went meanwhile, because a child's time moves to its parent when it is waited for.
    """
    for _ in range(20):
        found = {each.pid: each for each in _all()}
        again = {each.pid for each in _all()}
        if again == found.keys():
            break
    children: dict[int, list[Process]] = {}
    for each in found.values():
        children.setdefault(each.parent, []).append(each)
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child.pid not in apart:
                yield child
                waiting.append(child.pid)


def end(root: int, patience_s: float = 10.0) -> None:
    """Kill and wait for everything below this process."""
    until = time.monotonic() + patience_s
    while (left := list(tree(root, set()))) and time.monotonic() < until:
        for each in left:
            with suppress(ProcessLookupError):
                os.kill(each.pid, 9)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _all() -> Iterator[Process]:
    for folder in Path("/proc").iterdir():
        if (name := folder.name).isdigit():
            with suppress(OSError):
                text = Path(f"/proc/{name}/stat").read_text(encoding="ascii", errors="replace")
                fields = text.rpartition(")")[2].split()  # a name may contain blanks and brackets
                times = [int(field) * _TICKS_S for field in fields[11:15]]
                yield Process(int(name), int(fields[1]), int(fields[19]), sum(times[:2]), sum(times[2:]))


def _pss(pid: int) -> tuple[int, int]:
    """Return the proportional set size of a process, and how much of it is shared memory, in bytes."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines()[1:]}
        return sizes.get("Pss", 0), sizes.get("Pss_Shmem", 0)
    return 0, 0


def _shared_bytes() -> int:
    with suppress(OSError):
        status = os.statvfs(_SHARED_MEMORY)
        return (status.f_blocks - status.f_bfree) * status.f_frsize
    return 0
