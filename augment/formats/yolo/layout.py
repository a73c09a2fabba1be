"""Images of each split of a YOLO dataset, and the names of their records; see ``format``."""

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

from augment.datasets import keys
from augment.errors import DatasetError, Reason
from augment.formats import evidence, files
from augment.formats.files import SPLIT_NAMES, above, confined, refuse, split_of
from augment.formats.format import Listing
from augment.formats.tree import Tree, is_image
from augment.formats.yolo.config import Config, read_names, read_yaml
from augment.formats.yolo.labels import Words

_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_NAMES = frozenset({"obj.names", "classes.txt", "classes.names", "_darknet.labels"})
_LISTS = ("train.txt", "training.txt", "val.txt", "valid.txt", "validation.txt", "test.txt")
_MAX_LIST_BYTES = 256 * 2**20
_MAX_DATA_BYTES = 64 * 2**10
_IMAGES = "images"
_LOOKED_AT = 20
"""Number of non-empty files of lines that are examined to recognise the format."""

_MOST_PARTS = 32
"""Number of last parts of another machine's path that are searched in the dataset."""

_DARKNET_FOLDER = "data"
"""First folder of darknet's paths, because darknet is started from the folder above it."""


def recognise(tree: Tree) -> bool:
    """Return True if there is a data.yaml, darknet's list of names, or a file of lines for an image."""
    if evidence.has(tree, "yolo", filter(_is_yaml, tree.of_suffixes([".yaml", ".yml"]))):
        return True
    lower = {name.lower() for name in tree.folders[0].files}
    if lower & (_NAMES - {"classes.txt"}) or any(name.endswith((".names", ".data")) for name in lower):
        return bool(tree.of_suffixes([".txt"]))
    below = set(filter(_is_below_labels, tree.of_suffixes([".txt"])))
    filled = (path for path in sorted(label_files(tree) | below) if files.head(tree.root / path, 1))
    return evidence.has(tree, "yolo", islice(filled, _LOOKED_AT))


def config(tree: Tree) -> Config:
    """Return the dataset's description of itself. Raises DatasetError if there are several or it is invalid."""
    yamls = sorted(filter(_is_yaml, tree.paths))
    described = [path for path in yamls if path in _YAML]
    if not described:
        naming = [path for path in yamls if _says_names(tree, path)]
        described = [path for path in naming if "/" not in path] or naming
    if len(described) > 1:
        raise DatasetError(
            f"{_root(tree)} holds {' and '.join(map(keys.printable, described[:3]))}: give the folder of one dataset, "
            "or keep one of them, and call it data.yaml"
        )
    if described:
        return read_yaml(tree, described[0])
    return _darknet(tree)


def images(tree: Tree, found: Config, listing: Listing) -> dict[str | None, dict[str, str]]:
    """Return the images of each split by path, with their records' names relative to the split.

    Missing places are refused in ``listing``. Raises DatasetError if a place leads out of the root or all are missing.
    """
    if not found.places:
        return _by_folders(tree)
    finder = _Finder(tree, found)
    splits: dict[str | None, dict[str, str]] = {}
    missing = []
    for split, by_value in finder.places(listing).items():
        places = list(dict.fromkeys(place for place in by_value.values() if place is not None))
        for value, place in by_value.items():
            if place is None:
                missing.append(f"{split}: {keys.printable(value)}")
                detail = (
                    f"{found.file} names it as a place of {split}, but it is neither a folder nor a file of the dataset"
                )
                refuse(listing, f"{split}/{value}", Reason.UNREADABLE, detail)
        splits[split] = _named(finder.images_of(split, places, listing), places)
    if len(missing) == sum(map(len, found.places.values())):
        raise DatasetError(f"{found.file} names places that are not in {_root(tree)}: {'; '.join(missing[:3])}")
    return _without_only_split(splits, found)


def label_path(image: str) -> str:
    """Return the path of an image's lines: with ``labels`` for the last ``images``, or else next to the image."""
    front, found, rest = f"/{image}".rpartition(f"/{_IMAGES}/")
    path = f"{front}/labels/{rest}" if found else f"/{image}"
    return f"{keys.without_extension(path)[1:]}.txt"


