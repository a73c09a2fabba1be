"""One rule for ``max_failures`` in every interface: library, command, batches, jobs, the client's streams."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import augment
from augment.cli import app
from augment.client import Client, ClientError, UnreachableError
from augment.errors import CallError
from augment.validation import FailureBudget
from service.routes.batches import PartQuery
from service.routes.jobs import JobRequest
from tests.augment.folders_for_tests import lay_images

_REMEDY = "give a count like 10, or a fraction above 0 and below 1 like 0.01"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return lay_images(tmp_path / "photos", "cat/1.png")


def _library(value: Any, data: Path, _: pytest.CaptureFixture[str]) -> str:
    try:
        augment.expand_dataset(data, data.with_name("out"), "light", max_failures=value)
    except CallError as error:
        return str(error)
    return ""


def _command(value: Any, data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    arguments = [data, data.with_name("out"), "-p", "light", "--workers", 0, "--max-failures", value]
    code = app.run(["expand", *map(str, arguments)])
    return capsys.readouterr().err.removeprefix("error: ").strip() if code else ""


def _batches(value: Any, _: Path, __: pytest.CaptureFixture[str]) -> str:
    return _refusal(lambda: PartQuery.model_validate({"max_failures": str(value)}))


def _jobs(value: Any, _: Path, __: pytest.CaptureFixture[str]) -> str:
    content = {"dataset": "photos", "output": {"name": "x"}, "max_failures": value}
    return _refusal(lambda: JobRequest.model_validate(content))


def _refusal(validate: Callable[[], object]) -> str:
    try:
        validate()
    except ValidationError as error:
        (found,) = error.errors()
        return found["msg"].removeprefix("Value error, ")
    return ""


def _stream(value: Any, _: Path, __: pytest.CaptureFixture[str]) -> str:
    """No service listens at that port, because the budget is checked before the request."""
    try:
        Client("http://127.0.0.1:9", deadline_s=0.01).stream(dataset="photos", max_failures=value)
    except UnreachableError:
        return ""
    except ClientError as error:
        return str(error)
    raise AssertionError("a service answered")


@pytest.mark.parametrize("door", [_library, _command, _batches, _jobs, _stream])
@pytest.mark.parametrize(
    ("value", "is_budget"),
    [(0, True), (1, True), (10, True), (0.01, True), (0.99, True)]
    + [(value, False) for value in (1.5, 1.0, 0.0, -0.5, float("nan"), float("inf"))],
)
def test_every_door_gives_the_same_answer(
    door: Callable[[Any, Path, pytest.CaptureFixture[str]], str],
    value: float,
    is_budget: bool,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert door(value, data, capsys) == ("" if is_budget else f"max_failures is {value}; {_REMEDY}")


@pytest.mark.parametrize(("given", "allowed"), [(None, 7), (0, 0), (3, 3), (0.5, 3), (0.99, 6), (0.1, 0)])
def test_fraction_is_one_of_all_rounded_down(given: float | None, allowed: int) -> None:
    budget = FailureBudget(given)
    assert [budget.allows(number, 7) for number in range(8)] == [
        number <= allowed or given is None for number in range(8)
    ]
