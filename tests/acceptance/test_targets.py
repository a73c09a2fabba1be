"""Boxes, polygons, keypoints and masks over HTTP: on every wire, from a sample's address, and in a job's output."""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import augment
from augment.client import Client
from augment.images.encode import encode_image
from augment.images.masks import decode_mask, encode_mask
from augment.scanning.scan import scan
from augment.wire import arrow
from tests.acceptance.servers_for_tests import Server, wait_until

HEIGHT, WIDTH = 48, 64
NUM_RECORDS = 6
PIPELINE = {"transforms": [{"HorizontalFlip": {"p": 0.5}}, {"RandomCropKeepSize": {"p": 1.0}}]}


def coco(root: Path) -> None:
    """Images with objects that have boxes, outlines and keypoints."""
    (root / "images").mkdir(parents=True)
    generator = np.random.default_rng(8)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number in range(NUM_RECORDS):
        name = f"{number}.png"
        content = generator.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        (root / "images" / name).write_bytes(encode_image(content, "png"))
        images.append({"id": number, "file_name": f"images/{name}", "height": HEIGHT, "width": WIDTH})
        for _ in range(number % 3):
            x, y, w, h = (int(each) for each in (*generator.integers(0, 20, 2), *generator.integers(8, 24, 2)))
            objects.append(
                {
                    "id": len(objects) + 1, "image_id": number, "category_id": 5, "bbox": [x, y, w, h], "area": w * h,
                    "iscrowd": 0, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    "keypoints": [x + 1, y + 1, 2, x + w - 2, y + 1, 1], "num_keypoints": 2,
                }
            )  # fmt: skip
    categories = [{"id": 5, "name": "cat", "supercategory": "animal", "keypoints": ["left_ear", "right_ear"]}]
    document = {"images": images, "annotations": objects, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(document))


def mask_pairs(root: Path) -> None:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    generator = np.random.default_rng(9)
    for number in range(NUM_RECORDS):
        content = generator.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        (root / "images" / f"{number}.png").write_bytes(encode_image(content, "png"))
        (root / "masks" / f"{number}.png").write_bytes(encode_mask(generator.integers(0, 5, (HEIGHT, WIDTH), np.uint8)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    coco(root / "objects")
    mask_pairs(root / "pairs")
    return root


@pytest.fixture(scope="module")
def server(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("served") / "home", data_roots=data, workers=2) as running:
        running.register(data / "objects", "objects")
        running.register(data / "pairs", "pairs")
        yield running


@pytest.fixture(scope="module")
def stream_id(server: Server) -> str:
    return server.declare(PIPELINE, "objects", batch_size=4, seed=3, drop_last=False)


def local(data: Path, name: str) -> Any:
    return augment.Stream(data / name, _pipeline(), batch_size=4, seed=3, drop_last=False)


def _pipeline() -> Any:
    return augment.Pipeline.parse(json.dumps(PIPELINE))


def test_arrow_over_http_is_the_librarys_stream(server: Server, data: Path, stream_id: str) -> None:
    here = list(local(data, "objects").batches(epoch=1))
    there = list(arrow.read_batches(io.BytesIO(server.get(f"/v1/streams/{stream_id}/batches?epoch=1"))))
    assert len(there) == len(here) == 2
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.keys == ours.keys
        for name in ("boxes", "box_labels", "keypoints", "keypoint_labels", "keypoint_visibility", "instance_masks"):
            for one, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
                assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name


def test_a_samples_address_tells_its_annotations(server: Server, data: Path, stream_id: str) -> None:
    record = local(data, "objects").dataset.record(2)
    told = json.loads(server.get(f"/v1/streams/{stream_id}/samples/1/{record.key}?format=json"))
    rendered = local(data, "objects").sample(1, record.key)
    assert told["annotations"]["boxes"] == rendered.sample.boxes.tolist()
    assert set(told["annotations"]["box_labels"]) <= {"cat"}
    assert told["render_key"] == rendered.render_key


def test_client_and_ranks_have_the_same_targets(server: Server, stream_id: str) -> None:
    with Client(server.url) as client:
        stream = client.stream(dataset="objects", pipeline=PIPELINE, batch_size=4, seed=3, drop_last=False)
        assert stream.id == stream_id
        (whole, *_) = stream.epoch(0)
        halves = [next(iter(stream.epoch(0, rank=rank, world_size=2))) for rank in range(2)]
    joined = [boxes for half in halves for boxes in half.boxes or []]
    assert all(np.array_equal(*pair) for pair in zip(whole.boxes or [], joined, strict=True))


def test_tar_holds_masks_and_objects(server: Server, data: Path, stream_id: str) -> None:
    masked = server.declare(PIPELINE, "pairs", batch_size=4, seed=3, drop_last=False)
    (first, *_) = local(data, "pairs").batches(epoch=0)
    with tarfile.open(fileobj=io.BytesIO(server.get(f"/v1/streams/{masked}/batches?format=tar"))) as archive:
        found = [archive.extractfile(each) for each in archive if each.name.endswith(".mask.png")]
        values = [decode_mask(each.read()) for each in found if each is not None]
    assert len(values) == NUM_RECORDS
    assert all(np.array_equal(*pair) for pair in zip(values, first.masks, strict=False))
    with tarfile.open(fileobj=io.BytesIO(server.get(f"/v1/streams/{stream_id}/batches?format=tar"))) as archive:
        described = [json.load(archive.extractfile(each)) for each in archive if each.name.endswith(".json")]  # type: ignore[arg-type]
    assert {len(each["boxes"]) for each in described} <= {0, 1, 2}
    assert all(len(each["boxes"]) == len(each["instance_masks"]) for each in described)


def test_a_transform_that_lacks_its_target_is_refused_when_the_stream_is_declared(server: Server) -> None:
    crop = {"transforms": [{"BBoxSafeRandomCrop": {"p": 1.0}}]}
    status, problem = server.post("/v1/streams", {"dataset": "pairs", "pipeline": crop, "batch_size": 4})
    assert status == 422
    assert "needs boxes" in problem["detail"]


@pytest.mark.parametrize("wanted", ["yolo", "coco", "webdataset"])
def test_a_job_converts_and_its_output_reads_back(server: Server, tmp_path: Path, wanted: str) -> None:
    output: dict[str, Any] = {"name": f"as-{wanted}", "format": wanted, "image_format": "png"}
    body = {"dataset": "objects", "pipeline": PIPELINE, "copies": 2, "seed": 3, "output": output}
    if wanted == "yolo":
        output["drop_targets"] = ["keypoints"]  # a pose and an outline of one object have no line of their own there
    status, job = server.post("/v1/jobs", body)
    assert status == 202, job
    wait_until(lambda: json.loads(server.get(f"/v1/jobs/{job['id']}"))["state"] == "succeeded")
    # By tar, as a user would: Python's extractall takes its filter only from 3.11.4 on.
    subprocess.run(["tar", "-x", "-C", tmp_path], input=server.get(f"/v1/jobs/{job['id']}/output"), check=True)
    read = scan(tmp_path)
    assert (read.format, read.num_records, read.classes) == (wanted, 2 * NUM_RECORDS, ("cat",))
    assert "boxes" in read.targets
