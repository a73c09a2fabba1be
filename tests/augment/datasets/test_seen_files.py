"""Table of seen files: which rows are trusted, and that it may be lost, damaged or shared at any time."""

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.datasets import read, seen_files
from augment.datasets.seen_files import FileStatus, SeenFile, SeenFiles
from augment.errors import RecordChangedError
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import LONG_AGO_S, as_nobody, lay, lay_images, pattern


def row(name: str = "/data/a.png", status: bytes = b"status", digest: bytes = b"digest") -> SeenFile:
    return SeenFile(os.fsencode(name), status, digest, 10, 2, 3, "png", conversions="alpha grey")


def test_row_is_known_under_its_status_alone(tmp_path: Path) -> None:
    table = SeenFiles(tmp_path / "t.sqlite3")
    table.add([row()])
    for each in (table, SeenFiles(tmp_path / "t.sqlite3")):
        assert each.digest(b"/data/a.png", b"status") == b"digest"
        assert each.digest(b"/data/a.png", b"other") is None
        assert each.digest(b"/data/b.png", b"status") is None
        assert each.find([b"/data/a.png", b"/data/b.png"]) == {b"/data/a.png": row()}


def test_hashing_keeps_what_a_scan_found_in_equal_bytes_and_is_counted(tmp_path: Path) -> None:
    table = SeenFiles(tmp_path / "t.sqlite3")
    table.add([row()])
    table.confirm(b"/data/a.png", b"restored", b"digest")
    assert table.find([b"/data/a.png"])[b"/data/a.png"] == row(status=b"restored")
    table.confirm(b"/data/a.png", b"replaced", b"another")
    assert table.digest(b"/data/a.png", b"replaced") == b"another"
    assert table.find([b"/data/a.png"]) == {}, "what a scan would find in these bytes is not known"
    assert table.num_hashed == 2
    assert SeenFiles(tmp_path / "t.sqlite3").num_hashed == 2


def test_any_number_of_rows_is_found(tmp_path: Path) -> None:
    table = SeenFiles(tmp_path / "t.sqlite3")
    rows = [row(f"/data/{i}.png", digest=b"%d" % i) for i in range(2345)]
    table.add(rows)
    assert table.find([each.place for each in rows]) == {each.place: each for each in rows}
    assert table.find([]) == {}


def test_scan_that_ends_drops_what_is_gone(tmp_path: Path) -> None:
    table = SeenFiles(tmp_path / "t.sqlite3")
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    paths = [str(here / "a"), str(here / "b"), str(there / "a"), f"{here}0", f"{here}-more/a"]
    table.add([row(path) for path in paths])
    table.end_scan(there, [os.fsencode(there / "a")])
    table.end_scan(here, [os.fsencode(here / "b")])  # one of two

    def left() -> list[str]:
        return [path for path in paths if table.find([os.fsencode(path)])]

    assert left() == [str(here / "b"), str(there / "a"), f"{here}0", f"{here}-more/a"]
    there.rmdir()
    table.end_scan(here, [os.fsencode(here / "b")])
    assert left() == [str(here / "b"), f"{here}0", f"{here}-more/a"]


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(5000)])
def test_damaged_table_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.sqlite3"
    path.write_bytes(content)
    table = SeenFiles(path)
    table.add([row()])
    assert SeenFiles(path).digest(b"/data/a.png", b"status") == b"digest"


