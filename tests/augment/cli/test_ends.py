"""How the command ends where something else does: a full disk behind standard output, a reader that left, a signal."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from augment.cli import app, exit_codes, output

pytestmark = pytest.mark.harden

COMMAND = [sys.executable, "-m", "augment"]


def run(*arguments: object) -> int:
    return app.run([str(argument) for argument in arguments])


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [["presets"], ["presets", "--json"], ["check", "light"], ["check", "light", "--json"], ["--help"], ["--version"]],
    ids=" ".join,
)
def test_full_standard_output_is_one_line(arguments: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == exit_codes.STORAGE
    assert done.stderr == (
        "error: cannot write standard output: No space left on device; free space, or redirect it elsewhere\n"
    )


def test_full_standard_output_does_not_hide_the_error_that_was_to_be_written() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "check", "ligth", "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == exit_codes.REQUEST
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "did you mean `light`?" in lines[0]
    assert "cannot write standard output" in lines[1]


@pytest.mark.parametrize("arguments", [["transforms"], ["transforms", "--json"], ["check", "ligth", "--json"]])
def test_reader_that_left_is_no_error(arguments: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run([*COMMAND, *arguments], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write_end)
    assert done.returncode == 128 + signal.SIGPIPE
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr


def test_closed_standard_output_is_no_defect() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m augment presets --json >&-"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["expand", "a", "b", "-p", "light"], "SIGTERM; run the same command again to resume\n"),
        (["--debug", "expand", "a", "b", "-p", "light"], "SIGTERM; run the same command again to resume\n"),
        (["verify", "out"], "ended by SIGTERM\n"),
        ([], "ended by SIGTERM\n"),
    ],
)
def test_signal_promises_to_go_on_only_where_that_is_so(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(_: list[str]) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(app, "run", killed)
    monkeypatch.setattr(output, "silence_libraries", lambda: None)  # standard error is pytest's
    try:
        with pytest.raises(SystemExit) as ended:
            app.main(arguments)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("command", "told"), [("expand", "interrupted; run the same command again to resume\n"), ("check", "interrupted\n")]
)
def test_interruption_promises_to_go_on_only_where_that_is_so(
    command: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("augment.render.pipeline.Pipeline.load", interrupted)
    arguments = ["check", "light"] if command == "check" else ["expand", "data", "out", "-p", "light"]
    assert run(*arguments) == exit_codes.INTERRUPTED
    assert capsys.readouterr().err == told


def test_preview_of_a_pipe_is_refused_and_waits_for_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    assert run("preview", pipe, "-p", "light", "--json") == exit_codes.REQUEST
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert message == f"cannot read the image {pipe}: a named pipe, not a file; give the path of a file"
