"""A real service with small datasets for the adapters of frameworks, and the blocks of the page that shows them."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from augment.client import Client, ClientStream
from augment.images.encode import encode_image
from tests.acceptance.servers_for_tests import ROOT, Server

PIPELINE = {"transforms": [{"RandomCrop": {"height": 8, "width": 8}}, {"HorizontalFlip": {"p": 0.5}}]}
NUM_RECORDS, BATCH_SIZE, NUM_BATCHES = 44, 8, 6
"""The last batch has 4 rows."""


@contextmanager
def client_of_service(folder: Path) -> Iterator[Client]:
    """Serve ``noise`` (two classes), ``objects`` (boxes and masks of objects) and ``photos`` in this folder."""
    data = folder / "data"
    write_noise(data / "noise", NUM_RECORDS)
    write_objects(data / "objects")
    write_noise(data / "photos", 24)
    with Server(folder / "home", data_roots=data) as server, Client(server.url) as client:
        for name in ("noise", "objects", "photos"):
            client.register(name, data / name)
        yield client


def write_noise(root: Path, num_records: int) -> None:
    generator = np.random.default_rng(num_records)
    for index in range(num_records):
        path = root / f"class{index % 2}" / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(generator.integers(0, 256, (12, 12, 3), np.uint8), "png"))


def write_objects(root: Path) -> None:
    """Eight images of four sizes as COCO; image ``i`` has ``i % 3`` objects with boxes and outlines."""
    generator = np.random.default_rng(8)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for index in range(8):
        height, width = 24 + 4 * (index % 4), 40
        image = generator.integers(0, 256, (height, width, 3), np.uint8)
        (root / "images" / f"{index}.png").write_bytes(encode_image(image, "png"))
        images.append({"id": index + 1, "file_name": f"{index}.png", "height": height, "width": width})
        for number in range(index % 3):
            x, y = 2 + 14 * number, 3
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": index + 1, "category_id": 1 + number, "iscrowd": 0,
                    "bbox": [x, y, 12, 10], "area": 120,
                    "segmentation": [[x, y, x + 12, y, x + 12, y + 10, x, y + 10]],
                }
            )  # fmt: skip
    categories = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances.json").write_text(json.dumps(content), encoding="utf-8")


def declared(client: Client, **options: Any) -> ClientStream:
    wanted: dict[str, Any] = {"dataset": "noise", "pipeline": PIPELINE, "batch_size": BATCH_SIZE, "drop_last": False}
    return client.stream(**(wanted | options))


def page_blocks(section: str) -> list[str]:
    """Return the blocks of a section of the page on frameworks, in their order."""
    page = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")
    return re.findall(
        r"^```py\n(.*?)^```$", page.partition(f"\n## {section}\n")[2].partition("\n## ")[0], re.DOTALL | re.MULTILINE
    )


def num_lines_of_user(block: str) -> int:
    """Return how many lines a user writes: without blank lines, and without the import of the framework's own names."""
    return len([line for line in block.splitlines() if line.strip()])
