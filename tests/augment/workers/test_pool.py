"""The pool of worker processes: real processes, really killed."""

import concurrent.futures
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from augment.errors import CallError, Reason, RecordError, WorkerError
from augment.workers import outcome
from augment.workers.pool import LocalWorkers, num_cpus
from augment.workers.task import Workers
from tests.augment.waiting import eventually
from tests.augment.workers.in_process import InProcessWorkers
from tests.augment.workers.tasks_for_tests import Call, Echo, Pid, Records

CRASH = ("die", int(signal.SIGSEGV))


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalWorkers]:
    """Two workers for tests that leave nothing behind but their own verdicts."""
    with LocalWorkers(2, record_timeout_s=5) as workers:
        yield workers


@pytest.fixture
def workers() -> Iterator[LocalWorkers]:
    with LocalWorkers(2, record_timeout_s=60, memory_bytes=512 << 20) as workers:
        yield workers


@pytest.fixture
def impatient() -> Iterator[LocalWorkers]:
    """Two workers that end a record after 0.5 processor seconds."""
    with LocalWorkers(2, record_timeout_s=0.5) as workers:
        yield workers


def children() -> list[psutil.Process]:
    """Return every process that this one started, directly or indirectly."""
    return list(psutil.Process().children(recursive=True))


def pids_of_both(workers: LocalWorkers, folder: Path) -> set[int]:
    """Return the processes of two workers, each of which has one task while the other has one."""
    futures = [workers.submit(Call("meet", (str(folder), 2))) for _ in range(2)]
    return {future.result(60) for future in futures}


def zygote_of(workers: LocalWorkers) -> psutil.Process:
    zygote = workers._shared.launcher._zygote
    assert zygote is not None
    return psutil.Process(zygote.pid)


# ---------------------------------------------------------------------------------------------------- the interface


def test_local_workers_return_what_each_task_returns(shared: Workers) -> None:
    futures = [shared.submit(Echo(i)) for i in range(200)]
    assert [future.result(60) for future in futures] == list(range(200))


def test_local_workers_run_tasks_at_the_same_time_in_other_processes(shared: LocalWorkers) -> None:
    first, second = shared.submit(Pid(0.3)), shared.submit(Pid(0.3))
    assert len({first.result(60), second.result(60), os.getpid()}) == 3
    assert shared.num_workers == 2


def test_submit_may_be_called_from_many_threads(shared: Workers) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda i: shared.submit(Echo(i)).result(60), range(400))
    assert list(results) == list(range(400))


def test_an_error_of_a_task_comes_back_as_itself_with_its_traceback(shared: Workers) -> None:
    with pytest.raises(ValueError, match=r"^no good$") as raised:
        shared.submit(Call("complain", ("no good",))).result(60)
    assert isinstance(raised.value.__cause__, outcome.RemoteTraceback)
    assert "in complain\n" in str(raised.value.__cause__)


def test_a_task_that_ends_the_interpreter_only_ends_itself(shared: Workers) -> None:
    with pytest.raises(SystemExit):
        shared.submit(Call("give_up")).result(60)
    assert shared.submit(Echo(1)).result(60) == 1


def test_submit_refuses_a_task_that_cannot_be_pickled(shared: Workers) -> None:
    with pytest.raises((AttributeError, TypeError), match=r"[Pp]ickle"):
        shared.submit(Echo(lambda: None))


def test_a_result_that_cannot_be_pickled_is_an_error(shared: Workers) -> None:
    with pytest.raises((AttributeError, TypeError), match=r"pickle|local object"):
        shared.submit(Call("unpicklable")).result(60)


@pytest.mark.parametrize(
    "arguments", [{"num_workers": 0}, {"record_timeout_s": 0}, {"memory_bytes": 0}, {"max_tasks": 0}]
)
def test_local_workers_refuse_senseless_limits(arguments: dict[str, int]) -> None:
    (name,) = arguments
    with pytest.raises(CallError, match=f"^{name} is 0"):
        LocalWorkers(**arguments)  # type: ignore[arg-type]  # mypy reads the dictionary as any argument's


def test_num_cpus_heeds_the_quota_of_a_container(tmp_path: Path) -> None:
    affinity = len(os.sched_getaffinity(0))
    assert num_cpus(tmp_path) == affinity
    for text, expected in {"max 100000": affinity, "50000 100000": 1, "100001 100000": min(2, affinity)}.items():
        (tmp_path / "cpu.max").write_text(f"{text}\n")
        assert num_cpus(tmp_path) == expected


def test_in_process_workers_run_a_task_here_and_at_once() -> None:
    with InProcessWorkers() as here:
        future = here.submit(Records(("a",), {"a": ("pid",)}))
        assert future.done()
        assert future.result() == {"a": os.getpid()}
        assert isinstance(here.submit(Call("complain", ("no good",))).exception(), ValueError)
        assert (here.num_workers, here.verdicts) == (1, {})


# ------------------------------------------------------------------------------------------------- workers that die


