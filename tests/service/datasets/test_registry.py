import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from augment.scanning.scan import scan
from service.datasets.registry import Datasets
from tests.service.folders_for_tests import Run, write_folder

NAMES = ("cat/1.png", "cat/2.png", "dog/3.png")


def _register(client: TestClient, name: str, path: Path, **more: Any) -> Any:
    return client.post("/v1/datasets", json={"name": name, "path": str(path), **more})


def _datasets(client: TestClient) -> Datasets:
    assert isinstance(client.app, FastAPI)
    datasets: Datasets = client.app.state.augment.datasets
    return datasets


def _wait(client: TestClient, name: str) -> dict[str, Any]:
    for _ in range(600):
        described: dict[str, Any] = client.get(f"/v1/datasets/{name}").json()
        if described["state"] != "scanning":
            return described
        time.sleep(0.05)
    raise AssertionError(described)


def test_a_folder_is_registered_by_path(service: TestClient, data_root: Path) -> None:
    folder = write_folder(data_root / "photos", *NAMES)
    answer = _register(service, "photos", folder, format="folder")
    assert (answer.status_code, answer.headers["Location"]) == (201, "/v1/datasets/photos"), answer.text
    scanned = scan(folder)
    body = answer.json()
    assert body == {
        "name": "photos", "state": "ready", "digest": scanned.digest, "format": "folder", "num_records": 3,
        "num_refused": 0, "classes": ["cat", "dog"], "splits": {}, "targets": ["label"],
        "notices": [], "uploaded": False, "path": str(folder),
    }  # fmt: skip
    assert service.get("/v1/datasets/photos").json() == body
    assert _datasets(service).get("photos").digest == scanned.digest == _datasets(service).entry("photos").digest
    assert _datasets(service).manifest(_datasets(service).entry("photos")).is_file()


def test_the_same_content_again_is_no_news_and_other_content_a_conflict(service: TestClient, data_root: Path) -> None:
    folder = write_folder(data_root / "again", *NAMES)
    first = _register(service, "again", folder)
    again = _register(service, "again", folder)
    assert (again.status_code, again.json()) == (200, first.json())
    write_folder(folder, "dog/4.png")
    conflict = _register(service, "again", folder)
    assert conflict.status_code == 409
    assert "replace: true" in conflict.json()["detail"]
    assert service.get("/v1/datasets/again").json() == first.json(), "what was there is untouched"
    replaced = _register(service, "again", folder, replace=True)
    assert (replaced.status_code, replaced.json()["num_records"]) == (201, 4)
    assert _datasets(service).get("again").num_records == 4


def test_the_same_content_elsewhere_is_found_there_from_now_on(service: TestClient, data_root: Path) -> None:
    first = _register(service, "moved", write_folder(data_root / "here", *NAMES)).json()
    answer = _register(service, "moved", write_folder(data_root / "there", *NAMES))
    assert (answer.status_code, answer.json()["digest"]) == (200, first["digest"])
    assert _datasets(service).get("moved").record(0).path.is_relative_to(data_root / "there")


def test_paths_are_confined_to_the_data_roots(service: TestClient, data_root: Path, tmp_path: Path) -> None:
    outside = write_folder(tmp_path / "outside", *NAMES)
    (data_root / "way-out").symlink_to(outside)
    for path in (outside, data_root / ".." / "outside", data_root / "way-out", Path("/"), Path("/etc")):
        answer = _register(service, "outside", path)
        assert answer.status_code == 403, path
        assert "AUGMENT_DATA_ROOTS" in answer.json()["detail"]
    for wrong in ("relative", "", "a\0b"):
        assert service.post("/v1/datasets", json={"name": "outside", "path": wrong}).status_code == 422
    assert service.get("/v1/datasets/outside").status_code == 404


def test_a_link_to_another_root_is_followed_and_one_that_leads_out_is_named(run: Run, tmp_path: Path) -> None:
    roots = [tmp_path / "a", tmp_path / "b"]
    write_folder(roots[0] / "set", "cat/1.png")
    write_folder(roots[1] / "more", "2.png")
    client = run(data_roots=tuple(roots))
    (roots[0] / "set" / "dog").symlink_to(roots[1] / "more")
    answer = _register(client, "linked", roots[0] / "set")
    assert (answer.status_code, answer.json()["classes"]) == (201, ["cat", "dog"])
    (roots[1] / "more" / "secret.png").symlink_to("/etc/passwd")
    answer = _register(client, "led-out", roots[0] / "set")
    assert answer.status_code == 403
    assert "dog/secret.png" in answer.json()["detail"]


