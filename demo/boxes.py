"""Small PASCAL VOC dataset of the demo's photographs: boxes drawn by hand, four training and one validation image."""

import shutil
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

BOXES = {
    "astronaut.png": [("face", 154, 16, 302, 191), ("shuttle", 351, 1, 457, 284)],
    "camera.png": [("person", 5, 62, 265, 512), ("camera", 247, 100, 330, 200)],
    "chelsea.png": [("cat", 10, 1, 395, 300)],
    "coffee.png": [("cup", 175, 17, 405, 300), ("spoon", 323, 236, 405, 327)],
    "rocket.jpg": [("rocket", 306, 122, 338, 412)],
}
"""Boxes by file: (class, xmin, ymin, xmax, ymax), the first and the last pixel, counted from 1 as in VOC."""
SPLITS = {"train": ["astronaut", "chelsea", "coffee", "rocket"], "val": ["camera"]}


def write(shipped: Path, folder: Path) -> int:
    """Write images, boxes and splits into a folder, which may exist, and return the number of images."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for file in BOXES:
        image = folder / "JPEGImages" / file
        if not image.exists():
            shutil.copyfile(shipped / file, image)
        with Image.open(image) as opened:
            document = _document(file, opened.size)
        (folder / "Annotations" / file).with_suffix(".xml").write_text(document, encoding="utf-8")
    for split, names in SPLITS.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return len(BOXES)


def _document(file: str, size: tuple[int, int]) -> str:
    width, height = size
    objects = "".join(
        f"  <object>\n    <name>{escape(name)}</name>\n    <bndbox><xmin>{x_min}</xmin><ymin>{y_min}</ymin>"
        f"<xmax>{x_max}</xmax><ymax>{y_max}</ymax></bndbox>\n  </object>\n"
        for name, x_min, y_min, x_max, y_max in BOXES[file]
    )
    return (
        f"<annotation>\n  <filename>{escape(file)}</filename>\n"
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n{objects}</annotation>\n"
    )
