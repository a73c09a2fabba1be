"""Bounds on senders, renderings and open answers: decided before the first byte of an answer.

What is bounded tightly is work: a place is held while something renders or waits for a worker, and neither while a body
arrives nor while a client takes what is finished, so that slow clients hold up no other. Streams have as many places
again, so that images find theirs however many ranks read. Bodies under way and open answers, which cost a connection
and a file, have bounds of their own.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from service.errors import BusyError, DrainingError


class Lane(Enum):
    """Whose places."""

    SINGLE = "requests"
    STREAM = "streams"


class Admission:
    """A bounded number of places, of bodies and of open answers. Of the event loop's thread only."""

    def __init__(self, limit: int, answers_limit: int, bodies_limit: int) -> None:
        self.limit = limit
        self._answers_limit = answers_limit
        self._bodies_limit = bodies_limit
        self.admitted: Counter[Lane] = Counter()
        """Requests that render or wait."""
        self.num_sending = 0
        """Requests whose body is on its way."""
        self.num_open = 0
        """Requests whose answer is made or sent."""
        self.draining = False

    @property
    def num_admitted(self) -> int:
        """Requests that render or wait, of both lanes."""
        return self.admitted.total()

    @contextmanager
    def place(self, lane: Lane = Lane.SINGLE, *, after_body: bool = False) -> Iterator["AdmissionSlot"]:
        """Hold a place, and an open answer, while the block runs; the place may be left before.

        With ``after_body`` it is held from ``enter`` or ``take`` on, and the body counts until then. BusyError where
        there is none, DrainingError once the service stops.
        """
        self.check_open()
        if self.num_open >= self._answers_limit:
            raise BusyError(
                f"{self.num_open} answers are open, as many as may (AUGMENT_ANSWERS_LIMIT); ask again when clients "
                "have read theirs"
            )
        self.check_place(lane)
        if after_body and self.num_sending >= self._bodies_limit:
            raise BusyError(
                f"{self.num_sending} bodies are on their way, as many as may (AUGMENT_BODIES_LIMIT); ask again when "
                "clients have sent theirs"
            )
        self.num_open += 1
        place = AdmissionSlot(self, lane)
        try:
            if after_body:
                place.send()
            else:
                place.take()
            yield place
        finally:
            place.leave()
            self.num_open -= 1

    def check_open(self) -> None:
        """Raise DrainingError once the service stops."""
        if self.draining:
            raise DrainingError

    def check_place(self, lane: Lane) -> None:
        """Raise BusyError where all places are held."""
        if self.admitted[lane] >= self.limit:
            raise BusyError(
                f"{self.admitted[lane]} {lane.value} render or wait, as many as may (AUGMENT_QUEUE_LIMIT); ask again "
                "in a second"
            )


class AdmissionSlot:
    """The place of one request that was admitted."""

    def __init__(self, admission: Admission, lane: Lane) -> None:
        self._admission = admission
        self._lane = lane
        self._is_held = False
        self._is_sending = False

    def send(self) -> None:
        """The body comes now."""
        self._is_sending = True
        self._admission.num_sending += 1

    def enter(self) -> None:
        """The body is there, and work begins: BusyError where others have taken all places meanwhile."""
        self._admission.check_place(self._lane)
        self.take()

    def leave(self) -> None:
        """What was asked for is there, and only the client is waited for."""
        if self._is_sending:
            self._is_sending = False
            self._admission.num_sending -= 1
        if self._is_held:
            self._is_held = False
            self._admission.admitted[self._lane] -= 1

    def take(self) -> None:
        """Render or wait again. Never refused: an answer that has begun goes on, and counts against those who come."""
        if not self._is_held:
            self.leave()
            self._is_held = True
            self._admission.admitted[self._lane] += 1
