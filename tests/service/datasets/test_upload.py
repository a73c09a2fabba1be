from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from augment.scanning.scan import scan
from tests.service.archives_for_tests import IMAGES, png, tarred, zipped
from tests.service.datasets.test_unpack import HOSTILE
from tests.service.folders_for_tests import Run

TYPES = {"zip": "application/zip", "tar": "application/x-tar", "tar.gz": "application/gzip"}
WHOLE = {"zip": zipped(), "tar": tarred(), "tar.gz": tarred(mode="w:gz")}


def _form(client: TestClient, name: str, data: bytes, **fields: str) -> Any:
    return client.post("/v1/datasets", data={"name": name, **fields}, files={"file": ("photos.zip", data)})


def _raw(client: TestClient, name: str, data: Any, kind: str = "zip", **query: str) -> Any:
    return client.post(
        "/v1/datasets", params={"name": name, **query}, content=data, headers={"Content-Type": TYPES[kind]}
    )


def _home(client: TestClient) -> Path:
    assert isinstance(client.app, FastAPI)
    path: Path = client.app.state.augment.home.path
    return path


def _under_way(client: TestClient) -> set[str]:
    """Return the files of unfinished uploads."""
    return {path.name for path in (_home(client) / "tmp").iterdir()} - {"batches"}


@pytest.fixture
def digest(tmp_path: Path) -> str:
    """Return the digest that a scan of the images' folder gives."""
    for name, data in IMAGES.items():
        (tmp_path / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / name).write_bytes(data)
    return scan(tmp_path / "plain").digest


@pytest.mark.parametrize("kind", TYPES)
def test_an_archive_is_a_dataset(service: TestClient, kind: str, digest: str) -> None:
    answer = _raw(service, f"raw-{kind}", WHOLE[kind], kind)
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v1/datasets/raw-{kind}"), answer.text
    body = answer.json()
    assert (body["digest"], body["num_records"], body["classes"]) == (digest, 3, ["cat", "dog"])
    assert (body["uploaded"], body["path"]) == (True, None)
    form = _form(service, f"raw-{kind}", WHOLE[kind])
    assert (form.status_code, form.json()) == (200, body), "the same content, whatever it came in"


def test_an_upload_leaves_its_files_and_nothing_of_the_archive(service: TestClient) -> None:
    _form(service, "kept", zipped())
    inside = next(path for path in (_home(service) / "datasets" / "kept").iterdir() if path.is_dir())
    assert {str(path.relative_to(inside)) for path in inside.rglob("*") if path.is_file()} == {
        "manifest.arrow", *(f"files/{name}" for name in IMAGES),
    }  # fmt: skip
    assert _under_way(service) == set()
    assert service.delete("/v1/datasets/kept").status_code == 204
    assert not (_home(service) / "datasets" / "kept").exists()
    assert _under_way(service) == set()


def test_other_content_replaces_only_where_it_is_asked_to(service: TestClient) -> None:
    assert _form(service, "changing", zipped()).status_code == 201
    other = zipped({"cat/1.png": png(7)})
    assert _form(service, "changing", other).status_code == 409
    assert _form(service, "changing", other, replace="false").status_code == 409
    assert _form(service, "changing", other, replace="true").json()["num_records"] == 1
    assert _raw(service, "changing", zipped(), replace="true").json()["num_records"] == 3
    generations = [path for path in (_home(service) / "datasets" / "changing").iterdir() if path.is_dir()]
    assert len(generations) == 1


def test_a_packed_folder_is_that_folder(service: TestClient, digest: str) -> None:
    packed = {f"photos/{name}": data for name, data in IMAGES.items()} | {"__MACOSX/photos/._x": b"x"}
    assert _form(service, "packed", zipped(packed)).json()["digest"] == digest


def test_the_fields_may_come_after_the_file(service: TestClient, digest: str) -> None:
    parts: list[tuple[str, Any]] = [
        ("file", ("p.zip", zipped())),
        ("name", (None, b"late")),
        ("format", (None, b"folder")),
    ]
    answer = service.post("/v1/datasets", files=parts)
    assert (answer.status_code, answer.json()["digest"]) == (201, digest)


