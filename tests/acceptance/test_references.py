"""A registered dataset as references over HTTP: in a stream, for one image, and when it changes."""

import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import augment
from augment.images.decode import decode_image
from augment.images.encode import encode_image
from augment.wire import arrow
from tests.acceptance.servers_for_tests import Server
from tests.augment.expansion.expansions_for_tests import lay_noise
from tests.augment.transforms.catalogue_cases import noise_image

PIPELINE = {"transforms": [{"Resize": {"height": 20, "width": 24}}, {"FDA": {"references": "styles", "p": 1}}]}
TEXT = json.dumps(PIPELINE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    lay_noise(root / "photos", [f"{i}.jpg" for i in range(6)])
    lay_noise(root / "styles", ["a.jpg", "b.jpg", "c.jpg"])
    return root


@pytest.fixture(scope="module")
def server(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("served") / "home", data_roots=data, workers=1) as running:
        running.register(data / "photos")
        yield running


def test_references_are_registered_datasets_by_name(server: Server, data: Path) -> None:
    wanted = {"dataset": "photos", "pipeline": PIPELINE, "batch_size": 3}
    status, problem = server.post("/v1/streams", wanted)
    assert status == 422
    (error,) = problem["errors"]
    assert error["loc"] == ["pipeline", "transforms", 1, "FDA", "references"]
    assert "`FDA` takes images of the dataset `styles`" in error["msg"]
    assert "POST /v1/datasets" in error["msg"]

    server.register(data / "styles", "styles")
    status, document = server.post("/v1/streams", wanted)
    assert status == 201, document
    styles = augment.scan(data / "styles")
    assert document["references"] == {"styles": styles.digest}
    bound: dict[str, Any] = {"styles": styles}
    stream = augment.Stream(data / "photos", augment.Pipeline.parse(TEXT), batch_size=3, references=bound)
    assert stream.id == document["id"]
    batches = f"/v1/streams/{stream.id}/batches?epoch=1"
    for ours, theirs in zip(stream.batches(1), arrow.read_batches(io.BytesIO(server.get(batches))), strict=True):
        assert np.array_equal(ours.images, theirs.images)
    told = json.loads(server.get(f"/v1/streams/{stream.id}/samples/0/3?format=json"))
    assert told["render_key"] == stream.sample(0, "3").render_key
    assert told["applied"][1]["params"]["reference"] in {"a", "b", "c"}

    image = encode_image(noise_image(30, 40), "png")
    address = f"{server.url}/v1/augment?seed=7&image_format=png&pipeline={urllib.request.quote(TEXT)}"  # type: ignore[attr-defined]
    with urllib.request.urlopen(urllib.request.Request(address, image, method="POST")) as answer:  # noqa: S310 - ours
        key = json.loads(answer.headers["Augment-Provenance"])["key"]
        made = decode_image(answer.read())
    assert np.array_equal(made, augment.Pipeline.parse(TEXT)(decode_image(image), seed=7, key=key, references=bound))

    lay_noise(data / "styles", ["d.jpg"])
    status, document = server.post("/v1/datasets", {"name": "styles", "path": str(data / "styles"), "replace": True})
    assert status in {200, 201}, document
    status, problem = server.post("/v1/streams", wanted)
    assert (status, problem["id"] != stream.id) == (201, True)
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.get(f"/v1/streams/{stream.id}/samples/2/3")
    with caught.value as refusal:
        assert refusal.code == 409
        assert "the dataset 'styles' has changed" in json.load(refusal)["detail"]
