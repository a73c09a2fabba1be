"""augment over HTTP to several trainers on one stream, each in a separate process.

Options: ``trainers``; ``replicas`` of the service with ``workers`` each (1), without which one service has the workers
of the work; ``stall_s``, the time for which one of the replicas is stopped (SIGSTOP) in the middle of the measurement.

All trainers take the warm batches, wait for each other, take the measured ones and wait again.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace

from augment.client.client import Client
from bench.peers import ours, served
from bench.trainer import Trainer
from bench.work import Work

TITLE = "augment, trainers on one stream"
NEEDS = ours.NEEDS


def run(trainer: Trainer) -> None:
    work, options = trainer.work, trainer.work.options
    with contextlib.ExitStack() as stack:
        services = [stack.enter_context(served.started(each)) for each in _homes(work)]
        for service in services:
            served.register(service.client, work.folder)
        urls = json.dumps([service.url for service in services])
        command = [sys.executable, "-m", "bench.peers.several_trainers", urls, work.to_json()]
        readers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
            for _ in range(options["trainers"])
        ]
        _each(readers, "import")
        trainer.say("ready")
        _each(readers, "first")
        trainer.say("first")
        _each(readers, "warm")
        trainer.say("begin")
        if "stall_s" in options:
            _stall(services[-1], options["stall_s"])
        _each(readers, "measure")
        trainer.say("figures", **_figures(services, readers))
        trainer.say("end", images=len(readers) * work.num_batches * work.batch_size)


def _homes(work: Work) -> list[Work]:
    """Return the work of each replica, with a separate home."""
    if "replicas" not in work.options:
        return [work]
    num_workers = work.options.get("workers", 1)
    return [
        replace(work, home=f"{work.home}-{number}", num_workers=num_workers)
        for number in range(work.options["replicas"])
    ]


def _stall(service: served.Service, seconds: float) -> None:
    service.process.send_signal(signal.SIGSTOP)
    threading.Timer(seconds, service.process.send_signal, (signal.SIGCONT,)).start()


def _figures(services: "Sequence[served.Service]", readers: "Sequence[subprocess.Popen[str]]") -> dict[str, float]:
    """Return the share of batches that came from the services' caches, and the requests that were hedged."""
    counts = {"hit": 0.0, "shared": 0.0, "miss": 0.0}
    for service in services:
        with urllib.request.urlopen(f"{service.url}/metrics", timeout=60) as answer:  # noqa: S310 - ours, on loopback
            for line in answer.read().decode().splitlines():
                for outcome in counts:
                    if line.startswith(f'augment_batch_cache_requests_total{{outcome="{outcome}"}}'):
                        counts[outcome] += float(line.rsplit(" ", 1)[1])
    ends = [json.loads(reader.communicate()[0]) for reader in readers]
    return {
        "cache_hit_share": 1 - counts["miss"] / max(1.0, sum(counts.values())),
        "hedges": float(sum(each["hedges"] for each in ends)),
        "longest_wait_ms": max(each["longest_wait_s"] for each in ends) * 1e3,
    }


def _each(readers: "list[subprocess.Popen[str]]", phase: str) -> None:
    """Start a phase in all readers, and wait for all to end it."""
    for reader in readers:
        assert reader.stdin is not None  # noqa: S101 - a pipe was requested
        print(phase, file=reader.stdin, flush=True)
    for reader in readers:
        assert reader.stdout is not None  # noqa: S101 - a pipe was requested
        if reader.stdout.readline().strip() != phase:
            raise RuntimeError(f"a trainer died in the phase {phase!r}")


def main() -> None:
    """Run one trainer."""
    work = Work.from_json(sys.argv[2])
    trainer = Trainer(work)
    hedges = _Hedges()
    longest_s = 0.0
    with Client(json.loads(sys.argv[1]), deadline_s=60) as client:
        for phase, num in (("import", 0), ("first", 1), ("warm", work.num_warm - 1), ("measure", work.num_batches)):
            sys.stdin.readline()
            if phase == "first":
                batches = ours.declared(client, work).epoch(0)
            for _ in range(num):
                started = time.perf_counter()
                trainer.touch(next(batches).images)
                longest_s = max(longest_s, time.perf_counter() - started) if phase == "measure" else 0.0
            sys.stdout.write(f"{phase}\n")
            sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(json.dumps({"hedges": hedges.num, "longest_wait_s": longest_s}))


class _Hedges(logging.Handler):
    """Counts the hedges that the client logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.num = 0
        logging.getLogger("augment.client").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self.num += "asking others too" in record.getMessage()


if __name__ == "__main__":
    main()
