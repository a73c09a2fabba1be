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

from augment.errors import Reason, RecordError, WorkerError
from augment.samples.sample import Refusal
from augment.workers import launcher, outcome, quarantine
from augment.workers.process import Ended, OutOfMemory, Reply, RunTask, WorkerLimits
from tests.augment.waiting import eventually
from tests.augment.workers.tasks_for_tests import Call, Records, pattern

pytestmark = pytest.mark.harden

LIMITS = WorkerLimits(record_timeout_s=60, memory_bytes=512 << 20)
IMPATIENT = WorkerLimits(record_timeout_s=0.3, memory_bytes=512 << 20)
"""Limits for tests of the time limit: processor seconds, so that a busy machine changes nothing."""


class Bench:
    """A worker and its reports."""

    def __init__(self, zygote: launcher.Launcher) -> None:
        handle = zygote.launch("tests.augment.workers.tasks_for_tests")
        assert handle is not None
        self.handle = handle
        self.verdicts: dict[str, Refusal | None] = {}

    def reply(self, task: Any, *, quarantine: bool, verdicts: dict[str, Refusal | None] | None = None) -> Reply:
        run = RunTask(self.handle.num_tasks + 1, pickle.dumps(task), quarantine, verdicts or {})
        return self.handle.run(run, self.verdicts.__setitem__)

    def run(self, task: Any, *, quarantine: bool, verdicts: dict[str, Refusal | None] | None = None) -> Any:
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


@pytest.mark.parametrize(
    ("call", "number"),
    [(("burn",), signal.SIGPROF), (("hang", 600), signal.SIGALRM), (("sleep", 600), signal.SIGALRM)],
)
def test_a_record_that_takes_too_long_ends_the_worker_even_in_c_code_that_holds_the_lock(
    impatient: Bench, call: tuple[Any, ...], number: signal.Signals
) -> None:
    """Of processor time, or of ten times as much real time."""
    start = time.monotonic()
    with pytest.raises(launcher.WorkerDied) as death:
        impatient.reply(Records(("slow",), {"slow": call}), quarantine=False)
    assert death.value.exit_code == -number
    factor = 1 if number == signal.SIGPROF else quarantine.REAL_TIME_FACTOR
    assert time.monotonic() - start >= factor * IMPATIENT.record_timeout_s


@pytest.mark.parametrize("quarantine", [False, True])
def test_the_time_limit_is_for_each_record_and_not_for_the_task(impatient: Bench, quarantine: bool) -> None:
    keys = tuple("abcd")
    task = Records(keys, dict.fromkeys(keys, ("spin", 0.1)))
    assert impatient.run(task, quarantine=quarantine) == dict.fromkeys(keys)
    assert impatient.run(Call("spin", (0.4,)), quarantine=quarantine) is None
    assert not any(impatient.verdicts.values())


@pytest.mark.parametrize("quarantine", [False, True])
def test_waiting_is_not_what_the_time_limit_counts(impatient: Bench, quarantine: bool) -> None:
    assert impatient.run(Records(("a",), {"a": ("sleep", 1.5)}), quarantine=quarantine) == {"a": "slept"}
    assert impatient.verdicts == {}


def test_running_out_of_real_time_is_an_error_and_no_verdict(impatient: Bench) -> None:
    with pytest.raises(
        WorkerError, match=r"^a: its process got 0\.\d s of processor time in 3 s .*TIMEOUT_S.*try again"
    ):
        impatient.run(Records(("a",), {"a": ("sleep", 600)}), quarantine=True)
    assert impatient.verdicts == {}


@pytest.mark.parametrize("quarantine", [False, True])
def test_a_record_that_came_near_the_limit_is_noted_once(impatient: Bench, quarantine: bool) -> None:
    task = Records(("a", "b"), {"a": ("spin", 0.18)})
    assert impatient.run(task, quarantine=quarantine) == {"a": None, "b": "b"}
    assert impatient.verdicts == {"digest of a": None}
    impatient.verdicts.clear()
    assert impatient.run(task, quarantine=quarantine) == {"a": None, "b": "b"}
    assert impatient.verdicts == {}


def test_a_record_that_was_rendered_before_is_not_refused(impatient: Bench) -> None:
    task = Records(("a",), {"a": ("burn",)})
    with pytest.raises(WorkerError, match=r"^a: .* SIGPROF, twice, but the record was rendered before.*try again"):
        impatient.run(task, quarantine=True, verdicts={"digest of a": None})
    assert impatient.verdicts == {}


@pytest.mark.parametrize(
    ("call", "reason", "words"),
    [
        (("die", int(signal.SIGSEGV)), Reason.CRASHED, "died of SIGSEGV"),
        (("die", int(signal.SIGABRT)), Reason.CRASHED, "died of SIGABRT"),
        (("scribble",), Reason.CRASHED, "died of SIGSEGV"),
        (("leave", 0), Reason.CRASHED, "exit code 0"),
        (("leave", 3), Reason.CRASHED, "exit code 3"),
        (("burn",), Reason.TIMEOUT, "0.3 s of processor time, the limit for one record (AUGMENT_RECORD_TIMEOUT_S)"),
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
    verdicts: dict[str, Refusal | None] = {"digest of copy": Refusal("original", Reason.TIMEOUT, "too long, twice")}
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


def test_an_image_from_quarantine_is_the_same_and_can_be_written(bench: Bench) -> None:
    result = bench.run(Records(("a",), {"a": ("pattern", 400)}), quarantine=True)["a"]
    assert (result == pattern(400)).all()
    assert result.dtype == np.uint8
    assert result.flags.writeable


def test_memory_that_runs_out_in_a_record_sends_the_task_to_quarantine(bench: Bench) -> None:
    reply = bench.reply(Records(("a",), {"a": ("eat", 1 << 30)}), quarantine=False)
    assert isinstance(reply, OutOfMemory)


@pytest.mark.parametrize("quarantine", [False, True])
def test_memory_that_runs_out_between_records_blames_none(bench: Bench, quarantine: bool) -> None:
    assert isinstance(bench.reply(Call("eat", (1 << 30,)), quarantine=quarantine), OutOfMemory)
    assert bench.verdicts == {}


def test_a_record_has_the_same_memory_whatever_its_batch_holds(bench: Bench) -> None:
    """The child begins with what its parent holds; a refusal must not depend on that."""
    held = dict.fromkeys("abcde", ("hold", 15 << 20))
    calls = {**held, "fits": ("eat", 430 << 20), "large": ("eat", 1 << 30)}
    results = bench.run(Records(tuple(calls), calls), quarantine=True)
    assert results["fits"] == 1
    assert results["large"].reason == Reason.CRASHED
    assert [refusal and refusal.key for refusal in bench.verdicts.values()] == ["large"]


def test_a_file_that_is_mapped_does_not_count_as_memory(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    path.touch()
    os.truncate(path, 4 << 30)
    assert bench.run(Call("map_shared", (str(path),)), quarantine=False) == 4 << 30


def test_a_child_in_quarantine_dies_with_its_worker() -> None:
    zygote = launcher.Launcher(WorkerLimits(record_timeout_s=600, memory_bytes=None), ())
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
