"""COCO format: JSON files that list images, categories, and objects with boxes, masks and keypoints.

    annotations/instances_train2017.json   train2017/…                as COCO itself
    annotations/instances_train.json       images/train/…, train/…, images/…
    train/_annotations.coco.json           train/…                    as Roboflow exports it
    annotations.json                       next to its images

- **Files** are the ``*.json`` anywhere that are recognised as COCO's by their content. Panoptic files are left out, and
  so is ``stuff_*`` if there is another file for the split.
- **Splits.** A file's split is the word in its name that names one (``instances_val2017.json``: ``val``), or else that
  of its folders. If no file names a split, the dataset has none. It is an error if only some do.
- **Files of one split** are read together (``instances_…``, ``person_keypoints_…``, ``captions_…``). Objects with the
  same id, image and category are merged, with the members of both.
- **Images** are searched by ``file_name`` in the folders of the layouts above, next to the file and above it. The
  folder with most of a file's first images is chosen. The key is the path below it. A name that leads elsewhere is
  found by its last parts if they are unique in the dataset (``image_paths.Finder``), or else refused. An image that no
  file lists is refused.
- **Lost objects.** If objects belong to images that are not listed, the images without any object are refused, because
  the objects may be theirs.
- **Classes** are the categories in the order of their ids. Categories of one name are one class.
- **Written** are ``{split}/…`` and ``annotations/instances_{split}.json`` (without splits, the images and
  ``annotations.json`` in the root), keypoints included. Ids of images and annotations count from 1 over all splits.
  Categories keep their ids and members if the source was COCO, or else count from 1.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Any

from augment.datasets import keys
from augment.errors import DatasetError, Reason, RecordError
from augment.formats import evidence, files
from augment.formats.coco import index, write
from augment.formats.coco.index import ImageEntry, Indexed
from augment.formats.coco.objects import Categories, check_size, identity, is_caption, read
from augment.formats.files import SPLIT_NAMES, above, add_images, confined, named, refuse
from augment.formats.format import Described, FolderFormat, Listing, Output, OutputDataset, StreamedFile, WrittenFile
from augment.formats.shared import object_rules
from augment.formats.shared.image_paths import Finder
from augment.formats.tree import Tree, join
from augment.samples.annotations import Annotations

_KIND = re.compile(r"(instances|person_keypoints|captions|image_info|stuff|panoptic)[_-](.+)", re.IGNORECASE)
_LEFT_OUT = frozenset({"stuff", "panoptic"})
_YEAR = re.compile(r"[ _-]?(?:19|20)\d\d$")
_NOT_LETTERS = re.compile(r"[^a-z]+")
_NO_SPLIT = "default"
"""CVAT's name for the only part of a dataset."""

