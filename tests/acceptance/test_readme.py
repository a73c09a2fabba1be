"""Every block of the README, in order, as a newcomer pastes it: in a fresh clone and an empty environment.

``make test-readme`` runs it, since it installs packages. The shell is one bash: its folder, variables and activated
environment stay from block to block. Where the text between two blocks says "In another shell", a second one is opened
in the clone. Each ``python`` block goes into an interactive ``python`` of its own, which is stricter than a file: a
loop ends at an empty line there. In a ``console`` block the lines after a command are compared with its output, and
``…`` stands for anything. A block whose first line is ``# needs Docker`` is left out and counted.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.augment.test_docs import commands, matches

ROOT = Path(__file__).parents[2]
_README = ROOT / "README.md"
_LANGUAGES = ("console", "python", "sh")
_NEEDS_DOCKER = "# needs Docker\n"
_ANOTHER_SHELL = "In another shell"
_SERVES = re.compile(r"^augment serve\b", re.MULTILINE)
_IMAGES = re.compile(r"\b224, 224, 3\]?\) (?:torch\.)?uint8\b")
"""Output of every trainer's example: shape and dtype of the received images."""
_PORT = 8000
_BLOCK_S = 600.0
_START_S = 120.0
_STOP_S = 60.0

# Ends at the first error: an interactive interpreter would go on, and exit with 0.
_HOOK = "import os, sys; sys.excepthook = lambda *error: (sys.__excepthook__(*error), sys.stderr.flush(), os._exit(1))"


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: info string, text, line number, and the prose before it."""

    language: str
    text: str
    line: int
    prose: str


def blocks(page: str) -> Iterator[Block]:
    """Read the fenced blocks of a page in order; a fence of any kind counts, with or without a language."""
    fence, language, first = "", "", 0
    prose: list[str] = []
    inside: list[str] = []
    for number, line in enumerate(page.splitlines(), 1):
        mark = re.match(r"\s*(`{3,}|~{3,})(.*)$", line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                yield Block(language, "".join(f"{each}\n" for each in inside), first, "\n".join(prose))
                fence, prose, inside = "", [], []
            else:
                inside.append(line)
        elif mark:
            fence, language, first = mark[1], mark[2].strip(), number + 1
        else:
            prose.append(line)
    assert not fence, f"the block at line {first} has no end"


class Shell:
    """One bash in which pasted lines run; what they change stays. It ends at the first command that fails."""

    def __init__(self, folder: Path, environment: dict[str, str], scratch: Path) -> None:
        self._numbers = count()
        self._scratch = scratch
        scratch.mkdir()
        self._answers, answers = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"],
            stdin=subprocess.PIPE,
            cwd=folder,
            env=environment,
            text=True,
            pass_fds=[answers],
            start_new_session=True,
        )
        os.close(answers)
        self._tell = f"echo >&{answers}"
        self._output = scratch
        self._type("trap 'echo \"fails: $BASH_COMMAND\"' ERR")
        self.is_serving = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait(_STOP_S)
        os.close(self._answers)
        assert kind is not None or code == 0, f"the shell ended with {code}:\n{self.output()}"

    def run(self, script: str, place: str) -> str:
        """Paste lines and wait for their end; return their output. AssertionError if one of them fails."""
        self.start(script)
        self.wait(place, _BLOCK_S)
        return self.output()

    def start(self, script: str) -> None:
        """Paste lines; don't wait."""
        number = next(self._numbers)
        pasted, self._output = self._scratch / f"{number}.sh", self._scratch / f"{number}.out"
        pasted.write_text(script, encoding="utf-8")
        self._type(f". '{pasted}' </dev/null >'{self._output}' 2>&1; {self._tell}")

    def wait(self, place: str, timeout_s: float) -> None:
        """Wait for the end of the lines that were pasted."""
        readable, _, _ = select.select([self._answers], [], [], timeout_s)
        assert readable, f"{place}: not done within {timeout_s:.0f} s\n{self.output()}"
        assert os.read(self._answers, 1), f"{place}: a command fails\n{self.output()}"

    def interrupt(self) -> None:
        """Send Ctrl-C: every process of this terminal receives SIGINT."""
        os.killpg(self._process.pid, signal.SIGINT)

    def output(self) -> str:
        """Return the output of the latest lines so far."""
        return self._output.read_text(encoding="utf-8") if self._output.is_file() else ""

    def _type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Temporary folder that is removed at once: gigabytes of packages are installed into it."""
    with tempfile.TemporaryDirectory(prefix="readme-") as name:
        yield Path(name)


@pytest.mark.readme
def test_readme_works_as_it_is_pasted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clone, home, scratch = folder / "clone", folder / "home", folder / "scratch"
    copy_working_tree(clone)
    home.mkdir()
    scratch.mkdir()
    # The only setting: curl's exit code is 0 after a refusal unless it is told to fail.
    (home / ".curlrc").write_text("fail\nshow-error\n", encoding="utf-8")
    port = free_port()
    environment = empty_environment(home)
    if port != _PORT:
        environment["AUGMENT_PORT"] = str(port)
    page = (clone / "README.md").read_text(encoding="utf-8").replace(f"127.0.0.1:{_PORT}", f"127.0.0.1:{port}")
    num_left_out = 0

    def say(words: str) -> None:
        with capsys.disabled():
            print(words, flush=True)  # noqa: T201 - minutes pass

    say("")
    with contextlib.ExitStack() as opened:
        shells = [opened.enter_context(Shell(clone, environment, scratch / "1"))]
        for block in blocks(page):
            place = f"README.md:{block.line}"
            if block.text.startswith(_NEEDS_DOCKER):
                num_left_out += 1
                continue
            if _ANOTHER_SHELL in block.prose:
                shells.append(opened.enter_context(Shell(clone, environment, scratch / f"{len(shells) + 1}")))
            shell = shells[-1]
            assert not shell.is_serving, f'{place}: that shell serves; the text must say "{_ANOTHER_SHELL}"'
            started = time.monotonic()
            paste(block, shell, place, scratch, port)
            say(f"  {place} {block.language}, {time.monotonic() - started:.1f} s")
        for shell in shells:
            if shell.is_serving:
                shell.interrupt()
                shell.wait("augment serve, after Ctrl-C", _STOP_S)
    out = clone / "demo-output"
    assert (out / "out.jpg").read_bytes().startswith(b"\xff\xd8")
    assert (out / "epoch-0.tar").stat().st_size > 10_000
    say(f"  left out, because they need Docker: {num_left_out}")


def paste(block: Block, shell: Shell, place: str, scratch: Path, port: int) -> None:
    """Run one block in a shell, as its language is run."""
    if block.language == "console":
        for command, expected in commands(block.text):
            printed = shell.run(command + "\n", f"{place}: {command}")
            assert not expected or matches(expected, printed), f"{place}: {command}\nprints\n{printed}"
    elif block.language == "python":
        typed = scratch / "typed.py"
        typed.write_text(block.text + "\n", encoding="utf-8")
        hook = scratch / "hook.py"
        hook.write_text(_HOOK + "\n", encoding="utf-8")
        printed = shell.run(f"python -i -c \"$(cat '{hook}')\" <'{typed}'\n", place)
        assert re.sub(r">>> |\.\.\. ", "", printed).strip(), f"{place} prints nothing"
        if "http://" in block.text:
            assert _IMAGES.search(printed), f"{place} prints\n{printed}"
    elif _SERVES.search(block.text):
        shell.start(block.text)
        shell.is_serving = True
        wait_until_ready(port, shell, place)
    else:
        shell.run(block.text, place)


def copy_working_tree(clone: Path) -> None:
    """Copy the tracked files, with changes that are not committed yet."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    for name in listed.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)


