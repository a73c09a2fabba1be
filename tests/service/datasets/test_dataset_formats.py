"""Registration of datasets in other formats than folders: documents, and handling of bad annotations."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.service.folders_for_tests import write_folder

HEADER = "file_name,class,xmin,ymin,xmax,ymax\n"
GOOD = "1.png,cat,1,2,30,20\n"
OUTSIDE = "2.png,dog,1,2,300,20\n3.png,dog,5,5,5,20\n"


def boxes(root: Path, table: str) -> Path:
    write_folder(root, "1.png", "2.png", "3.png")
    (root / "labels.csv").write_text(HEADER + table)
    return root


def zipped(root: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(root.iterdir()):
            archive.write(path, path.name)
    return file.getvalue()


def test_a_dataset_tells_its_format_and_its_targets(service: TestClient, data_root: Path) -> None:
    folder = boxes(data_root / "boxes", GOOD + "2.png,dog,0,0,32,24\n3.png,,,,,\n")
    answer = service.post("/v1/datasets", json={"name": "boxes", "path": str(folder)})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["format"], body["targets"], body["classes"]) == ("csv", ["boxes"], ["cat", "dog"])
    assert service.get("/v1/datasets/boxes").json() == body


def test_keypoint_names_without_a_partner_are_a_notice_of_a_dataset_and_its_streams(
    service: TestClient, data_root: Path
) -> None:
    folder = write_folder(data_root / "keypoints", "1.png")
    document = {
        "images": [{"id": 1, "file_name": "1.png", "width": 32, "height": 24}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["kneeL", "kneeR", "nose"]}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0}
            | {"keypoints": [1, 2, 2, 6, 2, 2, 3, 3, 2], "num_keypoints": 3}
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(document))
    body = service.post("/v1/datasets", json={"name": "keypoints", "path": str(folder)}).json()
    assert [notice.partition(": ")[2] for notice in body["notices"]] == ['"nose"']
    asked = {"dataset": "keypoints", "pipeline": "flip-rotate-crop", "batch_size": 1, "seed": 0}
    stream = service.post("/v1/streams", json=asked)
    assert stream.json()["notices"] == body["notices"], stream.text


def test_a_format_may_be_named(service: TestClient, data_root: Path) -> None:
    folder = boxes(data_root / "named", GOOD)
    body = service.post("/v1/datasets", json={"name": "named", "path": str(folder), "format": "folder"}).json()
    assert (body["format"], body["num_records"], body["targets"]) == ("folder", 3, [])
    answer = service.post("/v1/datasets", json={"name": "other", "path": str(folder), "format": "fodler"})
    assert answer.status_code == 422
    assert "did you mean `folder`?" in answer.json()["detail"]


def test_bad_annotations_refuse_a_dataset_with_a_report_of_them(service: TestClient, data_root: Path) -> None:
    folder = boxes(data_root / "bad", GOOD + OUTSIDE)
    answer = service.post("/v1/datasets", json={"name": "bad", "path": str(folder)})
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert "2 images with invalid annotations" in detail
    assert "1 of box outside (2.png: box 0 is [1.0, 2.0, 300.0, 20.0] on an image of 32 x 24" in detail
    assert "1 of box without area (3.png: " in detail
    assert "bad_annotations: leave_out" in detail
    assert service.get("/v1/datasets/bad").status_code == 404


def test_bad_annotations_are_left_out_where_that_is_asked_for(service: TestClient, data_root: Path) -> None:
    folder = boxes(data_root / "left", GOOD + OUTSIDE)
    wanted = {"name": "left", "path": str(folder), "bad_annotations": "leave_out"}
    answer = service.post("/v1/datasets", json=wanted)
    assert (answer.status_code, answer.json()["num_records"], answer.json()["num_refused"]) == (201, 1, 2)
    refused = service.get("/v1/datasets/left/refused").json()["refused"]
    assert [(one["path"], one["reason"]) for one in refused] == [("2.png", "annotation"), ("3.png", "annotation")]
    answer = service.post("/v1/datasets", json=wanted | {"bad_annotations": "ignore"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "bad_annotations"]


@pytest.mark.parametrize("as_form", [True, False])
def test_an_upload_may_leave_bad_annotations_out(service: TestClient, tmp_path: Path, as_form: bool) -> None:
    data = zipped(boxes(tmp_path / "sent", GOOD + OUTSIDE))
    if as_form:
        fields = {"name": "sent-form", "bad_annotations": "leave_out", "format": "csv"}
        answer = service.post("/v1/datasets", data=fields, files={"file": ("sent.zip", data)})
    else:
        answer = service.post(
            "/v1/datasets?name=sent-raw&bad_annotations=leave_out",
            content=data,
            headers={"Content-Type": "application/zip"},
        )
    assert answer.status_code == 201, answer.text
    assert (answer.json()["num_records"], answer.json()["targets"]) == (1, ["boxes"])
