"""Service side of worker processes: starts them, talks to them and learns how they ended."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection, Pipe

from augment.errors import WorkerError
from augment.samples.sample import Refusal
from augment.workers import process, zygote

ENVIRONMENT = {
    # Pixels must not depend on the machine: with IPP, three transforms differ between AVX2 and AVX-512.
    "OPENCV_IPP": "disabled",
    # Importing albumentations must not ask a registry for its latest version.
    "NO_ALBUMENTATIONS_UPDATE": "1",
    # One worker is one core; and only a process with a single thread can be forked safely.
    "OPENCV_FOR_THREADS_NUM": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Environment variables of workers, which override the service's."""

_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from augment.workers import zygote; "
_END_TIMEOUT_S = 1.0


class WorkerDied(Exception):  # noqa: N818 - an event between this module and slot.py, which raises the error
    """A worker ended in the middle of a task."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(exit_code)


class WorkerHandle:
    """One worker process, seen from outside. One thread runs tasks on it; any thread may cancel."""

    def __init__(self, pid: int, connection: Connection, exit_reader: Connection) -> None:
        self.pid = pid
        self.num_tasks = 0
        self.num_verdicts = 0
        self._connection = connection
        self._exit_reader = exit_reader
        self._send_lock = threading.Lock()

    def run(self, run: process.RunTask, on_verdict: Callable[[str, Refusal | None], None]) -> process.Reply:
        """Run one task to its end. Raises WorkerDied."""
        try:
            self._send(run)
            while isinstance(reply := self._connection.recv(), process.Verdict):
                on_verdict(reply.subject, reply.refusal)
        except (EOFError, OSError):
            raise WorkerDied(self._exit_code()) from None
        self.num_tasks += 1
        ended: process.Reply = reply
        return ended

    def cancel(self, number: int) -> None:
        """Ask the worker to stop the task of this number before its next record."""
        with suppress(OSError):  # the worker died, so the task is not running
            self._send(process.Cancel(number))

    def retire(self) -> None:
        """Let the process end after its task; return at once."""
        with suppress(OSError):
            self._send(None)  # explicit: if the user's process forked, closing alone would not reach the worker
        self.forget()

    def forget(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._exit_reader.close()

    def _send(self, message: process.RunTask | process.Cancel | None) -> None:
        with self._send_lock:
            self._connection.send(message)

    def _exit_code(self) -> int:
        try:
            exit_code: int = self._exit_reader.recv()
        except (EOFError, OSError):  # the zygote was killed too
            return -signal.SIGKILL
        return exit_code


class Launcher:
    """Starts the zygote, restarts it if it was killed, and launches workers through it. Thread-safe."""

    def __init__(
        self, limits: process.WorkerLimits, modules: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._limits = limits
        self._environment = environment or {}
        self._modules = list(modules)
        self._lock = threading.Lock()
        self._closed = False
        self._control: Connection | None = None
        self._zygote: subprocess.Popen[bytes] | None = None
        self._has_answered = False

    def prepare(self) -> None:
        """Start the zygote and its imports, and return at once. Raises WorkerError if it cannot start."""
        with self._lock:
            if not self._closed and self._control is None:
                with suppress(OSError):  # it is already dead: a launch starts another, and reports the problem
                    self._ensure_zygote().send(zygote.Preload(tuple(self._modules)))

    def launch(self, module: str | None = None) -> WorkerHandle | None:
        """Start a worker that has ``module`` imported.

        Returns None once closed. Raises WorkerError if the system refuses.
        """
        with self._lock:
            if module is not None and module not in self._modules and module != "__main__":
                self._modules.append(module)
            for _ in range(2):  # again if the zygote was killed, which is only noticed by talking to it
                if self._closed:
                    return None
                control = self._ensure_zygote()
                try:
                    control.send(zygote.Fork(tuple(self._modules), self._limits))
                    answer = control.recv()
                    self._has_answered = True
                    if isinstance(answer, zygote.NotForked):
                        raise WorkerError(f"a worker cannot be started ({answer.reason}); run fewer (AUGMENT_WORKERS)")
                    connection = Connection(reduction.recv_handle(control))
                    return WorkerHandle(
                        answer.pid, connection, Connection(reduction.recv_handle(control), writable=False)
                    )
                except (EOFError, OSError):
                    self._end_zygote()
            raise WorkerError(
                "a worker cannot be started: the process that forks them ends at once (its message is on standard "
                "error); `augment doctor` reports what is missing on this machine"
            )

    def close(self) -> None:
        """End the zygote and all workers; none is left on return. Safe to repeat."""
        self._closed = True
        while not self._lock.acquire(timeout=0.1):  # a launch waits for the zygote, whose imports can take seconds
            if (importing := self._zygote) is not None:
                importing.kill()
        try:
            # A zygote that has not answered yet is importing, and has no workers to end.
            if self._zygote is not None and self._control is not None and self._has_answered:
                with suppress(OSError):
                    self._control.send(None)
                with suppress(subprocess.TimeoutExpired):
                    self._zygote.wait(_END_TIMEOUT_S)
            self._end_zygote()
        finally:
            self._lock.release()

    def _ensure_zygote(self) -> Connection:
        if self._control is None:
            control, theirs = Pipe(duplex=True)
            with theirs:
                self._zygote = _start_zygote(theirs.fileno(), self._environment)
            self._control = control
        return self._control

    def _end_zygote(self) -> None:
        """Kill the zygote if it has not ended; the kernel then kills its workers (parent_watch.py)."""
        if self._zygote is not None:
            self._zygote.kill()
            self._zygote.wait()
        if self._control is not None:
            self._control.close()
        self._control = self._zygote = None
        self._has_answered = False


def _start_zygote(control_fd: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = f"{_BOOT}zygote.main({control_fd}, {os.getpid()})"
    # The child inherits the signal mask of this thread, so that no Ctrl-C reaches it before it has set its handlers.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, zygote.LEFT_TO_SERVICE)
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter, our own code
            [sys.executable, "-c", command, json.dumps(sys.path)],
            env={**os.environ, **environment, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=_stderr_fd(),  # standard output is the command's; a library's prints must not mix with it
            pass_fds=(control_fd,),
        )
    except OSError as error:
        raise WorkerError(f"no worker can be started: {error}; `augment doctor` checks this machine") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _stderr_fd() -> int:
    try:
        os.fstat(2)
    except OSError:  # a daemon that closed it
        return subprocess.DEVNULL
    return 2
