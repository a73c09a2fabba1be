"""One real worker process and what its guards do with records that misbehave."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from augment.errors import CallError, Reason, RecordError, WorkerError
from augment.samples.sample import Refusal
from augment.workers import launcher, outcome
from augment.workers.process import Ended, Limits, OutOfMemory, Reply, Run
from tests.augment.waiting import eventually
from tests.augment.workers.tasks_for_tests import Call, Records, picture

LIMITS = Limits(record_timeout_s=60, memory_bytes=512 << 20)
IMPATIENT = Limits(record_timeout_s=1.5, memory_bytes=512 << 20)
"""For tests of the time limit; what is not to meet it has a second to spare, for a busy machine."""


class Bench:
    """A worker and what it reports."""

    def __init__(self, zygote: launcher.Launcher) -> None:
        handle = zygote.launch("tests.augment.workers.tasks_for_tests")
        assert handle is not None
        self.handle = handle
        self.verdicts: dict[str, Refusal] = {}

    def reply(self, task: Any, *, quarantine: bool, verdicts: dict[str, Refusal] | None = None) -> Reply:
        run = Run(self.handle.num_tasks + 1, pickle.dumps(task), quarantine, verdicts or {})
        return self.handle.run(run, self.verdicts.__setitem__)

    def run(self, task: Any, *, quarantine: bool, verdicts: dict[str, Refusal] | None = None) -> Any:
        reply = self.reply(task, quarantine=quarantine, verdicts=verdicts)
        assert isinstance(reply, Ended)
        return outcome.load(reply.outcome).value()


@pytest.fixture(scope="module")
def zygote() -> Iterator[launcher.Launcher]:
    zygote = launcher.Launcher(LIMITS, ())
    yield zygote
    zygote.close()


@pytest.fixture(scope="module")
def impatient_zygote() -> Iterator[launcher.Launcher]:
    zygote = launcher.Launcher(IMPATIENT, ())
    yield zygote
    zygote.close()


@pytest.fixture
def bench(zygote: launcher.Launcher) -> Iterator[Bench]:
    bench = Bench(zygote)
    yield bench
    bench.handle.retire()


@pytest.fixture
def impatient(impatient_zygote: launcher.Launcher) -> Iterator[Bench]:
    bench = Bench(impatient_zygote)
    yield bench
    bench.handle.retire()


def test_a_record_runs_in_the_worker_and_in_quarantine_in_a_child_of_it(bench: Bench) -> None:
    task = Records(("a", "b"), {"a": ("pid",), "b": ("pid",)})
    assert bench.run(task, quarantine=False) == {"a": bench.handle.pid, "b": bench.handle.pid}
    children = bench.run(task, quarantine=True)
    assert len({bench.handle.pid, *children.values()}) == 3


@pytest.mark.parametrize("call", [("hang", 600), ("sleep", 600)])
def test_a_record_that_takes_too_long_ends_the_worker_even_in_c_code_that_holds_the_lock(
    impatient: Bench, call: tuple[Any, ...]
) -> None:
    start = time.monotonic()
    with pytest.raises(launcher.WorkerDied) as death:
        impatient.reply(Records(("slow",), {"slow": call}), quarantine=False)
    assert death.value.exit_code == -signal.SIGALRM
    assert time.monotonic() - start >= IMPATIENT.record_timeout_s


@pytest.mark.parametrize("quarantine", [False, True])
def test_the_time_limit_is_for_each_record_and_not_for_the_task(impatient: Bench, quarantine: bool) -> None:
    keys = tuple("abcd")
    task = Records(keys, dict.fromkeys(keys, ("sleep", 0.4)))
    assert impatient.run(task, quarantine=quarantine) == dict.fromkeys(keys, "slept")
    assert impatient.run(Call("sleep", (1.6,)), quarantine=quarantine) == "slept"


@pytest.mark.parametrize(
    ("call", "reason", "words"),
    [
        (("die", int(signal.SIGSEGV)), Reason.CRASHED, "died of SIGSEGV"),
        (("die", int(signal.SIGABRT)), Reason.CRASHED, "died of SIGABRT"),
        (("scribble",), Reason.CRASHED, "died of SIGSEGV"),
        (("leave", 0), Reason.CRASHED, "exit code 0"),
        (("leave", 3), Reason.CRASHED, "exit code 3"),
        (("hang", 600), Reason.TIMEOUT, "1.5 s for one record (AUGMENT_RECORD_TIMEOUT_S)"),
        (("eat", 1 << 30), Reason.CRASHED, "AUGMENT_WORKER_MEMORY_BYTES"),
    ],
)
def test_quarantine_refuses_the_record_that_kills_and_no_other(
    request: pytest.FixtureRequest, call: tuple[Any, ...], reason: Reason, words: str
) -> None:
    bench: Bench = request.getfixturevalue("impatient" if reason == Reason.TIMEOUT else "bench")
    results = bench.run(Records(("a", "bad", "c"), {"bad": call}), quarantine=True)
    refused = results.pop("bad")
    assert results == {"a": "a", "c": "c"}
    assert isinstance(refused, RecordError)
    assert (refused.key, refused.reason) == ("bad", reason)
    assert words in refused.detail
    assert bench.verdicts == {"digest of bad": Refusal("bad", reason, refused.detail)}
    assert psutil.pid_exists(bench.handle.pid)


def test_quarantine_does_not_blame_a_record_that_dies_once(bench: Bench, tmp_path: Path) -> None:
    call = ("die_after", str(tmp_path / "count"), 1, int(signal.SIGSEGV))
    assert bench.run(Records(("a",), {"a": call}), quarantine=True) == {"a": "alive"}
    assert bench.verdicts == {}


def test_quarantine_does_not_blame_a_record_for_kills_from_outside(bench: Bench, tmp_path: Path) -> None:
    call = ("die_after", str(tmp_path / "count"), 2, int(signal.SIGKILL))
    assert bench.run(Records(("a",), {"a": call}), quarantine=True) == {"a": "alive"}
    with pytest.raises(WorkerError, match=r"^a: .*SIGKILL.*fewer workers \(AUGMENT_WORKERS\)"):
        bench.run(Records(("a",), {"a": ("die", int(signal.SIGKILL))}), quarantine=True)
    assert bench.verdicts == {}


@pytest.mark.parametrize("quarantine", [False, True])
def test_a_known_verdict_refuses_a_record_under_any_key_without_running_it(bench: Bench, quarantine: bool) -> None:
    verdicts = {"digest of copy": Refusal("original", Reason.TIMEOUT, "too long, twice")}
    task = Records(("copy",), {"copy": ("die",)})
    refused = bench.run(task, quarantine=quarantine, verdicts=verdicts)["copy"]
    assert (refused.key, refused.reason, refused.detail) == ("copy", Reason.TIMEOUT, "too long, twice")


@pytest.mark.parametrize("quarantine", [False, True])
def test_an_error_of_a_record_comes_back_as_itself_with_its_traceback(bench: Bench, quarantine: bool) -> None:
    with pytest.raises(ValueError, match=r"^of old age$") as raised:
        bench.run(Records(("a",), {"a": ("complain", "of old age")}), quarantine=quarantine)
    assert "in complain\n" in str(raised.value.__cause__)


@pytest.mark.parametrize("quarantine", [False, True])
def test_an_error_that_cannot_be_unpickled_comes_back_in_words(bench: Bench, quarantine: bool) -> None:
    with pytest.raises(WorkerError, match="StubbornError: one and two"):
        bench.run(Records(("a",), {"a": ("complain_stubbornly",)}), quarantine=quarantine)


def test_a_value_that_cannot_be_pickled_is_an_error_and_not_a_death(bench: Bench) -> None:
    with pytest.raises((AttributeError, TypeError), match=r"pickle|local object"):
        bench.run(Records(("a",), {"a": ("unpicklable",)}), quarantine=True)


def test_a_picture_from_quarantine_is_the_same_and_can_be_written(bench: Bench) -> None:
    result = bench.run(Records(("a",), {"a": ("picture", 400)}), quarantine=True)["a"]
    assert (result == picture(400)).all()
    assert result.dtype == np.uint8
    assert result.flags.writeable


def test_memory_that_runs_out_in_a_record_sends_the_task_to_quarantine(bench: Bench) -> None:
    reply = bench.reply(Records(("a",), {"a": ("eat", 1 << 30)}), quarantine=False)
    assert isinstance(reply, OutOfMemory)


@pytest.mark.parametrize("quarantine", [False, True])
def test_memory_that_runs_out_between_records_blames_none(bench: Bench, quarantine: bool) -> None:
    assert isinstance(bench.reply(Call("eat", (1 << 30,)), quarantine=quarantine), OutOfMemory)
    assert bench.verdicts == {}


def test_record_is_not_blamed_for_memory_that_its_batch_holds(bench: Bench) -> None:
    """The child begins with what its parent holds, and both have one limit."""
    held = dict.fromkeys("abcde", ("hold", 60 << 20))
    with pytest.raises(CallError, match=r"what is rendered so far takes .* smaller batch_size"):
        bench.run(Records((*held, "last"), {**held, "last": ("eat", 300 << 20)}), quarantine=True)
    assert bench.verdicts == {}


def test_a_file_that_is_mapped_does_not_count_as_memory(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    path.touch()
    os.truncate(path, 4 << 30)
    assert bench.run(Call("map_shared", (str(path),)), quarantine=False) == 4 << 30


def test_a_child_in_quarantine_dies_with_its_worker() -> None:
    zygote = launcher.Launcher(Limits(record_timeout_s=600, memory_bytes=None), ())
    try:
        bench = Bench(zygote)
        process = psutil.Process(bench.handle.pid)
        killed: list[psutil.Process] = []

        def kill_both() -> None:
            eventually(lambda: len(process.children()) == 1)
            killed.extend(process.children())
            process.kill()

        thread = threading.Thread(target=kill_both)
        thread.start()
        with pytest.raises(launcher.WorkerDied) as death:
            bench.reply(Records(("a",), {"a": ("hang", 600)}), quarantine=True)
        thread.join()
        assert death.value.exit_code == -signal.SIGKILL
        eventually(lambda: not killed[0].is_running())
    finally:
        zygote.close()


def test_outcome_refuses_other_pickles() -> None:
    with pytest.raises(TypeError, match="int is not an outcome"):
        outcome.load(pickle.dumps(1))
