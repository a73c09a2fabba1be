"""Contract of every format: an expansion in it is recognised and can be read back."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.datasets.dataset import Dataset
from augment.expansion.expand import expand_dataset
from augment.expansion.verify import verify_expansion
from augment.samples.annotations import Annotations
from augment.scanning.scan import FORMATS, scan
from tests.augment.folders_for_tests import lay, pattern

SPLITS = ("train", "val")


def mask(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(file, "png")
    return file.getvalue()


def with_classes(root: Path) -> Path:
    return lay(root, {f"{split}/{name}/{i}.png": pattern(i) for i, (split, name) in enumerate(PLACES)})


def with_boxes(root: Path) -> Path:
    rows = [f"{split}/{i}.png,{split},{name},1,2,6,7" for i, (split, name) in enumerate(PLACES)]
    table = "\n".join(["file_name,split,class,xmin,ymin,xmax,ymax", *rows, ""])
    images: dict[str, bytes | None] = {f"{split}/{i}.png": pattern(i) for i, (split, _) in enumerate(PLACES)}
    return lay(root, images | {"labels.csv": table.encode()})


def with_masks(root: Path) -> Path:
    images: dict[str, bytes | None] = {f"{split}/images/{i}.png": pattern(i) for i, (split, _) in enumerate(PLACES)}
    return lay(root, images | {f"{split}/masks/{i}.png": mask(i) for i, (split, _) in enumerate(PLACES)})


PLACES = [(split, name) for split in SPLITS for name in ("cat", "dog")]
MADE: Mapping[str, Callable[[Path], Path]] = {"label": with_classes, "boxes": with_boxes, "mask": with_masks}
"""Datasets with one target."""
CASES = [(name, target) for name in sorted(FORMATS) for target in MADE if target in FORMATS[name].writes]


def said(dataset: Dataset) -> list[object]:
    """Return split, image, class, boxes and mask of each record, by image."""
    found: list[object] = []
    for split in SPLITS:
        for record in dataset.choose(split):
            annotations = Annotations.from_json(record.annotations) if record.annotations else Annotations()
            class_name = None if record.label is None else dataset.classes[record.label]
            its_mask = None if record.mask is None else dataset.decode_mask(record, max_pixels=64).tolist()
            boxes = annotations.boxes, annotations.box_labels
            found.append((split, dataset.read(record), class_name, boxes, its_mask))
    return sorted(found, key=repr)


def test_every_format_has_a_case() -> None:
    assert {name for name, _ in CASES} == set(FORMATS)


@pytest.mark.parametrize(("name", "target"), CASES)
def test_an_unchanged_dataset_comes_back_in_every_format(name: str, target: str, tmp_path: Path) -> None:
    dataset = scan(MADE[target](tmp_path / "data"))
    assert dataset.targets == {target}
    expand_dataset(dataset, tmp_path / "out", copies=0, include_originals=True, output_format=name)
    written = scan(tmp_path / "out")
    assert written.format == name, "it is recognised"
    assert written.refused == ()
    assert said(written) == said(dataset)


@pytest.mark.parametrize(("name", "target"), CASES)
def test_an_expansion_is_written_in_every_format_once(name: str, target: str, tmp_path: Path) -> None:
    root = MADE[target](tmp_path / "data")
    pipeline = tmp_path / "flip.yaml"
    pipeline.write_text("transforms: [HorizontalFlip: {p: 1}]")
    summary = expand_dataset(root, tmp_path / "out", pipeline, copies=2, output_format=name)
    assert (summary.num_rendered, summary.num_refused) == (4, 0)
    assert expand_dataset(root, tmp_path / "out", pipeline, copies=2, output_format=name).nothing_to_do
    assert verify_expansion(tmp_path / "out").ok
    assert scan(tmp_path / "out").targets == {target}
