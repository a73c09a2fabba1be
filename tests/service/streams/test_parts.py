"""Parts of batches: refusals of the whole batch are known in every format and slice."""

import os
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.service.folders_for_tests import write_folder

CROP = {"transforms": [{"RandomResizedCrop": {"size": [12, 16]}}]}
FORMS = ["format=arrow", "format=npz", "format=tar", "format=arrow&rank=0&world_size=2"]


@pytest.fixture
def folder(service: TestClient, tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    name = tmp_path_factory.mktemp("parts").name  # part of the keys, so that no two tests share a dataset
    folder = write_folder(data_root / name, *(f"{name}-{i}.png" for i in range(6)))
    answer = service.post("/v1/datasets", json={"name": folder.name, "path": str(folder)})
    assert answer.status_code == 201, answer.text
    return folder


def declare(service: TestClient, folder: Path, **fields: Any) -> str:
    asked = {"dataset": folder.name, "pipeline": CROP, "batch_size": 6, "shuffle": False, **fields}
    return f"/v1/streams/{service.post('/v1/streams', json=asked).json()['id']}"


@pytest.mark.parametrize("form", FORMS)
def test_part_with_a_row_of_a_changed_record_is_not_kept(service: TestClient, folder: Path, form: str) -> None:
    url = declare(service, folder)
    changed = folder / f"{folder.name}-1.png"
    good = changed.read_bytes()
    status = changed.stat()
    changed.write_bytes(good + b"\0\0")
    bad = service.get(f"{url}/batches/0/0?{form}")
    assert bad.status_code == 200
    assert "no-store" in bad.headers["cache-control"]
    assert "etag" not in bad.headers
    changed.write_bytes(good)
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    mended = service.get(f"{url}/batches/0/0?{form}")
    assert "immutable" in mended.headers["cache-control"]
    assert mended.content != bad.content


@pytest.mark.parametrize("form", FORMS)
def test_failures_beyond_the_limit_refuse_every_part(service: TestClient, folder: Path, form: str) -> None:
    (folder / f"{folder.name}-2.png").unlink()
    url = declare(service, folder, repeats=2)
    answer = service.get(f"{url}/batches/0/0?{form}&max_failures=0")
    assert answer.status_code == 422, answer.text
    assert f"max_failures is 0; the first is {folder.name}-2" in answer.json()["detail"]


def test_stream_whose_batches_no_worker_can_hold_is_refused(service: TestClient, folder: Path) -> None:
    large = {"transforms": [{"Resize": {"height": 1024, "width": 1024}}]}
    asked = {"dataset": folder.name, "batch_size": 6, "drop_last": False}
    views = [{"pipeline": large, "count": 64}]
    answer = service.post("/v1/streams", json={**asked, "views": views, "dtype": "float32"})
    assert answer.status_code == 422
    num_bytes = 6 * 64 * 1024 * 1024 * 3 * 4
    assert f"have {num_bytes} bytes" in answer.json()["detail"]
    assert "AUGMENT_WORKER_MEMORY_BYTES" in answer.json()["detail"]
    assert service.post("/v1/streams", json={**asked, "pipeline": large}).status_code == 201


def test_stream_outlives_one_of_two_names_of_its_dataset(service: TestClient, folder: Path) -> None:
    url = declare(service, folder)
    alias = f"{folder.name}-alias"
    assert service.post("/v1/datasets", json={"name": alias, "path": str(folder)}).status_code == 201
    asked = {"dataset": alias, "pipeline": CROP, "batch_size": 6, "shuffle": False}
    again = service.post("/v1/streams", json=asked)
    assert (again.status_code, f"/v1/streams/{again.json()['id']}") == (200, url)
    before = service.get(f"{url}/batches/0/0").content
    assert service.delete(f"/v1/datasets/{alias}").status_code == 204
    assert service.get(f"{url}/batches/1/0").status_code == 200
    assert service.post("/v1/datasets", json={"name": alias, "path": str(folder)}).status_code == 201
    assert service.delete(f"/v1/datasets/{folder.name}").status_code == 204
    assert service.get(f"{url}/batches/0/0").content == before
    assert service.delete(f"/v1/datasets/{alias}").status_code == 204
