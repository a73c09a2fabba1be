"""Scripts that use workers, started, interrupted, forked and killed as users and systems do it."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.augment.waiting import eventually


def script(body: str, *, use_stdin: bool = False) -> "subprocess.Popen[str]":
    """Start a Python script that can import only this repository; its standard error goes with its output."""
    command = [sys.executable, "-"] if use_stdin else [sys.executable, "-c", body]
    process = subprocess.Popen(
        command,
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE if use_stdin else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    if use_stdin and process.stdin is not None:
        process.stdin.write(body)
        process.stdin.close()
        process.stdin = None
    return process


HEADER = """
import os, sys, time, signal
from augment.workers.pool import LocalWorkers
from tests.augment.workers.tasks_for_tests import Call, Echo, Pid, Records
"""


@pytest.mark.parametrize("use_stdin", [False, True])
def test_workers_serve_a_script_without_a_main_guard_that_never_closes_them(use_stdin: bool) -> None:
    process = script(
        HEADER
        + "print('main runs'); workers = LocalWorkers(2)\n"
        + "print(sum(f.result() for f in [workers.submit(Echo(i)) for i in range(5)]))",
        use_stdin=use_stdin,
    )
    assert process.communicate(timeout=120) == ("main runs\n10\n", "")
    assert process.returncode == 0
    assert group_of(process) == []


def test_a_task_of_a_script_itself_is_refused_with_the_remedy() -> None:
    process = script(
        HEADER
        + "class Mine:\n    def run(self, guard): return 1\n"
        + "with LocalWorkers(1) as workers: print(workers.submit(Mine()).exception())"
    )
    out, err = process.communicate(timeout=120)
    assert "define its class in a module that can be imported" in out
    assert err == ""


def test_what_a_task_prints_does_not_reach_standard_output() -> None:
    process = script(HEADER + "with LocalWorkers(1) as w: w.submit(Call('talk', ('chatter',))).result()")
    assert process.communicate(timeout=120) == ("", "chatter\n")


def test_ctrl_c_while_workers_start_is_silent() -> None:
    process = script(
        HEADER
        + """
try:
    workers = LocalWorkers(2)
    futures = [workers.submit(Pid(60)) for _ in range(2)]
    while True:
        time.sleep(0.01)
        print("started", flush=True)
except KeyboardInterrupt:
    workers.close()
    print("interrupted", flush=True)
"""
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(random.Random().uniform(0, 0.1))  # the moment matters: each run tries another
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert out.endswith("interrupted\n")
    assert err == ""
    assert group_of(process) == []


def test_a_forked_child_can_neither_use_nor_end_its_parents_workers() -> None:
    process = script(
        HEADER
        + """
workers = LocalWorkers(1)
pid = workers.submit(Pid()).result()
if os.fork() == 0:
    try:
        workers.submit(Echo(1))
    except Exception as error:
        print(type(error).__name__, "belong to process" in str(error), flush=True)
    workers.close()
    sys.exit()
os.wait()
print(workers.submit(Pid()).result() == pid)
"""
    )
    assert process.communicate(timeout=120)[0] == "CallError True\nTrue\n"  # Python 3.12 warns of the script's fork


HANGS = (
    HEADER
    + """
CALL, FOLDER = REPLACED
workers = LocalWorkers(2, record_timeout_s=600)
[f.result() for f in [workers.submit(Call('meet', (FOLDER, 2))) for _ in range(2)]]
if CALL is not None:
    futures = [workers.submit(Records(("a",), {"a": CALL})) for _ in range(2)]
    time.sleep(0.3)
try:
    print("ready", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    workers.close()
    print("interrupted", flush=True)
"""
)


def group_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the living processes of the script's process group, which has its own session."""
    living = []
    for each in psutil.process_iter():
        try:
            if os.getpgid(each.pid) == process.pid and each.status() != psutil.STATUS_ZOMBIE:
                living.append(each)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return living


@pytest.mark.parametrize(
    ("call", "num_processes"),
    [
        (None, 4),  # idle: the script, the zygote, two workers
        (("sleep", 600), 4),
        (("hang", 600), 4),
        (("die_then_hang", 600), 6),  # in quarantine: two children more
    ],
)
@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.harden
def test_nothing_outlives_a_service_that_is_killed(
    call: tuple[Any, ...] | None, num_processes: int, whole_group: bool, tmp_path: Path
) -> None:
    process = script(HANGS.replace("REPLACED", repr((call, str(tmp_path)))))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    eventually(lambda: len(group_of(process)) == num_processes)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: group_of(process) == [])
    process.communicate()


def test_ctrl_c_is_the_scripts_to_handle(tmp_path: Path) -> None:
    process = script(HANGS.replace("REPLACED", repr((("hang", 600), str(tmp_path)))))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    assert process.communicate(timeout=120) == ("interrupted\n", "")
    assert group_of(process) == []