def test_a_body_without_length_is_taken_in_pieces_of_any_size(service: TestClient, digest: str) -> None:
    data = zipped()

    def pieces(size: int) -> Iterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    for size in (1, 7, 4096):
        answer = _raw(service, f"in-pieces-{size}", pieces(size))
        assert (answer.status_code, answer.json()["digest"]) == (201, digest)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_a_clients_error_and_leaves_nothing(service: TestClient, name: str) -> None:
    data, _ = HOSTILE[name]
    answer = _raw(service, "hostile", data)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert service.get("/v1/datasets/hostile").status_code == 404
    assert not (_home(service) / "datasets" / "hostile").exists()
    assert _under_way(service) == set()


def test_an_archive_without_an_image_is_refused(service: TestClient) -> None:
    for data in (zipped({}), zipped({"notes.dat": b"text"}), zipped({"top/notes/a.txt": b"text"})):
        answer = _raw(service, "no-image", data)
        assert answer.status_code == 422, answer.text
        assert answer.json()["detail"].startswith("the archive ")
        assert str(_home(service)) not in answer.text, "where the service keeps its files is its own affair"
        assert service.get("/v1/datasets/no-image").status_code == 404


def test_a_broken_image_in_an_archive_is_refused_alone(service: TestClient) -> None:
    answer = _form(service, "one-broken", zipped({**IMAGES, "cat/broken.png": png()[:20]}))
    assert (answer.json()["num_records"], answer.json()["num_refused"]) == (3, 1)


_END = "\r\n--b--\r\n"
_FILE = '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nPK'
_NAME = '--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nx\r\n'


@pytest.mark.parametrize(
    "body",
    [
        "", "--b", _NAME + _FILE, _NAME + _END.lstrip(), _NAME + _FILE + "\r\n" + _FILE + _END,
        _NAME + _NAME + _FILE + _END,
        _NAME.replace("x", "x" * 5000) + _FILE + _END, 20 * _NAME.replace('"name"', '""') + _END,
        "--b\r\n" + "X: " + "y" * 100_000 + "\r\n\r\n" + _END, "\xff" * 100,
    ],
    ids=[
        "empty", "begun", "cut", "no file", "two files", "a field twice", "long field", "many parts", "long header",
        "noise",
    ],
)  # fmt: skip
def test_a_form_that_is_none_is_malformed(service: TestClient, body: str) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = service.post("/v1/datasets", content=body.encode("latin-1"), headers=headers)
    assert answer.status_code == 400, answer.text
    assert _under_way(service) == set()


def test_a_form_without_a_boundary_is_malformed(service: TestClient) -> None:
    headers = {"Content-Type": "multipart/form-data"}
    assert service.post("/v1/datasets", content=b"x", headers=headers).status_code == 400


def test_an_upload_needs_a_name_that_is_one(service: TestClient) -> None:
    for query in ({}, {"name": ""}, {"name": "../x"}):
        headers = {"Content-Type": "application/zip"}
        answer = service.post("/v1/datasets", params=query, content=zipped(), headers=headers)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", "name"]
    assert _form(service, "../x", zipped()).status_code == 422
    answer = service.post("/v1/datasets", data={"nmae": "x"}, files={"file": ("a", zipped())})
    assert [one["loc"] for one in answer.json()["errors"]] == [["body", "name"], ["body", "nmae"]]
    assert _raw(service, "empty", b"").status_code == 400


def test_uploads_end_at_the_homes_bound(run: Run) -> None:
    client = run(max_home_bytes=2**20)
    for send in (_raw, _form):
        answer = send(client, "large", b"PK" + bytes(2**20))
        assert answer.status_code == 413
        assert "AUGMENT_MAX_HOME_BYTES" in answer.json()["detail"]
    assert _under_way(client) == set()
    (_home(client) / "outputs" / "full").write_bytes(bytes(2**20))
    assert _form(client, "small", zipped()).status_code == 413


def test_uploads_end_at_the_bound_on_files(run: Run) -> None:
    client = run(max_files=2)
    answer = _form(client, "many", zipped())
    assert (answer.status_code, "AUGMENT_MAX_FILES" in answer.json()["detail"]) == (413, True)


def test_a_full_queue_refuses_before_the_body(run: Run) -> None:
    client = run(queue_limit=1)
    assert isinstance(client.app, FastAPI)
    with client.app.state.augment.admission.place():
        answer = _form(client, "late", zipped())
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert _form(client, "late", zipped()).status_code == 201
