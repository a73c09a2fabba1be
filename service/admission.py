"""How many requests may render or wait at once: decided once, before the first byte of an answer."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import BusyError, DrainingError


class Admission:
    """A bounded number of places. Of the event loop's thread only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.num_admitted = 0
        self.draining = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while the block runs; BusyError where there is none, DrainingError once the service stops."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Take a place that ``leave`` gives back."""
        self.check_open()
        if self.num_admitted >= self._limit:
            raise BusyError(
                f"{self.num_admitted} requests render or wait, as many as may (AUGMENT_QUEUE_LIMIT); ask "
                "again in a second"
            )
        self.num_admitted += 1

    def leave(self) -> None:
        """Give a place back."""
        self.num_admitted -= 1

    def check_open(self) -> None:
        """Raise DrainingError once the service stops."""
        if self.draining:
            raise DrainingError("the service is about to stop; ask another replica, or this one again in a few seconds")
