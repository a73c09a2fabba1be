"""Images that a table or an annotation file names by their paths, and their way into a listing.

An image that is named but missing, one that is named twice, and one that is not named are each reported by name.
"""

import functools
import itertools
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from augment.errors import DatasetError, Reason
from augment.formats import files, folder
from augment.formats.format import Described, Listing
from augment.formats.tree import Tree, is_image

MAX_TABLE_BYTES = 2**30
"""Largest size of a table, which is read into memory; room for ten million rows."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(slots=True)
class TableImages:
    """Annotations from the tables of one dataset, by image; ``splits`` has None for images without a split in their
    rows.
    """

    tree: Tree
    described: dict[str, Described] = field(default_factory=dict)
    splits: dict[str, str | None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Files that are not images of records: the tables, and masks."""
    missing: dict[str, str] = field(default_factory=dict)
    """Missing files that rows name, and the problem."""
    classes: set[str] = field(default_factory=set)

    def add(self, path: str, described: Described, where: str, split: str | None = None) -> None:
        """Add a row's description of an image, or the problem that the image is named twice."""
        if path in self.described:
            problem = f"named twice: the second time in {where}"
            described = replace(self.described[path], problem=self.described[path].problem or problem)
            split = self.splits[path]
        self.described[path] = described
        self.splits[path] = split

    def fill(self, listing: Listing, tables: str) -> None:
        """Add all images to a listing; messages call the files that name images ``tables``.

        If rows name no split, it is that of the folders, by the rule of the folder format. Classes that are all numbers
        are in numerical order. Raises DatasetError if the splits are ambiguous.
        """
        if not any(self.splits.values()):
            self._split_by_folder(self.tree.root)
        named = sorted({split for split in self.splits.values() if split is not None}, key=str.encode)
        for path, split in self.splits.items() if named else ():
            if split is None:
                problem = f"no split: other rows have {', '.join(named)}"
                self.described[path] = replace(self.described[path], problem=self.described[path].problem or problem)
        listing.splits = tuple(named)
        if self.classes and all(_NUMBER.fullmatch(name) for name in self.classes):
            listing.classes = tuple(sorted(self.classes, key=int))
        for path, detail in self.missing.items():
            files.refuse(listing, path, Reason.ANNOTATION, detail)
        files.add_described(listing, map(self._in_split, sorted(self.described, key=str.encode)))
        listing.read |= self.used
        rest = set(self.tree.images()) - self.described.keys() - self.used
        files.add_misplaced(listing, rest, f"no row of {tables} names it; add one, or move it elsewhere")

    def _split_by_folder(self, root: Path) -> None:
        tops = {path.partition("/")[0] for path in self.described if "/" in path}
        if any("/" not in path for path in self.described):
            return
        for split in folder.splits(root, sorted(tops)):
            self.splits |= {path: split for path in self.described if path.startswith(f"{split}/")}

    def _in_split(self, path: str) -> tuple[str, str | None, Described]:
        """Return an image with its split, which begins the record's name."""
        split, described = self.splits[path], self.described[path]
        outside = split is not None and not path.startswith(f"{split}/")
        return path, split, replace(described, named=f"{split}/{path}") if outside else described


_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""Prefix that Label Studio adds to the name of an uploaded file."""


class Finder:
    """Finder of the file for a row whose path may be incomplete or from another machine."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)

    def by_last_parts(self, name: str, *, least: int = 1, split: str | None = None) -> str | None:
        """Return the one image that shares at least ``least`` last parts with a foreign path or URL, or None.

        Of several images with the same name, it is the one that shares most parts. Images in the folder of a split
        other than ``split`` are skipped. Raises ValueError if several are equally likely.
        """
        for parts in _spellings(name):
            shared: dict[int, list[str]] = {}
            for path in self._named(parts[-1], split):
                shared.setdefault(_num_shared(path.split("/"), parts), []).append(path)
            most = max(shared, default=0)
            if most >= least:
                return _single(name, shared[most])
        return None

    def uploaded(self, name: str, *, split: str | None = None) -> str | None:
        """Return the one image whose name differs only by Label Studio's prefix, on either side, or None.

        Raises ValueError if there are several.
        """
        for parts in _spellings(name):
            last = parts[-1]
            bare = _UPLOADED.sub("", last, count=1)
            names = () if last in self._by_name else (bare,) if bare != last else self._by_uploaded.get(last, ())
            found = [path for each in names for path in self._named(each, split)]
            if found:
                return _single(name, found)
        return None

    def _named(self, last: str, split: str | None) -> list[str]:
        """Return the images of this name, with its extension, that are not in a folder of another split."""
        paths = (path for path in self._by_name.get(last, ()) if path.rpartition("/")[2] == last)
        return [path for path in paths if not _is_of_another(path, split)]

    @functools.cached_property
    def _by_uploaded(self) -> Mapping[str, set[str]]:
        """Names of images with Label Studio's prefix, by the names without it."""
        index: dict[str, set[str]] = {}
        for last in self._by_name:
            if bare := _UPLOADED.match(last):
                index.setdefault(last[bare.end() :], set()).add(last)
        return index

    def anywhere(self, base: str, name: str) -> str | None:
        """Return what ``files.named`` finds, or else the one image whose path ends with the name (extension optional).

        Raises ValueError if there are several.
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
        """Images by the last part of their path, with and without extension."""
        index: dict[str, list[str]] = {}
        for path in filter(is_image, self._paths):
            for last in {path.rpartition("/")[2], _bare(path).rpartition("/")[2]}:
                index.setdefault(last, []).append(path)
        return index


def _spellings(name: str) -> Iterator[list[str]]:
    """Yield the parts of a path or URL: as written, without its escapes, without its query, of its query alone."""
    plain = unquote(name)
    for spelled in dict.fromkeys((name, plain, re.split("[?#]", plain)[0], plain.rpartition("=")[2])):
        parts = [part for part in re.split(r"[/\\]", spelled) if part not in {"", ".", ".."}]
        if parts:
            yield parts


def _single(name: str, found: Collection[str]) -> str:
    if len(found) > 1:
        raise ValueError(f"ambiguous path: {name!r} may be {', '.join(sorted(found)[:3])}; write the whole path")
    return next(iter(found))


def _is_of_another(path: str, split: str | None) -> bool:
    """True if a path is in a folder of another split. Three letters count: ``val2017`` and ``valid`` are equal."""
    own = "" if split is None else split.lower()
    if own not in files.SPLIT_NAMES:
        return False
    words = re.split("[^a-z]+", path.rpartition("/")[0].lower())
    return any(word in files.SPLIT_NAMES and word[:3] != own[:3] for word in words)


def _num_shared(ones: list[str], others: list[str]) -> int:
    """Return the number of last parts that two paths have in common."""
    pairs = zip(reversed(ones), reversed(others), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _bare(path: str) -> str:
    return posixpath.splitext(path)[0]


def read_table(found: Tree, path: str) -> str:
    """Return the text of a table. Raises DatasetError if it cannot be read, StorageError."""
    try:
        return found.read_text(path, max_bytes=MAX_TABLE_BYTES)
    except ValueError as error:
        raise DatasetError(f"{found.root}: {error}") from error
