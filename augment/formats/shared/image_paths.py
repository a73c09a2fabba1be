"""Pictures that a table or an annotation file names by their paths: from what it says to a listing.

A picture that is named but not there, one that is named twice, and one that lies there without being named are each
told by name: none of the three vanishes in silence.
"""

import functools
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from augment.errors import DatasetError, Reason
from augment.formats import files, folder
from augment.formats.format import Described, Listing
from augment.formats.tree import Tree, is_picture

MAX_TABLE_BYTES = 2**30
"""A table of ten million rows; it is read into memory."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(slots=True)
class Named:
    """What tables say of the pictures of one dataset; ``splits`` has None for those of which they say none."""

    tree: Tree
    described: dict[str, Described] = field(default_factory=dict)
    splits: dict[str, str | None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Files that are no pictures of their own: the tables, and masks."""
    missing: dict[str, str] = field(default_factory=dict)
    """What rows name that is not there, and the problem."""
    classes: set[str] = field(default_factory=set)

    def add(self, path: str, described: Described, where: str, split: str | None = None) -> None:
        """Note what a row says of a picture; of one that is named before, that it is named twice."""
        if path in self.described:
            problem = f"named twice: the second time in {where}"
            described = replace(self.described[path], problem=self.described[path].problem or problem)
            split = self.splits[path]
        self.described[path] = described
        self.splits[path] = split

    def fill(self, listing: Listing, tables: str) -> None:
        """Add all of it to a listing. ``tables`` is what messages call the files that name pictures.

        Where rows name no split, it is that of the folders, by the rule of the folder format. Classes that are all
        numbers are in the order of the numbers. Raises DatasetError where the splits are ambiguous.
        """
        if not any(self.splits.values()):
            self._split_by_folder(self.tree.root)
        named = sorted({split for split in self.splits.values() if split is not None}, key=str.encode)
        for path, split in self.splits.items() if named else ():
            if split is None:
                problem = f"no split: others have {', '.join(named)}"
                self.described[path] = replace(self.described[path], problem=self.described[path].problem or problem)
        listing.splits = tuple(named)
        if self.classes and all(_NUMBER.fullmatch(name) for name in self.classes):
            listing.classes = tuple(sorted(self.classes, key=int))
        for path, detail in self.missing.items():
            files.refuse(listing, path, Reason.ANNOTATION, detail)
        files.add_described(listing, map(self._in_split, sorted(self.described, key=str.encode)))
        listing.read |= self.used
        rest = set(self.tree.pictures()) - self.described.keys() - self.used
        files.add_misplaced(listing, rest, f"no row of {tables} names it; add one, or move it elsewhere")

    def _split_by_folder(self, root: Path) -> None:
        tops = {path.partition("/")[0] for path in self.described if "/" in path}
        if any("/" not in path for path in self.described):
            return
        for split in folder.splits(root, sorted(tops)):
            self.splits |= {path: split for path in self.described if path.startswith(f"{split}/")}

    def _in_split(self, path: str) -> tuple[str, str | None, Described]:
        """A picture with its split, with whose name the record's own begins."""
        split, described = self.splits[path], self.described[path]
        outside = split is not None and not path.startswith(f"{split}/")
        return path, split, replace(described, named=f"{split}/{path}") if outside else described


class Finder:
    """Finds the file that a row means, whose path may be incomplete."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)

    def anywhere(self, base: str, name: str) -> str | None:
        """As ``files.named``; else the one picture whose path ends with the name, which may lack its extension.

        Raises ValueError where several do.
        """
        found = files.named(self._paths, base, name)
        if found is not None or not name.strip("./\\"):
            return found
        sought = posixpath.normpath(name.replace("\\", "/"))
        last = sought.rpartition("/")[2]
        candidates = [
            path
            for path in self._by_name.get(last, ())
            if path == sought
            or path.endswith(f"/{sought}")
            or _bare(path) == sought
            or _bare(path).endswith(f"/{sought}")
        ]
        if len(candidates) > 1:
            shown = ", ".join(sorted(candidates)[:3])
            raise ValueError(f"ambiguous path: {name!r} may be {shown}; write the whole path")
        return candidates[0] if candidates else None

    @functools.cached_property
    def _by_name(self) -> Mapping[str, list[str]]:
        """Pictures by the last part of their path, with and without extension."""
        index: dict[str, list[str]] = {}
        for path in filter(is_picture, self._paths):
            for last in {path.rpartition("/")[2], _bare(path).rpartition("/")[2]}:
                index.setdefault(last, []).append(path)
        return index


def _bare(path: str) -> str:
    return posixpath.splitext(path)[0]


def read_table(found: Tree, path: str) -> str:
    """The text of a table. Raises DatasetError where it cannot be read, StorageError."""
    try:
        return found.read_text(path, max_bytes=MAX_TABLE_BYTES)
    except ValueError as error:
        raise DatasetError(f"{found.root}: {error}") from error