@pytest.mark.harden
@pytest.mark.parametrize(
    ("call", "reason", "restart"),
    [
        (CRASH, Reason.CRASHED, "crashed"),
        (("burn",), Reason.TIMEOUT, "timeout"),
        (("eat", 1 << 30), Reason.CRASHED, "memory"),
    ],
)
def test_a_poisoned_record_costs_its_row_and_never_a_worker_again(
    request: pytest.FixtureRequest, call: tuple[Any, ...], reason: Reason, restart: str
) -> None:
    workers: LocalWorkers = request.getfixturevalue("impatient" if reason == Reason.TIMEOUT else "workers")
    task = Records(("a", "bad", "c"), {"bad": call})
    results = workers.submit(task).result(60)
    refused = results.pop("bad")
    assert results == {"a": "a", "c": "c"}
    assert isinstance(refused, RecordError)
    assert (refused.key, refused.reason) == ("bad", reason)
    verdict = workers.verdicts["digest of bad"]
    assert (verdict.key, verdict.reason, verdict.detail) == ("bad", reason, refused.detail)
    assert workers.restarts == {restart: 1}

    again = [workers.submit(task) for _ in range(20)]  # on both workers, one of which has never met it
    assert all(future.result(60)["bad"].reason == reason for future in again)
    assert workers.restarts == {restart: 1}
    assert workers.num_tasks_done == 21


def test_a_task_whose_worker_is_killed_is_done_again(workers: LocalWorkers, tmp_path: Path) -> None:
    go = tmp_path / "go"
    future = workers.submit(Call("wait_for", (str(go),)))
    eventually((tmp_path / "go.begun").exists)
    (process,) = zygote_of(workers).children()
    process.kill()
    go.touch()
    assert future.result(60) != process.pid
    assert workers.restarts == {"killed": 1}
    assert workers.verdicts == {}


def test_workers_that_are_killed_while_they_wait_are_replaced(workers: LocalWorkers, tmp_path: Path) -> None:
    pids = pids_of_both(workers, tmp_path)
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert [workers.submit(Echo(i)).result(60) for i in range(10)] == list(range(10))


def test_the_process_that_forks_workers_may_be_killed(workers: LocalWorkers) -> None:
    assert workers.submit(Echo(1)).result(60) == 1
    zygote = zygote_of(workers)
    (process,) = zygote.children()
    zygote.kill()
    assert workers.submit(Echo(2)).result(60) == 2
    assert zygote_of(workers) != zygote
    eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def test_a_task_that_kills_every_worker_is_an_error_with_a_remedy(workers: LocalWorkers) -> None:
    with pytest.raises(WorkerError, match=r"^Call: its worker died of SIGSEGV \(3 attempts\).*AUGMENT_WORKERS"):
        workers.submit(Call("die")).result(60)
    assert workers.submit(Echo(1)).result(60) == 1
    assert workers.restarts == {"crashed": 3}


def test_results_do_not_depend_on_workers_being_killed(workers: LocalWorkers) -> None:
    """A worker is killed after every few tasks, busy or not, while tasks of four records run."""
    chance, stop = random.Random(7), threading.Event()

    def kill_at_random() -> None:
        while not stop.wait(chance.uniform(0, 0.02)):
            victims = zygote_of(workers).children()
            if victims:
                chance.choice(victims).kill()
            enough = workers.num_tasks_done + 4  # on a busy machine too a task is seldom killed three times
            while workers.num_tasks_done < enough and not stop.is_set():
                time.sleep(0.001)

    assert workers.submit(Echo(1)).result(60) == 1
    keys = tuple("abcd")
    killer = threading.Thread(target=kill_at_random)
    killer.start()
    try:
        futures = [workers.submit(Records(keys, {"a": ("sleep", 0.005)})) for _ in range(100)]
        results = [future.exception(60) or future.result() for future in futures]
    finally:
        stop.set()
        killer.join()
    expected = {"a": "slept", "b": "b", "c": "c", "d": "d"}
    wrong = [result for result in results if result != expected]
    assert all(isinstance(result, WorkerError) for result in wrong)  # three kills of one task: rare, and told
    assert len(wrong) < 10
    assert workers.restarts["killed"] > 5
    assert workers.verdicts == {}


def test_a_worker_is_replaced_after_max_tasks() -> None:
    with LocalWorkers(1, max_tasks=3) as workers:
        pids = [workers.submit(Pid()).result(60) for _ in range(9)]
        assert [len(set(pids[i : i + 3])) for i in (0, 3, 6)] == [1, 1, 1]
        assert len(set(pids)) == 3
        assert workers.restarts == {"max_tasks": 2}


# --------------------------------------------------------------------------------------------- cancelling and closing


def test_cancelling_drops_a_task_that_waits_and_stops_one_that_runs_before_its_next_record(tmp_path: Path) -> None:
    go, ran = tmp_path / "go", tmp_path / "ran"
    with LocalWorkers(1) as workers:
        pid = workers.submit(Pid()).result(60)
        calls = {"first": ("wait_for", str(go)), "next": ("touch", str(ran))}
        running = workers.submit(Records(("first", "next"), calls))
        waiting = workers.submit(Echo(1))
        eventually((tmp_path / "go.begun").exists)
        assert workers.num_busy == 1
        assert workers.queue_depth == 1
        assert waiting.cancel()
        assert running.cancel()
        assert running.cancelled()
        go.touch()
        assert concurrent.futures.wait([running], timeout=60).done  # and it has stopped
        assert workers.num_busy == 0
        assert workers.submit(Pid()).result(60) == pid
        assert not ran.exists()
        assert workers.num_tasks_done == 2


