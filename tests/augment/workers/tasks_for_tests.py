"""Tasks for the tests of workers: they sleep, raise, crash, hang, use memory, and return the process that ran them."""

import ctypes
import importlib
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from augment.errors import RecordError
from augment.workers.task import Guard, Task


@dataclass(frozen=True)
class Echo:
    """Returns what it was given."""

    value: Any = None

    def run(self, guard: Guard) -> Any:  # noqa: ARG002 - Task's own name
        return self.value


@dataclass(frozen=True)
class Pid:
    """Returns the process that ran it, after a while."""

    seconds: float = 0.0

    def run(self, guard: Guard) -> int:  # noqa: ARG002 - Task's own name
        time.sleep(self.seconds)
        return os.getpid()


@dataclass(frozen=True)
class Call:
    """Calls a function of this module outside any record."""

    name: str
    args: tuple[Any, ...] = ()

    def run(self, guard: Guard) -> Any:  # noqa: ARG002 - Task's own name
        return globals()[self.name](*self.args)


@dataclass(frozen=True)
class Records:
    """One guarded call for each key: ``calls`` names the function of this module for a key, else the key returns.

    The result maps each key to its result, or to its RecordError.
    """

    keys: tuple[str, ...]
    calls: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    prefix: str = "digest of "

    def run(self, guard: Guard) -> dict[str, Any]:
        results: dict[str, Any] = {}
        for key in self.keys:
            try:
                results[key] = guard(self.prefix + key, key, self._work(key))
            except RecordError as error:
                results[key] = error
        return results

    def _work(self, key: str) -> Callable[[], Any]:
        name, *args = self.calls.get(key, ("same", key))
        return lambda: globals()[name](*args)


@dataclass(frozen=True)
class Timed:
    """Runs another task and returns how many seconds that took."""

    task: Task[Any]

    def run(self, guard: Guard) -> float:
        start = time.perf_counter()
        self.task.run(guard)
        return time.perf_counter() - start


def same(value: Any) -> Any:
    return value


def pid() -> int:
    return os.getpid()


def die(number: int = signal.SIGSEGV) -> NoReturn:
    os.kill(os.getpid(), number)
    raise AssertionError("a signal that does not kill")


def die_after(path: str, times: int, number: int = signal.SIGKILL) -> str:
    """Die the first ``times`` times in any process; a file counts."""
    with Path(path).open("a") as file:
        file.write("x")
    if Path(path).stat().st_size <= times:
        die(number)
    return "alive"


def scribble() -> str:
    """Read outside of all memory, as a decoder with a bug does."""
    return str(ctypes.string_at(1))


def leave(exit_code: int) -> NoReturn:
    """End the process from C, past all of Python's handlers."""
    ctypes.CDLL(None)._exit(exit_code)
    raise AssertionError("_exit returned")


def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def meet(folder: str, number: int) -> int:
    """Wait until ``number`` processes are here at once; return the id of this one. Each writes a file in the folder."""
    Path(folder, str(os.getpid())).touch()
    while len(list(Path(folder).iterdir())) < number:
        time.sleep(0.005)
    return os.getpid()


def wait_for(path: str) -> int:
    """Touch ``path`` with the suffix ``.begun``, wait until ``path`` exists and return the id of this process."""
    Path(f"{path}.begun").touch()
    while not Path(path).exists():
        time.sleep(0.005)
    return os.getpid()


def touch(path: str) -> None:
    Path(path).touch()


def spin(seconds: float) -> None:
    """Compute for this time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def hang(seconds: int) -> str:
    """Stay in C code without ever releasing the interpreter's lock: no thread of this process runs meanwhile."""
    ctypes.PyDLL(None).sleep(seconds)
    return "returned"


def burn() -> int:
    """Compute in C code for minutes without ever releasing the interpreter's lock."""
    return int(pow(3, 3**18) % 10)


def spin_less(path: str, seconds: float, later_s: float) -> str:
    """Compute for ``seconds`` the first time and ``later_s`` in later calls of any process; a file counts."""
    with Path(path).open("a") as file:
        file.write("x")
    spin(seconds if Path(path).stat().st_size == 1 else later_s)
    return "done"


def eat(num_bytes: int) -> int:
    """Use this much memory, so that it counts."""
    return int(np.ones(num_bytes, dtype=np.uint8)[-1])


def hold(num_bytes: int) -> np.ndarray[Any, Any]:
    """Return this much memory, as a rendered image takes it."""
    return np.ones(num_bytes, dtype=np.uint8)


def map_shared(path: str) -> int:
    """Map a whole file, as a dataset's manifest is."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return len(mapped)


def leave_a_thread() -> int:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return os.getpid()


def pattern(side: int) -> np.ndarray[Any, Any]:
    return np.arange(side * side * 3, dtype=np.uint64).astype(np.uint8).reshape(side, side, 3)


def complain(text: str) -> NoReturn:
    raise ValueError(text)


def give_up() -> NoReturn:
    raise SystemExit("a task asked the interpreter to end")


class StubbornError(Exception):
    """An error that can be pickled but not unpickled, because its __init__ needs more than its args."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(f"{left} and {right}")


def complain_stubbornly() -> NoReturn:
    raise StubbornError("one", "two")


def unpicklable() -> Any:
    return lambda: None


def environment(name: str) -> str | None:
    return os.environ.get(name)


def num_threads() -> tuple[int, int]:
    """Return how many threads OpenCV would use, and how many this process has."""
    import cv2

    return int(cv2.getNumThreads()), len(list(Path("/proc/self/task").iterdir()))


def ignored_signals() -> set[int]:
    return {n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_IGN}


def modules() -> set[str]:
    return set(sys.modules)


def array_then_modules() -> tuple[bool, bool]:
    importlib.import_module("pyarrow").array(["a list"])
    return "pyarrow" in sys.modules, "pandas" in sys.modules


def core_and_oom() -> tuple[int, str]:
    import resource

    return resource.getrlimit(resource.RLIMIT_CORE)[0], Path("/proc/self/oom_score_adj").read_text().strip()


def talk(text: str) -> None:
    print(text)  # noqa: T201 - what a library that prints does


def die_then_hang(seconds: int) -> str:
    """Die in a worker; hang in quarantine, where the parent is a worker."""
    if Path(f"/proc/{os.getppid()}/comm").read_text().strip() == "augment-worker":
        return hang(seconds)
    die()
