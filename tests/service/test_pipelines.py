import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from augment.errors import PipelineError
from augment.pipelines.spec import BoxRules, KeypointRules
from augment.render.pipeline import Pipeline, preset_names
from service.errors import NotFoundError
from service.home import Home
from service.pipelines import Pipelines
from tests.service.folders_for_tests import Run

YAML = "transforms:\n  - HorizontalFlip: {p: 0.25}  # a comment\n"
DOCUMENT: dict[str, Any] = {"transforms": [{"HorizontalFlip": {"p": 0.25}}]}
DIGEST = Pipeline.parse(YAML).digest
AS_YAML = {"Content-Type": "application/yaml"}


def test_presets_are_listed_in_pages(service: TestClient) -> None:
    names: list[str] = []
    after: str | None = None
    while True:
        page = service.get("/v1/pipelines", params={"limit": 2} | ({} if after is None else {"after": after})).json()
        assert len(page["pipelines"]) <= 2
        assert all(one["preset"] and one["description"] and len(one["digest"]) == 32 for one in page["pipelines"])
        names += [one["name"] for one in page["pipelines"]]
        after = page["next"]
        if after is None:
            break
    assert tuple(names) == preset_names()


def test_a_pipeline_is_read_as_json_or_with_its_comments(service: TestClient) -> None:
    as_json = service.get("/v1/pipelines/inception")
    assert as_json.headers["Content-Type"] == "application/json"
    assert as_json.json()["digest"] == Pipeline.load("inception").digest
    assert (
        Pipeline.parse(as_json.text.split('"pipeline": ')[1].rsplit(', "description"')[0]).digest
        == as_json.json()["digest"]
    )
    for asked in ({"params": {"format": "yaml"}}, {"headers": {"Accept": "application/yaml"}}):
        as_yaml = service.get("/v1/pipelines/inception", **asked)  # type: ignore[arg-type]
        assert as_yaml.headers["Content-Type"].startswith("application/yaml")
        assert as_yaml.text.startswith("#")
        assert Pipeline.parse(as_yaml.text).digest == as_json.json()["digest"]
        assert as_yaml.headers["Vary"] == "Accept"
    for accept in ("application/json, application/yaml", "*/*", "text/html"):
        answer = service.get("/v1/pipelines/inception", headers={"Accept": accept})
        assert answer.headers["Content-Type"] == "application/json"
    both = {"params": {"format": "json"}, "headers": {"Accept": "application/yaml"}}
    assert service.get("/v1/pipelines/inception", **both).headers["Content-Type"] == "application/json"  # type: ignore[arg-type]
    etag = as_json.headers["ETag"]
    assert service.get("/v1/pipelines/inception", headers={"If-None-Match": etag}).status_code == 304


def test_a_pipeline_is_saved_replaced_and_deleted(service: TestClient) -> None:
    first = service.put("/v1/pipelines/mine", content=YAML, headers=AS_YAML)
    assert (first.status_code, first.headers["Location"]) == (201, "/v1/pipelines/mine")
    assert (first.json()["digest"], first.json()["preset"]) == (DIGEST, False)
    assert service.get("/v1/pipelines/mine", params={"format": "yaml"}).text == YAML
    assert "mine" in [one["name"] for one in service.get("/v1/pipelines").json()["pipelines"]]
    second = service.put("/v1/pipelines/mine", json=DOCUMENT)
    assert (second.status_code, second.json()["digest"]) == (200, DIGEST)
    assert Pipeline.parse(service.get("/v1/pipelines/mine", params={"format": "yaml"}).text).digest == DIGEST
    assert service.delete("/v1/pipelines/mine").status_code == 204
    assert service.get("/v1/pipelines/mine").status_code == 404
    assert service.delete("/v1/pipelines/mine").status_code == 404


def test_a_saved_pipeline_outlives_the_service(run: Run, tmp_path: Path) -> None:
    client = run()
    client.put("/v1/pipelines/mine", content=YAML, headers=AS_YAML)
    client.__exit__()
    assert run().get("/v1/pipelines/mine").json()["digest"] == DIGEST
    assert (tmp_path / "home" / "pipelines" / "mine.yaml").read_text() == YAML


def test_presets_are_read_only(service: TestClient) -> None:
    assert service.put("/v1/pipelines/light", content=YAML, headers=AS_YAML).status_code == 403
    answer = service.delete("/v1/pipelines/light")
    assert answer.status_code == 403
    assert "preset" in answer.json()["detail"]


def test_check_tells_what_a_pipeline_means(service: TestClient) -> None:
    for sent in ({"content": YAML, "headers": AS_YAML}, {"json": DOCUMENT}, {"content": YAML}):
        answer = service.post("/v1/pipelines/check", **sent)
        assert answer.status_code == 200, answer.text
        pipeline = DOCUMENT | {"boxes": BoxRules().canonical(), "keypoints": KeypointRules().canonical()}
        assert answer.json() == {"digest": DIGEST, "pipeline": pipeline, "description": "", "notices": []}


def test_check_tells_what_was_dropped(service: TestClient) -> None:
    import albumentations as albumentations_library

    compose = albumentations_library.Compose(
        [albumentations_library.HorizontalFlip(), albumentations_library.ToFloat()]
    )
    answer = service.post("/v1/pipelines/check", json=albumentations_library.to_dict(compose))
    assert answer.status_code == 200, answer.text
    assert answer.json()["notices"]
    assert "normalize" in answer.json()["pipeline"]


