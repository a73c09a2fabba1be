"""The output folder: locks on it, and failures of its disk."""

import errno
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from augment.errors import OutputError, StorageError
from augment.expansion import folder, lock
from augment.expansion.expand import expand_dataset
from augment.expansion.manifest import PathSet
from augment.workers.pool import LocalWorkers
from tests.augment.expansion.expansions_for_tests import PIPELINE, content
from tests.augment.folders_for_tests import as_nobody

# ---------------------------------------------------------------------------------------------------------------- locks


def test_second_run_in_a_folder_is_refused(data: Path, out: Path) -> None:
    expand_dataset(data, out, PIPELINE)
    with lock.locked(out), pytest.raises(OutputError, match=r"another run works in .*out; wait"):
        expand_dataset(data, out, PIPELINE)
    assert expand_dataset(data, out, PIPELINE).nothing_to_do


def test_readers_share_a_folder_and_keep_runs_out(out: Path) -> None:
    with lock.locked(out):
        pass
    with (
        lock.locked(out, shared=True),
        lock.locked(out, shared=True),
        pytest.raises(OutputError, match="another run"),
        lock.locked(out),
    ):
        pass


def test_lock_ends_with_its_process(out: Path) -> None:
    """The same holds if the process had a child, which inherited the folder and still runs."""
    script = f"""
import os, signal, sys, time
from pathlib import Path
from augment.expansion.expand import lock
with lock.locked(Path({str(out)!r})):
    if os.fork() == 0:
        time.sleep(600)
    print("locked", os.getpid(), flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("locked")
        assert process.wait(60) == 0
        with lock.locked(out):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_seat_ends_with_its_run(out: Path) -> None:
    out.mkdir()
    with lock.Run(out, 3) as run:
        name = run.path.name
        with lock.seat(out, name, 2) as seat:
            seat.check()
            seat.report(lock.Counts(5, 700, 1, 4))
            assert [run.counts(index) for index in range(3)] == [
                lock.Counts(),
                lock.Counts(),
                lock.Counts(5, 700, 1, 4),
            ]
            run.path.rename(out / "away")
            with pytest.raises(OutputError, match="has ended"):
                seat.check()
            (out / "away").rename(run.path)
            seat.check()
    with pytest.raises(OutputError, match="has ended"), lock.seat(out, name, 0):
        pass


def test_run_waits_for_those_who_still_work_in_it(out: Path) -> None:
    out.mkdir()
    run = lock.Run(out, 1)
    order = []

    def work() -> None:
        with lock.seat(out, run.path.name, 0) as seat:
            taken.set()
            while run.path.exists():
                time.sleep(0.01)
            with pytest.raises(OutputError, match="has ended"):
                seat.check()
            time.sleep(0.1)
            order.append("worker")

    taken = threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    assert taken.wait(60)
    run.end()
    order.append("run")
    worker.join()
    assert order == ["worker", "run"]
    assert list(out.iterdir()) == []


def test_next_run_ends_the_workers_of_a_killed_one(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "STRAGGLERS_WAIT_S", 0.2)
    out.mkdir()
    killed = lock.Run(out, 1)
    with lock.seat(out, killed.path.name, 0) as seat:
        for _ in range(2):  # nor does the next but one forget it
            with pytest.raises(OutputError, match="a worker of an earlier run still writes"):
                lock.end_runs(out)
        with pytest.raises(OutputError, match="has ended"):
            seat.check()
    lock.end_runs(out)
    assert list(out.iterdir()) == []


def test_file_system_without_locks_is_named(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StorageError, match=r"cannot lock .*No locks available"), lock.locked(out):
        pass


# ------------------------------------------------------------------------------------------------------------- journals


def test_journal_undoes_a_shard_that_did_not_finish(out: Path) -> None:
    for name in ("a/1__0.jpg", "a/2__0.jpg", "b/3__0.jpg"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"x")
    folder.begin(out, 0, ["a/1__0.jpg"])
    folder.begin(out, 1, ["b/3__0.jpg", "b/never__0.jpg", "never/4__0.jpg"])
    folder.recover(out, lambda index: index == 0)
    assert content(out).keys() == {"a", "a/1__0.jpg", "a/2__0.jpg"}


def test_path_set_knows_its_paths() -> None:
    paths = [f"class {i % 7}/{i}.jpg" for i in range(10_000)]
    known = PathSet([paths[:6000], [], paths[6000:]])
    assert len(known) == 10_000
    assert known.missing(paths) == []
    assert known.missing(["class 0/0.jpg", "class 0/1.jpg", "\udcff"]) == ["class 0/1.jpg", "\udcff"]
    assert PathSet([]).missing(["a"]) == ["a"]


# ------------------------------------------------------------------------------------------------------ disks that fail


@contextmanager
def small_disk(root: Path, size: str) -> Iterator[Path]:
    """Mount a small file system in memory, which is soon full."""
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", root], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here ({mounted.stderr.strip()}); root can")
    try:
        yield root
    finally:
        subprocess.run(["umount", root], check=True)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_full_disk_ends_in_a_folder_that_goes_on(data: Path, tmp_path: Path, num_workers: int) -> None:
    workers = LocalWorkers(num_workers) if num_workers else None
    with small_disk(tmp_path / "disk", "120k") as disk:
        out = disk / "out"
        expected = (
            r"(\d+ of 64 outputs are finished and stay, about \S+ MB|none of 64).*No space left.*; free space, then run"
        )
        with pytest.raises(StorageError, match=expected):
            expand_dataset(data, out, PIPELINE, copies=4, workers=workers)
        assert not list(out.glob(".augment-*"))
        num_there = len(list(out.glob("*/*")))
        assert num_there % 4 == 0, "outputs of an unfinished shard were left"
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        summary = expand_dataset(data, out, PIPELINE, copies=4, workers=workers)
        assert summary.num_kept == num_there
        found = content(out)
    expand_dataset(data, tmp_path / "fresh", PIPELINE, copies=4)
    assert found == content(tmp_path / "fresh")
    if workers is not None:
        workers.close()


def test_disk_that_is_full_from_the_start_is_named(data: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8k") as disk:
        (disk / "fill").write_bytes(bytes(4096))
        with pytest.raises(StorageError, match=r"No space left.*free space, then run the same command again"):
            expand_dataset(data, disk / "out", PIPELINE)
        (disk / "fill").unlink()
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        assert expand_dataset(data, disk / "out", PIPELINE).num_rendered == 16


def test_limit_on_the_size_of_a_file_is_named(data: Path, out: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(StorageError, match=r"File too large; raise the limit .*\(ulimit -f\)"):
            expand_dataset(data, out, PIPELINE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not list(out.glob(".augment-*"))
    assert expand_dataset(data, out, PIPELINE).num_rendered == 16


def test_unwritable_folder_is_named(data: Path) -> None:
    """In a folder that every user may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        source = shutil.copytree(data, home / "data")
        closed = home / "closed"
        closed.mkdir(mode=0o755)
        if os.geteuid() != 0:
            closed.chmod(0o555)
        for out in (closed, closed / "out"):
            with (
                pytest.raises(StorageError, match=r"Permission denied; make the folder writable, then run"),
                as_nobody(),
            ):
                expand_dataset(source, out, PIPELINE)
        assert list(closed.iterdir()) == []


def test_read_only_file_system_is_named(data: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        expand_dataset(data, disk / "out", PIPELINE)
        whole = content(disk / "out")
        (disk / "out/cat/1__0.jpg").unlink()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(StorageError, match=r"Read-only file system; make the folder writable"):
            expand_dataset(data, disk / "out", PIPELINE)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert expand_dataset(data, disk / "out", PIPELINE).num_rendered == 1
        assert content(disk / "out") == whole


def test_place_leaves_the_former_file_where_it_fails(out: Path) -> None:
    out.mkdir()
    folder.place(out, "a/b.jpg", b"first", temporary="x", durable=True)
    (out / "a/c.jpg").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*c\.jpg: Is a directory"):
        folder.place(out, "a/c.jpg", b"second", temporary="x", durable=False)
    assert {name: data for name, data in content(out).items() if data is not None} == {"a/b.jpg": b"first"}


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_every_error_of_storage_ends_with_what_to_do(code: int) -> None:
    error = folder.storage_error("write", "out/a.jpg", OSError(code, os.strerror(code)))
    assert str(error).startswith(f"cannot write out/a.jpg: {os.strerror(code)}; ")
    assert str(error).endswith("then run the same command again")
