"""Instructions of a tree of processes, counted by ``perf stat`` if the machine has counters; few virtual ones do."""

import functools
import shutil
import signal
import subprocess
from collections.abc import Iterable

EVENT = "instructions:u"


class Count:
    """Counter of instructions, from now on, in these processes and all that they start."""

    def __init__(self, pids: Iterable[int], event: str = EVENT) -> None:
        command = ["perf", "stat", "-x,", "-e", event, "-p", ",".join(map(str, pids))]
        self._perf = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.pid = self._perf.pid

    def stop(self) -> float | None:
        """Return the number of instructions, or None if they were not counted."""
        self._perf.send_signal(signal.SIGINT)
        _, said = self._perf.communicate()
        return _counted(said)


@functools.cache
def missing() -> str | None:
    """Return why this machine cannot count, or None if it can."""
    if shutil.which("perf") is None:
        return "perf is not installed"
    done = subprocess.run(["perf", "stat", "-x,", "-e", EVENT, "true"], capture_output=True, text=True, check=False)
    return None if _counted(done.stderr) else f"perf stat does not count {EVENT} on this machine"


def _counted(said: str) -> float | None:
    for line in said.splitlines():
        first = line.split(",")[0].strip()
        if first.replace(".", "", 1).isdigit():
            return float(first)
    return None
