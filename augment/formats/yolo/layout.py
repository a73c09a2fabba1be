"""Images of each split of a YOLO dataset, and the names of their records; see ``format``."""

import posixpath
from collections.abc import Iterable, Iterator, Mapping

from augment.datasets import keys
from augment.errors import DatasetError, Reason
from augment.formats import evidence
from augment.formats.files import SPLIT_NAMES, confined, refuse, split_of
from augment.formats.format import Listing
from augment.formats.tree import Tree, is_picture
from augment.formats.yolo.config import Config, read_names, read_yaml

_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_NAMES = frozenset({"obj.names", "classes.txt", "classes.names", "_darknet.labels"})
_LISTS = ("train.txt", "training.txt", "val.txt", "valid.txt", "validation.txt", "test.txt")
_MAX_LIST_BYTES = 256 * 2**20
_MAX_DATA_BYTES = 64 * 2**10
_IMAGES = "images"


def recognise(tree: Tree) -> bool:
    """Return True if there is a data.yaml, darknet's list of names, or a file of lines for an image."""
    top = tree.folders[0].files
    if evidence.has(tree, "yolo", (name for name in top if name.lower().endswith((".yaml", ".yml")))):
        return True
    lower = {name.lower() for name in top}
    if lower & (_NAMES - {"classes.txt"}) or any(name.endswith((".names", ".data")) for name in lower):
        return any(path.lower().endswith(".txt") for path in tree.paths)
    labels = {label_path(picture) for picture in tree.pictures()}
    return evidence.has(tree, "yolo", labels & tree.paths)


def config(files: Tree) -> Config:
    """What the dataset says of itself. Raises DatasetError where it says nothing, or several things."""
    described = [path for path in _YAML if path in files.paths]
    if not described:
        described = sorted(path for path in files.paths if "/" not in path and path.lower().endswith((".yaml", ".yml")))
    if len(described) > 1:
        raise DatasetError(f"{_root(files)} holds {' and '.join(described[:3])}: keep one, and call it data.yaml")
    if described:
        return read_yaml(files, described[0])
    return _darknet(files)


def pictures(files: Tree, found: Config, listing: Listing) -> dict[str | None, dict[str, str]]:
    """The pictures of each split by their paths, with the names that their records go by, less the split.

    What is named and is not there is refused in ``listing``. Raises DatasetError where a place leads out of the root,
    or none is there.
    """
    if not found.places:
        return _by_folders(files)
    splits: dict[str | None, dict[str, str]] = {}
    missing = []
    for split, values in found.places.items():
        places = {place: value for value in values if (place := _place(files, found, split, value)) is not None}
        for value in values:
            if value not in places.values():
                missing.append(f"{split}: {keys.printable(value)}")
                detail = f"{found.file} names it as a place of {split}, but there is no picture and no list of them"
                refuse(listing, f"{split}/{value}", Reason.UNREADABLE, detail)
        splits[split] = _named(_of_places(files, found, split, places, listing), list(places))
    if len(missing) == sum(map(len, found.places.values())):
        raise DatasetError(f"{found.file} names places that are not in {_root(files)}: {'; '.join(missing[:3])}")
    return _without_only_split(splits, found)


def label_path(picture: str) -> str:
    """Where a picture's lines are: the last ``images`` on its way becomes ``labels``; without one, beside it."""
    head, images, tail = f"/{picture}".rpartition(f"/{_IMAGES}/")
    path = f"{head}/labels/{tail}" if images else f"/{picture}"
    return f"{keys.without_extension(path)[1:]}.txt"


def lines_of_none(files: Tree, pictures: Iterable[str]) -> list[str]:
    """Files of lines, which lie below a folder ``labels``, that belong to none of the pictures; sorted."""
    known = {label_path(picture) for picture in pictures}
    return sorted(
        path
        for path in files.paths
        if path not in known
        and path.lower().endswith(".txt")
        and "labels" in path.lower().split("/")[:-1]
        and not _lists_names(path)
    )


def files_of_dataset(files: Tree, found: Config) -> set[str]:
    """Return the files that describe the dataset as a whole: its names, its splits and what points to them."""
    places = (_place(files, found, split, value) for split, values in found.places.items() for value in values)
    lists = {place for place in places if place is not None and place in files.paths and not is_picture(place)}
    known = {path for path in files.paths if _lists_names(path) or path in _LISTS or path.endswith(".data")}
    return known | lists | {found.file}


def _root(files: Tree) -> str:
    return keys.printable(str(files.root))


def _darknet(files: Tree) -> Config:
    listed = sorted(path for path in files.paths if path.endswith(".data"))
    said = {} if not listed else _assignments(files, listed[0])
    base = listed[0].rpartition("/")[0] if listed else ""
    named = _look_up(files, base, said["names"]) if "names" in said else None
    names = [named] if named is not None else sorted(path for path in files.paths if _lists_names(path))
    words = [read_names(files, path) for path in names]
    if not words:
        raise DatasetError(
            f"{_root(files)} has no data.yaml and no list of classes (obj.names, classes.txt): add a data.yaml with "
            "the keys names, train and val"
        )
    if any(each != words[0] for each in words):
        raise DatasetError(f"{_root(files)}: {' and '.join(names[:3])} list different classes; keep one of them")
    keyed = {"train": "train", "valid": "val", "val": "val", "test": "test"}
    places = {keyed[key]: (value,) for key, value in said.items() if key in keyed}
    if not places:
        places = {path.removesuffix(".txt"): (path,) for path in _LISTS if path in files.paths}
    return Config(listed[0] if listed else names[0], words[0], places)


