"""A made-up PASCAL VOC dataset with splits, boxes and masks, the source of every kind of file of an expansion."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from augment.images import masks
from augment.render.pipeline import Pipeline
from tests.augment.expansion.expansions_for_tests import LONG_AGO_S, noise

HEIGHT, WIDTH = 24, 32

PIPELINE = Pipeline.parse(
    """
    transforms:
      - HorizontalFlip: {p: 0.5}
      - RandomCrop: {height: 16, width: 20}
    """
)

_OBJECT = """
  <object>
    <name>{name}</name>
    <difficult>{difficult}</difficult>
    <bndbox><xmin>{x_min}</xmin><ymin>{y_min}</ymin><xmax>{x_max}</xmax><ymax>{y_max}</ymax></bndbox>
  </object>"""
_XML = """<annotation>
  <filename>{name}.jpg</filename>
  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>{objects}
</annotation>
"""
_CLASSES = ("cell", "dish", "tube")


def lay_voc(root: Path, splits: Mapping[str, Sequence[str]], *, edition: str = "", with_masks: bool = True) -> Path:
    """Write a dataset again: for each split its images, with up to two boxes and a mask that follow from the name.

    Another edition has other pixels and boxes.
    """
    shutil.rmtree(root, ignore_errors=True)
    for split, names in splits.items():
        for name in names:
            chance = np.random.default_rng([*f"{name}{edition}".encode()])
            _write(root / f"JPEGImages/{name}.jpg", noise(name + edition, HEIGHT, WIDTH))
            _write(root / f"Annotations/{name}.xml", _xml(name, chance).encode())
            if with_masks:
                mask = chance.integers(0, 3, (HEIGHT, WIDTH), dtype=np.uint8)
                _write(root / f"SegmentationClass/{name}.png", masks.encode_mask(mask))
        _write(root / f"ImageSets/Main/{split}.txt", "".join(f"{name}\n" for name in names).encode())
    return root


def _xml(name: str, chance: np.random.Generator) -> str:
    objects = ""
    for _ in range(chance.integers(0, 3)):
        x_min, y_min = chance.integers(1, WIDTH - 8), chance.integers(1, HEIGHT - 8)
        objects += _OBJECT.format(
            name=_CLASSES[chance.integers(len(_CLASSES))],
            difficult=chance.integers(2),
            x_min=x_min,
            y_min=y_min,
            x_max=x_min + chance.integers(3, 8),
            y_max=y_min + chance.integers(3, 8),
        )
    return _XML.format(name=name, width=WIDTH, height=HEIGHT, objects=objects)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