def test_check_points_at_every_problem(service: TestClient) -> None:
    text = "transforms:\n  - HorizontalFlop: {}\n  - Rotate: {limit: [0, 90], p: 2}\n"
    answer = service.post("/v1/pipelines/check", content=text, headers=AS_YAML)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    errors = answer.json()["errors"]
    assert [(one["loc"], one["line"]) for one in errors] == [
        (["transforms", 0], 2),
        (["transforms", 1, "Rotate", "p"], 3),
    ]
    assert "`HorizontalFlip`" in errors[0]["msg"]
    assert "2" in errors[1]["msg"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"content": b"\xff\xfe"}, 400),
        ({"content": b"a" * 70_000}, 413),
        ({"data": {"transforms": "x"}}, 415),
        ({"content": b""}, 422),
        ({"content": b"transforms: &a [*a]"}, 422),
        ({"content": b'{"transforms": [], "transforms": []}'}, 422),
        ({"json": {"transforms": [{"HorizontalFlip": {"p": 10**400}}]}}, 422),
    ],
)
def test_what_is_no_pipeline_is_refused(service: TestClient, sent: Any, status: int) -> None:
    for call in (service.post("/v1/pipelines/check", **sent), service.put("/v1/pipelines/bad", **sent)):
        assert call.status_code == status, call.text
        assert call.headers["Content-Type"] == "application/problem+json"
    assert service.get("/v1/pipelines/bad").status_code == 404


@pytest.mark.parametrize("name", ["..%2Fx", ".hidden", "a%20b", "a%00", "x" * 101])
def test_a_name_that_is_none_reaches_no_file(service: TestClient, name: str) -> None:
    for answer in (
        service.put(f"/v1/pipelines/{name}", content=YAML, headers=AS_YAML),
        service.get(f"/v1/pipelines/{name}"),
        service.delete(f"/v1/pipelines/{name}"),
    ):
        assert answer.status_code in {400, 404}, answer.text


@pytest.fixture
def pipelines(tmp_path: Path) -> Pipelines:
    return Pipelines(Home(tmp_path / "home"))


def test_requests_name_a_pipeline_or_bring_it(pipelines: Pipelines) -> None:
    pipelines.save("mine", YAML)
    for source in ("mine", YAML, DOCUMENT, '{"transforms": [{"HorizontalFlip": {"p": 0.25}}]}'):
        assert pipelines.get(source).digest == DIGEST
    assert pipelines.get("light").digest == Pipeline.load("light").digest
    with pytest.raises(NotFoundError, match="`light`"):
        pipelines.get("ligth")
    with pytest.raises(PipelineError):
        pipelines.get("../../etc/passwd")


def test_a_pipeline_that_another_version_saved_is_listed_with_its_error(pipelines: Pipelines, tmp_path: Path) -> None:
    (tmp_path / "home" / "pipelines" / "old.yaml").write_text("transforms: [{Vanished: {}}]")
    with pytest.raises(PipelineError, match="Vanished"):
        pipelines.get("old")
    assert isinstance(pipelines.named("old").parsed, PipelineError)
    assert "old" in pipelines.names()
    pipelines.save("old", YAML)
    assert pipelines.get("old").digest == DIGEST


def test_saving_from_many_threads_leaves_one_of_the_texts(pipelines: Pipelines, tmp_path: Path) -> None:
    texts = [f"transforms: [{{HorizontalFlip: {{p: 0.{i}}}}}]" for i in range(1, 9)]
    threads = [threading.Thread(target=pipelines.save, args=("mine", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    saved = (tmp_path / "home" / "pipelines" / "mine.yaml").read_text()
    assert saved in texts
    assert pipelines.get("mine").digest == Pipeline.parse(saved).digest


def test_texts_are_parsed_once_and_only_the_last_ones_are_kept(pipelines: Pipelines) -> None:
    texts = [f"transforms: [HorizontalFlip: {{p: {i / 1000}}}]" for i in range(200)]
    first = pipelines.get(texts[0])
    assert pipelines.get(texts[0]) is first is pipelines.known(texts[0])
    assert [pipelines.get(text).digest for text in texts] == [Pipeline.parse(text).digest for text in texts]
    assert pipelines.known(texts[0]) is None
    assert pipelines.known(texts[-1]) is not None
    with pytest.raises(PipelineError):
        pipelines.get("transforms: [{Rotat: {}}]")
    assert pipelines.known("transforms: [{Rotat: {}}]") is None


def test_what_is_known_at_once_is_what_was_saved_last(pipelines: Pipelines) -> None:
    assert pipelines.known("mine") is None
    for p in (0.25, 0.75):
        pipelines.save("mine", YAML.replace("0.25", str(p)))
        known = pipelines.known("mine")
        assert known is not None
        assert known.spec.transforms[0].params["p"] == p
    pipelines.delete("mine")
    assert pipelines.known("mine") is None
    with pytest.raises(NotFoundError):
        pipelines.get("mine")
    assert pipelines.known("light") is None  # not requested yet, so reading it would need the disk
    assert pipelines.get("light") == pipelines.known("light") == Pipeline.load("light")
