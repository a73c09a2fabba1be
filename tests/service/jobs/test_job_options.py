"""Library, command, OpenAPI and client have every option of an expansion, with one default and one description."""

import inspect
from typing import Any, get_type_hints

import pytest
import typer
from fastapi.testclient import TestClient

from augment.cli import app, options
from augment.client import Client
from augment.expansion.expand import expand_dataset
from augment.expansion.options import OPTIONS, ExpansionKeywords, ExpansionOptions
from service.routes.jobs import JobDocument

_COMMAND: Any = typer.main.get_command(app.app)
_PARAMETERS = {each.name: each for each in _COMMAND.commands["expand"].params}
_WRITTEN = {"copies": "1", "drop_targets": None}
"""Defaults that the command line spells as text or omits."""


@pytest.fixture(scope="module")
def schemas(service: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/openapi.json").json()["components"]["schemas"]
    return found


@pytest.mark.parametrize("name", OPTIONS)
def test_command_has_the_option_as_it_is_described(name: str) -> None:
    parameter = _PARAMETERS[name]
    assert parameter.default == _WRITTEN.get(name, OPTIONS[name].default)
    assert parameter.help == options.of_expansion(name).help


@pytest.mark.parametrize("name", OPTIONS)
def test_openapi_has_the_option_as_it_is_described(name: str, schemas: dict[str, Any]) -> None:
    member = OPTIONS[name].metadata["output_member"]
    schema = schemas["OutputRequest" if member else "JobRequest"]["properties"][member or name]
    assert schema["description"] == OPTIONS[name].metadata["description"]
    default = OPTIONS[name].default
    assert schema.get("default") == (list(default) if isinstance(default, tuple) else default)


@pytest.mark.parametrize("function", [expand_dataset, Client.expand])
def test_library_and_client_take_the_options_as_keywords(function: Any) -> None:
    (keywords,) = (each for each in inspect.signature(function).parameters.values() if each.kind is each.VAR_KEYWORD)
    assert get_type_hints(ExpansionKeywords).keys() == OPTIONS.keys()
    assert keywords.annotation.__args__ == (ExpansionKeywords,)


def test_client_sends_every_option_to_where_the_service_reads_it(
    service: TestClient, schemas: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Any] = {}

    def run(_transport: object, wanted: dict[str, Any], **_: object) -> dict[str, Any]:
        sent.update(wanted)
        return {}

    monkeypatch.setattr("augment.client.client.run", run)
    given: Any = {"copies": {"cat": 2}, "update": True, "max_failures": 0.5, "output_format": "coco", "quality": 80}
    with Client("http://localhost") as client:
        client.expand(dataset="photos", pipeline="light", output="x", drop_targets={"mask"}, **given)
        with pytest.raises(TypeError, match="qualty"):
            client.expand(dataset="photos", output="x", qualty=3)  # type: ignore[call-arg]
    assert sent.keys() == schemas["JobRequest"]["properties"].keys()
    assert sent["output"] == {
        "name": "x", "format": "coco", "drop_targets": ["mask"], "image_format": None, "quality": 80
    }  # fmt: skip
    assert (sent["copies"], sent["update"], sent["max_failures"]) == ({"cat": 2}, True, 0.5)
    assert service.post("/v1/jobs", json=sent).status_code == 404  # it is valid, but the dataset does not exist


def test_a_document_has_every_option_that_decides_the_files() -> None:
    in_documents = {OPTIONS[name].metadata["output_member"] or name for name in OPTIONS}
    assert in_documents - {"allow_leaks", "max_failures"} <= JobDocument.model_fields.keys()


def test_defaults_are_those_of_the_library() -> None:
    options_now = ExpansionOptions()
    assert all(getattr(options_now, name) == OPTIONS[name].default for name in OPTIONS)
