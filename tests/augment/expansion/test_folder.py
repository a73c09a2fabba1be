"""A shard's files are on the disk before its part of the manifest is."""

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment import user_state
from augment.errors import StorageError
from augment.expansion import folder, manifest
from augment.expansion.expand import expand_dataset
from tests.augment.expansion.expansions_for_tests import PIPELINE, content

NUM_FILES = 32


class Libc:
    """The system's library, except for the call that syncs a file system."""

    def __init__(self, syncfs: Callable[[int], int], file_system: int = 0xEF53) -> None:
        self._libc = ctypes.CDLL(None)
        self._file_system = file_system
        self.syncfs = syncfs

    def fstatfs(self, fd: int, status: Any) -> int:
        failed: int = self._libc.fstatfs(fd, status)
        ctypes.c_long.from_buffer(status).value = self._file_system
        return failed


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the files and folders that are synced, one by one."""
    paths: list[str] = []
    fsync = os.fsync

    def note(fd: int) -> None:
        paths.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    return paths


def patterns(paths: list[str]) -> set[str]:
    return {path for path in paths if path.endswith(".jpg")}


def test_file_system_is_waited_for_once_a_shard_between_its_images_and_its_part(
    data: Path, out: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def syncfs(fd: int) -> int:
        assert os.fstat(fd).st_dev == out.stat().st_dev
        seen.append((len(list(out.rglob("*.jpg"))), len(manifest.part_names(out))))
        return 0

    monkeypatch.setattr(folder, "_libc", Libc(syncfs))
    expand_dataset(data, out, PIPELINE, copies=2)
    assert seen == [(6 * (i + 1), i) for i in range(5)] + [(NUM_FILES, 5)]
    assert patterns(synced) == set()


@pytest.mark.parametrize(
    ("release", "file_system"),
    [("5.16.20-generic", 0xEF53), ("6.1", 0x6969), ("6.1", 0x794C7630), ("unheard of", 0xEF53)],
    ids=["old kernel", "NFS", "overlay", "no version"],
)
def test_each_file_is_waited_for_where_one_call_does_not_promise_as_much(
    release: str, file_system: int, data: Path, out: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: int) -> int:
        raise AssertionError

    before = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*before[:2], release, *before[3:])))
    monkeypatch.setattr(folder, "_libc", Libc(never, file_system))
    expand_dataset(data, out, PIPELINE, copies=2)
    assert patterns(synced) == {str(path) for path in out.rglob("*.jpg")}
    assert {str(out), str(out / "cat"), str(out / "dog")} <= set(synced)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM], ids=["unknown", "forbidden"])
def test_each_file_is_waited_for_in_a_sandbox_that_refuses_the_call(
    number: int, data: Path, out: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def syncfs(_: int) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(folder, "_libc", Libc(syncfs))
    expand_dataset(data, out, PIPELINE, copies=2)
    assert patterns(synced) == {str(path) for path in out.rglob("*.jpg")}


def test_disk_that_fails_is_named_and_nothing_vouches_for_what_it_lost(
    data: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def syncfs(fd: int) -> int:
        calls.append(fd)
        ctypes.set_errno(errno.EIO)
        return -1 if len(calls) == 3 else 0

    with monkeypatch.context() as patch:
        patch.setattr(folder, "_libc", Libc(syncfs))
        with pytest.raises(StorageError, match=rf"cannot write {out}: Input/output error; check the disk"):
            expand_dataset(data, out, PIPELINE, copies=2)
    assert len(manifest.part_names(out)) == 2
    assert len(list(out.rglob("*.jpg"))) == 12
    expand_dataset(data, out, PIPELINE, copies=2)
    expand_dataset(data, tmp_path / "other", PIPELINE, copies=2)
    assert content(out) == content(tmp_path / "other")


def test_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        user_state.sync(tmp_path / "gone.jpg")
