"""Hostile annotation files: a scan reads them or refuses them with a message, and never raises anything else."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from augment.errors import AugmentError
from augment.samples.annotations import Annotations
from augment.scanning.scan import scan
from tests.augment.annotations_for_tests import CLASSES, KEYPOINTS
from tests.augment.formats.formats_for_tests import annotations_by_key, output, whole_of, write

NUM_CHANGES = 60

BOXES = Annotations(
    boxes=((1, 2, 9, 9), (3, 4, 20, 20)),
    box_labels=("person", "z:1"),
    box_attributes=({"difficult": 1}, {}),
    instance_masks=(((1, 2, 9, 2, 9, 9),), None),
)
POSES = Annotations(
    boxes=((1, 2, 9, 9),),
    box_labels=("person",),
    keypoints=((1, 2), (3, 4), (5, 6)),
    keypoint_labels=KEYPOINTS,
    keypoint_visibility=(2, 1, 0),
    keypoint_angles=(1, 2, 3),
    keypoint_boxes=(0, 0, 0),
)
BYTES = [
    b"NaN",
    b"1e999",
    b"-1",
    b"[]",
    b"{}",
    b'"',
    b"\xff",
    b"../",
    b"9" * 30,
    b"<",
    b"&",
    b"\x00",
    b"0",
    b"\n",
    b":",
]
VALUES: list[Any] = [
    *(None, True, 0, -1, 1.5, 1e300, 10**17, "", "x", "../x", "\ud800", "\x00", [], {}),
    *([1], [[1, 2]], [None] * 3, [[1e300] * 6], {"id": 1}, {"counts": [1]}, {"size": [24, 32], "counts": "0"}),
]


def _written(root: Path, format_name: str, said: Annotations) -> list[Path]:
    """Write a good dataset, and return its files that are not images."""
    outputs = [output(key, said, split=split) for key in ("a", "b") for split in ("train", "val")]
    names = KEYPOINTS if said is POSES else ()
    write(root, format_name, outputs, whole_of(outputs, classes=CLASSES, keypoint_names=names))
    return sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".png")


def _scan(root: Path, format_name: str) -> None:
    try:
        dataset = scan(root, format=format_name, bad_annotations="leave_out", num_threads=1)
    except AugmentError as error:
        told = [str(error)]
    else:
        annotations_by_key(dataset)  # accepted annotations are our JSON
        told = [refused.detail for refused in dataset.refused]
    assert all(map(str.isprintable, told))


@pytest.mark.parametrize(
    ("format_name", "said"), [("coco", BOXES), ("coco", POSES), ("yolo", BOXES), ("yolo", POSES), ("voc", BOXES)]
)
def test_bytes_that_were_changed_are_read_or_refused(format_name: str, said: Annotations, tmp_path: Path) -> None:
    chance = random.Random(7)
    files = _written(tmp_path, format_name, said)
    for _ in range(NUM_CHANGES):
        path = chance.choice(files)
        good = path.read_bytes()
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(data) + 1)
            data[place : place + chance.choice((0, 0, 3, 30))] = chance.choice((b"", *BYTES))
        path.write_bytes(data)
        _scan(tmp_path, format_name)
        path.write_bytes(good)


def _places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from _places(each, (*path, key))


@pytest.mark.parametrize("said", [BOXES, POSES], ids=["boxes", "poses"])
def test_values_that_were_changed_are_read_or_refused(said: Annotations, tmp_path: Path) -> None:
    chance = random.Random(7)
    [path, _] = _written(tmp_path, "coco", said)
    good = path.read_text()
    for _ in range(3 * NUM_CHANGES):
        root = json.loads(good)
        *way, last = chance.choice(list(_places(root)))
        around = root
        for key in way:
            around = around[key]
        if chance.random() < 0.8:
            around[last] = copy.deepcopy(chance.choice(VALUES))
        else:
            del around[last]
        path.write_text(json.dumps(root))
        _scan(tmp_path, "coco")
