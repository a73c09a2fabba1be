"""Rules of every route: no unknown or repeated parameters, HEAD for each GET, and unambiguous bodies."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import service as package
from augment.images.encode import encode_image
from service import one_shot
from service.app import create_app
from service.settings import Settings
from tests.service.folders_for_tests import pattern


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
        ('{"dataset": "a", "dataset": "b", "pipeline": "light"}', 400, "'dataset' appears twice"),
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


FLAWS = {
    "a key twice": ('{"a": 1, "a": 2}', "'a' appears twice|`a` is written twice"),
    "a key twice, inside": ('{"b": [0, {"a": 1, "a": 2}]}', "'a' appears twice|`a` is written twice"),
    "NaN": ('{"a": NaN}', "NaN"),
    "infinite": ('{"a": [-Infinity]}', "Infinity"),
    "too large": ('{"a": 1e999}', "too large|finite"),
    "too many digits": ('{"a": ' + "9" * 5000 + "}", "go up to|may go up to"),
    "too deep": ('{"a": ' + "[" * 500 + "]" * 500 + "}", "MAX_JSON_DEPTH|nest more than"),
    "half a pair": (r'{"a": "\ud800"}', "half of a surrogate pair"),
    "half a pair in a key": (r'{"\udc00": 1}', "half of a surrogate pair"),
    "a byte order mark": ('\ufeff{"a": 1}', "byte order mark|not a section of a pipeline"),  # in YAML it is allowed
    "cut short": ('{"a": 1', "line 1|not JSON|not YAML"),
}
"""JSON that readers understand differently, and the expected message."""


def json_operations() -> Iterator[tuple[str, str]]:
    """Return method and path of each operation with a JSON body."""
    for path, operations in create_app(Settings()).openapi()["paths"].items():
        for method, operation in operations.items():
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                yield method, path


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize(("method", "path"), list(json_operations()))
def test_every_body_of_json_is_read_by_the_strict_reader(
    service: TestClient, method: str, path: str, flaw: str
) -> None:
    body, named = FLAWS[flaw]
    sent = path.replace("{", "").replace("}", "")
    answer = service.request(method, sent, content=body.encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text
    assert any(part in answer.json()["detail"] for part in named.split("|")), answer.text
    assert answer.json()["errors"][0].keys() >= {"loc", "msg"}


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("field", sorted(one_shot.TEXT_FIELDS))
def test_no_field_of_a_form_takes_json_that_means_two_things(service: TestClient, field: str, flaw: str) -> None:
    body, named = FLAWS[flaw]
    form = {"pipeline": "light", field: body}
    answer = service.post("/v1/augment", files=[("images", ("a.png", encode_image(pattern(0), "png")))], data=form)
    assert answer.status_code in {400, 422}, answer.text
    if field in {"annotations", "pipeline"}:
        assert any(part in answer.json()["detail"] for part in named.split("|")), answer.text
        assert answer.json()["errors"][0]["loc"][0] == field


def test_the_path_of_what_is_written_twice_is_told(service: TestClient) -> None:
    annotations = '[{"boxes": [[0, 0, 4, 4]], "extra": {"a": 1, "a": 2}}]'
    form = {"pipeline": "light", "annotations": annotations}
    answer = service.post("/v1/augment", files=[("images", ("a.png", encode_image(pattern(0), "png")))], data=form)
    assert answer.json()["errors"][0]["loc"] == ["annotations", 0, "extra", "a"]


def test_no_other_reader_of_json_sees_what_a_client_sent() -> None:
    """Modules that read JSON by another function are listed here, because they only read the service's own."""
    own = {"datasets/registration.py", "jobs/table.py", "streams/streams.py"}  # documents of the home
    root = Path(package.__file__).parent
    found = set()
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in {"loads", "model_validate_json"}:
                found.add(file.relative_to(root).as_posix())
    assert found == own


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
