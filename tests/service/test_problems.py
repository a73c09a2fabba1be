import importlib
import pickle
from collections.abc import Iterator

import pytest

import service.errors
from augment import errors
from augment.errors import PipelineError, Problem, Reason, RecordError
from service import problems
from service.errors import BusyError, DrainingError, UnauthorizedError


def _tree(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def _all() -> set[type[Exception]]:
    for room in ("augment.expansion.expand", "augment.streams.stream", "augment.workers.process", "service.app"):
        importlib.import_module(room)  # for the classes that it may add

    return {*_tree(errors.AugmentError), *_tree(service.errors.ServiceError)}


def test_every_error_has_a_status_and_every_status_an_error() -> None:
    assert _all() == set(problems.STATUSES)


def test_a_class_without_a_row_is_noticed() -> None:
    class NewError(service.errors.ServiceError):
        pass

    try:
        assert _all() - set(problems.STATUSES) == {NewError}
        assert problems.status_of(NewError("x")) == 500, "and still answered as its nearest relation"
    finally:
        del NewError
        import gc

        gc.collect()  # a class lives in a circle, and the tests after this one look at the tree


@pytest.mark.parametrize("kind", sorted(problems.STATUSES, key=str))
def test_the_type_of_a_problem_is_a_name_and_its_status_an_error(kind: type[Exception]) -> None:
    body = problems.document(problems.STATUSES[kind], kind="x", detail="y")
    assert 400 <= body["status"] < 600
    assert body["title"]


@pytest.mark.parametrize("reason", list(Reason))
def test_a_record_is_never_our_fault(reason: Reason) -> None:
    body, _ = problems.describe(RecordError("cat/1", reason, "broken"))
    assert 400 <= body["status"] < 500
    assert (body["reason"], body["key"]) == (reason, "cat/1")


def test_a_pipeline_says_every_place() -> None:
    body, _ = problems.describe(PipelineError([Problem(("transforms", 2, "p"), "too large", 7), Problem((), "empty")]))
    assert body["status"] == 422
    assert body["errors"] == [
        {"loc": ["transforms", 2, "p"], "msg": "too large", "line": 7},
        {"loc": [], "msg": "empty"},
    ]


def test_headers_say_when_and_how_to_ask_again() -> None:
    assert problems.describe(BusyError("full", retry_after_s=3))[1] == {"Retry-After": "3"}
    assert "Retry-After" in problems.describe(DrainingError("stops"))[1]
    assert problems.describe(UnauthorizedError("no"))[1]["WWW-Authenticate"] == 'Bearer, Basic realm="augment"'


def test_errors_survive_the_way_from_a_worker() -> None:
    for kind in _tree(service.errors.ServiceError):
        error = pickle.loads(pickle.dumps(kind("why")))  # noqa: S301 - our own bytes
        assert (type(error), str(error)) == (kind, "why")
