"""Files that give the classes of masks their names, in the order of the indices."""

import csv
import re
from collections.abc import Iterable

from augment.errors import DatasetError
from augment.formats.tree import Tree

WRITTEN = "classes.txt"

_NAMES = (WRITTEN, "codes.txt", "labels.txt", "label_colors.txt", "class_dict.csv")
"""In this order; the one in the root counts before one beside the masks."""
_MAX_BYTES = 2**20
_COLOURED = re.compile(r"\d{1,3}[\s,]+\d{1,3}[\s,]+\d{1,3}[\s,]+(?P<name>.*\S)")
_NUMBERED = re.compile(r"(?P<number>\d+)\s*[:=,\s]\s*(?P<name>.*\S)")


def find(found: Tree, beside: Iterable[str]) -> str | None:
    """The file with the names in the root, else in one of these folders or above them; None where there is none."""
    folders = {above for folder in beside for above in _above(folder)}
    for folder in ["", *sorted(folders, key=lambda folder: (folder.count("/"), folder))]:
        for name in _NAMES:
            path = f"{folder}/{name}" if folder else name
            if path in found.paths:
                return path
    return None


def read(found: Tree, path: str) -> tuple[str, ...]:
    """The names. Raises DatasetError where it cannot be read, or a name is missing or stands there twice."""
    try:
        text = found.read_text(path, max_bytes=_MAX_BYTES)
        names = tuple(_of_table(text) if path.endswith(".csv") else _of_lines(text))
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"{found.root / path}: {error}") from error
    if not names:
        raise DatasetError(f"{found.root / path} names no class; write one name a line")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f"{found.root / path} names {twice!r} twice; give each index its own name")
    return names


def written(classes: tuple[str, ...]) -> bytes:
    """The names, one a line. Raises DatasetError where a name would not come back."""
    for name in classes:
        if name != name.strip() or len(name.splitlines()) != 1:
            raise DatasetError(f"class {name!r} cannot stand in a line of {WRITTEN}; rename it")
    text = "".join(f"{name}\n" for name in classes)
    if tuple(_of_lines(text)) != classes:
        text = "".join(f"{number}: {name}\n" for number, name in enumerate(classes))
    return text.encode()


def _above(folder: str) -> list[str]:
    parts = folder.split("/")
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _of_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.strip().splitlines()]
    if not all(lines):
        raise ValueError(f"line {lines.index('') + 1} is empty; each line names a class")
    coloured = [_COLOURED.fullmatch(line) for line in lines]
    if all(coloured):
        return [match["name"] for match in coloured if match]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(match and int(match["number"]) == i for i, match in enumerate(numbered)):
        return [match["name"] for match in numbered if match]
    return lines


def _of_table(text: str) -> list[str]:
    rows = [row for row in csv.reader(text.splitlines(), strict=True) if row]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "name" not in header:
        raise ValueError("its header has no column name")
    return [row[header.index("name")].strip() for row in rows[1:] if len(row) == len(header)]
