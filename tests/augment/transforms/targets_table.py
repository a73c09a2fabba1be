"""Writes the table of docs/targets.md from the catalogue: ``python -m tests.augment.transforms.targets_table``."""

import re
from pathlib import Path

from augment.transforms.catalogue import catalogue
from augment.transforms.families import FAMILIES

PAGE = Path(__file__).parents[3] / "docs" / "targets.md"
_HEAD = "| family | transform | masks | boxes | keypoints |\n|---|---|---|---|---|\n"
_TABLE = re.compile(re.escape(_HEAD) + r"(?:\|.*\n)*")


def text() -> str:
    """Return the page as it should be: with a row for each transform that moves pixels, by family."""
    rows = []
    for family in FAMILIES:
        for name, info in catalogue().items():
            if info.family == family and info.moves_pixels and not (info.container or info.donors or info.references):
                cells = ("yes" if target in info.targets else "**no**" for target in ("mask", "boxes", "keypoints"))
                rows.append(f"| {family} | `{name}` | {' | '.join(cells)} |\n")
    return _TABLE.sub(lambda _: _HEAD + "".join(rows), PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
