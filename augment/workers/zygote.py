"""Process that workers are forked from. It has imported their modules, so a worker starts in milliseconds.

(The name is that of Android's and Chromium's process for the same purpose.) It runs nothing but imports and stays in
one thread. It forks a worker when asked, reports how each worker ended, and ends all of them when the service closes
the connection or dies. It is a fresh interpreter that never sees the user's ``__main__``: a script without ``if
__name__ == "__main__"``, a notebook and standard input all work.
"""

import gc
import importlib
import io
import os
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection, Pipe
from typing import NamedTuple, NoReturn

from augment.workers import optional_imports, parent_watch, process

LEFT_TO_SERVICE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that terminals and supervisors send to a whole group, ignored here because the service decides when to stop.

Workers end with the service. SIGKILL ends a single worker.
"""

_IMPORT_TIMEOUT_S = 120.0


class Fork(NamedTuple):
    """To the zygote: import these modules if they are new, then fork a worker with these limits."""

    modules: tuple[str, ...]
    limits: process.WorkerLimits


class Preload(NamedTuple):
    """To the zygote: import these modules if they are new. It sends no answer."""

    modules: tuple[str, ...]


class Forked(NamedTuple):
    """From the zygote, followed by two descriptors: the worker's connection and the pipe of its exit code."""

    pid: int


class NotForked(NamedTuple):
    """From the zygote: the system refused."""

    reason: str


class Zygote:
    """Loop of the zygote."""

    def __init__(self, control: Connection, service_pid: int) -> None:
        self._control = control
        self._service_pid = service_pid
        self._service_pidfd = parent_watch.watch_parent(service_pid)
        self._exits: dict[int, Connection] = {}
        self._wake_fd, wake_write_fd = os.pipe()
        os.set_blocking(wake_write_fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler must exist for the descriptor to be written
        signal.set_wakeup_fd(wake_write_fd, warn_on_full_buffer=False)
        self._own_fds = [fd for fd in (self._service_pidfd, self._wake_fd, wake_write_fd) if fd is not None]

    def serve(self) -> NoReturn:
        """Fork workers until the service closes the connection or ends; then end them all and this process."""
        poll = select.poll()
        for fd in (self._control.fileno(), self._wake_fd, self._service_pidfd):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if self._service_pidfd in ready:
                    break
                if self._wake_fd in ready:
                    os.read(self._wake_fd, 4096)
                    self._collect(os.WNOHANG)
                if self._control.fileno() in ready:
                    request = self._control.recv()
                    if request is None:
                        break
                    if isinstance(request, Preload):
                        _preload(request.modules)
                    else:
                        self._answer(request)
        except (EOFError, OSError):  # the service is gone
            pass
        self._end()

    def _answer(self, request: Fork) -> None:
        _preload(request.modules)
        try:
            ours, theirs = Pipe(duplex=True)
            exit_reader, exit_writer = Pipe(duplex=False)
            zygote_pid = os.getpid()
            pid = os.fork()
        except OSError as error:
            self._control.send(NotForked(str(error)))
            return
        if pid == 0:
            try:
                self._leave_zygote((ours, exit_reader, exit_writer))
                process.serve(theirs, request.limits, zygote_pid)
            except BaseException:  # noqa: BLE001 - after any error, a worker must not continue in the zygote's loop
                traceback.print_exc()
            finally:
                os._exit(1)
        theirs.close()
        self._exits[pid] = exit_writer
        self._control.send(Forked(pid))
        for handle in (ours, exit_reader):
            reduction.send_handle(self._control, handle.fileno(), self._service_pid)
            handle.close()

    def _leave_zygote(self, connections: Sequence[Connection]) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for connection in (self._control, *connections, *self._exits.values()):
            connection.close()
        for fd in self._own_fds:
            os.close(fd)

    def _collect(self, options: int) -> None:
        """Wait for processes that ended (orphans of dead workers too) and report the exit codes of workers."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, options))[0]:
                pid, status = ended
                if (teller := self._exits.pop(pid, None)) is not None:
                    with suppress(OSError):  # the service is gone
                        teller.send(os.waitstatus_to_exitcode(status))
                    teller.close()

    def _end(self) -> NoReturn:
        for pid in self._exits:
            os.kill(pid, signal.SIGKILL)
        self._collect(0)
        os._exit(0)


def main(control_fd: int, service_pid: int) -> NoReturn:
    """Run the zygote: called once, in a fresh interpreter that the service started."""
    for number in LEFT_TO_SERVICE:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the service blocked signals while this interpreter started
    if isinstance(sys.stdout, io.TextIOWrapper):  # a task's output must be flushed before its worker can be killed
        sys.stdout.reconfigure(line_buffering=True)
    parent_watch.name_process("augment-zygote")
    parent_watch.adopt_orphans()
    Zygote(Connection(control_fd), service_pid).serve()


def _preload(modules: Sequence[str]) -> None:
    missing = [name for name in modules if name not in sys.modules]
    if not missing:
        return
    # The service is not watched during an import, and one that hangs must not keep this process alive for ever.
    signal.setitimer(signal.ITIMER_REAL, _IMPORT_TIMEOUT_S)
    for name in missing:
        with suppress(Exception):  # the worker meets the same error when it loads its task, and can report it
            importlib.import_module(name)
    if "pyarrow" in sys.modules:
        optional_imports.keep_pandas_from_pyarrow()
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    gc.freeze()  # a collection in a worker would touch, and so copy, the pages it shares with this process
