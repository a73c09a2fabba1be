"""Streams of floats, and the numbers of a dataset, through the application in this process."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

from augment.normalize.section import parse
from augment.samples.sample import Batch
from augment.wire import arrow
from tests.augment.wire.wire_for_tests import read_npz
from tests.service.folders_for_tests import Run, pattern, write_folder

PIPELINE = {"transforms": [{"RandomCrop": {"height": 12, "width": 16}}, {"HorizontalFlip": {}}]}
NAMES = [f"{split}/{kind}/{i}.png" for split in ("train", "val") for kind in ("cat", "dog") for i in range(4)]
OF_DATASET = {"method": "standard", "statistics": "dataset"}


@pytest.fixture(scope="module")
def photos(service: TestClient, data_root: Path) -> Path:
    folder = write_folder(data_root / "photos", *NAMES)
    assert service.post("/v1/datasets", json={"name": "photos", "path": str(folder)}).status_code == 201
    return folder


def asked(**fields: Any) -> dict[str, Any]:
    return {"dataset": "photos", "pipeline": PIPELINE, "batch_size": 4, "seed": 3, **fields}


def declare(service: TestClient, **fields: Any) -> dict[str, Any]:
    response = service.post("/v1/streams", json=asked(**fields))
    assert response.status_code in {200, 201}, response.text
    return dict(response.json())


def batch(service: TestClient, stream: dict[str, Any], **query: Any) -> Batch:
    response = service.get(f"/v1/streams/{stream['id']}/batches/0/1", params=query)
    assert response.status_code == 200, response.text
    if query.get("format") == "npz":
        return read_npz(response.content)
    (found,) = arrow.read_batches(response.content)
    return found


def numbers(*names: str) -> tuple[list[float], list[float]]:
    pixels = np.concatenate([pattern(sum(name.encode())).reshape(-1, 3) for name in names]) / 255
    return pixels.mean(axis=0).tolist(), pixels.std(axis=0).tolist()


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_batches_are_floats_of_the_pixels_in_every_format(service: TestClient, dtype: str) -> None:
    section = {"method": "arctan", "statistics": "imagenet"}
    plain = declare(service, normalize=section)
    floats = declare(service, normalize=section, dtype=dtype, layout="NCHW")
    assert (plain["dtype"], plain["layout"], plain["normalize"]) == ("uint8", "NHWC", parse(section).canonical())
    assert (floats["dtype"], floats["layout"], floats["image_shape"]) == (dtype, "NCHW", [12, 16, 3])
    assert len({plain["id"], floats["id"]}) == 2
    pixels = np.asarray(batch(service, plain).images)
    exact = parse(section).apply(pixels).transpose(0, 3, 1, 2)
    for query in ({}, {"format": "npz"}):
        images = np.asarray(batch(service, floats, **query).images)
        assert images.dtype == np.dtype(dtype)
        np.testing.assert_allclose(images, exact, rtol=0, atol=0 if dtype == "float32" else 1e-3)
    halves = [np.asarray(batch(service, floats, rank=rank, world_size=2).images) for rank in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(halves), batch(service, floats).images)


@pytest.mark.usefixtures("photos")
def test_head_of_a_stream_tells_how_to_normalise(service: TestClient) -> None:
    stream = declare(service, normalize=OF_DATASET, dtype="float32")
    content = service.get(f"/v1/streams/{stream['id']}/batches", params={"stop": 1}).content
    metadata = json.loads(pa.ipc.open_stream(content).schema.metadata[arrow.METADATA_KEY])
    told = {name: metadata[name] for name in ("normalize", "dtype", "layout")}
    assert told == {name: stream[name] for name in told}


@pytest.mark.usefixtures("photos")
def test_tar_of_floats_holds_arrays_only(service: TestClient) -> None:
    stream = declare(service, dtype="float32")
    path = f"/v1/streams/{stream['id']}/batches"
    for place in (path, f"{path}/0/0"):
        refused = service.get(place, params={"format": "tar"})
        assert refused.status_code == 422
        assert "this stream's are float32 NHWC: ask for image_format npy" in refused.json()["detail"]
        assert service.get(place, params={"format": "tar", "image_format": "npy"}).status_code == 200


@pytest.mark.usefixtures("photos")
def test_sample_is_an_image_whatever_the_batches_are(service: TestClient) -> None:
    one, other = declare(service), declare(service, dtype="float16", layout="NCHW")
    found = [service.get(f"/v1/streams/{stream['id']}/samples/0/cat/1").content for stream in (one, other)]
    assert found[0] == found[1]
    assert found[0].startswith(b"\x89PNG")


@pytest.mark.usefixtures("photos")
def test_numbers_of_the_dataset_are_those_of_the_stream_and_its_split(service: TestClient) -> None:
    trained = [name for name in NAMES if name.startswith("train")]
    mean, std = numbers(*trained)
    statistics = service.get("/v1/datasets/photos/statistics").json()
    np.testing.assert_allclose(statistics["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(statistics["std"], std, rtol=1e-12)
    assert (statistics["split"], statistics["num_records"], statistics["num_pixels"]) == ("train", 8, 8 * 24 * 32)
    by_option = declare(service, normalize=OF_DATASET)
    in_pipeline = declare(service, pipeline={**PIPELINE, "normalize": OF_DATASET})
    for stream in (by_option, in_pipeline):
        written = {"method": "standard", "max_pixel_value": 255.0} | {
            each: statistics[each] for each in ("mean", "std")
        }
        assert stream["normalize"] == written
    assert in_pipeline["pipeline"]["normalize"] == OF_DATASET
    assert declare(service, normalize=written)["id"] == by_option["id"]
    other = service.get("/v1/datasets/photos/statistics", params={"split": "val"}).json()
    assert other["split"] == "val"
    assert declare(service, normalize=OF_DATASET, split="val")["normalize"]["mean"] == other["mean"] != mean


@pytest.mark.usefixtures("photos")
def test_statistics_of_what_is_not_there_are_refused(service: TestClient) -> None:
    assert service.get("/v1/datasets/nothing/statistics").status_code == 404
    assert service.get("/v1/datasets/photos/statistics", params={"split": "test"}).status_code == 422


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("fields", "loc", "message"),
    [
        ({"normalize": {"method": "standrad"}}, ["normalize", "method"], "did you mean `standard`?"),
        ({"normalize": [{"method": "log", "gain": 0}]}, ["normalize", 0, "gain"], "is not a number in"),
        ({"normalize": [None, None]}, None, "has 2 sections for 1 views"),
        ({"pipeline": {**PIPELINE, "normalize": {"method": "x"}}}, ["pipeline", "normalize", "method"], "not a method"),
        (
            {"normalize": {"method": "standard", "std": 1e-6}, "dtype": "float16"},
            ["normalize"],
            "float16 holds 65504; use dtype float32",
        ),
        ({"dtype": "float64"}, ["body", "dtype"], "float16"),
        ({"layout": "CHW"}, ["body", "layout"], "NCHW"),
    ],
)
def test_stream_that_cannot_be_normalised_is_refused_with_its_place(
    service: TestClient, fields: dict[str, Any], loc: list[Any] | None, message: str
) -> None:
    response = service.post("/v1/streams", json=asked(**fields))
    assert response.status_code == 422
    problem = response.json()
    assert message in problem["detail"]
    if loc is not None:
        assert problem["errors"][0]["loc"] == loc


def test_each_view_is_normalised_by_its_own_section(service: TestClient, photos: Path) -> None:
    assert photos.is_dir()
    views = [{"pipeline": {**PIPELINE, "normalize": {"method": "gamma"}}}, {"pipeline": PIPELINE, "count": 2}]
    given: dict[str, Any] = {"pipeline": None, "views": views}
    plain, floats = declare(service, **given), declare(service, **given, dtype="float32")
    assert [each["method"] for each in floats["normalize"]] == ["gamma", "min_max", "min_max"]
    assert plain["normalize"] == [floats["normalize"][0], None, None]
    pairs = zip(batch(service, plain).views, batch(service, floats).views, strict=True)
    for section, (pixels, made) in zip(floats["normalize"], pairs, strict=True):
        np.testing.assert_array_equal(parse(section).apply(np.asarray(pixels.images)), made.images)


def test_long_pass_goes_on_and_a_restart_knows_its_numbers(run: Run, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data" / "photos", *NAMES)
    client = run(data_roots=(tmp_path,), scan_wait_s=0)
    client.post("/v1/datasets", json={"name": "photos", "path": str(folder)})
    for _ in range(600):
        if client.get("/v1/datasets/photos").json()["state"] == "ready":
            break
        time.sleep(0.05)
    refused = client.post("/v1/streams", json=asked(normalize=OF_DATASET))
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:augment:problem:measuring")
    assert int(refused.headers["Retry-After"]) > 0
    assert "try again in a few seconds" in refused.json()["detail"]
    for _ in range(600):
        answer = client.post("/v1/streams", json=asked(normalize=OF_DATASET))
        if answer.status_code != 503:
            break
        time.sleep(0.05)
    assert answer.status_code == 201
    client.__exit__()
    client = run(data_roots=(tmp_path,), scan_wait_s=0)
    again = client.post("/v1/streams", json=asked(normalize=OF_DATASET))
    assert (again.status_code, again.json()) == (200, answer.json())
    assert client.get("/v1/datasets/photos/statistics").json()["num_records"] == 8


def test_pass_that_fails_says_why(run: Run, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data" / "photos", *NAMES)
    client = run(data_roots=(tmp_path,))
    assert client.post("/v1/datasets", json={"name": "photos", "path": str(folder)}).status_code == 201
    Image.fromarray(pattern(5, (9, 9))).save(folder / "train/cat/1.png")
    for _ in range(2):
        answer = client.get("/v1/datasets/photos/statistics")
        assert answer.status_code == 422
        assert "cat/1 (changed)" in answer.json()["detail"]
    assert client.get("/v1/datasets/photos/statistics", params={"split": "val"}).status_code == 200
