"""Limits of one record in a worker, and the search for the record that killed it.

A task runs first under ``AlarmGuard``: timers whose signals end the process, so that they also stop C code that never
returns. When the worker dies, the culprit is unknown, because a corrupted heap often crashes a later record. So the
task runs again under ``QuarantineGuard``: each record alone, in a forked child. A record whose child dies twice is
refused, and the verdict is kept (verdicts.py).

A refusal must be the same on every machine, however busy. The time limit therefore counts processor seconds, and the
memory limit of a child counts from what its parent holds already. Running out of real time refuses nothing: it ends the
task with a WorkerError.
"""

import os
import resource
import signal
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from augment.errors import Reason, RecordError, WorkerError
from augment.samples.sample import Refusal
from augment.workers import outcome, parent_watch

T = TypeVar("T")

_MAX_DEATHS = 2
_MAX_KILLS = 3
_OUT_OF_MEMORY = 77
"""Exit code of a child that could not get the memory it asked for."""

REAL_TIME_FACTOR = 10
"""Real time allowed for a record, as a multiple of its processor seconds: enough for a load of 10 per core."""

_SLOW_SHARE = 1 / 3
"""Share of the time limit from which a rendered record is noted.

On busy cores and caches the same work takes up to three times the processor seconds; a record below the share can never
reach the limit.
"""

Report = Callable[[str, Refusal | None], None]
"""Called with the subject and the verdict: a refusal, or None for a record that was rendered and took long."""


@dataclass
class _Guard:
    """Common part of both guards.

    ``verdicts`` maps subjects to known verdicts: a refusal, or None for a record that was rendered and took long. A new
    verdict goes there and to ``report`` at once, because this process may die later. ``timeout_s`` are processor
    seconds. ``stop_if_cancelled`` is called before each record.
    """

    verdicts: MutableMapping[str, Refusal | None]
    timeout_s: float
    stop_if_cancelled: Callable[[], None]
    report: Report

    def _begin(self, subject: str, key: str) -> None:
        self.stop_if_cancelled()
        if (known := self.verdicts.get(subject)) is not None:
            raise RecordError(key, known.reason, known.detail)

    def _decide(self, subject: str, refusal: Refusal | None) -> None:
        self.verdicts[subject] = refusal
        self.report(subject, refusal)

    def _note(self, subject: str, used_s: float) -> None:
        """Note that a record was rendered, if it came near the limit."""
        if used_s > _SLOW_SHARE * self.timeout_s and subject not in self.verdicts:
            self._decide(subject, None)

    def _start_timers(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, self.timeout_s)
        signal.setitimer(signal.ITIMER_REAL, REAL_TIME_FACTOR * self.timeout_s)


class AlarmGuard(_Guard):
    """Guard that runs a record in this process; the kernel ends the process (SIGPROF) if the record takes too long."""

    def __call__(self, subject: str, key: str, work: Callable[[], T]) -> T:
        """Do the work, as ``augment.workers.task.Guard`` describes."""
        self._begin(subject, key)
        left_s = 0.0
        self._start_timers()
        try:
            result = work()
        except MemoryError as error:
            raise outcome.Exhausted from error
        finally:
            left_s = signal.setitimer(signal.ITIMER_PROF, 0)[0]
            signal.setitimer(signal.ITIMER_REAL, 0)
        self._note(subject, self.timeout_s - left_s)
        return result


