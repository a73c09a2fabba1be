"""Bounds on open bodies, renderings and open answers, checked before the first byte of an answer.

Work has the tightest bound. A place is held while something renders or waits for a worker, but not while a body arrives
or a client reads its answer, so that slow clients do not block others. Streams have as many places again, so that many
reading ranks do not block images. Open bodies and open answers cost a connection and a file each; they have separate
bounds.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from service.errors import BusyError, DrainingError


class Lane(Enum):
    """Kind of request; each kind has its own places."""

    SINGLE = "requests"
    STREAM = "streams"


class Admission:
    """Counts of places, open bodies and open answers, each with a limit. For the event loop's thread only."""

    def __init__(self, limit: int, answers_limit: int, bodies_limit: int) -> None:
        self.limit = limit
        self._answers_limit = answers_limit
        self._bodies_limit = bodies_limit
        self.admitted: Counter[Lane] = Counter()
        """Requests that render or wait."""
        self.num_sending = 0
        """Requests whose body is being received."""
        self.num_open = 0
        """Requests whose answer is rendered or sent."""
        self.draining = False

    @property
    def num_admitted(self) -> int:
        """Requests that render or wait, of both lanes."""
        return self.admitted.total()

    @contextmanager
    def place(self, lane: Lane = Lane.SINGLE, *, after_body: bool = False) -> Iterator["AdmissionSlot"]:
        """Hold an open answer, and a place until ``leave``, while the block runs.

        With ``after_body`` the request counts as an open body until ``enter`` or ``take``, and holds its place from
        then on. Raises BusyError if a limit is reached, DrainingError once the service stops.
        """
        self.check_open()
        if self.num_open >= self._answers_limit:
            raise BusyError(
                f"{self.num_open} answers are open, the most that are allowed (AUGMENT_ANSWERS_LIMIT); try again when "
                "clients have read theirs"
            )
        self.check_place(lane)
        if after_body and self.num_sending >= self._bodies_limit:
            raise BusyError(
                f"{self.num_sending} bodies are being received, the most that are allowed (AUGMENT_BODIES_LIMIT); try "
                "again when clients have sent theirs"
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
        """Raise BusyError if all places are held."""
        if self.admitted[lane] >= self.limit:
            raise BusyError(
                f"{self.admitted[lane]} {lane.value} render or wait, the most that are allowed (AUGMENT_QUEUE_LIMIT); "
                "try again in a second"
            )


class AdmissionSlot:
    """Place of one admitted request."""

    def __init__(self, admission: Admission, lane: Lane) -> None:
        self._admission = admission
        self._lane = lane
        self._is_held = False
        self._is_sending = False

    def send(self) -> None:
        """Count the request as an open body."""
        self._is_sending = True
        self._admission.num_sending += 1

    def enter(self) -> None:
        """Take a place after the body has arrived. Raises BusyError if all are held by now."""
        self._admission.check_place(self._lane)
        self.take()

    def leave(self) -> None:
        """Give back the place: the work is done, and only the client still reads."""
        if self._is_sending:
            self._is_sending = False
            self._admission.num_sending -= 1
        if self._is_held:
            self._is_held = False
            self._admission.admitted[self._lane] -= 1

    def take(self) -> None:
        """Take a place again, even beyond the limit: an answer that has begun must continue."""
        if not self._is_held:
            self.leave()
            self._is_held = True
            self._admission.admitted[self._lane] += 1
