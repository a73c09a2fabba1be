"""Mixed streams through the application in this process: declared, refused with their places, read and looked at."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from augment.images.decode import decode_image
from augment.render.pipeline import Pipeline
from augment.streams.stream import Stream
from augment.wire import arrow
from tests.augment.wire.wire_for_tests import read_npz
from tests.service.folders_for_tests import write_folder

PIPELINE = {"transforms": [{"RandomResizedCrop": {"size": [12, 16], "scale": [0.3, 1.0]}}]}
MIX = {"CutMix": {"per": "row"}}
NAMES = [f"{kind}/{i:02}.png" for kind in ("cat", "dog", "eel") for i in range(3)]


@pytest.fixture(scope="module")
def folder(service: TestClient, data_root: Path) -> Path:
    folder = write_folder(data_root / "to-mix", *NAMES)
    assert service.post("/v1/datasets", json={"name": "to-mix", "path": str(folder)}).status_code == 201
    return folder


@pytest.fixture(scope="module")
def declared(service: TestClient, folder: Path) -> dict[str, Any]:
    assert folder.is_dir()
    response = service.post("/v1/streams", json=asked(mix=MIX))
    assert response.status_code == 201, response.text
    return dict(response.json())


def asked(**fields: Any) -> dict[str, Any]:
    return {"dataset": "to-mix", "pipeline": PIPELINE, "batch_size": 3, "seed": 2, **fields}


def test_document_of_a_stream_has_the_canonical_mix(
    service: TestClient, declared: dict[str, Any], folder: Path
) -> None:
    assert declared["mix"] == {"CutMix": {"alpha": 1.0, "per": "row", "p": 1.0}}
    assert {"label", "labels"} <= set(declared["targets"])
    again = service.post("/v1/streams", json=asked(mix=declared["mix"]))
    assert (again.status_code, again.json()["id"]) == (200, declared["id"])
    assert service.post("/v1/streams", json=asked()).json()["mix"] is None
    here = Stream(folder, Pipeline.parse(json.dumps(PIPELINE)), batch_size=3, seed=2, mix=MIX)
    assert here.id == declared["id"]


def test_every_format_carries_the_weights(service: TestClient, declared: dict[str, Any], folder: Path) -> None:
    here = Stream(folder, Pipeline.parse(json.dumps(PIPELINE)), batch_size=3, seed=2, mix=MIX).batch(1, 2)
    address = f"/v1/streams/{declared['id']}/batches/1/2"
    stream = service.get(address, params={"format": "arrow"}).content
    for batch in (
        next(arrow.read_batches(stream)),
        read_npz(service.get(address, params={"format": "npz"}).content),
    ):
        assert np.array_equal(batch.images, here.images)
        assert np.array_equal(np.asarray(batch.label_weights), np.asarray(here.label_weights))
    with tarfile.open(fileobj=io.BytesIO(service.get(address, params={"format": "tar"}).content)) as archive:
        members = [json.load(archive.extractfile(each)) for each in archive if each.name.endswith(".json")]  # type: ignore[arg-type]
    assert [each["label_weights"] for each in members] == np.asarray(here.label_weights).tolist()
    for row, each in enumerate(members):
        assert each.get("mixed") == here.provenance[row].as_json().get("mixed")
    assert any("mixed" in each for each in members)


def test_a_sample_is_shown_unmixed(service: TestClient, declared: dict[str, Any]) -> None:
    plain = service.post("/v1/streams", json=asked()).json()["id"]
    answers = [service.get(f"/v1/streams/{each}/samples/0/cat/00") for each in (plain, declared["id"])]
    one, other = (decode_image(each.content) for each in answers)
    assert np.array_equal(one, other)
    described = service.get(f"/v1/streams/{declared['id']}/samples/0/cat/00", params={"format": "json"}).json()
    assert "mixed" not in described


@pytest.mark.parametrize(
    ("fields", "loc", "words"),
    [
        ({"mix": "CutMx"}, ["mix"], "did you mean `CutMix`"),
        ({"mix": {"MixUp": {"alpha": -1}}}, ["mix", "MixUp", "alpha"], "more than 0"),
        ({"mix": 7}, ["mix"], "not 7"),
        (
            {"mix": {"OneOf": {"transforms": [{"Mosaic": {}}]}}},
            ["mix", "OneOf", "transforms", 0],
            "belong in the pipeline",
        ),
        ({"mix": "MixUp", "pipeline": {"transforms": [{"RandomScale": {"p": 1}}]}}, ["mix"], "end it with Resize"),
        ({"pipeline": {**PIPELINE, "mix": "MixUp"}}, ["pipeline", "mix"], "give it to the stream"),
        ({"pipeline": {"transforms": [{"CutMix": {}}]}}, ["pipeline", "transforms", 0], "the `mix` of a stream"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_mix_that_cannot_be_is_refused_with_its_place(
    service: TestClient, fields: dict[str, Any], loc: list[Any], words: str
) -> None:
    response = service.post("/v1/streams", json=asked(**fields))
    assert response.status_code == 422, response.text
    error = response.json()["errors"][0]
    assert error["loc"][: len(loc)] == loc
    assert words in error["msg"]


@pytest.mark.usefixtures("folder")
def test_job_refuses_a_mix_and_says_why(service: TestClient) -> None:
    wanted = {"dataset": "to-mix", "pipeline": PIPELINE, "copies": 1, "output": {"name": "mixed"}}
    response = service.post("/v1/jobs", json=wanted | {"mix": "MixUp"})
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["loc"] == ["body", "mix"]
    assert "option of streams only (POST /v1/streams)" in error["msg"]


def test_schema_of_a_mix_stands_in_the_description_of_the_service(service: TestClient) -> None:
    fields = service.get("/openapi.json").json()["components"]["schemas"]["StreamRequest"]["properties"]
    titles = [branch.get("title") for branch in fields["mix"]["anyOf"]]
    assert titles[1:4] == ["MixUp", "CutMix", "OneOf"]
    assert fields["mix"]["anyOf"][1]["properties"]["MixUp"]["properties"]["alpha"]["default"] == 0.8
    assert fields["mix"]["examples"]
