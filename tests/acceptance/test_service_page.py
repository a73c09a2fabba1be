"""The ten usual tasks of the service's page, and the commands in error messages, run in a shell."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from augment.images.decode import decode_image
from augment.images.encode import encode_image
from augment.images.masks import encode_mask
from tests.acceptance.servers_for_tests import ROOT, Server
from tests.acceptance.test_readme import Block, Shell, blocks, empty_environment
from tests.service.archives_for_tests import zipped

_HERE = "http://127.0.0.1:8000"
_SECTION = "## Ten common requests"
_NUM_WISHES = 10
_SIZE = 120, 160


def _image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*_SIZE, 3), dtype=np.uint8)


def _wishes() -> list[Block]:
    page = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    section = page.partition(f"{_SECTION}\n")[2].partition("\n## ")[0]
    return [block for block in blocks(section) if block.language == "sh"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder with the files that the lines name."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(encode_image(_image(1), "jpeg"))
    for i, name in enumerate(("left", "right", "猫")):
        (folder / f"{name}.png").write_bytes(encode_image(_image(2 + i), "png"))
    (folder / "cat-mask.png").write_bytes(encode_mask(np.eye(*_SIZE, dtype=np.uint8)))
    pets = {f"{kind}/{i}.png": encode_image(_image(i), "png") for kind in ("cat", "dog") for i in range(2)}
    for name in ("pets", "photos"):
        (folder / f"{name}.zip").write_bytes(zipped(pets))
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "home") as server:
        server.wait_ready()
        yield server


@pytest.fixture
def shell(folder: Path, tmp_path: Path) -> Iterator[Shell]:
    (tmp_path / ".curlrc").write_text("fail\nshow-error\n", encoding="utf-8")
    environment = {**empty_environment(tmp_path), "LANG": "C.UTF-8"}
    with Shell(folder, environment, tmp_path / "scratch") as shell:
        yield shell


def _told(path: Path) -> tuple[list[str], list[dict[str, object]]]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()[:-1], json.loads(archive.read("annotations.json"))["results"]


def test_ten_usual_wishes_come_true(server: Server, shell: Shell, folder: Path) -> None:
    wishes = _wishes()
    assert len(wishes) == _NUM_WISHES
    for number, wish in enumerate(wishes, 1):
        assert f"{number}. **" in wish.prose
        printed = shell.run(wish.text.replace(_HERE, server.url), f"wish {number}")
        if number == 9:
            assert re.search(r'"render_key":"[0-9a-f]{32}"', printed)
    with zipfile.ZipFile(folder / "eight.zip") as archive:
        assert archive.namelist()[:-1] == [f"cat__{i}.jpg" for i in range(8)]
        assert archive.read("cat__0.jpg") == (folder / "out.jpg").read_bytes()
        assert archive.read("cat__3.jpg") == (folder / "fourth.jpg").read_bytes()
        assert len({archive.read(name) for name in archive.namelist()}) > 8
    assert _told(folder / "several.zip")[0] == ["cat__0.jpg", "猫__0.jpg"]
    names, (left, right) = _told(folder / "pair.zip")
    assert names == ["left__0.jpg", "right__0.jpg"]
    assert (left["applied"], left["key"]) == (right["applied"], right["key"])
    assert (folder / "out.webp").read_bytes()[8:12] == b"WEBP"
    assert decode_image((folder / "flipped.jpg").read_bytes()).shape == (96, 128, 3)
    names, (result,) = _told(folder / "targets.zip")
    assert names == ["cat__0.jpg", "cat__0.mask.png"]
    assert {"boxes", "box_labels", "keypoints"} <= result.keys()
    assert len(list((folder / "pets-x4").rglob("*.png"))) == 16


def test_lines_that_refusals_show_work(server: Server, shell: Shell, folder: Path) -> None:
    """Every mistake is answered with one command that works when pasted."""
    cat = (folder / "cat.jpg").read_bytes()
    form = {"images": ("cat.jpg", cat)}
    with httpx.Client(base_url=server.url, timeout=120) as client:
        answers = [
            *(
                client.post("/v1/augment", files=form, data=data)
                for data in (
                    {},
                    {"pipeline": "light", "format": "webp"},
                    {"pipeline": "light", "image_format": "zip"},
                    {"pipeline": "HorizontalFlip"},
                    {"pipeline": "Resize"},
                    {"pipeline": "random_resized_crop"},
                    {"pipeline": "LongestMaxSize"},
                    {"pipeline": "OneOf"},
                )
            ),
            client.post("/v1/augment?pipeline=light", files={"file": ("cat.jpg", cat)}),
            client.post("/v1/augment?pipeline=light", json={"image": "cat.jpg"}),
            client.post("/v1/augment?pipeline=light", data={"images": "@cat.jpg"}),
            client.post("/v1/datasets?name=photos", data={"file": "@photos.zip"}),
        ]
    details = [answer.json()["detail"] for answer in answers]
    stripped = shell.run(f"curl -sS --no-fail -d @cat.jpg '{server.url}/v1/augment?pipeline=light'\n", "curl -d")
    details.append(json.loads(stripped)["detail"])
    for detail in details:
        lines = [line for line in re.findall("`([^`]+)`", detail) if server.url in line]
        assert len(lines) == 1, detail
        shell.run(lines[0] + "\n", detail)
    assert (folder / "out.webp").read_bytes()[8:12] == b"WEBP"
    with zipfile.ZipFile(folder / "out.zip") as archive:
        assert len(archive.namelist()) == 5