def test_table_of_another_version_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other decoders may get other results from the same bytes."""
    path = tmp_path / "t.sqlite3"
    SeenFiles(path).add([row()])
    monkeypatch.setattr(seen_files, "_VERSION", 10**6)
    assert SeenFiles(path).find([b"/data/a.png"]) == {}


def test_table_that_cannot_be_written_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    (tmp_path / "file").touch()
    with as_nobody():
        for path in (tmp_path / "closed" / "below" / "t.sqlite3", tmp_path / "file" / "t.sqlite3"):
            table = SeenFiles(path)
            table.add([row()])
            table.confirm(b"/data/b.png", b"status", b"digest")
            assert table.digest(b"/data/a.png", b"status") == b"digest"
            assert table.num_hashed == 1


def test_table_that_breaks_while_it_is_used_goes_on_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite3"
    table = SeenFiles(path)
    other = sqlite3.connect(path)
    other.executescript("DROP TABLE files")
    assert table.digest(b"/data/a.png", b"status") is None
    table.add([row()])
    assert table.digest(b"/data/a.png", b"status") == b"digest"


def _confirm_many(path: str, number: int) -> None:
    table = SeenFiles(Path(path))
    for i in range(200):
        table.confirm(b"/data/%d" % (i % 50), b"%d" % i, b"%d" % number)


def test_processes_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite3"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_confirm_many, args=(str(path), number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert SeenFiles(path).num_hashed == 600


def test_writer_that_is_killed_leaves_a_sound_table(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite3"
    script = (
        "import itertools, sys; from pathlib import Path; from augment.datasets.seen_files import SeenFiles\n"
        "table = SeenFiles(Path(sys.argv[1]))\n"
        "for i in itertools.count(): table.confirm(b'/data/%d' % i, b's', b'd')\n"
    )
    for _ in range(3):
        before = SeenFiles(path).num_hashed
        process = subprocess.Popen([sys.executable, "-c", script, str(path)])
        while SeenFiles(path).num_hashed < before + 20:
            time.sleep(0.01)
        process.kill()
        process.wait()
    table = SeenFiles(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    table.add([row()])
    assert table.digest(b"/data/a.png", b"status") == b"digest"


def test_child_of_a_fork_opens_the_table_anew() -> None:
    parent = seen_files.table()
    read_fd, write_fd = os.pipe()
    if os.fork() == 0:
        is_other = seen_files.table() is not parent
        seen_files.table().confirm(b"/child", b"s", b"d")
        os.write(write_fd, b"%d" % is_other)
        os._exit(0)
    assert os.read(read_fd, 1) == b"1"
    os.wait()
    assert parent.digest(b"/child", b"s") == b"d"
    assert seen_files.table() is parent


# ------------------------------------------------------------------------------------------------- what is believed


@pytest.mark.usefixtures("files_are_settled")
def test_restored_files_are_hashed_once(tmp_path: Path) -> None:
    """A copy has other times, inodes and another device, but the same bytes."""
    dataset = scan(lay_images(tmp_path / "in", "cat/1.png", "dog/2.png"))
    assert all(dataset.is_unchanged(record) for record in dataset)
    shutil.copytree(tmp_path / "in", tmp_path / "restored")
    shutil.rmtree(tmp_path / "in")
    (tmp_path / "restored").rename(tmp_path / "in")
    assert not any(dataset.is_unchanged(record) for record in dataset)
    before = seen_files.table().num_hashed
    for _ in range(3):
        assert [dataset.read(record) for record in dataset] == [pattern(0), pattern(1)]
        assert all(dataset.is_unchanged(record) for record in dataset)
    assert seen_files.table().num_hashed == before + 2


def test_young_file_is_hashed_each_time_and_not_believed(tmp_path: Path) -> None:
    dataset = scan(lay_images(tmp_path, "1.png"))
    record = dataset.record(0)
    assert dataset.read(record) == pattern(0)
    assert not dataset.is_unchanged(record)
    assert seen_files.table().digest(os.fsencode(record.path), seen_files.packed(record.path.stat())) is None


def test_file_that_is_two_seconds_old_is_believed(tmp_path: Path) -> None:
    (record,) = dataset = scan(lay_images(tmp_path, "1.png"))
    while not FileStatus.of(record.path.stat()).is_settled:
        time.sleep(0.05)
    dataset.read(record)
    assert dataset.is_unchanged(record)


def tick(root: Path) -> None:
    """Wait until a change gets another ctime than an earlier one."""
    probe = root / "probe"
    probe.touch()
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        time.sleep(0.001)
        probe.touch()


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    return (tmp_path_factory.mktemp("history") for _ in range(10**9))


def write(root: Path, data: bytes) -> None:
    lay(root / "in", {"1.png": data})


def replace(root: Path, data: bytes) -> None:
    (lay(root / "new", {"1.png": data}) / "1.png").rename(root / "in" / "1.png")


def copy(root: Path, data: bytes) -> None:
    """Copy like ``cp -p``; through a link, if there is one."""
    shutil.copy2(lay(root / "new", {"1.png": data}) / "1.png", root / "in" / "1.png")


def link(root: Path, data: bytes) -> None:
    (root / "in" / "1.png").unlink()
    (root / "in" / "1.png").symlink_to(lay(root / "linked", {"1.png": data}) / "1.png")


def touch(root: Path, _: bytes) -> None:
    os.utime(root / "in" / "1.png", (1, LONG_AGO_S))


def chmod(root: Path, data: bytes) -> None:
    (root / "in" / "1.png").chmod(0o600 + len(data) % 8)


CHANGES = st.sampled_from([write, replace, copy, link, touch, chmod])
LOOKS = st.sampled_from(["read", "look", "scan"])
STEPS = st.lists(st.one_of(st.tuples(CHANGES, st.integers(0, 3)), LOOKS), max_size=12)


@pytest.mark.usefixtures("files_are_settled")
@given(STEPS)
@settings(max_examples=60)
def test_whatever_becomes_of_a_file_no_other_bytes_are_read(
    roots: Iterator[Path], steps: list[tuple[Callable[[Path, bytes], None], int] | str]
) -> None:
    """All bytes have one size, and every step sets the mtime that the scan saw."""
    root = next(roots)
    write(root, pattern(0))
    path, scanned = root / "in" / "1.png", pattern(0)
    (record,) = dataset = scan(root / "in")
    for step in steps:
        tick(root)
        now = path.read_bytes()
        if not isinstance(step, str):
            change, shade = step
            change(root, pattern(shade))
        elif step == "scan":
            (record,) = dataset = scan(root / "in")
            scanned = now
        elif step == "look":
            assert now == scanned or not dataset.is_unchanged(record)
        elif now == scanned:
            assert dataset.read(record) == now
        else:
            with pytest.raises(RecordChangedError):
                dataset.read(record)


def test_file_that_is_replaced_while_it_is_read_is_not_noted(tmp_path: Path) -> None:
    """The status is that of the open file, even if its path leads elsewhere meanwhile."""
    path = lay(tmp_path, {"a": b"first", "b": b"other"}) / "a"
    first = seen_files.packed(path.stat())
    real = os.read

    def replaced(descriptor: int, num_bytes: int) -> bytes:
        if (tmp_path / "b").exists():
            (tmp_path / "b").replace(path)
        return real(descriptor, num_bytes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", replaced)
        content = read.read_file(path, max_bytes=100)
    assert content.data == b"first"
    assert content.status.packed != seen_files.packed(path.stat())
    assert not content.steady or content.status.packed == first
