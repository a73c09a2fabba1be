"""Views and repeats through the application in this process: declarations, errors and single requests."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from augment.wire import arrow
from tests.service.folders_for_tests import write_folder

CROP = {"transforms": [{"RandomResizedCrop": {"size": [12, 16], "scale": [0.3, 1.0]}}]}
BENT = {"transforms": [{"ElasticTransform": {"alpha": 30, "sigma": 4, "p": 1}}, {"Resize": {"height": 8, "width": 8}}]}
VIEWS = [{"pipeline": CROP, "count": 2}, {"pipeline": BENT}]
NAMES = [f"{kind}/{i:02}.png" for kind in ("cat", "dog") for i in range(4)]


@pytest.fixture(scope="module")
def declared(service: TestClient, data_root: Path) -> dict[str, Any]:
    folder = write_folder(data_root / "viewed", *NAMES)
    assert service.post("/v1/datasets", json={"name": "viewed", "path": str(folder)}).status_code == 201
    response = service.post("/v1/streams", json=asked(views=VIEWS, repeats=2))
    assert response.status_code == 201, response.text
    return dict(response.json())


def asked(**fields: Any) -> dict[str, Any]:
    return {"dataset": "viewed", "batch_size": 4, "seed": 7, **fields}


def test_stream_tells_its_views_with_every_default(service: TestClient, declared: dict[str, Any]) -> None:
    assert [(view["count"], view["image_shape"]) for view in declared["views"]] == [(2, [12, 16, 3]), (1, [8, 8, 3])]
    assert declared["views"][0]["pipeline"]["transforms"][0]["RandomResizedCrop"]["size"] == [12, 16]
    assert (declared["repeats"], declared["num_records"], declared["num_batches"]) == (2, 8, 4)
    assert service.get(f"/v1/streams/{declared['id']}").json() == declared
    again = service.post("/v1/streams", json=asked(views=[*VIEWS[:1], {"pipeline": BENT, "count": 1}], repeats=2))
    assert (again.status_code, again.json()["id"]) == (200, declared["id"])


def test_one_view_is_another_stream_than_its_pipeline_and_has_inverse_maps(
    service: TestClient, declared: dict[str, Any]
) -> None:
    plain = service.post("/v1/streams", json=asked(pipeline=CROP)).json()
    one = service.post("/v1/streams", json=asked(views=[{"pipeline": CROP}])).json()
    assert len({plain["id"], one["id"], declared["id"]}) == 3
    assert plain["views"] is None
    first, second = (next(batches(service, stream["id"])) for stream in (plain, one))
    assert np.array_equal(first.images, second.images), "the same draws of the same records"
    assert first.inverses is None
    assert second.inverses.shape == (4, 3, 3)


def batches(service: TestClient, stream_id: str) -> Any:
    response = service.get(f"/v1/streams/{stream_id}/batches")
    assert response.status_code == 200, response.text
    return arrow.read_batches(response.content)


def test_sample_is_asked_for_by_view_and_repeat(service: TestClient, declared: dict[str, Any]) -> None:
    batch = next(batches(service, declared["id"]))
    tags = set()
    for row, key in enumerate(batch.keys):
        for number, view in enumerate(batch.views):
            address = f"/v1/streams/{declared['id']}/samples/0/{key}?view={number}&repeat={row % 2}"
            answer = service.get(address)
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), view.images[row])
            tags.add(answer.headers["ETag"])
            said = service.get(f"{address}&format=json").json()
            assert (said["view"], said["draw"], said["epoch"]) == (number, row % 2, 0)
            assert said["source_size"] == batch.source_sizes[row].tolist()
            assert ("inverse" in said) == (number < 2), "a distortion has none"
            if "inverse" in said:
                assert np.array_equal(said["inverse"], view.inverses[row])
    assert len(tags) == 12


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("view=3", "no view 3; it has 0 to 2"),
        ("repeat=2", "no repeat 2; it has 0 to 1"),
        ("view=-1", "greater than or equal to 0"),
    ],
)
def test_view_that_does_not_exist_is_a_status(
    service: TestClient, declared: dict[str, Any], query: str, words: str
) -> None:
    answer = service.get(f"/v1/streams/{declared['id']}/samples/0/cat/00?{query}")
    assert answer.status_code in {404, 422}
    assert words in answer.text


def test_plain_stream_says_how_to_have_more_views(service: TestClient, declared: dict[str, Any]) -> None:
    assert declared
    plain = service.post("/v1/streams", json=asked(pipeline=CROP)).json()
    answer = service.get(f"/v1/streams/{plain['id']}/samples/0/cat/00?view=1")
    assert answer.status_code == 404
    assert "it has only view 0; declare it with `views` for more" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "loc", "words"),
    [
        (
            {"views": [{"pipeline": CROP}, {"pipeline": {"transforms": [{"HorizontalFilp": {}}]}}]},
            ["views", 1, "pipeline", "transforms", 0],
            "HorizontalFlip",
        ),
        ({"views": [{"pipeline": CROP, "count": 0}]}, ["body", "views", 0, "count"], "greater than or equal to 1"),
        ({"views": [{"pipeline": CROP, "counts": 2}]}, ["body", "views", 0, "counts"], "not permitted"),
        ({"views": []}, ["body", "views"], "at least 1 item"),
        ({"pipeline": CROP, "repeats": 0}, ["body", "repeats"], "greater than or equal to 1"),
    ],
)
def test_views_that_cannot_be_are_refused_with_their_place(
    service: TestClient, declared: dict[str, Any], fields: dict[str, Any], loc: list[str | int], words: str
) -> None:
    assert declared
    answer = service.post("/v1/streams", json=asked(**fields))
    assert answer.status_code == 422, answer.text
    error = answer.json()["errors"][0]
    assert error["loc"][: len(loc)] == loc
    assert words in error["msg"]


def test_crop_that_is_too_large_is_refused_in_the_view_that_has_it(
    service: TestClient, declared: dict[str, Any]
) -> None:
    assert declared
    large = {"transforms": [{"RandomCrop": {"height": 2000, "width": 2000}}]}
    answer = service.post("/v1/streams", json=asked(views=[{"pipeline": CROP}, {"pipeline": large}]))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][:3] == ["views", 1, "pipeline"], json.dumps(answer.json())


@pytest.mark.parametrize(
    ("fields", "words"), [({}, "or `views`, a list of them"), ({"pipeline": CROP, "views": VIEWS}, "both given")]
)
def test_stream_has_a_pipeline_or_views(
    service: TestClient, declared: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    assert declared
    answer = service.post("/v1/streams", json=asked(**fields))
    assert answer.status_code == 422
    assert words in answer.text


def test_repeats_divide_the_batch(service: TestClient, declared: dict[str, Any]) -> None:
    assert declared
    answer = service.post("/v1/streams", json=asked(pipeline=CROP, repeats=3))
    assert answer.status_code == 422
    assert "must divide batch_size" in answer.text