_FIRST_IMAGES = 50
_FOREIGN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
"""Beginning of a URL or of a Windows path."""


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One file: its path, its kind (``instances`` and so on, empty if its name has none) and its split.

    ``words`` are possible names of the folder of its images.
    """

    path: str
    kind: str
    split: str | None
    words: tuple[str, ...]


def find_annotation_files(tree: Tree) -> list[CocoFile]:
    """Return the files by split, those of instances first. Raises DatasetError if only some files have a split."""
    found = [_described(path) for path in tree.of_suffixes([".json"]) if _is_json(path) and _is_ours(tree, path)]
    with_things = {each.split for each in found if each.kind not in _LEFT_OUT}
    found = [
        each for each in found if each.kind not in _LEFT_OUT or (each.kind == "stuff" and each.split not in with_things)
    ]
    root = keys.printable(str(tree.root))
    if not found:
        raise DatasetError(
            f"{root} holds no COCO file (panoptic files are not read): put one into annotations/ "
            "(instances_train.json), or name another format"
        )
    loose = [each for each in found if each.split is None]
    if loose and len(loose) < len(found):
        other = next(each for each in found if each.split is not None)
        raise DatasetError(
            f"{root}: {keys.printable(loose[0].path)} names no split and {keys.printable(other.path)} does: rename the "
            "first (instances_train.json), ignore one of them (--ignore), or move it elsewhere"
        )
    return sorted(found, key=lambda each: (each.split or "", each.kind != "instances", each.path))


def folder_of_images(tree: Tree, finder: Finder, found: CocoFile, names: Iterable[str]) -> tuple[str, bool]:
    """Return the folder in which most of the file's first images exist by these names, and True.

    Otherwise return the usual folder with most of the images found by their last parts, and False.
    """
    folder = found.path.rpartition("/")[0]
    bases = [folder, *above(folder), ""]
    if evidence.is_structural(folder.rpartition("/")[2]):
        bases = [*bases[1:], folder]
    usual = [*found.words, *(f"images/{word}" for word in found.words)]
    usual += [*(f"{word}/images" for word in found.words), "images"]
    candidates = [join(base, each) for base in dict.fromkeys(bases) for each in (*usual, "")]
    candidates = [each.rstrip("/") for each in candidates]
    first = list(islice(names, _FIRST_IMAGES))

    def score(each: str) -> int:
        return sum(named(tree.paths, each, name) is not None for name in first)

    best = max(candidates, key=score)
    if score(best):
        return best, True
    known: list[str | None] = []
    for name in first:
        with suppress(ValueError):
            known.append(finder.by_last_parts(name, split=found.split) or finder.uploaded(name, split=found.split))
    return max(candidates, key=lambda each: sum(path.startswith(f"{each}/") for path in known if path)), False


def _is_json(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.lower().endswith(".json") and not name.startswith(".") and not files.OF_EXPANSION.fullmatch(name)


def _is_ours(tree: Tree, path: str) -> bool:
    """True if the content of a file is COCO's; in the usual folders any of COCO's lists is enough."""
    sign = evidence.sign_of(tree, path)
    if sign is not None and sign.format == Coco.name:
        return True
    folder = path.rpartition("/")[0]
    last = folder.rpartition("/")[2].lower()
    return (folder == "" or last == "annotations" or last in SPLIT_NAMES) and index.looks_like(tree.root / path)


def _described(path: str) -> CocoFile:
    folder, _, name = path.rpartition("/")
    stem = keys.without_extension(name)
    kind = _KIND.fullmatch(stem)
    if kind is not None and kind[2].lower() != _NO_SPLIT:
        word = kind[2]
        split = _YEAR.sub("", word) or word
        return CocoFile(path, kind[1].lower(), split, tuple(dict.fromkeys((word, split))))
    word = next((each for each in _NOT_LETTERS.split(stem.lower()) if each in SPLIT_NAMES), "")
    split = word or files.split_of(reversed(folder.split("/")))
    if kind is not None:
        return CocoFile(path, kind[1].lower(), split, (_NO_SPLIT,))
    return CocoFile(path, "", split, tuple(dict.fromkeys(filter(None, (stem if word else "", word or split)))))


class Coco(FolderFormat):
    """COCO: JSON files that list images, categories and objects."""

    name = "coco"
    writes = frozenset({"boxes", "instance_masks", "keypoints"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if a JSON file begins like COCO's."""
        return evidence.has(tree, self.name, filter(_is_json, tree.of_suffixes([".json"])))

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """Add the images that the files list; opens no image. Raises DatasetError, StorageError."""
        found = find_annotation_files(tree)
        listing.read.update(each.path for each in found)
        indexed = [index.index_file(each.path, index.read_text(tree, each.path)) for each in found]
        categories = write.united(indexed)
        has_images = any(each.entries for each in indexed)
        for each in indexed:
            if not each.entries and (each.lost is not None or not has_images):
                raise DatasetError(
                    f"{keys.printable(str(tree.root))}: {keys.printable(each.path)} lists no image: put the list of "
                    "images into it, or ignore it (--ignore)"
                )
        listing.classes = tuple(dict.fromkeys(each["name"] for each in categories))
        listing.keypoint_names = tuple(dict.fromkeys(name for each in categories for name in each.get("keypoints", ())))
        listing.details = write.details(indexed, categories)
        listing.splits = tuple(dict.fromkeys(each.split for each in found if each.split is not None))
        finder = Finder(tree.images())
        parts = [
            _Part(of_file, each.split, *folder_of_images(tree, finder, each, of_file.entries))
            for each, of_file in zip(found, indexed, strict=True)
        ]
        paths = _Paths(tree, finder, parts)
        taken: dict[str, str | None] = {}
        for _, of_split in groupby(parts, key=lambda part: part.split):
            _add_split(listing, paths, list(of_split), Categories(categories), taken)
        if paths.elsewhere:
            name, path = paths.elsewhere[0]
            number = "1 image was" if len(paths.elsewhere) == 1 else f"{len(paths.elsewhere):,} images were"
            listing.notices.append(
                f"{number} found by name, because the listed path leads elsewhere (the first: {keys.printable(name)} "
                f"is {keys.printable(path)})"
            )
        for path in sorted(tree.images()):
            if path not in taken:
                refuse(listing, path, Reason.MISPLACED, "no COCO file lists it; add it to one, or move it elsewhere")

    def sidecars(self, output: Output, whole: OutputDataset) -> Sequence[WrittenFile]:
        """Return no files. Raises RecordError if the image's annotations cannot be written at the end."""
        said = output.annotations
        lacks = object_rules.lacking(said) or object_rules.without_class(said, whole.classes)
        if lacks is not None:
            raise RecordError(output.key, Reason.NOT_RENDERABLE, lacks)
        return ()

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Return one file for each split; see ``write``."""
        return write.files(outputs, whole)


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of one split and the folder of its images; ``is_layout`` is False if none is in a usual folder."""

    file: Indexed
    split: str | None
    folder: str
    is_layout: bool