def _lists_names(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name in _NAMES or name.endswith(".names")


def _assignments(files: Tree, path: str) -> dict[str, str]:
    try:
        lines = files.read_text(path, max_bytes=_MAX_DATA_BYTES).splitlines()
    except ValueError as error:
        raise DatasetError(str(error)) from error
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _candidates(files: Tree, bases: Iterable[str], value: str) -> Iterator[str]:
    """Where a path may lead that is written relative to one of these folders; nowhere that is not below the root."""
    value = value.replace("\\", "/")
    value = value.rstrip("/") or value[:1] or "."
    root = files.root.as_posix()
    if value.startswith("/"):
        if f"{posixpath.normpath(value)}/".startswith(f"{root}/"):
            yield posixpath.normpath(value)[len(root) + 1 :]
        return
    inside = value
    while inside.startswith("../"):
        inside = inside[3:]
    for base in bases:
        for each in (value, inside):  # the second as Roboflow writes it: ../train/images, from beside the folder
            path = confined(base, each)
            if path is not None:
                yield path


def _place(files: Tree, found: Config, split: str, value: str) -> str | None:
    """The folder or the list that is meant; None where there is none. DatasetError where it leads out of the root."""
    bases = list(_bases(files, found))
    candidates = list(_candidates(files, bases, value))
    if found.file.endswith(".data"):  # darknet is called from the folder above: data/train.txt
        candidates += list(_candidates(files, bases, value.partition("/")[2]))
    if not candidates:
        raise DatasetError(
            f"{found.file}: {split} leads out of the dataset's folder: {keys.printable(value)[:200]}; write it "
            f"relative to {found.file}"
        )
    return next((path for path in candidates if path in files.paths or any(files.below(path))), None)


def _bases(files: Tree, found: Config) -> Iterator[str]:
    """What paths are relative to: the ``path`` of data.yaml where that is a folder inside of the root; else its own.

    Elsewhere ``path`` is a folder on the machine of whoever wrote it, and the folder that was given stands for it.
    """
    if found.base:
        yield from (path for path in _candidates(files, [found.folder], found.base) if any(files.below(path)))
    yield found.folder


def _look_up(files: Tree, base: str, value: str) -> str | None:
    several = [*_candidates(files, [base], value), *_candidates(files, [base], value.partition("/")[2])]
    return next((path for path in several if path in files.paths), None)


def _of_places(
    files: Tree, found: Config, split: str, places: Iterable[str], listing: Listing
) -> dict[str, str | None]:
    """The pictures in these folders and lists, each with the folder it was found in; None for those of a list."""
    of: dict[str, str | None] = {}
    for place in places:
        if place in files.paths and not is_picture(place):
            for path in _listed(files, found, split, place, listing):
                of.setdefault(path, None)
        elif place in files.paths:
            of.setdefault(place, None)
        else:
            for path in files.below(place):
                if is_picture(path):
                    of.setdefault(path, place)
    return of


def _listed(files: Tree, found: Config, split: str, place: str, listing: Listing) -> Iterator[str]:
    try:
        text = files.read_text(place, max_bytes=_MAX_LIST_BYTES)
    except ValueError as error:
        raise DatasetError(f"{split} of {found.file}: {error}") from error
    bases = [place.rpartition("/")[0], *_bases(files, found), ""]
    for line in dict.fromkeys(each.strip() for each in text.split("\n")):
        if not line:
            continue
        candidates = [*_candidates(files, bases, line), *_candidates(files, bases, line.partition("/")[2])]
        path = next((each for each in candidates if each in files.paths), None)
        if path is not None:
            yield path
        elif not candidates or confined("", line) is None:
            detail = f"leads elsewhere: {place} lists a path that leads out of the dataset; write it relative to it"
            refuse(listing, f"{split}/{line[:1000]}", Reason.ANNOTATION, detail)
        else:
            refuse(listing, f"{split}/{line[:1000]}", Reason.UNREADABLE, f"{place} lists it, but there is no such file")


def _named(of: Mapping[str, str | None], places: list[str]) -> dict[str, str]:
    """What each record goes by: of one folder, the path in it; else what stands behind ``images`` on the way."""
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
    """No splits where there is but one place, whose name is no split's: what a dataset without splits is written as."""
    if len(splits) == 1:
        [(split, values)] = found.places.items()
        parts = {part.lower() for value in values for part in value.replace(".txt", "").split("/")}
        if not parts & SPLIT_NAMES:
            return {None: splits[split]}
    return splits


def _by_folders(files: Tree) -> dict[str | None, dict[str, str]]:
    """All pictures; the splits are the folders that have the name of one, where every picture lies in such a folder."""
    of = {path: split_of(path.split("/")[:-1]) for path in files.pictures()}
    splits: dict[str | None, dict[str, str]] = {}
    if None in of.values():
        return {None: _named(dict.fromkeys(of), [])}
    for path, split in of.items():
        parts = [part for part in path.split("/")[:-1] if part not in {split, _IMAGES}]
        splits.setdefault(split, {})[path] = "/".join([*parts, path.rpartition("/")[2]])
    for split, names in splits.items():
        if len(set(names.values())) < len(names):
            splits[split] = {path: path for path in names}
    return splits
