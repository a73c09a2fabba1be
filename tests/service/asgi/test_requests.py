"""What every route has in common: nothing unknown, nothing twice, HEAD beside GET, and a body that means one thing."""

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/pipelines?limt=3", "`limit`"),
        ("/v1/transforms?limit=1", "it takes none"),
        ("/v1/datasets?after=a&after=b", "after more than once"),
        ("/v1/streams/abc/batches?strat=1", "`start`"),
        ("/v1/streams/abc/samples/0/a?form=json", "`format`"),
    ],
)
def test_query_parameters_that_are_unknown_or_repeated_are_refused(service: TestClient, path: str, named: str) -> None:
    answer = service.get(path)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


def test_augment_refuses_a_mistyped_seed(service: TestClient) -> None:
    answer = service.post("/v1/augment?pipeline=light&sed=7", content=b"x")
    assert answer.status_code == 422
    assert "`seed`" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ('{"dataset": "a", "dataset": "b", "pipeline": "light"}', 400, "'dataset' is there twice"),
        ('{"dataset": "a", "pipeline": {"transforms": [{"HorizontalFlip": {"p": 0.1, "p": 0.9}}]}}', 400, "'p'"),
        ('{"dataset": "a", "pipeline": "light", "seed": NaN}', 400, "NaN"),
        ('{"dataset": "a",', 400, "line 1"),
        ("[" * 100_000, 400, "nested too deeply"),
        ('{"dataset": "a", "pipeline": "light", "seed": ' + "9" * 10_000 + "}", 400, "digits"),
        ('{"dataset": "a", "pipeline": "light", "batch_size": true}', 422, "batch_size"),
        ('{"dataset": "a", "pipeline": "light", "shuffle": "no"}', 422, "shuffle"),
    ],
)
def test_json_bodies_mean_one_thing(service: TestClient, body: str, status: int, named: str) -> None:
    answer = service.post("/v1/streams", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert named in answer.json()["detail"]


def test_json_of_another_type_is_told_which(service: TestClient) -> None:
    answer = service.post("/v1/streams", data={"dataset": "a"})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/health/live", "/version", "/v1/pipelines/light", "/metrics", "/v1/transforms"])
def test_head_is_get_without_the_body(service: TestClient, path: str) -> None:
    whole, head = service.get(path), service.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]


def test_methods_that_are_not_allowed_are_told_all_that_are(service: TestClient) -> None:
    answer = service.patch("/v1/datasets")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD, POST"
    assert service.put("/v1/streams/abc").headers["Allow"] == "DELETE, GET, HEAD"


def test_invented_methods_do_not_grow_the_metrics(service: TestClient) -> None:
    for number in range(5):
        service.request(f"INVENTED{number}", "/version")
    text = service.get("/metrics").text
    assert "INVENTED" not in text
    assert 'method="other"' in text


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1.5"])
def test_max_failures_that_nobody_can_mean_is_refused(service: TestClient, value: str) -> None:
    answer = service.get(f"/v1/streams/{'0' * 32}/batches?max_failures={value}")
    assert answer.status_code == 422
    assert "max_failures" in answer.json()["detail"]


def test_form_without_boundary_is_told_so(service: TestClient) -> None:
    answer = service.post("/v1/augment", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert answer.status_code == 400
    assert "boundary" in answer.json()["detail"]
