"""End a process together with the one that started it.

Linux provides two ways. A child may ask for SIGKILL at its parent's death (prctl(2), PR_SET_PDEATHSIG), which also ends
one that is stuck in C code and never releases the interpreter's lock. A pidfd becomes readable when its process ends
(pidfd_open(2), Linux 5.3). Elsewhere these calls do nothing, and a process ends when it next reads from its connection
and finds it closed: after its task, instead of at once.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent(parent_pid: int) -> None:
    """Make the kernel kill this process when ``parent_pid``, which forked it, ends; end at once if it already has.

    The kernel means the *thread* that forked: the parent must fork from a thread that lives as long as the process. The
    threads of the service come and go, so it is watched with a pidfd instead.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent died, so that they are reaped; not inherited."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def name_process(name: str) -> None:
    """Set the name that ``ps`` and ``top`` show: at most 15 bytes."""
    if _libc is not None:
        _libc.prctl(_PR_SET_NAME, name.encode())


def watch_parent(parent_pid: int) -> int | None:
    """Open a descriptor that becomes readable when the parent process ends; end at once if it already has.

    Returns None if the system has no pidfd. Unlike a pipe, a pidfd is not kept open by other children of the parent;
    unlike a pid, it never means another process.
    """
    try:
        pidfd = os.pidfd_open(parent_pid)
    except (AttributeError, OSError):  # not Linux, a kernel before 5.3, a seccomp filter, or the parent is gone
        pidfd = None
    if os.getppid() != parent_pid:  # asked after opening: while it is our parent, its pid means no other process
        os._exit(1)
    return pidfd


def describe_end(exit_code: int) -> str:
    """Describe how a process ended: ``died of SIGSEGV``, ``ended with exit code 3``."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"died of {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"died of signal {-exit_code}"