def test_without_data_roots_nothing_is_registered_by_path(run: Run, tmp_path: Path) -> None:
    answer = _register(run(), "photos", write_folder(tmp_path / "photos", *NAMES))
    assert answer.status_code == 403
    assert "set AUGMENT_DATA_ROOTS" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "place"),
    [
        ({"path": "/data"}, 422, ["body", "name"]),
        ({"name": "../x", "path": "/data"}, 422, ["body", "name"]),
        ({"name": "x", "path": "/data", "fromat": "folder"}, 422, ["body", "fromat"]),
        ({"name": "x", "path": 3}, 422, ["body", "path"]),
        ([], 422, ["body"]),
    ],
)
def test_a_registration_says_what_is_wrong_with_it(
    service: TestClient, body: Any, status: int, place: list[str]
) -> None:
    answer = service.post("/v1/datasets", json=body)
    assert answer.status_code == status
    assert place in [one["loc"] for one in answer.json()["errors"]]


def test_bodies_of_no_known_kind_are_refused(service: TestClient) -> None:
    as_json = {"Content-Type": "application/json"}
    assert service.post("/v1/datasets", content=b"{", headers=as_json).status_code == 400
    assert service.post("/v1/datasets", content=b'"' + b"x" * 70_000, headers=as_json).status_code == 413
    assert service.post("/v1/datasets", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert service.post("/v1/datasets", content=b"x").status_code == 415


def test_a_folder_without_an_image_is_refused_and_leaves_nothing(service: TestClient, data_root: Path) -> None:
    (data_root / "empty").mkdir()
    (data_root / "broken").mkdir()
    (data_root / "broken" / "a.png").write_bytes(b"no image")
    for path in ("empty", "broken", "missing"):
        answer = _register(service, "nothing", data_root / path)
        assert answer.status_code == 422, path
        assert service.get("/v1/datasets/nothing").status_code == 404
    assert not (_datasets(service)._home.path / "datasets" / "nothing").exists()
    answer = _register(service, "nothing", write_folder(data_root / "one", "a.png"), format="cocoo")
    assert answer.status_code == 422
    assert "cocoo" in answer.json()["detail"]


def test_records_are_read_page_by_page(service: TestClient, data_root: Path) -> None:
    names = [f"{split}/{label}/{i}.png" for split in ("train", "val") for label in ("a", "b") for i in range(3)]
    folder = write_folder(data_root / "paged", *names)
    assert _register(service, "paged", folder).json()["splits"] == {"train": 6, "val": 6}
    scanned = scan(folder)
    records: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = service.get("/v1/datasets/paged/records", params={"limit": "5", **after}).json()
        records += page["records"]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert [one["key"] for one in records] == scanned.keys(range(12))
    assert [(one["split"], one["class"]) for one in records] == [
        (split, label) for split in ("train", "val") for label in ("a", "b") for _ in range(3)
    ]
    assert [one["digest"] for one in records] == [record.digest for record in scanned]
    assert {(one["height"], one["width"]) for one in records} == {(24, 32)}
    answer = service.get("/v1/datasets/paged/records", params={"after": "nobody"})
    assert (answer.status_code, "nobody" in answer.json()["detail"]) == (422, True)
    assert service.get("/v1/datasets/paged/records", params={"limit": "0"}).status_code == 422


def test_refused_files_are_read_page_by_page(service: TestClient, data_root: Path) -> None:
    folder = write_folder(data_root / "refusing", "a.png")
    for name in ("b", "d", "c", "é"):
        (folder / f"{name}.png").write_bytes(b"no image")
    assert _register(service, "refusing", folder).json()["num_refused"] == 4
    first = service.get("/v1/datasets/refusing/refused", params={"limit": "3"}).json()
    rest = service.get("/v1/datasets/refusing/refused", params={"after": first["next"]}).json()
    assert [one["path"] for one in first["refused"] + rest["refused"]] == ["b.png", "c.png", "d.png", "é.png"]
    assert {one["reason"] for one in first["refused"]} == {"format"}
    assert rest["next"] is None


def test_datasets_are_listed_in_pages_and_deleted(run: Run, tmp_path: Path) -> None:
    client = run(data_roots=(tmp_path,))
    folder = write_folder(tmp_path / "photos", *NAMES)
    for name in ("c", "a", "b"):
        _register(client, name, folder)
    first = client.get("/v1/datasets", params={"limit": "2"}).json()
    assert ([one["name"] for one in first["datasets"]], first["next"]) == (["a", "b"], "b")
    rest = client.get("/v1/datasets", params={"after": "b"}).json()
    assert ([one["name"] for one in rest["datasets"]], rest["next"]) == (["c"], None)
    assert client.delete("/v1/datasets/a").status_code == 204
    assert client.delete("/v1/datasets/a").status_code == 404
    assert client.get("/v1/datasets/a/records").status_code == 404
    assert folder.is_dir(), "a folder that was registered by path is its owner's"
    assert [one["name"] for one in client.get("/v1/datasets").json()["datasets"]] == ["b", "c"]


def test_a_dataset_in_use_neither_goes_nor_changes(service: TestClient, data_root: Path) -> None:
    folder = write_folder(data_root / "used", *NAMES)
    _register(service, "used", folder)
    users = _datasets(service).users
    users.append(lambda name: "job 7" if name == "used" else None)
    try:
        answer = service.delete("/v1/datasets/used")
        assert (answer.status_code, "job 7" in answer.json()["detail"]) == (409, True)
        assert _register(service, "used", folder).status_code == 200
        write_folder(folder, "dog/4.png")
        assert _register(service, "used", folder, replace=True).status_code == 409
    finally:
        users.clear()
    assert _register(service, "used", folder, replace=True).status_code == 201


def test_a_long_scan_is_followed_to_its_end(run: Run, tmp_path: Path) -> None:
    client = run(data_roots=(tmp_path,), scan_wait_s=0)
    folder = write_folder(tmp_path / "photos", *NAMES)
    answer = _register(client, "photos", folder)
    assert (answer.status_code, answer.headers["Location"]) == (202, "/v1/datasets/photos")
    assert answer.json()["state"] == "scanning"
    assert answer.json()["progress"]["stage"] in {"waiting", "scanning"}
    assert _register(client, "photos", folder).status_code in {200, 202}, "asked again it is the same scan"
    early = client.get("/v1/datasets/photos/records")
    assert early.status_code in {200, 409}
    assert _wait(client, "photos")["num_records"] == 3


def test_a_long_scan_that_fails_says_why_until_it_is_deleted(run: Run, tmp_path: Path) -> None:
    client = run(data_roots=(tmp_path,), scan_wait_s=0)
    (tmp_path / "empty").mkdir()
    assert _register(client, "photos", tmp_path / "empty").status_code == 202
    failed = _wait(client, "photos")
    assert (failed["state"], failed["error"]["status"]) == ("failed", 422)
    assert client.get("/v1/datasets/photos/records").status_code == 409
    client.__exit__()
    client = run(data_roots=(tmp_path,), scan_wait_s=0)
    assert client.get("/v1/datasets/photos").json() == failed, "a restart does not forget it"
    assert client.delete("/v1/datasets/photos").status_code == 204
    assert _register(client, "photos", write_folder(tmp_path / "photos", *NAMES)).status_code == 202
    assert _wait(client, "photos")["state"] == "ready"
    assert _register(client, "photos", tmp_path / "empty", replace=True).status_code == 202
    for _ in range(600):
        described = client.get("/v1/datasets/photos").json()
        if described.get("update", {}).get("state") == "failed":
            break
        time.sleep(0.05)
    assert (described["state"], described["update"]["error"]["status"]) == ("ready", 422)
    assert client.get("/v1/datasets/photos/records").status_code == 200, "the old dataset serves on"


def test_a_scan_can_be_stopped(run: Run, tmp_path: Path) -> None:
    client = run(data_roots=(tmp_path,), scan_wait_s=0)
    folder = write_folder(tmp_path / "photos", *NAMES)
    assert _register(client, "photos", folder).status_code == 202
    assert client.delete("/v1/datasets/photos").status_code == 204
    assert client.get("/v1/datasets/photos").status_code == 404
    assert not (tmp_path / "home" / "datasets" / "photos").exists()
    assert _register(client, "photos", folder).status_code == 202
    assert _wait(client, "photos")["state"] == "ready"


def test_whoever_waits_for_a_scan_is_told_when_it_is_deleted(run: Run, tmp_path: Path) -> None:
    client = run(data_roots=(tmp_path,), scan_wait_s=60)
    folder = write_folder(tmp_path / "photos", *NAMES)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_register, client, "photos", folder)
        while client.get("/v1/datasets/photos").status_code == 404:
            assert not waiting.done()
        assert client.delete("/v1/datasets/photos").status_code == 204
        answer = waiting.result(60)
    assert (answer.status_code, "deleted" in answer.json()["detail"]) == (409, True)
    assert client.get("/v1/datasets/photos").status_code == 404


def test_datasets_outlive_the_service_and_what_a_kill_left_is_swept(run: Run, tmp_path: Path) -> None:
    client = run(data_roots=(tmp_path,))
    _register(client, "photos", write_folder(tmp_path / "photos", *NAMES))
    before = client.get("/v1/datasets/photos").json()
    client.__exit__()
    inside = tmp_path / "home" / "datasets" / "photos"
    (inside / "0123").mkdir()
    (inside / ".dataset.json.1.tmp").write_bytes(b"{")
    (tmp_path / "home" / "datasets" / "half").mkdir()
    (tmp_path / "home" / "datasets" / "damaged").mkdir()
    (tmp_path / "home" / "datasets" / "damaged" / "dataset.json").write_bytes(b"{}")
    client = run(data_roots=(tmp_path,))
    assert client.get("/v1/datasets/photos").json() == before
    assert {path.name for path in inside.iterdir()} == {"dataset.json", _datasets(client).entry("photos").generation}
    assert not (tmp_path / "home" / "datasets" / "half").exists()
    assert client.get("/v1/datasets/damaged").status_code == 404
    assert _register(client, "damaged", tmp_path / "photos").status_code == 201, "registered again it is whole"
