"""A home that cannot be written: requests fail with 503, not 500, and succeed again afterwards."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.service.archives_for_tests import zipped
from tests.service.folders_for_tests import Run, write_folder


@contextmanager
def spoilt(folder: Path) -> Iterator[None]:
    """Replace a folder by a file, so that every write below it fails, even as root."""
    aside = folder.with_name(f"{folder.name}-aside")
    folder.rename(aside)
    folder.write_bytes(b"")
    yield
    folder.unlink()
    aside.rename(folder)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def client(run: Run, tmp_path: Path) -> TestClient:
    write_folder(tmp_path / "photos", "cat/1.png")
    return run(data_roots=(tmp_path,))


def refused(client: TestClient, method: str, path: str, **more: object) -> None:
    answer = client.request(method, path, **more)  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json"), answer.text
    assert "make the home writable" in answer.json()["detail"]
    assert "Retry-After" in answer.headers


def test_a_pipeline(client: TestClient, home: Path) -> None:
    saved = {"content": b"transforms: []", "headers": {"Content-Type": "application/yaml"}}
    assert client.put("/v1/pipelines/mine", **saved).status_code == 201  # type: ignore[arg-type]
    with spoilt(home / "pipelines"):
        refused(client, "PUT", "/v1/pipelines/other", **saved)
        refused(client, "DELETE", "/v1/pipelines/mine")
    assert client.delete("/v1/pipelines/mine").status_code == 204


def test_a_stream(client: TestClient, home: Path, tmp_path: Path) -> None:
    client.post("/v1/datasets", json={"name": "photos", "path": str(tmp_path / "photos")})
    wanted = {"dataset": "photos", "pipeline": "light", "batch_size": 1}
    stream = client.post("/v1/streams", json=wanted).json()["id"]
    with spoilt(home / "streams"):
        refused(client, "POST", "/v1/streams", json=wanted | {"seed": 1})
        refused(client, "DELETE", f"/v1/streams/{stream}")
        assert client.get(f"/v1/streams/{stream}").status_code == 200
    assert client.delete(f"/v1/streams/{stream}").status_code == 204


def test_a_dataset_by_path(client: TestClient, home: Path, tmp_path: Path) -> None:
    wanted = {"name": "photos", "path": str(tmp_path / "photos")}
    with spoilt(home / "datasets"):
        refused(client, "POST", "/v1/datasets", json=wanted)
    assert client.post("/v1/datasets", json=wanted).status_code == 201
    with spoilt(home / "datasets"):
        refused(client, "POST", "/v1/datasets", json=wanted)
    assert client.post("/v1/datasets", json=wanted).status_code == 200


def test_an_upload(client: TestClient, home: Path) -> None:
    wanted = {"params": {"name": "sent"}, "content": zipped(), "headers": {"Content-Type": "application/zip"}}
    for folder in ("tmp", "datasets"):
        with spoilt(home / folder):
            refused(client, "POST", "/v1/datasets", **wanted)
    assert client.post("/v1/datasets", **wanted).status_code == 201  # type: ignore[arg-type]


def test_a_dataset_that_cannot_be_deleted_can_be_deleted_again(client: TestClient, home: Path, tmp_path: Path) -> None:
    client.post("/v1/datasets", json={"name": "photos", "path": str(tmp_path / "photos")})
    described = home / "datasets" / "photos" / "dataset.json"
    kept = described.read_bytes()
    described.unlink()
    described.mkdir()  # a folder cannot be unlinked
    refused(client, "DELETE", "/v1/datasets/photos")
    assert client.get("/v1/datasets/photos").status_code == 200
    shutil.rmtree(described)
    described.write_bytes(kept)
    assert client.delete("/v1/datasets/photos").status_code == 204
    assert client.get("/v1/datasets/photos").status_code == 404
