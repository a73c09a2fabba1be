"""Where the time of a task goes: one look at the clock for each stage of a sample."""

import time


class Stages:
    """Seconds by stage. Not safe between threads."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._last_s = 0.0

    def begin(self) -> None:
        """A stage begins now."""
        self._last_s = time.perf_counter()

    def end(self, stage: str) -> None:
        """The stage has ended, and the next begins."""
        now_s = time.perf_counter()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now_s - self._last_s
        self._last_s = now_s

    def take(self) -> dict[str, float]:
        """The seconds of each stage since the last call, in the order in which they came first."""
        seconds, self._seconds = self._seconds, {}
        return seconds
