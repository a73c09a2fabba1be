"""``augment check DATASET``, and what other commands are told of formats and bad annotations."""

import json
from pathlib import Path

import pytest
from PIL import Image

from augment.cli import exit_codes
from augment.cli.app import run as run_command
from augment.scanning.scan import scan
from tests.augment.folders_for_tests import lay, lay_images

HEADER = b"file_name,split,class,xmin,ymin,xmax,ymax\n"
GOOD = b"a.png,train,cat,0,0,5,5\nb.png,test,dog,1,1,8,8\n"
BAD = b"c.png,train,cat,0,0,50,5\nd.png,train,cat,0,0,60,5\ne.png,train,cat,0,0,70,5\nf.png,train,cat,0,0,80,5\n"


def run(*arguments: object) -> int:
    return run_command([str(argument) for argument in arguments])


def boxes(root: Path, rows: bytes) -> Path:
    """Six images of 8 x 8, and a table of boxes."""
    return lay(lay_images(root, *(f"{name}.png" for name in "abcdef")), {"labels.csv": HEADER + rows})


def test_check_tells_what_a_scan_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = boxes(tmp_path, GOOD)
    assert run("check", root) == exit_codes.OK
    told = capsys.readouterr()
    digest = scan(root).digest
    assert told.out.splitlines() == [
        f"{root}: 2 records",
        "format    csv",
        "splits    test 1, train 1",
        "classes   2: cat, dog",
        "targets   boxes",
        f"digest    {digest}",
        "refused   4",
        "  4 misplaced",
        *(f"    {name}.png: no row of labels.csv names it; add one, or move it elsewhere" for name in ("c", "d", "e")),
        "    …",
    ]
    assert told.err == ""


def test_check_of_a_dataset_tells_which_images_a_pipeline_cannot_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lay_images(tmp_path / "data", "a.png", "b.png")
    Image.new("RGB", (2, 1)).save(root / "c.png")
    crop = tmp_path / "crop.yaml"
    crop.write_text("transforms: [RandomCrop: {height: 8, width: 8}]")
    assert run("check", root, "-p", crop) == exit_codes.OK
    assert "notice: 1 of 3 images is too small" in capsys.readouterr().err
    assert run("check", root, "--json", "-p", crop) == exit_codes.OK
    assert "the smallest is `c`: RandomCrop on 1 x 2" in json.loads(capsys.readouterr().out)["notices"][0]
    crop.write_text("transforms: [RandomCrop: {height: 9, width: 9}]")
    assert run("check", root, "-p", crop) == exit_codes.REQUEST
    assert "`RandomCrop` cannot take `c` (1 x 2)" in capsys.readouterr().err
    assert run("check", "light", "-p", crop) == exit_codes.REQUEST
    assert "--pipeline is for a dataset" in capsys.readouterr().err


def test_check_of_bad_annotations_has_an_exit_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = boxes(tmp_path, GOOD + BAD)
    assert run("check", root) == exit_codes.FINDINGS
    lines = capsys.readouterr().out.splitlines()
    assert lines[6:] == [
        "refused   4",
        "  4 annotation (box outside)",
        *(
            f"    train/{name}.png: box 0 is [0.0, 0.0, {size}.0, 5.0] on an image of 8 x 8 (width x height)"
            for name, size in (("c", 50), ("d", 60), ("e", 70))
        ),
        "    …",
    ]


def test_check_writes_one_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = boxes(tmp_path, GOOD + BAD)
    assert run("check", root, "--json") == exit_codes.FINDINGS
    document = json.loads(capsys.readouterr().out)
    assert document.pop("digest") == scan(root, bad_annotations="leave_out").digest
    [kind] = document.pop("refusals")
    assert document == {
        "ok": False,
        "format": "csv",
        "records": 2,
        "splits": {"test": 1, "train": 1},
        "classes": ["cat", "dog"],
        "targets": ["boxes"],
        "keypoints": [],
        "refused": 4,
        "notices": [],
    }
    assert (kind["reason"], kind["kind"], kind["number"], len(kind["examples"])) == ("annotation", "box outside", 4, 3)
    assert kind["examples"][0]["path"] == "train/c.png"


