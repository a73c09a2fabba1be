import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from service import middleware

METHODS = ("get", "put", "post", "delete")


@pytest.fixture(scope="module")
def document(service: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/openapi.json").json()
    return found


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                yield f"{method} {path}", methods[method]


def _defined(document: dict[str, Any], schema: Any) -> Any:
    """Return a schema with its references resolved."""
    while isinstance(schema, dict) and "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def test_every_route_of_the_contract_is_there(document: dict[str, Any]) -> None:
    routes = {name for name, _ in _operations(document)}
    assert {
        "get /health/live", "get /health/ready", "get /metrics", "get /version",
        "get /v1/transforms", "get /v1/transforms/{name}",
        "get /v1/pipelines", "get /v1/pipelines/{name}", "put /v1/pipelines/{name}", "delete /v1/pipelines/{name}",
        "post /v1/pipelines/check",
        "post /v1/datasets", "get /v1/datasets", "get /v1/datasets/{name}", "delete /v1/datasets/{name}",
        "get /v1/datasets/{name}/records",
        "get /client/", "get /client/{file_name}",
    } <= routes  # fmt: skip


def test_every_route_says_what_it_does_and_answers(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        assert operation["summary"][0].isupper(), name
        assert not operation["summary"].endswith("."), name
        assert len(operation["description"]) > 10, f"{name} needs a docstring"
        assert operation["tags"], name
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)
            if status != "default" and int(status) >= 400 and status != "422":
                assert "Problem" in json.dumps(response.get("content", "Problem")), (name, status)


def test_every_parameter_and_body_is_described(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), (name, parameter["name"])
        if "requestBody" in operation:
            body = operation["requestBody"]
            for media_type, content in body["content"].items():
                schema = _defined(document, content["schema"])
                assert schema.get("type") or schema.get("anyOf") or schema.get("oneOf"), (name, media_type)


def test_refusals_are_problem_documents_everywhere(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in json.dumps(document), "FastAPI's own form of a 422, which is never sent"
    for name, operation in _operations(document):
        assert "default" in operation["responses"] or "422" in operation["responses"], name
        for status, response in operation["responses"].items():
            if status == "default" or int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (name, status)


def test_examples_of_bodies_are_taken(service: TestClient, document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/pipelines/check"]["post"]["requestBody"]["content"]
    for media_type, content in body.items():
        example = content["example"]
        sent = example if isinstance(example, str) else json.dumps(example)
        answer = service.post("/v1/pipelines/check", content=sent, headers={"Content-Type": media_type})
        assert answer.status_code == 200, answer.text


def test_keys_are_asked_for_everywhere_but_at_probes(document: dict[str, Any]) -> None:
    assert {"bearer": []} in document["security"]
    for name, operation in _operations(document):
        is_open = middleware.is_open(name.split()[1])
        assert operation.get("security", document["security"]) == ([] if is_open else document["security"]), name
