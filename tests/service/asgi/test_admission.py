"""Limits on places and open answers, both checked before the first byte."""

from contextlib import ExitStack

import pytest

from service.asgi.admission import Admission, Lane
from service.errors import BusyError, DrainingError


def test_a_place_is_refused_while_all_are_held() -> None:
    admission = Admission(2, 10, 10)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(admission.place())
        with pytest.raises(BusyError, match="AUGMENT_QUEUE_LIMIT"), admission.place():
            pass
    assert (admission.num_admitted, admission.num_open) == (0, 0)


def test_who_only_waits_for_his_client_holds_no_place_but_an_answer() -> None:
    admission = Admission(1, 4, 4)
    with ExitStack() as held:
        for _ in range(4):
            place = held.enter_context(admission.place())
            place.leave()
            place.leave()
            assert admission.num_admitted == 0
        with pytest.raises(BusyError, match="AUGMENT_ANSWERS_LIMIT"), admission.place():
            pass
    assert admission.num_open == 0


def test_an_answer_that_has_begun_is_never_refused_but_counts_against_those_who_come() -> None:
    admission = Admission(1, 10, 10)
    with admission.place() as first:
        first.leave()
        with admission.place() as second:
            first.take()
            first.take()
            assert admission.num_admitted == 2
            second.leave()
            with pytest.raises(BusyError), admission.place():
                pass
    assert admission.num_admitted == 0


def test_a_service_that_stops_admits_nobody() -> None:
    admission = Admission(1, 1, 1)
    admission.draining = True
    with pytest.raises(DrainingError), admission.place():
        pass
    assert admission.num_open == 0


def test_a_body_on_its_way_holds_no_place() -> None:
    admission = Admission(1, 10, 2)
    with admission.place(after_body=True) as first, admission.place(after_body=True) as second:
        assert (admission.num_admitted, admission.num_sending) == (0, 2)
        with pytest.raises(BusyError, match="AUGMENT_BODIES_LIMIT"), admission.place(after_body=True):
            pass
        first.enter()
        assert (admission.num_admitted, admission.num_sending) == (1, 1)
        with pytest.raises(BusyError, match="AUGMENT_QUEUE_LIMIT"):
            second.enter()
        second.take()
        assert (admission.num_admitted, admission.num_sending) == (2, 0)
    assert (admission.num_admitted, admission.num_sending, admission.num_open) == (0, 0, 0)


def test_streams_and_images_have_places_of_their_own() -> None:
    admission = Admission(1, 10, 10)
    with admission.place(Lane.STREAM):
        with pytest.raises(BusyError, match="1 streams"), admission.place(Lane.STREAM):
            pass
        with admission.place():
            assert admission.num_admitted == 2