def keypoints(root: Path) -> Path:
    """An image with one keypoint of each name, in COCO's form."""
    lay_images(root, "a.png")
    names = ["kneeL", "kneeR", "nose", "hipL"]
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
        "annotations": [annotation | {"keypoints": [1, 2, 2, 6, 2, 2, 3, 3, 2, 1, 5, 2], "num_keypoints": 4}],
    }
    return lay(root, {"annotations.json": json.dumps(document).encode()})


def test_keypoint_names_without_a_partner_are_a_notice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = keypoints(tmp_path / "in")
    notice = scan(root).notices[0]
    assert notice.endswith(': "nose", "hipL"')
    assert run("check", root) == exit_codes.OK
    assert capsys.readouterr().err == f"notice: {notice}\n"
    assert run("check", root, "--json") == exit_codes.OK
    assert json.loads(capsys.readouterr().out)["notices"] == [notice]
    mirror = lay(tmp_path, {"mirror.yaml": b"transforms: [{HorizontalFlip: {p: 1}}]"}) / "mirror.yaml"
    arguments = ("expand", root, tmp_path / "out", "-p", mirror, "--copies", "1", "--workers", "0", "--json")
    assert run(*arguments) == exit_codes.OK
    told = capsys.readouterr()
    assert f"notice: {notice}" in told.err.splitlines()
    assert json.loads(told.out)["notices"] == [notice]


def test_check_takes_the_name_of_a_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = boxes(tmp_path, GOOD)
    assert run("check", root, "--format", "folder") == exit_codes.OK
    assert "format    folder" in capsys.readouterr().out
    assert run("check", root, "--format", "fodler") == exit_codes.REQUEST
    assert "did you mean `folder`?" in capsys.readouterr().err
    assert run("check", root, "--yaml") == exit_codes.REQUEST
    assert "--yaml writes a pipeline" in capsys.readouterr().err


def test_check_of_a_folder_without_images_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", tmp_path) == exit_codes.REQUEST
    assert "holds no file; put images into it" in capsys.readouterr().err
    assert run("check", tmp_path / "nowhere", "--format", "csv") == exit_codes.REQUEST
    assert "does not exist; give the folder of the dataset" in capsys.readouterr().err


def test_check_of_a_presets_name_is_the_preset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_images(tmp_path / "light", "a.png")
    monkeypatch.chdir(tmp_path)
    assert run("check", "light") == exit_codes.OK
    assert "the pipeline is valid" in capsys.readouterr().out
    assert run("check", "./light") == exit_codes.OK
    assert "light: 1 record\n" in capsys.readouterr().out


def test_expand_refuses_bad_annotations_or_leaves_them_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = boxes(tmp_path / "data", GOOD + BAD)
    common = ("--pipeline", "light", "--workers", 0, "--copies", 1, "--dry-run")
    assert run("expand", root, tmp_path / "out", *common) == exit_codes.REQUEST
    assert "4 images with invalid annotations" in capsys.readouterr().err
    assert run("expand", root, tmp_path / "out", *common, "--bad-annotations", "leave-out") == exit_codes.OK
    capsys.readouterr()
    assert run("expand", root, tmp_path / "out", *common, "--bad-annotations", "ignore") == exit_codes.REQUEST
    assert "--bad-annotations is 'ignore'; it must be refuse or leave-out" in capsys.readouterr().err


def test_expand_reads_the_format_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = boxes(tmp_path / "data", GOOD + BAD)
    common = ("--pipeline", "light", "--workers", 0, "--copies", 1, "--dry-run", "--json")
    assert run("expand", root, tmp_path / "out", *common, "--from-format", "folder") == exit_codes.OK
    assert json.loads(capsys.readouterr().out)["records"] == 6
