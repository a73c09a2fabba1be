"""Limits of one record in a worker, and the search for the record that killed it.

A task runs first under ``AlarmGuard``: an alarm whose signal ends the process, so that it also stops C code that never
returns. When the worker dies, the culprit is unknown (what breaks the heap is often not what trips over it), so the
task runs again under ``QuarantineGuard``: each record in a forked child of its own. A record whose child dies twice is
refused, and the verdict is kept.
"""

import os
import resource
import signal
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from augment.errors import CallError, Reason, RecordError, WorkerError
from augment.samples.sample import Refusal
from augment.workers import outcome, parent_watch

T = TypeVar("T")

_MAX_DEATHS = 2
_MAX_KILLS = 3
_OUT_OF_MEMORY = 77
"""Exit code of a child that could not get the memory it asked for."""


@dataclass
class _Guard:
    """``verdicts`` maps subjects to the refusals that are known. ``stop_if_cancelled`` is called before each record."""

    verdicts: MutableMapping[str, Refusal]
    timeout_s: float
    stop_if_cancelled: Callable[[], None]

    def _begin(self, subject: str, key: str) -> None:
        self.stop_if_cancelled()
        if (known := self.verdicts.get(subject)) is not None:
            raise RecordError(key, known.reason, known.detail)


class AlarmGuard(_Guard):
    """Runs a record in this process; the kernel ends the process (SIGALRM) when the record takes too long."""

    def __call__(self, subject: str, key: str, work: Callable[[], T]) -> T:
        """Do the work, as ``augment.workers.task.Guard`` describes."""
        self._begin(subject, key)
        signal.setitimer(signal.ITIMER_REAL, self.timeout_s)
        try:
            return work()
        except MemoryError as error:
            raise outcome.Exhausted from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@dataclass
class QuarantineGuard(_Guard):
    """Runs each record in a forked child, twice if need be, and so knows which one kills.

    New verdicts go into ``verdicts`` and to ``report`` at once, since this process may die of something else later.
    ``private_fds`` are closed in the child. The result of the work is pickled on its way back.
    """

    report: Callable[[str, Refusal], None]
    private_fds: Sequence[int] = ()

    def __call__(self, subject: str, key: str, work: Callable[[], T]) -> T:
        """Do the work, as ``augment.workers.task.Guard`` describes; WorkerError where its child is killed by others."""
        deaths = kills = 0
        while True:
            self._begin(subject, key)
            exit_code, result = self._run_in_child(work)
            if result is not None:
                value: T = result.value()
                return value
            # Only the kernel's out-of-memory killer and people send SIGKILL: it says nothing about the record.
            if exit_code == -signal.SIGKILL:
                kills += 1
            else:
                deaths += 1
            if kills == _MAX_KILLS:
                raise WorkerError(
                    f"{key}: its process was killed (SIGKILL) {_MAX_KILLS} times, by the system's out-of-memory killer "
                    "or by somebody; run fewer workers (AUGMENT_WORKERS) or give the machine more memory"
                )
            if exit_code == _OUT_OF_MEMORY:
                _check_own_memory()
            if deaths == _MAX_DEATHS:
                refusal = self._verdict(key, exit_code)
                self.verdicts[subject] = refusal
                self.report(subject, refusal)

    def _verdict(self, key: str, exit_code: int) -> Refusal:
        if exit_code == -signal.SIGALRM:
            limit = f"the limit of {self.timeout_s:g} s for one record (AUGMENT_RECORD_TIMEOUT_S)"
            return Refusal(key, Reason.TIMEOUT, f"decoding or rendering it exceeded {limit}, twice")
        if exit_code == _OUT_OF_MEMORY:
            return Refusal(
                key, Reason.CRASHED, "it needs more memory than a worker may use (AUGMENT_WORKER_MEMORY_BYTES)"
            )
        return Refusal(
            key,
            Reason.CRASHED,
            f"the process that decoded or rendered it {parent_watch.describe_end(exit_code)}, twice",
        )

    def _run_in_child(self, work: Callable[[], object]) -> tuple[int, outcome.Outcome | None]:
        """The child's exit code and the outcome, None where the child did not live to tell it."""
        try:
            read_fd, write_fd = os.pipe()
            parent_pid = os.getpid()
            child_pid = os.fork()
        except OSError as error:
            raise WorkerError(f"a worker cannot start a child ({error}); raise the limit on processes") from error
        if child_pid == 0:
            self._be_child(parent_pid, work, write_fd)
        os.close(write_fd)
        try:
            with os.fdopen(read_fd, "rb") as pipe:
                data = pipe.read()
        except MemoryError as error:
            os.kill(child_pid, signal.SIGKILL)
            raise outcome.Exhausted from error
        finally:
            exit_code = os.waitstatus_to_exitcode(os.waitpid(child_pid, 0)[1])
        return exit_code, outcome.load(data) if data and exit_code == 0 else None  # C code may call exit(0)

    def _be_child(self, parent_pid: int, work: Callable[[], object], write_fd: int) -> NoReturn:
        exit_code = 1
        try:
            parent_watch.end_with_parent(parent_pid)
            for fd in self.private_fds:
                os.close(fd)
            signal.setitimer(signal.ITIMER_REAL, self.timeout_s)
            data = outcome.run_and_dump(work)
            with os.fdopen(write_fd, "wb") as pipe:
                pipe.write(data)
            exit_code = 0
        except MemoryError:
            exit_code = _OUT_OF_MEMORY
        finally:
            os._exit(exit_code)


def _check_own_memory() -> None:
    """Raise CallError where this process holds so much, for records that are done, that no child had a fair share.

    A child begins with the memory of its parent, and both have one limit: the record is not to blame.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if limit == resource.RLIM_INFINITY:
        return
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
    if held > limit // 2:
        raise CallError(
            f"what is rendered so far takes {held} bytes, of {limit} that a worker may use "
            "(AUGMENT_WORKER_MEMORY_BYTES); ask for a smaller batch_size, fewer views or smaller pictures"
        )
