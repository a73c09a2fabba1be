"""The base install, without a network: an interpreter that finds NumPy, pyarrow and the project, and nothing else."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

_START = "import sys; sys.path.insert(0, {folder!r})\n"

_ELSEWHERE = """
# Before the calls go: how the standard library, NumPy and pyarrow run elsewhere is their own concern.
import http.client, os, select, signal, socket, subprocess, tempfile, threading, uuid, zipfile
import numpy, pyarrow, pyarrow.ipc
for module, names in {
    os: "fork forkpty getuid geteuid memfd_create mkfifo posix_fadvise posix_fallocate preadv pwritev register_at_fork "
        "sched_getaffinity sched_setaffinity sendfile setsid statvfs sysconf uname",
    select: "epoll kqueue poll",
    signal: "SIGALRM SIGHUP SIGKILL SIGUSR1 pthread_sigmask setitimer sigwait",
    socket: "AF_UNIX SO_RCVLOWAT recv_fds send_fds",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
"""


def install_base(folder: Path) -> Path:
    """Make a folder of links to what ``pip install .`` would install: the two packages and the project."""
    for distribution in ("numpy", "pyarrow"):
        files = importlib.metadata.files(distribution)
        assert files is not None
        for name in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            (folder / name).symlink_to(Path(str(importlib.metadata.distribution(distribution).locate_file(name))))
    for name in ("augment", "service"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run_in_base(
    folder: Path, code: str, *arguments: str, elsewhere: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run code in it; with ``elsewhere`` as on Windows, without modules that only Linux or POSIX has."""
    code = _START.format(folder=str(folder)) + (_ELSEWHERE if elsewhere else "") + code
    command = [sys.executable, "-I", "-S", "-c", code, *arguments]  # no site-packages, no folder of the caller's
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
