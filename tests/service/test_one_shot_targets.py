"""Annotations and masks in a one-shot request: they are returned transformed, with the client's own labels."""

import io
import json
import pickle
import zipfile
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from augment.images.encode import encode_image
from augment.images.masks import decode_mask, encode_mask
from augment.render import request_annotations

HEIGHT, WIDTH = 40, 60
FLIP = '{"transforms": [{"HorizontalFlip": {"p": 1.0}}]}'


def pattern(seed: int = 0) -> bytes:
    return encode_image(np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), "png")


def mask() -> np.ndarray[Any, np.dtype[np.uint8]]:
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[5:15, 10:30] = 7
    return values


def send(service: TestClient, annotations: object, *, masks: int = 0, images: int = 1, **fields: str) -> Any:
    files = [("images", (f"{i}.png", pattern(i))) for i in range(images)]
    files += [("masks", (f"{i}.png", encode_mask(mask()))) for i in range(masks)]
    data = {"pipeline": FLIP, **fields}
    if annotations is not None:
        data["annotations"] = annotations if isinstance(annotations, str) else json.dumps(annotations)
    return service.post("/v1/augment", files=files, data=data)


def unzipped(answer: Any) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return files, json.loads(files.pop("annotations.json"))["results"]


def test_boxes_and_mask_are_flipped_with_the_image(service: TestClient) -> None:
    said = {"boxes": [[10, 5, 30, 15]], "box_labels": ["cat"], "keypoints": [[12, 6]], "label": 3}
    files, (result,) = unzipped(send(service, said, masks=1))
    assert result["boxes"] == [[WIDTH - 30, 5, WIDTH - 10, 15]]
    assert result["box_labels"] == ["cat"]
    assert result["keypoints"] == [[WIDTH - 1 - 12, 6]]
    assert result["label"] == 3
    assert np.array_equal(decode_mask(files[result["mask"]]), mask()[:, ::-1])
    assert list(files) == [result["name"], result["mask"]]


def test_labels_that_came_as_numbers_go_as_numbers(service: TestClient) -> None:
    said = {"boxes": [[0, 0, 5, 5], [10, 5, 30, 15]], "box_labels": [17, 3]}
    _, (result,) = unzipped(send(service, said))
    assert result["box_labels"] == [17, 3]


@pytest.mark.parametrize("by_name", [True, False])
def test_each_of_several_images_has_its_own(service: TestClient, by_name: bool) -> None:
    each = [{"boxes": [[0, 0, 5, 5]]}, {"boxes": []}, {"boxes": [[1, 1, 9, 9], [2, 2, 8, 8]]}]
    said = {f"{i}.png": one for i, one in enumerate(each)} if by_name else each
    _, results = unzipped(send(service, said, images=3, copies="2"))
    assert [len(result["boxes"]) for result in results] == [1, 1, 0, 0, 2, 2]


def test_arrow_has_a_column_of_masks(service: TestClient) -> None:
    answer = send(service, None, masks=1, format="arrow")
    with pa.ipc.open_stream(answer.content) as reader:
        row = reader.read_all().to_pylist()[0]
    assert np.array_equal(decode_mask(row["mask"]), mask()[:, ::-1])


def test_annotations_are_part_of_the_address(service: TestClient) -> None:
    keys = []
    for said in (None, {"boxes": [[0, 0, 5, 5]]}, {"boxes": [[0, 0, 5, 6]]}):
        _, (result,) = unzipped(send(service, said, format="zip"))
        keys.append(result["render_key"])
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("said", "status", "named"),
    [
        ("{", 422, "not JSON"),
        ("3", 422, "send an object"),
        ({"boxs": []}, 422, "'boxs'"),
        ([{}, {}], 422, "list of 2"),
        ({"boxes": [[0, 0, 5]]}, 422, "4 numbers"),
        ({"boxes": [[0, 0, 500, 5]]}, 422, "box outside"),
        ({"boxes": [[5, 5, 5, 9]]}, 422, "without area"),
        ({"boxes": [[0, 0, 5, 5]], "box_labels": []}, 422, "lengths differ"),
        ('{"boxes": [[NaN, 0, 5, 5]]}', 422, "NaN"),
        ({"label": [1]}, 422, "label"),
    ],
)
def test_annotations_that_cannot_be_are_refused_by_name(
    service: TestClient, said: object, status: int, named: str
) -> None:
    answer = send(service, said)
    assert answer.status_code == status
    assert named in answer.json()["detail"]


def test_masks_that_do_not_fit_are_refused(service: TestClient) -> None:
    assert "2 masks for 1 images" in send(service, None, masks=2).json()["detail"]
    files = [("images", ("a.png", pattern())), ("masks", ("a.png", encode_mask(mask()[:-1])))]
    answer = service.post("/v1/augment", files=files, data={"pipeline": FLIP})
    assert answer.status_code == 422
    assert "another size" in answer.json()["detail"]
    files[1] = ("masks", ("a.png", pattern()))
    assert "colours" in service.post("/v1/augment", files=files, data={"pipeline": FLIP}).json()["detail"]


def test_transform_that_needs_a_target_that_is_not_there_is_refused_by_name(service: TestClient) -> None:
    crop = {"transforms": [{"BBoxSafeRandomCrop": {"p": 1.0}}]}
    answer = send(service, {"keypoints": [[1, 1]]}, pipeline=json.dumps(crop))
    assert answer.status_code == 422
    assert "`BBoxSafeRandomCrop` needs boxes" in answer.json()["detail"]


def test_nothing_said_travels_as_nothing_and_words_as_themselves() -> None:
    assert pickle.loads(pickle.dumps(request_annotations.NOTHING_SAID)) is request_annotations.NOTHING_SAID  # noqa: S301
    said = request_annotations.read('{"label": "cat", "boxes": [[1, 2, 3, 4]], "box_labels": [7]}', ["a.png"])[0]
    assert pickle.loads(pickle.dumps(said)) == said  # noqa: S301
