"""Install the locked packages into a virtual environment and show the progress.

    python demo/installation.py .venv/bin/python requirements.lock

It runs before anything is installed, so it uses only the standard library and this interpreter's pip.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

_STEP = 10
_POLL_S = 0.2
_PACKAGE = re.compile(
    r"(?:Collecting|Requirement already satisfied:) (\S+)==([^\s;]+)"
    r"|Processing (?:\S*/)?([^/\s-]+)-([^/\s-]+)\S*\.(?:whl|gz)\b"  # from an index or a local folder
)


class Progress:
    """Progress as one running line on a terminal, or as a line for every tenth package in a file or a pipe."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._printed: dict[str, int] = {}

    def show(self, action: str, done: int, total: int, name: str = "") -> None:
        """Replace the running line. In a file or a pipe, print a line if ten more or all are done."""
        line = f"  {action} {done} of {total}" + (f": {name}" if name else "")
        if self._is_terminal:
            print(f"\r\x1b[K{line[:78]}", end="", flush=True)
        elif done - self._printed.get(action, 0) >= _STEP or done == total:
            self._printed[action] = done
            print(line, flush=True)

    def end(self) -> None:
        """Clear the running line."""
        if self._is_terminal:
            print("\r\x1b[K", end="", flush=True)


def install(python: Path, lock: Path) -> int:
    """Run pip, show its output as progress and return its exit code."""
    started = time.monotonic()
    environment = python.parent.parent
    total = len(re.findall(r"^[a-z0-9].*==", lock.read_text(encoding="utf-8"), re.MULTILINE))
    num_collected, is_announced = 0, False
    before = _installed(environment)
    progress = Progress()
    with _pip(python, lock) as pip:
        assert pip.stdout is not None  # noqa: S101 - it is a pipe
        for line in pip.stdout:
            if line.startswith("Ignoring "):  # for another system or Python; pip prints these lines first
                total -= 1
            elif match := _PACKAGE.match(line):
                if not is_announced:
                    print(f"Installing {total} packages into {environment} ...", flush=True)
                    is_announced = True
                num_collected += 1
                progress.show("downloading", num_collected, total, " ".join(filter(None, match.groups())))
            elif line.startswith("Installing collected packages: "):
                _watch_unpacking(pip, environment, before, line.count(",") + 1, progress)
    progress.end()
    if pip.returncode == 0:
        print(f"Installed {total} packages in {time.monotonic() - started:.0f} s.", flush=True)
    return pip.returncode


def _pip(python: Path, lock: Path) -> "subprocess.Popen[str]":
    """Start pip; its errors and warnings go to this process's standard error."""
    options = ["--disable-pip-version-check", "--progress-bar", "off", "--require-hashes"]
    return subprocess.Popen(
        [sys.executable, "-m", "pip", "--python", str(python), "install", *options, "-r", str(lock)],
        stdout=subprocess.PIPE,
        text=True,
    )


def _watch_unpacking(
    pip: "subprocess.Popen[str]", environment: Path, before: set[str], total: int, progress: Progress
) -> None:
    """Count new packages until pip ends, because pip prints nothing while it unpacks."""
    num_shown = 0
    while pip.poll() is None:
        num_new = min(len(_installed(environment) - before), total)
        if num_new > num_shown:
            num_shown = num_new
            progress.show("unpacking", num_new, total)
        time.sleep(_POLL_S)


def _installed(environment: Path) -> set[str]:
    return {path.name for path in environment.glob("lib/python3*/site-packages/*.dist-info")}


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1]), Path(sys.argv[2])))