def label_files(tree: Tree) -> set[str]:
    """Return the files of lines that belong to an image."""
    texts = set(tree.of_suffixes([".txt"]))
    return {label_path(image) for image in tree.images()} & texts if texts else texts


def lines_of_none(tree: Tree) -> list[str]:
    """Return the files of lines without an image, sorted; a folder ``labels`` or their content identifies them."""
    texts = set(tree.of_suffixes([".txt"])) - label_files(tree)
    return sorted(
        path
        for path in texts
        if not _lists_names(path) and (_is_below_labels(path) or evidence.has(tree, "yolo", [path]))
    )


def folders_of_classes(images: Iterable[str]) -> list[str]:
    """Return the folders of images that are neither splits nor structural."""
    parts = (part for path in images for part in path.split("/")[:-1])
    return sorted({part for part in parts if part.lower() not in SPLIT_NAMES and not evidence.is_structural(part)})


def files_of_dataset(tree: Tree, found: Config) -> set[str]:
    """Return the files that describe the dataset as a whole: its names, its splits and references to them."""
    return {path for path in tree.paths if _lists_names(path) or path in _LISTS or path.endswith(".data")} | {
        found.file
    }


def _is_yaml(path: str) -> bool:
    return path.lower().endswith((".yaml", ".yml"))


def _is_below_labels(path: str) -> bool:
    return "labels" in path.lower().split("/")[:-1]


def _says_names(tree: Tree, path: str) -> bool:
    """True if a YAML file names classes; ``nc`` alone is not enough, because the file of a model also has it."""
    said = evidence.words(keys.extension(path).lower(), files.head(tree.root / path, evidence.HEAD_BYTES))
    return "names" in said or evidence.has(tree, "yolo", [path])


def _root(tree: Tree) -> str:
    return keys.printable(str(tree.root))


def _darknet(tree: Tree) -> Config:
    labels = label_files(tree)
    listed = sorted(path for path in tree.paths if path.endswith(".data"))
    said = {} if not listed else _assignments(tree, listed[0])
    base = listed[0].rpartition("/")[0] if listed else ""
    named = _first(tree, [base, ""], said["names"]) if "names" in said else None
    names = [named] if named is not None else sorted(path for path in tree.paths - labels if _lists_names(path))
    words = [read_names(tree, path) for path in names]
    if any(each != words[0] for each in words):
        raise DatasetError(f"{_root(tree)}: {' and '.join(names[:3])} list different classes; keep one of them")
    keyed = {"train": "train", "valid": "val", "val": "val", "test": "test"}
    places = {keyed[key]: (value,) for key, value in said.items() if key in keyed}
    if not places:
        places = {path.removesuffix(".txt"): (path,) for path in _LISTS if path in tree.paths - labels}
    file = next(iter([*listed, *names, *(place for [place] in places.values())]), "")
    return Config(file, words[0] if words else Words(()), places)


