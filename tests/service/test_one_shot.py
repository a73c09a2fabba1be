"""One-shot requests: augmented images at addresses like all others."""

import io
import json
import tarfile
import zipfile
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

from augment.datasets import read
from augment.errors import Reason
from augment.render.pipeline import Pipeline
from service import one_shot
from tests.service.folders_for_tests import Run, pattern


def _png(seed: int = 1, size: tuple[int, int] = (24, 32)) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pattern(seed, size)).save(out, "PNG")
    return out.getvalue()


def _images(*names: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (name, _png(i))) for i, name in enumerate(names)]


RAW = "/v1/augment?pipeline=inception&seed=7&image_format=png"


def test_an_image_comes_back_as_its_address_says(service: TestClient) -> None:
    data = _png()
    for kind in ("image/png", "application/octet-stream", "application/x-www-form-urlencoded", "image/jpeg"):
        answer = service.post(RAW, content=data, headers={"Content-Type": kind})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png"), answer.text
        key = read.content_digest(data).hex()
        expected = Pipeline.load("inception")(pattern(1), seed=7, draw=0, key=key)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), expected)
    said = json.loads(answer.headers["Augment-Provenance"])
    assert (said["seed"], said["key"], said["copy"]) == (7, key, 0)
    assert len(said["render_key"]) == 32
    assert {"name", "params"} == said["applied"][0].keys()
    assert 'augment_stage_seconds_count{stage="encode"}' in service.get("/metrics").text


def test_provenance_tells_what_reading_the_original_lost(service: TestClient) -> None:
    out = io.BytesIO()
    Image.fromarray(pattern(1)[..., 0]).convert("LA").save(out, "PNG")
    for data, lost in ((out.getvalue(), ["grey", "alpha"]), (_png(), None)):
        answer = service.post(RAW, content=data, headers={"Content-Type": "image/png"})
        told = json.loads(answer.headers["Augment-Provenance"])
        assert told.get("conversions") == lost
    bundle = service.post(
        "/v1/augment", files=[("images", ("a.png", out.getvalue())), *_images("b.png")], data={"pipeline": "light"}
    )
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        results = json.loads(archive.read("annotations.json"))["results"]
    assert [one.get("conversions") for one in results] == [["grey", "alpha"], None]


def test_a_seed_that_is_left_out_is_told(service: TestClient) -> None:
    first = service.post("/v1/augment?pipeline=light", content=_png(), headers={"Content-Type": "image/png"})
    seed = json.loads(first.headers["Augment-Provenance"])["seed"]
    again = service.post(
        f"/v1/augment?pipeline=light&seed={seed}", content=_png(), headers={"Content-Type": "image/png"}
    )
    assert (first.headers["Content-Type"], first.content) == ("image/jpeg", again.content)
    assert first.headers["Augment-Seed"] == str(seed)


def test_several_come_as_a_bundle_of_the_same_bytes(service: TestClient) -> None:
    fields = {"pipeline": "inception", "seed": "7", "copies": "2", "image_format": "png"}

    def ask(query: str = "", **headers: str) -> Any:
        files = _images("cat.png", "../../Cat.png", "")
        return service.post(f"/v1/augment{query}", files=files, data=fields, headers=headers)

    answer = ask()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip"), answer.text
    assert ask().content == answer.content
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        zipped = {name: archive.read(name) for name in archive.namelist()}
    told = json.loads(zipped.pop("annotations.json"))
    assert list(zipped) == [one["name"] for one in told["results"]]
    assert list(zipped)[:4] == ["cat__0.png", "cat__1.png", "Cat-2__0.png", "Cat-2__1.png"]
    alone = service.post(RAW, content=_png(1), headers={"Content-Type": "image/png"})
    assert zipped["Cat-2__0.png"] == alone.content
    with tarfile.open(fileobj=io.BytesIO(ask("?format=tar").content)) as tar:
        assert {one.name: tar.extractfile(one).read() for one in tar if one.name in zipped} == zipped  # type: ignore[union-attr]
    table = pa.ipc.open_stream(ask(Accept="application/vnd.apache.arrow.stream").content).read_all()
    assert dict(zip(table["name"].to_pylist(), table["image"].to_pylist(), strict=True)) == zipped
    assert ask(Accept="text/html").status_code == 415


