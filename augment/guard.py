"""The guard of work that runs in the caller's own process."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class InProcessGuard:
    """Runs each record here and now: no limit on time, no verdicts, and what kills a record kills the caller.

    The guards of worker processes, which have all that, are in ``processes/quarantine.py``.
    """

    def __call__(self, subject: str, key: str, work: Callable[[], T]) -> T:  # noqa: ARG002 - Guard's own names
        """Do the work."""
        return work()