def _lists_names(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name in _NAMES or name.endswith(".names")


def _assignments(tree: Tree, path: str) -> dict[str, str]:
    try:
        lines = tree.read_text(path, max_bytes=_MAX_DATA_BYTES).splitlines()
    except ValueError as error:
        raise DatasetError(str(error)) from error
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _candidates(root: str, bases: Iterable[str], value: str) -> Iterator[str]:
    """Yield the paths below the root that a path may mean, relative to one of these folders."""
    value = value.replace("\\", "/")
    value = value.rstrip("/") or value[:1] or "."
    if value.startswith("/"):
        if f"{posixpath.normpath(value)}/".startswith(f"{root}/"):
            yield posixpath.normpath(value)[len(root) + 1 :]
        return
    inside = value
    while inside.startswith("../"):
        inside = inside[3:]
    for base in bases:
        for each in (value, inside):  # the second is for Roboflow's ../train/images, relative to a neighbouring folder
            path = confined(base, each)
            if path is not None:
                yield path


def _shortened(there: Collection[str], bases: Collection[str], value: str) -> tuple[str, str] | None:
    """Return the foreign front of a path from another machine, and the rest, which exists here; or None.

    The longest rest is used. A front that exists here is not foreign.
    """
    parts = posixpath.normpath(value.replace("\\", "/")).split("/")
    for i in range(max(1, len(parts) - _MOST_PARTS), len(parts)):
        front, rest = "/".join(parts[:i]) or "/", "/".join(parts[i:])
        for base in bases if parts[i] != ".." else ():
            path = confined(base, rest)
            if path in there and path and confined(base, front) not in there:
                return front, path
    return None


def _first(tree: Tree, bases: Collection[str], value: str) -> str | None:
    """Return the file that a path in darknet's files means, or None."""
    exact = (path for path in _candidates(tree.root.as_posix(), bases, value) if path in tree.paths)
    shortened = _shortened(tree.paths, bases, value)
    return next(exact, None if shortened is None else shortened[1])


class _Finder:
    """Finder of the folders, lists and images that data.yaml (or its substitute) and its lists name.

    Paths from another machine, and those that begin with the dataset's own name, are searched by their ends. All those
    of one file must have the same front, so that two folders there are not taken for one here.
    """

    def __init__(self, tree: Tree, found: Config) -> None:
        self._tree = tree
        self._found = found
        self._root = tree.root.as_posix()
        self._folders = {""} | {folder for path in tree.paths for folder in above(path)}
        # ``path`` of data.yaml is used if it leads to a folder here; else it is from the author's machine
        base = _candidates(self._root, [found.folder], found.base) if found.base else ()
        self._bases = [*(path for path in base if path in self._folders), found.folder]

    def places(self, listing: Listing) -> dict[str, dict[str, str | None]]:
        """Return the path of each value of each split, or None if missing.

        Raises DatasetError if a value leads out of the root.
        """
        there = self._folders | self._tree.paths
        found: dict[str, dict[str, str | None]] = {split: {} for split in self._found.places}
        of_others: list[tuple[str, str, str, str]] = []
        for split, value in ((split, value) for split, values in self._found.places.items() for value in values):
            candidates = list(_candidates(self._root, self._bases, value))
            found[split][value] = next((path for path in candidates if path in there), None)
            if found[split][value] is None and not self._is_of_root(value):
                shortened = _shortened(there, [*self._bases, ""], value)
                if shortened is not None:
                    of_others.append((split, value, *shortened))
                elif not candidates:
                    raise DatasetError(
                        f"{self._found.file}: {split} leads out of the dataset's folder: "
                        f"{keys.printable(value)[:200]}; write it relative to {self._found.file}"
                    )
        fronts: dict[str, str] = {}
        for split, value, front, place in of_others:
            if not _overlaps(place, found):
                found[split][value] = place
                fronts[front] = f"{split}: {keys.printable(value)[:200]}"
        if len(fronts) > 1:
            raise DatasetError(
                f"{self._found.file} names places of different folders, which are not here: "
                f"{' and '.join(list(fronts.values())[:3])}; write them relative to {self._found.file}"
            )
        self._notice(listing, self._found.file, *fronts)
        return found

    def images_of(self, split: str, places: Iterable[str], listing: Listing) -> dict[str, str | None]:
        """Return the images in these folders and lists, each with its folder, or None if it is from a list."""
        of: dict[str, str | None] = {}
        for place in places:
            if place in self._tree.paths and not is_image(place):
                listing.read.add(place)
                for path in self._listed(split, place, listing):
                    of.setdefault(path, None)
            elif place in self._tree.paths:
                of.setdefault(place, None)
            else:
                for path in self._tree.below(place):
                    if is_image(path):
                        of.setdefault(path, place)
        return of

    def _listed(self, split: str, place: str, listing: Listing) -> Iterator[str]:
        try:
            text = self._tree.read_text(place, max_bytes=_MAX_LIST_BYTES)
        except ValueError as error:
            raise DatasetError(f"{split} of {self._found.file}: {error}") from error
        bases = [place.rpartition("/")[0], *self._bases, ""]
        known: str | None = None
        for line in dict.fromkeys(each.strip() for each in text.split("\n")):
            if not line:
                continue
            candidates = list(_candidates(self._root, bases, line))
            path = next((each for each in candidates if each in self._tree.paths), None)
            if path is None and not self._is_of_root(line):
                front, rest = _shortened(self._tree.paths, bases, line) or (None, None)
                if front is not None and known in {None, front}:
                    known, path = front, rest
            if path is not None:
                yield path
            elif not candidates or confined("", line) is None:
                detail = f"leads elsewhere: {place} lists a path that leads out of the dataset; write it relative to it"
                refuse(listing, f"{split}/{line[:1000]}", Reason.ANNOTATION, detail)
            else:
                detail = f"{place} lists it, but there is no such file"
                refuse(listing, f"{split}/{line[:1000]}", Reason.UNREADABLE, detail)
        self._notice(listing, place, *([known] if known is not None else []))

    def _is_of_root(self, value: str) -> bool:
        return f"{posixpath.normpath(value)}/".startswith(f"{self._root}/")

    def _notice(self, listing: Listing, file: str, *fronts: str) -> None:
        for front in fronts:
            if front != _DARKNET_FOLDER:
                listing.notices.append(
                    f"{keys.printable(file)} names paths that begin with {keys.printable(front)[:200]}, which is not "
                    "in the dataset; the rest of each path was searched in it"
                )


def _overlaps(place: str, found: Mapping[str, Mapping[str, str | None]]) -> bool:
    """True if a place equals, contains or is inside one of those found."""
    others = (other for by_value in found.values() for other in by_value.values() if other is not None)
    return any(f"{place}/".startswith(f"{other}/") or f"{other}/".startswith(f"{place}/") for other in others)


def _named(of: Mapping[str, str | None], places: list[str]) -> dict[str, str]:
    """Return each record's name: the path below its only folder, or else the path after ``images``."""
    if len(places) == 1 and all(folder is not None for folder in of.values()):
        prefix = f"{places[0]}/" if places[0] else ""
        names = {path: path.removeprefix(prefix) for path in of}
        behind = f"{_IMAGES}/"
        if all(name.startswith(behind) for name in names.values()):
            names = {path: name.removeprefix(behind) for path, name in names.items()}
        return names
    fronts = {f"/{path}".rpartition(f"/{_IMAGES}/")[0] for path in of}
    if len(fronts) == 1:
        return {path: f"/{path}".rpartition(f"/{_IMAGES}/")[2].removeprefix("/") for path in of}
    return {path: path for path in of}


def _without_only_split(splits: dict[str | None, dict[str, str]], found: Config) -> dict[str | None, dict[str, str]]:
    """Drop the only split if its place does not have a split's name: datasets without splits are written that way."""
    if len(splits) == 1:
        [(split, values)] = found.places.items()
        parts = {part.lower() for value in values for part in value.replace(".txt", "").split("/")}
        if not parts & SPLIT_NAMES:
            return {None: splits[split]}
    return splits


def _by_folders(tree: Tree) -> dict[str | None, dict[str, str]]:
    """Return all images, with splits from folder names if there are two splits or every image is in one.

    Then images in none of them are left out.
    """
    of = {path: split_of(path.split("/")[:-1]) for path in tree.images()}
    splits: dict[str | None, dict[str, str]] = {}
    if None in of.values() and len(set(of.values())) <= 2:
        return {None: _named(dict.fromkeys(of), [])}
    for path, split in of.items():
        if split is None:
            continue
        parts = [part for part in path.split("/")[:-1] if part not in {split, _IMAGES}]
        splits.setdefault(split, {})[path] = "/".join([*parts, path.rpartition("/")[2]])
    for split, names in splits.items():
        if len(set(names.values())) < len(names):
            splits[split] = {path: path for path in names}
    return splits
