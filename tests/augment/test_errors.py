"""Reasons of refused records: transient ones, and those that follow from the record's bytes."""

from augment.errors import Reason

READ_FAILURES = {Reason.CHANGED, Reason.UNREADABLE}
TRANSIENT = {*READ_FAILURES, Reason.CRASHED, Reason.TIMEOUT}
OF_THE_BYTES = {Reason.FORMAT, Reason.TOO_MANY_PIXELS, Reason.UNDECODABLE, Reason.ANNOTATION}
OTHERS = {Reason.TOO_MANY_BYTES, Reason.MISPLACED, Reason.NOT_RENDERABLE}


def test_every_reason_is_transient_or_of_the_bytes_or_neither() -> None:
    assert {each for each in Reason if each.is_transient} == TRANSIENT
    assert {each for each in Reason if each.is_read_failure} == READ_FAILURES
    assert {each for each in Reason if each.is_of_the_bytes} == OF_THE_BYTES
    assert set(Reason) == TRANSIENT | OF_THE_BYTES | OTHERS
    assert len(TRANSIENT) + len(OF_THE_BYTES) + len(OTHERS) == len(Reason)