def empty_environment(home: Path) -> dict[str, str]:
    """Return an environment like that of ``env -i``: where programs are, a home, and pip's own settings.

    The interpreter is the one that make was told to use, and the first on the path.
    """
    python = os.environ.get("PYTHON", "python3")
    asked = subprocess.run([python, "-c", "import sys; print(sys.executable)"], stdout=subprocess.PIPE, check=True)
    executable = Path(asked.stdout.decode().strip())
    system = ["/usr/bin", "/bin"]
    folders = system if str(executable.parent) in system else [str(executable.parent), *system]
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return {"PATH": os.pathsep.join(folders), "HOME": str(home), "PYTHON": str(executable), **pip}


def free_port() -> int:
    """Return the port that the README names if it is free, or another: the test must not depend on the machine."""
    for port in (_PORT, 0):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            return int(listener.getsockname()[1])
    raise AssertionError("no port is free")


def wait_until_ready(port: int, shell: Shell, place: str) -> None:
    """Wait until the service answers that it is ready."""
    ends = time.monotonic() + _START_S
    while time.monotonic() < ends:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):  # 503 until then
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5).close()
            return
        time.sleep(0.1)
    raise AssertionError(f"{place}: not ready within {_START_S:.0f} s\n{shell.output()}")


def test_every_block_of_the_readme_has_a_language_that_is_run() -> None:
    found = list(blocks(_README.read_text(encoding="utf-8")))
    assert len(found) > 10
    unknown = {f"README.md:{block.line}": block.language for block in found if block.language not in _LANGUAGES}
    assert not unknown, f"the README's blocks are {', '.join(_LANGUAGES)}"


def test_only_docker_leaves_a_block_of_the_readme_out() -> None:
    left_out = [block for block in blocks(_README.read_text(encoding="utf-8")) if "needs Docker" in block.text]
    assert all(block.text.startswith(_NEEDS_DOCKER) and "docker " in block.text for block in left_out)


def test_blocks_are_found_whatever_their_fence() -> None:
    page = "one\n```sh\na\n```\n~~~\nb\n~~~\n  ```yaml x\n  c\n  ```\n````python\n```\n````\n"
    found = [(block.language, block.text, block.line) for block in blocks(page)]
    assert found == [("sh", "a\n", 3), ("", "b\n", 6), ("yaml x", "  c\n", 9), ("python", "```\n", 12)]
    with pytest.raises(AssertionError, match="line 2 has no end"):
        list(blocks("```sh\na\n"))


def test_a_shell_keeps_its_state_and_ends_at_a_failure(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin"}
    with Shell(tmp_path, environment, tmp_path / "1") as shell:
        shell.run("mkdir inner\ncd inner\nname=value\n", "here")
        assert shell.run('echo "$name" "${PWD##*/}"\n', "here") == "value inner\n"
    with (
        pytest.raises(AssertionError, match=r"(?s)here: a command fails.*fails: false"),
        Shell(tmp_path, {}, tmp_path / "2") as shell,
    ):
        shell.run("echo before\nfalse\ntrue\n", "here")
