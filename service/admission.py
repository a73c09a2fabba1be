"""Who may render or wait, and how many answers may be open: decided once, before the first byte of an answer.

What is bounded tightly is work: a place is held while something renders or waits for a worker, and not while a client
takes what is finished, so that clients who have stopped reading hold up nobody. Open answers, which cost a connection
and the file that is being sent, have a bound of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import BusyError, DrainingError


class Admission:
    """A bounded number of places and of open answers. Of the event loop's thread only."""

    def __init__(self, limit: int, answers_limit: int) -> None:
        self._limit = limit
        self._answers_limit = answers_limit
        self.num_admitted = 0
        """Requests that render or wait."""
        self.num_open = 0
        """Requests whose answer is made or sent."""
        self.draining = False

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Hold a place, and an open answer, while the block runs; the place may be left before.

        BusyError where there is none, DrainingError once the service stops.
        """
        self.check_open()
        if self.num_open >= self._answers_limit:
            raise BusyError(
                f"{self.num_open} answers are open, as many as may (AUGMENT_ANSWERS_LIMIT); ask again when clients "
                "have read theirs"
            )
        if self.num_admitted >= self._limit:
            raise BusyError(
                f"{self.num_admitted} requests render or wait, as many as may (AUGMENT_QUEUE_LIMIT); ask "
                "again in a second"
            )
        self.num_open += 1
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()
            self.num_open -= 1

    def check_open(self) -> None:
        """Raise DrainingError once the service stops."""
        if self.draining:
            raise DrainingError


class Place:
    """The place of one request that was admitted."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._is_held = False
        self.take()

    def leave(self) -> None:
        """What was asked for is there, and only the client is waited for."""
        if self._is_held:
            self._is_held = False
            self._admission.num_admitted -= 1

    def take(self) -> None:
        """Render or wait again. Never refused: an answer that has begun goes on, and counts against those who come."""
        if not self._is_held:
            self._is_held = True
            self._admission.num_admitted += 1