def test_cancelling_at_any_moment_leaves_the_next_task_alone(workers: LocalWorkers) -> None:
    chance = random.Random(3)
    keys = ("a", "b")
    for i in range(200):
        doomed = workers.submit(Records(keys))
        time.sleep(chance.uniform(0, 0.0005))
        doomed.cancel()
        assert workers.submit(Records(keys)).result(60) == {"a": "a", "b": "b"}, i
    assert workers.restarts == {}


def test_close_ends_everything_at_once_even_a_worker_that_hangs() -> None:
    before = children()
    workers = LocalWorkers(2, record_timeout_s=3600)
    futures = [workers.submit(Records(("a",), {"a": ("hang", 3600)})) for _ in range(3)]
    eventually(lambda: workers.num_busy == 2)
    eventually(lambda: len(children()) == len(before) + 3)
    started = [p for p in children() if p not in before]
    workers.close()  # waiting for the records would take an hour
    assert not any(psutil.pid_exists(p.pid) for p in started)
    assert all(future.cancelled() for future in futures)
    assert concurrent.futures.wait(futures, timeout=60).not_done == set()
    workers.close()
    with pytest.raises(CallError, match="closed"):
        workers.submit(Echo(1))


def test_close_does_not_wait_for_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text(
        "import pathlib, time; pathlib.Path(__file__).with_name('begun').touch(); time.sleep(3600)"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = children()
    workers = LocalWorkers(1, preload=["slow_to_import"])
    future = workers.submit(Echo(1))
    eventually((tmp_path / "begun").exists)
    workers.close()  # waiting for the import would take an hour
    assert future.cancelled()
    assert children() == before


def test_workers_end_with_their_last_reference_but_not_before_their_last_task() -> None:
    before = children()
    future = LocalWorkers(1).submit(Pid(0.2))
    gc.collect()
    assert future.result(60)
    gc.collect()
    eventually(lambda: children() == before)


def test_a_callback_may_close_the_workers() -> None:
    workers = LocalWorkers(1)
    done = threading.Event()

    def close(_: object) -> None:
        workers.close()
        done.set()

    workers.submit(Pid(0.1)).add_done_callback(close)
    assert done.wait(60)


# ------------------------------------------------------------------------------------------ what a worker finds and is


def test_workers_have_the_environment_that_pixels_need_and_this_process_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENCV_IPP", raising=False)
    with LocalWorkers(1) as workers:
        assert workers.submit(Call("environment", ("OPENCV_IPP",))).result(60) == "disabled"
        assert workers.submit(Call("environment", ("NO_ALBUMENTATIONS_UPDATE",))).result(60) == "1"
    assert "OPENCV_IPP" not in os.environ


def test_a_worker_has_one_thread_whatever_it_has_imported() -> None:
    """Forking a process with several threads can leave a lock in the child for ever."""
    with LocalWorkers(1, preload=["pyarrow", "cv2", "scipy.linalg"]) as workers:
        assert workers.submit(Call("num_threads")).result(60) == (1, 1)
        assert len(zygote_of(workers).threads()) == 1


def test_workers_leave_signals_of_the_group_to_this_process(shared: Workers) -> None:
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    assert shared.submit(Call("ignored_signals")).result(60) == signals


def test_workers_write_no_cores_and_go_first_when_memory_runs_out(shared: Workers) -> None:
    assert shared.submit(Call("core_and_oom")).result(60) == (0, "500")


def test_a_module_that_is_preloaded_is_there_before_the_first_task() -> None:
    with LocalWorkers(1, preload=["colorsys", "no_such_module"]) as workers:
        assert "colorsys" in workers.submit(Call("modules")).result(60)


def test_workers_that_were_started_have_imported_and_are_there_before_the_first_task() -> None:
    with LocalWorkers(2, preload=("colorsys",)) as workers:
        workers.start()
        pids = {each._process.pid for each in workers._slots if each._process is not None}
        assert len(pids) == 2
        workers.start()
        assert {future.result(60) for future in [workers.submit(Pid(0.2)) for _ in range(2)]} == pids
        assert "colorsys" in workers.submit(Call("modules")).result(60)


def test_a_worker_whose_task_left_a_thread_is_replaced_when_it_has_answered() -> None:
    with LocalWorkers(1) as workers:
        pid = workers.submit(Call("leave_a_thread")).result(60)
        assert workers.submit(Pid()).result(60) != pid
        assert workers.restarts == {"threads": 1}


def test_workers_in_the_background_stand_behind_others_and_these_behind_the_service() -> None:
    mine = psutil.Process().nice()
    with LocalWorkers(1) as workers, LocalWorkers(1, in_background=True) as behind:
        first, second = (psutil.Process(each.submit(Pid()).result(60)).nice() for each in (workers, behind))
    assert mine < first < second
