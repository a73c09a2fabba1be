"""The page of recipes, run block by block on a real server with real photographs."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from augment.images.encode import encode_image
from augment.images.masks import encode_mask
from tests.acceptance.servers_for_tests import ROOT, Server

_HERE = "http://127.0.0.1:8000"
_PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"^## ([^\n]+)\n|```py\n(.*?)```", _PAGE, re.DOTALL | re.MULTILINE)
_SIZE = 240, 320


def _photographs() -> list[np.ndarray]:
    folder = Path(data.__file__).parent
    names = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")
    return [np.asarray(Image.open(folder / name).convert("RGB").resize(_SIZE[::-1])) for name in names]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    _lay_photos(root / "photos", _photographs())
    _lay_objects(root / "objects", _photographs())
    _lay_streets(root / "streets", _photographs())
    _lay(root / "styles", "style", [255 - each for each in _photographs()[:2]])
    return root


def _lay(folder: Path, name: str, images: list[np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        (folder / f"{name}{i}.jpg").write_bytes(encode_image(image, "jpeg"))


def _lay_photos(root: Path, images: list[np.ndarray]) -> None:
    for name, image in zip(("person", "cup", "cat", "rocket"), images, strict=True):
        _lay(root / name, name, [image, image[:, ::-1]])


def _lay_objects(root: Path, images: list[np.ndarray]) -> None:
    _lay(root / "images", "scene", images)
    entries: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for i in range(len(images)):
        entries.append({"id": i + 1, "file_name": f"scene{i}.jpg", "height": _SIZE[0], "width": _SIZE[1]})
        for x, y, category in ((30 + 10 * i, 40, 1), (150, 90 + 10 * i, 2)):
            outline = [x, y, x + 90, y, x + 90, y + 70, x + 45, y + 100, x, y + 70]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": i + 1, "category_id": category, "iscrowd": 0,
                    "bbox": [x, y, 90, 100], "area": 7650, "segmentation": [outline],
                }
            )  # fmt: skip
    categories = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    (root / "annotations").mkdir()
    content = {"images": entries, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances.json").write_text(json.dumps(content), encoding="utf-8")


def _lay_streets(root: Path, images: list[np.ndarray]) -> None:
    _lay(root / "images", "street", images)
    (root / "masks").mkdir()
    for i in range(len(images)):
        mask = np.zeros(_SIZE, np.uint8)
        mask[100 + 10 * i :] = 1
        mask[60:120, 40 * i : 40 * i + 60] = 2
        (root / "masks" / f"street{i}.png").write_bytes(encode_mask(mask))
    (root / "classes.txt").write_text("sky\nroad\ncar\n", encoding="utf-8")


def test_recipes_work_as_they_stand(datasets: Path, tmp_path: Path) -> None:
    names: dict[str, object] = {}
    heading, num_run = "", 0
    with Server(tmp_path / "home", data_roots=datasets, workers=2) as server:
        for name in ("photos", "objects", "streets", "styles"):
            server.register(datasets / name, name)
        for found, block in _BLOCKS:
            heading = found or heading
            if not block:
                continue
            try:
                exec(block.replace(_HERE, server.url), names)  # noqa: S102 - the page's own words
            except Exception as error:
                raise AssertionError(f"the recipe below `{heading}` fails: {error}") from error
            if "for batch in" in block:
                batch = names.pop("batch")  # a recipe without a batch has no name here
                assert len(batch) > 0  # type: ignore[arg-type]
                num_run += 1
    assert num_run == _PAGE.count("stream.epoch(0):")
    assert num_run >= 13


def test_recipes_say_how_far_hues_turn() -> None:
    """The default is the whole circle, which no published training takes: blood cells come out green."""
    jitters = [
        (key.value, {part.value for part in value.keys if isinstance(part, ast.Constant)})
        for _, block in _BLOCKS
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "ColorJitter" and isinstance(value, ast.Dict)
    ]
    assert jitters
    assert all("hue" in given for _, given in jitters)


def test_recipes_name_only_headings_that_are_there() -> None:
    headings = re.findall(r"^## (.+)$", _PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    named = set(re.findall(r"\]\(#([^)]+)\)", _PAGE))
    assert named
    assert named <= anchors
