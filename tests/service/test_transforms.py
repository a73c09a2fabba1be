import json

import pytest
from starlette.testclient import TestClient

from augment.transforms.catalogue import catalogue


def test_catalogue_lists_every_transform_with_its_schema(service: TestClient) -> None:
    answer = service.get("/v1/transforms")
    assert answer.status_code == 200
    found = {one["name"]: one for one in answer.json()["transforms"]}
    assert list(found) == list(catalogue())
    flip = found["HorizontalFlip"]
    assert (flip["family"], flip["container"]) == (catalogue()["HorizontalFlip"].family, False)
    assert set(flip["targets"]) == {"image", "mask", "boxes", "keypoints"}
    assert flip["schema"]["properties"]["p"]["default"] == 0.5
    assert found["OneOf"]["container"]


def test_one_transform_is_as_in_the_list(service: TestClient) -> None:
    listed = {one["name"]: one for one in service.get("/v1/transforms").json()["transforms"]}
    for name in ("Rotate", "OneOf"):
        assert service.get(f"/v1/transforms/{name}").json() == listed[name]


def test_an_unknown_transform_is_not_found_and_the_nearest_is_named(service: TestClient) -> None:
    answer = service.get("/v1/transforms/horizontal_flip")
    assert answer.status_code == 404
    assert "`HorizontalFlip`" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/transforms", "/v1/transforms/Rotate"])
def test_who_has_the_catalogue_is_told_so(service: TestClient, path: str) -> None:
    first = service.get(path)
    etag = first.headers["ETag"]
    assert json.loads(etag) == service.get("/version").json()["engine"]
    for mine in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = service.get(path, headers={"If-None-Match": mine})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert service.get(path, headers={"If-None-Match": '"other"'}).content == first.content
