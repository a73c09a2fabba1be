"""The installed command as users run it: in a process, on a terminal, in a pipe, with signals."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

import augment

AUGMENT = str(Path(sys.executable).parent / "augment")


def run(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end. If it hangs, the failure shows its stack."""
    words = [AUGMENT, *(str(argument) for argument in arguments)]
    environment = os.environ | {"PYTHONFAULTHANDLER": "1"}
    process = subprocess.Popen(
        words, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, told = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(f"{words} does not end:\n{process.communicate()[1]}")
    return subprocess.CompletedProcess(words, process.returncode, out, told)


@pytest.fixture
def many(photos: Path) -> Path:
    """The photographs again and again, so that an expansion takes a while."""
    path = photos / "cat" / "chelsea.png"
    for copy in range(20):
        shutil.copyfile(path, path.with_name(f"chelsea-{copy}.png"))
    return photos


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def wait_for_output(process: "subprocess.Popen[bytes]", out: Path) -> None:
    """Wait until the expansion writes images; fail if it ends before."""
    deadline = time.monotonic() + 120
    while not any(out.glob("*/*__*.*")):
        assert process.poll() is None, "it ended before it was interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_command_expands_updates_and_verifies(photos: Path, tmp_path: Path) -> None:
    def expand(*more: object) -> dict[str, object]:
        done = run("expand", "photos", "out", "-p", "flip-rotate-crop", "--copies", 2, "--json", *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert isinstance(result, dict)
        return result

    assert expand("--workers", 2)["rendered"] == 8
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*__*.*")}
    shutil.copyfile(photos / "cat" / "chelsea.png", photos / "cat" / "another.png")
    updated = expand("--update", "--workers", 1)
    assert (updated["rendered"], updated["kept"]) == (2, 8)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    verified = run("verify", "out", cwd=tmp_path)
    assert verified.returncode == 0, verified.stderr  # which tells how far it is where the machine is slow
    assert verified.stdout == "out: 10 files compared and rendered again: no differences\n"


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
@pytest.mark.harden
def test_command_that_is_interrupted_goes_on_and_leaves_nothing_behind(
    number: signal.Signals, many: Path, tmp_path: Path
) -> None:
    def arguments(out: str) -> list[str]:
        return ["expand", str(many), out, "-p", "heavy", "--copies", "8", "--seed", "7", "--workers", "2"]

    out = tmp_path / "out"
    for _ in range(5):  # where the machine is busy a run may end before it is interrupted: then there is another
        shutil.rmtree(out, ignore_errors=True)
        process = subprocess.Popen(
            [AUGMENT, *arguments("out")], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True
        )
        wait_for_output(process, out)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        if process.returncode:
            break
    assert process.returncode == 128 + number
    assert "run the same command again to resume" in told.decode()
    assert "Traceback" not in told.decode()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert list(out.glob(".augment-tmp-*")) == []

    assert run(*arguments("out"), cwd=tmp_path).returncode == 0
    augment.expand_dataset(many, tmp_path / "whole", "heavy", copies=8, seed=7)
    assert files(out) == files(tmp_path / "whole")


def test_command_draws_a_bar_on_a_terminal_and_a_result_after_it(photos: Path, tmp_path: Path) -> None:
    arguments = ["expand", str(photos), "out", "-p", "light", "--copies", "1", "--workers", "0"]
    shown = "".join(on_terminal([AUGMENT, *arguments], tmp_path, columns=100))
    assert "━" in shown
    assert "expanding" in shown
    assert "4/4" in shown
    assert "4 images written in " in shown


@pytest.mark.parametrize(("columns", "has_bar"), [(40, False), (60, False), (80, True), (200, True)])
def test_progress_fits_the_terminal(columns: int, has_bar: bool, tmp_path: Path) -> None:
    code = (
        "from augment.cli import output\n"
        "with output.StageProgress('expanding', as_json=False) as bar: bar.show(816_000, 1_600_000, 1_234)"
    )
    shown = "".join(on_terminal([sys.executable, "-c", code], tmp_path, columns))
    assert ("━" in shown) is has_bar
    assert "expanding" in shown
    assert "1,234 refused" in shown


def on_terminal(words: Sequence[str], cwd: Path, columns: int) -> Iterator[str]:
    """Run a command on a pseudo-terminal of this width, and return its output."""
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "LINES": "24", "TERM": "xterm-256color"}
    process = subprocess.Popen(words, cwd=cwd, env=environment, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    try:
        while process.poll() is None or select.select([leader], [], [], 0)[0]:
            if select.select([leader], [], [], 0.1)[0]:
                try:
                    yield os.read(leader, 65536).decode(errors="replace")
                except OSError:  # what a terminal says whose other end is closed
                    break
    finally:
        os.close(leader)
    assert process.wait() == 0


def test_command_is_quiet_in_a_pipe(photos: Path, tmp_path: Path) -> None:
    done = run("expand", photos, "out", "-p", "light", "--copies", 1, "--workers", 0, cwd=tmp_path)
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["notice"], "one of them has a profile"
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_command_ends_quietly_where_nobody_reads_on(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{AUGMENT} transforms | head -1; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("transform")
    assert done.stderr == ""


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_command_on_a_full_disk_says_so_and_goes_on_later(many: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        arguments = ["expand", many, disk / "out", "-p", "light", "--copies", 4, "--seed", 7, "--workers", 2]
        full = run(*arguments, cwd=tmp_path)
        assert full.returncode == 4
        assert "No space left on device" in full.stderr
        assert full.stderr.count("error: ") == 1
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        assert run(*arguments, cwd=tmp_path).returncode == 0
        augment.expand_dataset(many, tmp_path / "whole", "light", copies=4, seed=7)
        assert files(disk / "out") == files(tmp_path / "whole")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "augment", "--version"], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == run("--version", cwd=tmp_path).stdout.encode()