def test_a_pipeline_may_be_text(service: TestClient) -> None:
    text = "transforms:\n  - Resize: {height: 8, width: 9}\n"
    answer = service.post("/v1/augment", files=_images("a.png"), data={"pipeline": text, "image_format": "webp"})
    assert Image.open(io.BytesIO(answer.content)).size == (9, 8)
    wrong = service.post("/v1/augment", files=_images("a.png"), data={"pipeline": "transforms: [{Rotat: {}}]"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["loc"][:2] == ["pipeline", "transforms"]


@pytest.mark.parametrize(
    ("files", "data", "status", "told"),
    [
        ([*_images("a.png"), ("images", ("bad.jpg", b"nothing"))], {"pipeline": "light"}, 415, "bad.jpg"),
        ([*_images("a.png"), ("images", ("cut.png", _png()[:99]))], {"pipeline": "light"}, 422, "cut.png"),
        (_images("a.png"), {}, 422, "pipeline"),
        (_images("a.png"), {"pipeline": "no-such"}, 404, "no-such"),
        (_images("a.png"), {"pipeline": "yolo"}, 422, "use it in a stream or an expansion"),
        (_images("a.png"), {"pipeline": "light", "copies": "65"}, 422, "AUGMENT_MAX_IMAGES"),
        (_images("a.png"), {"pipeline": "light", "copies": "0"}, 422, "copies"),
        (_images("a.png"), {"pipeline": "light", "image_format": "gif"}, 422, "image_format"),
        (_images("a.png"), {"pipeline": "light", "speed": "7"}, 422, "speed"),
        ([*_images("a.png"), ("masks", ("m.png", _png()))], {"pipeline": "light"}, 422, "a.png"),
        (_images("a.png"), {"pipeline": "light", "annotations": "[]"}, 422, "annotations"),
        ([("photos", ("a.png", _png()))], {"pipeline": "light"}, 422, "photos"),
    ],
)
def test_what_is_refused_says_why(service: TestClient, files: Any, data: Any, status: int, told: str) -> None:
    answer = service.post("/v1/augment", files=files, data=data)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    assert told in answer.text


def test_bodies_that_are_neither_are_refused(service: TestClient) -> None:
    assert service.post(RAW, json={}).status_code == 415
    assert service.post(RAW, content=b"", headers={"Content-Type": "image/png"}).status_code == 415
    cut = {"Content-Type": "multipart/form-data; boundary=x"}
    assert service.post(RAW, content=b"--x\r\n", headers=cut).status_code == 400
    assert service.post(RAW, files=_images("a.png"), data={"seed": "8"}).status_code == 422


def test_pixels_and_places_are_bounded(run: Run) -> None:
    service = run(max_request_pixels=2000, max_pixels=1500, queue_limit=1)
    state: Any = service.app.state.augment  # type: ignore[attr-defined]
    assert service.post(RAW, content=_png(), headers={"Content-Type": "image/png"}).status_code == 200
    many = service.post(f"{RAW}&copies=3", content=_png(), headers={"Content-Type": "image/png"})
    assert (many.status_code, "AUGMENT_MAX_REQUEST_PIXELS" in many.text) == (422, True)
    large = service.post(RAW, content=_png(size=(40, 40)), headers={"Content-Type": "image/png"})
    assert (large.status_code, large.json()["reason"]) == (422, Reason.TOO_MANY_PIXELS)
    with state.admission.place():
        full = service.post(RAW, content=_png(), headers={"Content-Type": "image/png"})
    assert (full.status_code, full.headers["Retry-After"]) == (429, "1")
    assert state.admission.num_admitted == 0
    left = [path for folder in (state.oneshot.files._memory, state.oneshot.files._disk) for path in folder.iterdir()]
    assert not left, "no request leaves a file"


def test_provenance_stays_short_enough_for_a_header() -> None:
    document = {"seed": 1, "applied": [{"name": "GaussNoise", "params": {"x": "é" * 400}} for _ in range(20)]}
    shown = one_shot.provenance_header(document)
    assert shown.isascii()
    assert len(shown) <= one_shot.PROVENANCE_MAX_BYTES
    assert json.loads(shown)["left_out"] == "params"
    document["applied"] = [{"name": "GaussNoise", "params": {}}] * 500
    assert len(one_shot.provenance_header(document)) <= one_shot.PROVENANCE_MAX_BYTES
