"""Waits for a condition. They only show that nothing hangs; their length does not matter."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], within_s: float = 120) -> None:
    """Wait until the condition holds; fail if it never does."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
