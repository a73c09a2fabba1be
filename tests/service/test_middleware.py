import json
import logging
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from service import observe
from tests.service.folders_for_tests import Run


def _is_problem(answer: object, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text  # type: ignore[attr-defined]
    assert answer.headers["Content-Type"] == "application/problem+json"  # type: ignore[attr-defined]
    body: dict[str, object] = answer.json()  # type: ignore[attr-defined]
    assert {"type", "title", "status", "detail", "instance"} <= body.keys()
    assert body["status"] == status
    assert body["instance"] == answer.headers["X-Request-Id"]  # type: ignore[attr-defined]
    return body


def test_frameworks_own_errors_are_problem_documents(service: TestClient) -> None:
    assert "/nowhere" in str(_is_problem(service.get("/nowhere"), 404)["detail"])
    not_allowed = service.post("/version")
    assert "GET" in str(_is_problem(not_allowed, 405)["detail"])
    assert not_allowed.headers["Allow"] == "GET, HEAD"
    body = _is_problem(service.get("/v1/pipelines", params={"limit": "many"}), 422)
    assert body["errors"][0]["loc"] == ["query", "limit"]  # type: ignore[index]
    assert "many" in str(body["detail"])


def test_a_defect_is_a_problem_document_that_tells_nothing(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    client = run()
    assert isinstance(client.app, FastAPI)

    @client.app.get("/defect")
    async def fail() -> None:
        raise RuntimeError("the secret of the house")

    with caplog.at_level(logging.ERROR, logger="service.asgi.requests"):
        answer = client.get("/defect", headers={"X-Request-Id": "mine"})
    assert "secret" not in answer.text
    assert _is_problem(answer, 500)["instance"] == "mine"
    assert [record.exc_info is not None for record in caplog.records if record.message == "unexpected error"] == [True]
    counted = client.get("/metrics").text
    assert 'augment_requests_total{method="GET",route="/defect",status="500"} 1.0' in counted


def test_a_body_that_is_too_long_is_refused_by_its_announced_length(run: Run) -> None:
    client = run(max_body_bytes=1024)
    body = _is_problem(client.post("/v1/pipelines/check", content=b" " * 1025), 413)
    assert "AUGMENT_MAX_BODY_BYTES" in str(body["detail"])


def test_a_body_without_length_is_refused_as_soon_as_it_is_too_long(run: Run) -> None:
    client = run(max_body_bytes=1024)
    assert isinstance(client.app, FastAPI)

    @client.app.post("/json")
    async def read(value: dict[str, int]) -> dict[str, int]:
        return value

    def endless() -> Iterator[bytes]:
        yield b'{"a": 1'
        for _ in range(1000):
            yield b" " * 100

    answer = client.post("/json", content=endless(), headers={"Content-Type": "application/json"})
    assert "AUGMENT_MAX_BODY_BYTES" in str(_is_problem(answer, 413)["detail"])
    assert client.post("/json", json={"a": 1}).json() == {"a": 1}


def test_a_request_keeps_a_harmless_id_and_gets_another_for_a_harmful_one(service: TestClient) -> None:
    assert service.get("/version", headers={"X-Request-Id": "job-7.a"}).headers["X-Request-Id"] == "job-7.a"
    for harmful in ("a b", "x" * 65, "<script>", ""):
        given = service.get("/version", headers={"X-Request-Id": harmful}).headers["X-Request-Id"]
        assert given != harmful
        assert len(given) == 32


def test_readiness_ends_when_the_service_drains_and_liveness_does_not(run: Run) -> None:
    client = run()
    deadline = time.monotonic() + 60
    while client.get("/health/ready").json().get("status") != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.get("/v2/health/ready").status_code == 200
    client.app.state.augment.admission.draining = True  # type: ignore[attr-defined]
    assert "Retry-After" in client.get("/health/ready").headers
    _is_problem(client.get("/v2/health/ready"), 503)
    assert client.get("/health/live").json() == {"status": "live"}


def test_metrics_count_requests_by_route_not_by_path(service: TestClient) -> None:
    for name in ("a", "b"):
        assert service.get(f"/v1/pipelines/{name}").status_code == 404
    text = service.get("/metrics").text
    assert 'augment_requests_total{method="GET",route="/v1/pipelines/{name}",status="404"}' in text
    assert 'route="/v1/pipelines/a"' not in text
    assert "augment_workers 1.0" in text


def test_logs_are_one_json_object_a_line() -> None:
    record = logging.LogRecord("service", logging.WARNING, __file__, 1, "two\nlines of %s", ("text",), None)
    record.request_id = "r-1"
    line = observe.JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "", "level": "warning", "logger": "service", "message": "two\nlines of text", "request_id": "r-1",
    }  # fmt: skip