class _Paths:
    """Finder of listed images: by the layout, or else by the last parts of a path that leads elsewhere."""

    def __init__(self, tree: Tree, finder: Finder, parts: Sequence[_Part]) -> None:
        self._tree = tree
        self._finder = finder
        self._exact: dict[str, _Part] = {}
        for part in parts:
            paths = (named(tree.paths, part.folder, name) for name in part.file.entries)
            self._exact |= {path: part for path in paths if path is not None and path not in self._exact}
        self.elsewhere: list[tuple[str, str]] = []
        """Names that led elsewhere, each with the path that was found."""

    def find(self, part: _Part, name: str) -> str | None:
        """Return the path of an image, or None. Raises ValueError if it is ambiguous."""
        path = named(self._tree.paths, part.folder, name)
        if path is not None:
            return path
        inside = confined(part.folder, name.replace("\\", "/"))
        if inside is None or _FOREIGN.match(name):
            path = self._finder.by_last_parts(name, split=part.split)
        elif not part.is_layout:
            least = min(2, len([each for each in re.split(r"[/\\]", name) if each not in {"", "."}]))
            path = self._finder.by_last_parts(name, least=least, split=part.split)
        path = path or self._finder.uploaded(name, split=part.split)
        if path is None:
            return None
        other = self._exact.get(path)
        if other is not None and (other.file is part.file or other.split != part.split):
            raise ValueError(f"ambiguous path: {name!r} may be {path}, which {other.file.path} lists by its own path")
        self.elsewhere.append((name, path))
        return path


def _add_split(
    listing: Listing,
    paths: _Paths,
    parts: Sequence[_Part],
    categories: Categories,
    taken: dict[str, str | None],
) -> None:
    split = parts[0].split
    prefix = "" if split is None else f"{split}/"
    images: dict[str, list[tuple[Indexed, ImageEntry]]] = {}
    for part in parts:
        if part.file.lost is not None:
            refuse(listing, part.file.path, Reason.ANNOTATION, part.file.lost)
        for name, entry in part.file.entries.items():
            try:
                path = paths.find(part, name)
            except ValueError as error:
                refuse(listing, f"{prefix}{name}", Reason.ANNOTATION, str(error))
                continue
            if path is None:
                _refuse_name(listing, part, f"{prefix}{name}", name)
            elif path in taken and path not in images:
                detail = f"it is in {taken[path]} too; take it out of one of them"
                refuse(listing, f"{prefix}{name}", Reason.MISPLACED, detail)
            else:
                taken[path] = split
                if any(other is part.file for other, _ in images.get(path, ())):
                    entry.problem = f"duplicate id: {part.file.path} lists {keys.printable(path)} under two names"
                images.setdefault(path, []).append((part.file, entry))
    folder = f"{parts[0].folder}/" if parts[0].folder else ""
    if len({part.folder for part in parts}) > 1 or not all(path.startswith(folder) for path in images):
        folder = ""
    num_lost = sum(part.file.num_lost for part in parts)

    def describe(path: str) -> Described:
        of_files = images[path]
        problem = next((entry.problem for _, entry in of_files if entry.problem is not None), None)
        if problem is None and num_lost and not any(len(entry.objects) > entry.num_captions for _, entry in of_files):
            lost = "1 object is" if num_lost == 1 else f"{num_lost:,} objects are"
            problem = f"objects lost: this image has none, and {lost} of images that are not listed"
        goes_by = f"{prefix}{path.removeprefix(folder)}"
        return Described(annotate=partial(_annotations, of_files, categories), named=goes_by, problem=problem)

    add_images(listing, images, split, describe)


def _refuse_name(listing: Listing, part: _Part, shown: str, name: str) -> None:
    if confined(part.folder, name.replace("\\", "/")) is None or _FOREIGN.match(name):
        detail = (
            f"leads elsewhere: {part.file.path} lists a path that leads out of the dataset, and no image in it has "
            "that name; write its path relative to the dataset"
        )
        refuse(listing, shown, Reason.ANNOTATION, detail)
    else:
        detail = f"{part.file.path} lists it, but there is no such file in {part.folder or 'the folder'}"
        refuse(listing, shown, Reason.UNREADABLE, detail)


def _annotations(
    parts: Sequence[tuple[Indexed, ImageEntry]], categories: Categories, height: int, width: int
) -> Annotations:
    image: dict[str, Any] = {}
    objects: dict[tuple[Any, ...], dict[str, Any]] = {}
    by_name: dict[str, tuple[str, frozenset[tuple[Any, ...]]]] = {}
    for indexed, entry in parts:
        of_file = indexed.image(entry)
        check_size(of_file, height, width)
        image = {**of_file, **image}
        by_id = {
            (identity(each.get("id")), None if is_caption(each) else identity(each.get("category_id"))): each
            for each in indexed.objects(entry)
        }
        copy, said = by_name.setdefault(indexed.path.rpartition("/")[2], (indexed.path, frozenset(by_id)))
        if said != by_id.keys():
            raise ValueError(f"duplicate id: {copy} and {indexed.path} list other objects; ignore one (--ignore)")
        for same, each in by_id.items():
            other = objects.setdefault(same, {})
            if each.get("bbox") and other.get("bbox") and each["bbox"] != other["bbox"]:
                raise ValueError(f"duplicate id: annotation {each.get('id')!r} has another bbox in {indexed.path}")
            other |= {member: value for member, value in each.items() if member not in other}
    says_boxes = any(indexed.says_boxes and indexed.categories for indexed, _ in parts)
    return read(list(objects.values()), image, categories, height=height, width=width, says_boxes=says_boxes)
