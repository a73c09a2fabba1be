"""A service that cannot start: one line with the reason, and the exit code for the cause."""

import http.client
import os
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import pytest

from augment.cli import exit_codes
from tests.acceptance.servers_for_tests import ROOT, Server, wait_until

pytestmark = pytest.mark.harden


def _start(*arguments: str, **variables: str) -> tuple[int, list[str], list[str]]:
    """Return the exit code, the lines of the log, and the other lines of standard error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUGMENT_")}
    done = subprocess.run(
        [sys.executable, "-m", "augment", "serve", "--port", "0", "--workers", "1", *arguments],
        env=environment | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = done.stderr.splitlines()
    logged = [line for line in lines if line.startswith("{")]
    return done.returncode, logged, [line for line in lines if line not in logged]


def test_two_services_do_not_share_a_home(tmp_path: Path) -> None:
    with Server(tmp_path / "home"):
        code, logged, told = _start("--home", str(tmp_path / "home"))
    assert code == exit_codes.REQUEST
    assert len(told) == 1, told
    assert "another service uses the home" in told[0]
    assert "traceback" not in "".join(logged).lower()


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"")
    code, logged, told = _start("--home", str(tmp_path / "home"))
    assert code == exit_codes.STORAGE
    assert len(told) == 1, told
    assert "AUGMENT_HOME" in told[0]
    assert "traceback" not in "".join(logged).lower()


def test_a_data_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    code, logged, told = _start("--home", str(tmp_path / "home"), "--data-root", str(tmp_path / "nowhere"))
    assert (code, logged) == (exit_codes.REQUEST, [])
    assert len(told) == 1
    assert "nowhere is not a folder" in told[0]
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("stray", ["note.txt", "photos"])
def test_what_is_no_dataset_and_no_setting_is_warned_of(tmp_path: Path, stray: str) -> None:
    (tmp_path / "home" / "datasets").mkdir(parents=True)
    (tmp_path / "home" / "datasets" / stray).write_bytes(b"")
    with Server(tmp_path / "home", max_pixles=5) as server:
        server.wait_ready()
        log = "".join(server.log)
    assert f"dataset {stray} cannot be read" in log
    assert "AUGMENT_MAX_PIXLES is not a setting and has no effect; did you mean `AUGMENT_MAX_PIXELS`?" in log


def test_small_answers_on_a_kept_connection_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Without TCP_NODELAY each waits for the acknowledgement of the one before: 40 ms on Linux."""
    with Server(tmp_path / "home") as server:
        address = urllib.parse.urlsplit(server.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)

        def seconds() -> float:
            started = time.perf_counter()
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            return time.perf_counter() - started

        for _ in range(40):  # Linux acknowledges the first ones at once
            seconds()
        wait_until(lambda: seconds() < 0.03)  # never so where each one waits
        connection.close()
