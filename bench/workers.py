"""Cost of LocalWorkers compared with the standard library's pool, in one run: ``python -m bench.workers``."""

import os
import signal
import statistics
import tempfile
import time
import timeit
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from augment.workers.pool import LocalWorkers
from augment.workers.task import InProcessGuard
from tests.augment.workers.tasks_for_tests import Echo, Records, Timed, same

# ruff: noqa: T201 - a benchmark prints


def median_us(submit: Callable[[], "Future[Any]"], num: int = 1000) -> float:
    """Return the median time from submitting a task to its result, one at a time."""
    times = []
    for _ in range(num):
        start = time.perf_counter()
        submit().result()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def seconds(submit: Callable[[], "Future[Any]"]) -> float:
    """Return the time until one task is done."""
    start = time.perf_counter()
    submit().result()
    return time.perf_counter() - start


def rate(num_workers: int, num_tasks: int = 100) -> float:
    """Return tasks per second, of 20 ms of computing each."""
    keys = tuple(str(i) for i in range(10))
    task = Records(keys, dict.fromkeys(keys, ("spin", 0.002)))
    with LocalWorkers(num_workers) as workers:
        for future in [workers.submit(Records(("a",), {"a": ("sleep", 0.2)})) for _ in range(num_workers)]:
            future.result()
        start = time.perf_counter()
        for future in [workers.submit(task) for _ in range(num_tasks)]:
            future.result()
        return num_tasks / (time.perf_counter() - start)


def main() -> None:
    """Print one measurement per line."""
    with (
        LocalWorkers(1) as workers,
        ProcessPoolExecutor(1, get_context("forkserver")) as pool,
        tempfile.NamedTemporaryFile() as count,
    ):
        print(f"first task, from nothing     {seconds(lambda: workers.submit(Echo())) * 1e3:8.0f} ms")
        pool.submit(same, None).result()
        ours, theirs = median_us(lambda: workers.submit(Echo())), median_us(lambda: pool.submit(same, None))
        print(f"a task that does nothing     {ours:8.0f} us (ProcessPoolExecutor {theirs:.0f} us)")
        records = Records(tuple(str(i) for i in range(20_000)))
        bare = min(timeit.repeat(lambda: records.run(InProcessGuard()), number=1, repeat=3))
        guarded = min(workers.submit(Timed(records)).result() for _ in range(3))
        print(f"guarding one record          {(guarded - bare) / 20_000 * 1e6:8.1f} us")
        dies = Records(("a",), {"a": ("die_after", count.name, 1, int(signal.SIGABRT))})
        print(f"a crash, until it is redone  {seconds(lambda: workers.submit(dies)) * 1e3:8.0f} ms")
        used = sum(os.times()[:2])
        time.sleep(3)
        print(f"idle                         {(sum(os.times()[:2]) - used) / 3 * 100:8.2f} % of one CPU")
    for num_workers in (1, 2, 3):
        print(f"{num_workers} workers, tasks of 20 ms    {rate(num_workers):8.1f} tasks/s")


if __name__ == "__main__":
    main()
