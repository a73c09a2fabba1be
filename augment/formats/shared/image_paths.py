"""Images that a table or an annotation file names by their paths: from what it says to a listing.

An image that is named but not there, one that is named twice, and one that lies there without being named are each
told by name: none of the three vanishes in silence.
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
"""A table of ten million rows; it is read into memory."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(slots=True)
class TableImages:
    """What tables say of the images of one dataset; ``splits`` has None for those of which they say none."""

    tree: Tree
    described: dict[str, Described] = field(default_factory=dict)
    splits: dict[str, str | None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Files that are no images of their own: the tables, and masks."""
    missing: dict[str, str] = field(default_factory=dict)
    """What rows name that is not there, and the problem."""
    classes: set[str] = field(default_factory=set)

    def add(self, path: str, described: Described, where: str, split: str | None = None) -> None:
        """Note what a row says of an image; of one that is named before, that it is named twice."""
        if path in self.described:
            problem = f"named twice: the second time in {where}"
            described = replace(self.described[path], problem=self.described[path].problem or problem)
            split = self.splits[path]
        self.described[path] = described
        self.splits[path] = split

    def fill(self, listing: Listing, tables: str) -> None:
        """Add all of it to a listing. ``tables`` is what messages call the files that name images.

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
        rest = set(self.tree.images()) - self.described.keys() - self.used
        files.add_misplaced(listing, rest, f"no row of {tables} names it; add one, or move it elsewhere")

    def _split_by_folder(self, root: Path) -> None:
        tops = {path.partition("/")[0] for path in self.described if "/" in path}
        if any("/" not in path for path in self.described):
            return
        for split in folder.splits(root, sorted(tops)):
            self.splits |= {path: split for path in self.described if path.startswith(f"{split}/")}

    def _in_split(self, path: str) -> tuple[str, str | None, Described]:
        """An image with its split, with whose name the record's own begins."""
        split, described = self.splits[path], self.described[path]
        outside = split is not None and not path.startswith(f"{split}/")
        return path, split, replace(described, named=f"{split}/{path}") if outside else described


_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio writes before the name of a file that was uploaded."""


class Finder:
    """Finds the file that a row means, whose path may be incomplete or that of another machine."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)

    def by_last_parts(self, name: str, *, least: int = 1, split: str | None = None) -> str | None:
        """Return the one image that shares the last parts with a path or URL of elsewhere, at least so many, or None.

        Of several with the same name it is the one that shares more parts than the others. None of them is in the
        folder of another split than ``split``. Raises ValueError if several are as likely.
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
        """Return the one image whose name differs by the prefix of Label Studio, which either may have, or None.

        Raises ValueError if several do.
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
        """The images of this name, with its extension, that are in no folder of another split."""
        paths = (path for path in self._by_name.get(last, ()) if path.rpartition("/")[2] == last)
        return [path for path in paths if not _is_of_another(path, split)]

    @functools.cached_property
    def _by_uploaded(self) -> Mapping[str, set[str]]:
        """Names of images with Label Studio's prefix by the names without it."""
        index: dict[str, set[str]] = {}
        for last in self._by_name:
            if bare := _UPLOADED.match(last):
                index.setdefault(last[bare.end() :], set()).add(last)
        return index

    def anywhere(self, base: str, name: str) -> str | None:
        """As ``files.named``; else the one image whose path ends with the name, which may lack its extension.

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
        """Images by the last part of their path, with and without extension."""
        index: dict[str, list[str]] = {}
        for path in filter(is_image, self._paths):
            for last in {path.rpartition("/")[2], _bare(path).rpartition("/")[2]}:
                index.setdefault(last, []).append(path)
        return index


def _spellings(name: str) -> Iterator[list[str]]:
    """Yield the parts of a path or URL: as it stands, without its escapes, without its query, of its query alone."""
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
    """True if a path is in a folder of another split; ``val2017`` and ``valid`` are of one, so three letters count."""
    own = "" if split is None else split.lower()
    if own not in files.SPLIT_NAMES:
        return False
    words = re.split("[^a-z]+", path.rpartition("/")[0].lower())
    return any(word in files.SPLIT_NAMES and word[:3] != own[:3] for word in words)


def _num_shared(ones: list[str], others: list[str]) -> int:
    """The number of parts, from the last on, that two paths have in common."""
    pairs = zip(reversed(ones), reversed(others), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _bare(path: str) -> str:
    return posixpath.splitext(path)[0]


def read_table(found: Tree, path: str) -> str:
    """The text of a table. Raises DatasetError where it cannot be read, StorageError."""
    try:
        return found.read_text(path, max_bytes=MAX_TABLE_BYTES)
    except ValueError as error:
        raise DatasetError(f"{found.root}: {error}") from error
