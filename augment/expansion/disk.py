"""Waiting until what was written is on the disk.

One call for all files of a file system (syncfs(2)) costs about what one call for one file does (fsync(2)): each waits
for the disk's own cache. So a shard's outputs are waited for together where that promises the same: where the kernel
tells in the answer all that could not be written (Linux 5.17), and on file systems that keep their files on a disk
of this machine. Elsewhere (networks, FUSE, overlays), and where a sandbox forbids the call, each file is waited for.
Whoever asks then waits for its marker too (``sync``): that flushes the disk's own cache once more, and fails where a
journal was given up.

syncfs(2) waits for what others wrote to the same file system too. That is work which the disk has to do in any case.
"""

import ctypes
import errno
import os
import re
import sys
from collections.abc import Collection
from pathlib import Path

_TELLS_ERRORS = (5, 17)
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x01021994})
"""Of ext2, ext3 and ext4, XFS, Btrfs and tmpfs: what statfs(2) says in ``f_type``."""
_STATFS_BYTES = 512
"""More than ``struct statfs`` has on any architecture; ``f_type`` is the word it begins with."""

_NOT_ALLOWED = frozenset({errno.ENOSYS, errno.EPERM, errno.EACCES})
"""What a sandbox answers to a call that it does not know."""

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def wait(fd: int, root: Path, paths: Collection[str]) -> None:
    """Wait until these files below a folder, and their names, are on the disk; OSError names what is not.

    ``fd`` is of any file in the folder, opened before the first of these was written: from then on errors count.
    """
    if not paths:
        return
    if _syncs_whole(fd) and _sync_file_system(fd, root):
        return
    files = [root / path for path in paths]
    above = {parent for file in files for parent in file.parents if parent.is_relative_to(root)}
    for path in [*files, *sorted(above)]:
        sync(path)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(fd)


def _syncs_whole(fd: int) -> bool:
    """Whether syncing the file system of an open file promises what syncing each of its files does."""
    if _libc is None or not hasattr(_libc, "syncfs"):
        return False
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or (int(release[1]), int(release[2])) < _TELLS_ERRORS:
        return False
    status = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(fd, status):
        return False
    return ctypes.c_long.from_buffer(status).value in _LOCAL


def _sync_file_system(fd: int, root: Path) -> bool:
    """Whether the call is allowed, and the file system is on the disk now; OSError where it could not be written."""
    if _libc is None or not _libc.syncfs(fd):
        return _libc is not None
    number = ctypes.get_errno()
    if number in _NOT_ALLOWED:
        return False
    raise OSError(number, os.strerror(number), str(root))
