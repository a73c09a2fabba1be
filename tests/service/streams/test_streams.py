"""Streams through the application in this process."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

from augment.render.pipeline import Pipeline
from augment.samples.sample import Batch
from augment.scanning.scan import scan
from augment.streams.spec import BatchSlice
from augment.streams.stream import Stream
from augment.streams.tasks import BatchFormat, PartFormat
from augment.wire import arrow
from service.asgi.admission import Lane
from service.datasets.registration import RegistrationRequest
from service.errors import ConflictError
from tests.augment.wire.wire_for_tests import arrow_bytes, read_npz
from tests.service.folders_for_tests import Run, write_folder

PIPELINE = {"transforms": [{"RandomResizedCrop": {"size": [12, 16], "scale": [0.3, 1.0]}}, {"HorizontalFlip": {}}]}
NAMES = [f"{kind}/{i:02}.png" for kind in ("cat", "dog") for i in range(9)]


@pytest.fixture(scope="module")
def photos(service: TestClient, data_root: Path) -> Path:
    folder = write_folder(data_root / "photos", *NAMES)
    assert service.post("/v1/datasets", json={"name": "photos", "path": str(folder)}).status_code == 201
    return folder


@pytest.fixture(scope="module")
def declared(service: TestClient, photos: Path) -> dict[str, Any]:
    assert photos.is_dir()
    response = service.post("/v1/streams", json=asked(seed=7))
    assert response.status_code == 201
    assert response.headers["Location"] == f"/v1/streams/{response.json()['id']}"
    return dict(response.json())


@pytest.fixture(scope="module")
def here(photos: Path) -> Stream:
    """Return the same stream without a service."""
    return Stream(scan(photos), Pipeline.parse(json.dumps(PIPELINE)), batch_size=4, seed=7)


def asked(**fields: Any) -> dict[str, Any]:
    return {"dataset": "photos", "pipeline": PIPELINE, "batch_size": 4, **fields}


def read(response: Any) -> list[Batch]:
    assert response.status_code == 200, response.text
    return list(arrow.read_batches(response.content))


def cache(service: TestClient) -> dict[str, float]:
    lines = service.get("/metrics").text.splitlines()
    found = (line.split('outcome="')[1].split('"} ') for line in lines if "batch_cache_total{" in line)
    return {outcome: float(count) for outcome, count in found}


def test_stream_is_declared_once_and_has_the_same_id_everywhere(
    service: TestClient, declared: dict[str, Any], here: Stream
) -> None:
    again = service.post("/v1/streams", json=asked(seed=7))
    assert again.status_code == 200
    assert again.json() == declared
    assert declared["id"] == here.id
    expected = {
        "num_batches": 4,
        "num_records": 18,
        "image_shape": [12, 16, 3],
        "classes": ["cat", "dog"],
        "split": None,
    }
    assert {name: declared[name] for name in expected} == expected
    assert service.get(f"/v1/streams/{declared['id']}").json() == declared


def test_streams_are_listed_in_pages_and_forgotten(service: TestClient, declared: dict[str, Any]) -> None:
    other = service.post("/v1/streams", json=asked(seed=8)).json()["id"]
    first = service.get("/v1/streams", params={"limit": 1}).json()
    rest = service.get("/v1/streams", params={"after": first["next"]}).json()
    assert sorted([declared["id"], other]) == [each["id"] for each in first["streams"] + rest["streams"]]
    assert service.delete(f"/v1/streams/{other}").status_code == 204
    assert service.get(f"/v1/streams/{other}").status_code == 404
    assert service.get(f"/v1/streams/{other}/batches").status_code == 404


@pytest.mark.parametrize(
    ("fields", "status", "loc"),
    [
        ({"dataset": "photo"}, 404, None),
        ({"pipeline": "incepton"}, 404, None),
        ({"pipeline": {"transforms": [{"Flop": {}}]}}, 422, ["pipeline", "transforms", 0]),
        ({"pipeline": {"transforms": [{"RandomCrop": {"height": 99, "width": 9, "p": 1}}]}}, 422, ["pipeline"]),
        ({"split": "val"}, 422, None),
        ({"batch_size": 19}, 422, None),
        ({"batchsize": 4}, 422, ["body", "batchsize"]),
        ({"seed": -1}, 422, ["body", "seed"]),
    ],
)
@pytest.mark.usefixtures("photos")
def test_stream_that_cannot_be_is_refused_with_its_place(
    service: TestClient, fields: dict[str, Any], status: int, loc: list[Any] | None
) -> None:
    response = service.post("/v1/streams", json=asked(**fields))
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    if loc is not None:
        assert response.json()["errors"][0]["loc"][: len(loc)] == loc


def test_declaration_counts_images_that_are_too_small_and_names_the_smallest(
    service: TestClient, data_root: Path
) -> None:
    folder = write_folder(data_root / "uneven", *(f"{i}.png" for i in range(10)))
    Image.new("RGB", (1, 1)).save(folder / "tiny.png")
    service.post("/v1/datasets", json={"name": "uneven", "path": str(folder)}).raise_for_status()
    crop = {"transforms": [{"RandomCrop": {"height": 16, "width": 16}}]}
    declared = service.post("/v1/streams", json={"dataset": "uneven", "pipeline": crop, "batch_size": 11})
    assert declared.status_code == 201
    (notice,) = declared.json()["notices"]
    assert notice.startswith("1 of 11 images is too small")
    assert "the smallest is `tiny`: RandomCrop on 1 x 1 pixels: it crops 16 x 16" in notice
    (batch,) = read(service.get(f"/v1/streams/{declared.json()['id']}/batches"))
    assert "tiny" in batch.replaces
    assert "tiny" not in batch.keys
    crop["transforms"][0]["RandomCrop"]["height"] = 99
    refused = service.post("/v1/streams", json={"dataset": "uneven", "pipeline": crop, "batch_size": 11})
    assert refused.status_code == 422
    assert "`RandomCrop` cannot take `tiny` (1 x 1)" in refused.json()["detail"]


def test_batches_are_those_of_the_engine(service: TestClient, declared: dict[str, Any], here: Stream) -> None:
    response = service.get(f"/v1/streams/{declared['id']}/batches", params={"epoch": 2})
    assert response.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert response.content == arrow_bytes(list(here.batches(2)), here.layout(2))
    with pa.ipc.open_stream(response.content) as reader:
        assert json.loads(reader.schema.metadata[b"augment"])["classes"] == ["cat", "dog"]


def test_stream_begun_later_is_the_tail_and_ranks_joined_are_the_whole(
    service: TestClient, declared: dict[str, Any]
) -> None:
    url = f"/v1/streams/{declared['id']}/batches"
    whole = service.get(url).content
    head = arrow.stream_start(pa.ipc.open_stream(whole).schema)
    for start in range(5):
        tail = service.get(url, params={"start": start}).content
        assert tail.startswith(head)
        assert whole.endswith(tail[len(head) :])
    assert service.get(url, params={"start": 2, "stop": 2}).content == head + arrow.STREAM_END
    parts = [read(service.get(url, params={"rank": rank, "world_size": 4})) for rank in range(4)]
    for index, batch in enumerate(read(service.get(url))):
        assert np.array_equal(np.concatenate([part[index].images for part in parts]), batch.images)
        assert [key for part in parts for key in part[index].keys] == batch.keys


def test_batch_alone_is_immutable_in_every_format(service: TestClient, declared: dict[str, Any], here: Stream) -> None:
    url, expected = f"/v1/streams/{declared['id']}/batches/1/2", here.batch(1, 2)
    (batch,) = read(service.get(url))
    assert batch.keys == expected.keys
    tags = set()
    for name in ("arrow", "tar", "npz"):
        response = service.get(url, params={"format": name})
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["vary"] == "Accept, Authorization"
        assert int(response.headers["content-length"]) == len(response.content)
        assert response.content == service.get(url, headers={"Accept": response.headers["content-type"]}).content
        tag = response.headers["etag"]
        again = service.get(url, params={"format": name}, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        tags.add(tag)
    tags.add(service.get(url, params={"rank": 1, "world_size": 2}).headers["etag"])
    tags.add(service.get(url, params={"format": "tar", "image_format": "npy"}).headers["etag"])
    assert len(tags) == 5
    assert np.array_equal(read_npz(service.get(url, params={"format": "npz"}).content).images, expected.images)


def test_tar_holds_each_sample_with_its_provenance(service: TestClient, declared: dict[str, Any], here: Stream) -> None:
    data = service.get(f"/v1/streams/{declared['id']}/batches", params={"format": "tar", "epoch": 1}).content
    assert data.endswith(bytes(1024))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]
    assert len(members) == 3 * 16
    for batch in here.batches(1):
        for row, position in enumerate(batch.positions):
            name = f"000001-{position:012d}"
            described = json.loads(members[f"{name}.json"])
            assert described["key"] == batch.keys[row]
            assert described["render_key"] == here.sample(1, batch.keys[row]).render_key
            assert described["applied"][0]["name"] == "RandomResizedCrop"
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(members[f"{name}.png"]))), batch.images[row])


def test_sample_is_a_row_and_tells_what_was_done(service: TestClient, declared: dict[str, Any], here: Stream) -> None:
    batch = here.batch(3, 0)
    for key, image in zip(batch.keys, batch.images, strict=True):
        url = f"/v1/streams/{declared['id']}/samples/3/{key}"
        response = service.get(url)
        assert response.headers["content-type"] == "image/png"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(response.content))), image)
        described = service.get(url, params={"format": "json"}).json()
        assert described["render_key"] == here.sample(3, key).render_key
        assert described["key"] == key
        tag = response.headers["etag"]
        assert service.get(url, headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("batches?world_size=3", 422),
        ("batches?rank=2&world_size=2", 422),
        ("batches?start=3&stop=2", 422),
        ("batches?stop=5", 422),
        ("batches?epoch=-1", 422),
        ("batches?worldsize=2", 422),
        ("batches?format=npz", 415),
        ("batches?format=tar&image_format=bmp", 422),
        ("batches/0/4", 404),
        ("batches/0/0?format=zip", 415),
        ("batches/x/0", 422),
        ("samples/0/cat/99", 404),
        ("samples/0/cat/00?format=gif", 422),
    ],
)
def test_part_that_does_not_exist_is_a_status_never_a_short_stream(
    service: TestClient, declared: dict[str, Any], path: str, status: int
) -> None:
    response = service.get(f"/v1/streams/{declared['id']}/{path}")
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_batch_is_rendered_once_and_its_slices_come_from_it(run: Run, tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", *NAMES)
    service = run(data_roots=(tmp_path,))
    service.post("/v1/datasets", json={"name": "photos", "path": str(tmp_path / "photos")})
    url = f"/v1/streams/{service.post('/v1/streams', json=asked()).json()['id']}/batches"
    read(service.get(f"{url}/0/0"))
    assert cache(service) == {"miss": 1}
    read(service.get(f"{url}/0/0"))
    assert cache(service) == {"miss": 1, "hit": 1}
    read(service.get(f"{url}/0/0", params={"rank": 1, "world_size": 2}))
    assert cache(service) == {"miss": 2, "hit": 2}
    text = service.get("/metrics").text
    assert "augment_batches_sent_total 3.0" in text
    for stage in ("read", "decode", "transform", "assemble", "write"):
        assert f'augment_stage_seconds_count{{stage="{stage}"}} 1.0' in text
    assert 'augment_stage_seconds_count{stage="convert"} 1.0' in text


def test_replaced_rows_are_judged_by_what_the_reader_allows(run: Run, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", *NAMES)
    broken = (folder / "cat/04.png").read_bytes()
    (folder / "cat/04.png").write_bytes(broken[:400] + bytes(200) + broken[600:])
    service = run(data_roots=(tmp_path,))
    service.post("/v1/datasets", json={"name": "photos", "path": str(folder)})
    stream = service.post("/v1/streams", json=asked(shuffle=False)).json()["id"]
    url = f"/v1/streams/{stream}/batches/0/1"
    (batch,) = read(service.get(url))
    assert batch.replaces == ["cat/04", None, None, None]
    assert batch.keys[0] == "cat/05"
    assert service.get(url, params={"max_failures": 1}).status_code == 200
    assert service.get(url, params={"max_failures": 0.25}).status_code == 200
    for allowed in (0, 0.2):
        refused = service.get(url, params={"max_failures": allowed})
        assert refused.status_code == 422
        assert "cat/04" in refused.json()["detail"]
    assert service.get(f"/v1/streams/{stream}/samples/0/cat/04").status_code == 422
    assert 'augment_records_refused_total{reason="undecodable"} 1.0' in service.get("/metrics").text


def test_dataset_with_other_content_ends_its_streams_and_says_what_to_do(run: Run, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", *NAMES)
    service = run(data_roots=(tmp_path,))
    service.post("/v1/datasets", json={"name": "photos", "path": str(folder)})
    stream = service.post("/v1/streams", json=asked()).json()["id"]
    assert service.get(f"/v1/streams/{stream}/batches/0/0").status_code == 200
    write_folder(folder, "cat/more.png")
    replaced = service.post("/v1/datasets", json={"name": "photos", "path": str(folder), "replace": True})
    assert replaced.status_code in {200, 201}, replaced.text
    gone = service.get(f"/v1/streams/{stream}/batches/0/0")
    assert gone.status_code == 409
    assert "declare" in gone.json()["detail"]
    other = service.post("/v1/streams", json=asked()).json()["id"]
    assert other != stream
    assert service.get(f"/v1/streams/{other}/batches/0/0").status_code == 200
    assert service.delete("/v1/datasets/photos").status_code == 204
    assert "register the same content again" in service.get(f"/v1/streams/{other}/batches/0/0").json()["detail"]


@pytest.mark.parametrize("how", ["deleted", "replaced", "elsewhere"])
def test_a_stream_goes_on_when_its_dataset_is_registered_anew(run: Run, tmp_path: Path, how: str) -> None:
    folder = write_folder(tmp_path / "photos", *NAMES)
    other = write_folder(tmp_path / "other", "cat/other.png")
    copy = write_folder(tmp_path / "copy", *NAMES)
    service = run(data_roots=(tmp_path,))

    def register(path: Path) -> None:
        answer = service.post("/v1/datasets", json={"name": "photos", "path": str(path), "replace": True})
        assert answer.status_code in {200, 201}, answer.text

    register(folder)
    url = f"/v1/streams/{service.post('/v1/streams', json=asked()).json()['id']}"
    before = service.get(f"{url}/batches/0/0").content
    if how == "deleted":
        assert service.delete("/v1/datasets/photos").status_code == 204
        assert service.get(f"{url}/batches/0/1").status_code == 409
    elif how == "replaced":
        register(other)
        assert service.get(f"{url}/batches/0/1").status_code == 409
    register(copy if how == "elsewhere" else folder)
    for index in range(4):
        read(service.get(f"{url}/batches/0/{index}"))
    assert service.get(f"{url}/batches/0/0").content == before
    assert service.get(f"{url}/samples/0/cat/00").status_code == 200
    home: Path = service.app.state.augment.home.path  # type: ignore[attr-defined]
    assert len([path for path in (home / "datasets/photos").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_what_is_being_read_is_read_to_its_end(run: Run, tmp_path: Path, how: str) -> None:
    folder = write_folder(tmp_path / "photos", *NAMES)
    other = write_folder(tmp_path / "other", "cat/other.png")
    service = run(data_roots=(tmp_path,), batch_cache_bytes=2**20)
    service.post("/v1/datasets", json={"name": "photos", "path": str(folder)})
    stream_id = service.post("/v1/streams", json=asked()).json()["id"]
    state = service.app.state.augment  # type: ignore[attr-defined]
    stream = state.streams.open(stream_id)

    async def render(index: int) -> None:
        wanted = state.rendering.part(stream, BatchSlice(0, index), PartFormat(BatchFormat.ARROW))
        async with state.batches.lease(wanted) as file:
            assert file.laid.num_replaced == 0

    async def scenario() -> None:
        async with state.datasets.reading(stream.entries[0]):
            await render(0)
            if how == "deleted":
                await state.datasets.delete("photos")
            else:
                await state.datasets.register(RegistrationRequest("photos", str(other), replace=True))
            await render(1)
            async with state.datasets.reading(stream.entries[0]):
                await render(2)
            assert state.datasets.manifest(stream.entries[0]).exists()
        assert not state.datasets.manifest(stream.entries[0]).exists(), "the last reader has left"
        with pytest.raises(ConflictError, match="try again"):
            await render(3)

    service.portal.call(scenario)  # type: ignore[union-attr]
    assert service.get(f"/v1/streams/{stream_id}/batches/0/3").status_code == 409
    left = state.home.path / "datasets" / "photos"
    assert left.exists() == (how == "replaced")
    assert service.post("/v1/datasets", json={"name": "photos", "path": str(folder), "replace": True}).is_success
    assert service.get(f"/v1/streams/{stream_id}/batches/0/3").status_code == 200


def test_full_queue_is_told_before_the_first_byte(run: Run, tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", *NAMES)
    service = run(data_roots=(tmp_path,), queue_limit=1)
    service.post("/v1/datasets", json={"name": "photos", "path": str(tmp_path / "photos")})
    url = f"/v1/streams/{service.post('/v1/streams', json=asked()).json()['id']}/batches"
    admission = service.app.state.augment.admission  # type: ignore[attr-defined]
    with admission.place(), admission.place(Lane.STREAM):
        for path in (url, f"{url}/0/0"):
            refused = service.get(path)
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) >= 1
            assert "AUGMENT_QUEUE_LIMIT" in refused.json()["detail"]
    assert service.get(url).status_code == 200
    assert (admission.num_admitted, admission.num_open) == (0, 0)
