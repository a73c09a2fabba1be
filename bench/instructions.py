"""Instructions of a tree of processes, counted by ``perf stat`` where the machine gives them; few virtual ones do."""

import functools
import shutil
import signal
import subprocess
from collections.abc import Iterable

EVENT = "instructions:u"


class Count:
    """Counts from now on in these processes and all that they start."""

    def __init__(self, pids: Iterable[int], event: str = EVENT) -> None:
        command = ["perf", "stat", "-x,", "-e", event, "-p", ",".join(map(str, pids))]
        self._perf = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.pid = self._perf.pid

    def stop(self) -> float | None:
        """How many there were; None where they were not counted."""
        self._perf.send_signal(signal.SIGINT)
        _, said = self._perf.communicate()
        return _counted(said)


@functools.cache
def missing() -> str | None:
    """Why there are no counts on this machine; None where there are."""
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