@dataclass
class QuarantineGuard(_Guard):
    """Guard that runs each record in a forked child, up to twice, to find the one that kills.

    ``private_fds`` are closed in the child. The result of the work is pickled to return it.
    """

    private_fds: Sequence[int] = ()

    def __call__(self, subject: str, key: str, work: Callable[[], T]) -> T:
        """Do the work, as ``augment.workers.task.Guard`` describes.

        Raises WorkerError if its child is killed from outside.
        """
        deaths = kills = 0
        while True:
            self._begin(subject, key)
            ended = self._run_in_child(work)
            if ended.outcome is not None:
                self._note(subject, ended.used_s)
                value: T = ended.outcome.value()
                return value
            if ended.exit_code == -signal.SIGALRM:
                raise WorkerError(self._ran_out(key, ended.used_s))
            # Only the kernel's out-of-memory killer and people send SIGKILL: it does not incriminate the record.
            if ended.exit_code == -signal.SIGKILL:
                kills += 1
            else:
                deaths += 1
            if kills == _MAX_KILLS:
                raise WorkerError(
                    f"{key}: its process was killed (SIGKILL) {_MAX_KILLS} times, by the system's out-of-memory killer "
                    "or by a user; run fewer workers (AUGMENT_WORKERS) or give the machine more memory"
                )
            if deaths == _MAX_DEATHS:
                if (
                    subject in self.verdicts
                ):  # it was rendered before, and a replica that rendered it must not refuse it
                    raise WorkerError(self._rendered_before(key, ended.exit_code))
                self._decide(subject, self._verdict(key, ended.exit_code))

    def _ran_out(self, key: str, used_s: float) -> str:
        return (
            f"{key}: its process got {used_s:.1f} s of processor time in {REAL_TIME_FACTOR * self.timeout_s:g} s "
            f"({REAL_TIME_FACTOR} times AUGMENT_RECORD_TIMEOUT_S) and did not finish: the machine is too busy, or the "
            "storage does not answer; try again"
        )

    @staticmethod
    def _rendered_before(key: str, exit_code: int) -> str:
        return (
            f"{key}: its process {parent_watch.describe_end(exit_code)}, twice, but the record was rendered before, so "
            "it is not refused: the machine is too busy; try again"
        )

    def _verdict(self, key: str, exit_code: int) -> Refusal:
        if exit_code == -signal.SIGPROF:
            limit = f"{self.timeout_s:g} s of processor time, the limit for one record (AUGMENT_RECORD_TIMEOUT_S)"
            return Refusal(key, Reason.TIMEOUT, f"decoding or rendering it takes more than {limit}; it was tried alone")
        if exit_code == _OUT_OF_MEMORY:
            return Refusal(
                key, Reason.CRASHED, "it needs more memory than a worker may use (AUGMENT_WORKER_MEMORY_BYTES)"
            )
        how = parent_watch.describe_end(exit_code)
        return Refusal(key, Reason.CRASHED, f"the process that decoded or rendered it {how}, twice")

    def _run_in_child(self, work: Callable[[], object]) -> "_Ended":
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
            _, status, usage = os.wait4(child_pid, 0)
        exit_code = os.waitstatus_to_exitcode(status)
        is_whole = bool(data) and exit_code == 0  # C code may call exit(0)
        return _Ended(exit_code, usage.ru_utime + usage.ru_stime, outcome.load(data) if is_whole else None)

    def _be_child(self, parent_pid: int, work: Callable[[], object], write_fd: int) -> NoReturn:
        exit_code = 1
        try:
            parent_watch.end_with_parent(parent_pid)
            for fd in self.private_fds:
                os.close(fd)
            _allow_as_much_again()
            self._start_timers()
            data = outcome.run_and_dump(work)
            with os.fdopen(write_fd, "wb") as pipe:
                pipe.write(data)
            exit_code = 0
        except MemoryError:
            exit_code = _OUT_OF_MEMORY
        finally:
            os._exit(exit_code)


class _Ended(NamedTuple):
    """End of a child: how it ended, the processor seconds that it used, and its outcome if it sent one."""

    exit_code: int
    used_s: float
    outcome: outcome.Outcome | None


def _allow_as_much_again() -> None:
    """Add the memory that this process holds to its limit.

    A child begins with the memory of its parent. Memory held for other records of the task must not decide about this
    one.
    """
    limit, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if limit == resource.RLIM_INFINITY:
        return
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
    allowed = limit + held if hard == resource.RLIM_INFINITY else min(limit + held, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
