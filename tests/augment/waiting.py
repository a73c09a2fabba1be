"""For tests of what happens soon."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], within_s: float = 5) -> None:
    """Wait until the condition holds; fail where it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
