"""The COCO format: JSON files that list images, categories, and objects with boxes, masks and keypoints.

    annotations/instances_train2017.json   train2017/…                as COCO itself
    annotations/instances_train.json       images/train/…, train/…, images/…
    train/_annotations.coco.json           train/…                    as Roboflow exports it
    annotations.json                       next to its images

- **Files** are the ``*.json`` in the root, in ``annotations/`` and in folders with the name of a split, if they hold a
  list of images, annotations or categories. Panoptic files are left out, and so is ``stuff_*`` if there is another file
  for the split.
- **Splits.** A file's split is the word in its name that names one (``instances_val2017.json``: ``val``), else that of
  its folder. Files without one are one dataset without splits, or an error if other files have one.
- **Files of one split** are read together (``instances_…``, ``person_keypoints_…``, ``captions_…``): objects with the
  same id, image and category are one, with the members of both.
- **Images** are looked for by their ``file_name`` in the file's folder and in the folders of the layouts above; the
  folder that has most of a file's first images is taken. The key is the ``file_name``. A name that leads out of the
  dataset's folder, or to nothing, is refused; so is an image that no file lists.
- **Classes** are the categories in the order of their ids. Categories of one name are one class.
- **Written** are ``{split}/…`` and ``annotations/instances_{split}.json`` (without splits, the images and
  ``annotations.json`` in the root), keypoints included. Ids of images and annotations are running numbers from 1 over
  all splits; categories keep their ids and members if the source was COCO, else they count from 1.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Any

from augment.datasets import keys
from augment.errors import DatasetError, Reason, RecordError
from augment.formats import evidence, files
from augment.formats.coco import index, write
from augment.formats.coco.index import Entry, Indexed
from augment.formats.coco.objects import Categories, check_size, read
from augment.formats.files import SPLIT_NAMES, add_pictures, confined, named, refuse
from augment.formats.format import Described, FolderFormat, Listing, Output, StreamedFile, Whole, WrittenFile
from augment.formats.shared import object_rules
from augment.formats.tree import Tree, join
from augment.samples.annotations import Annotations

_KIND = re.compile(r"(instances|person_keypoints|captions|image_info|stuff)[_-](.+)", re.IGNORECASE)
_YEAR = re.compile(r"[ _-]?(?:19|20)\d\d$")
_NOT_LETTERS = re.compile(r"[^a-z]+")
_NO_SPLIT = "default"
"""What CVAT calls the only part of a dataset."""

_MOST_LOOKED_AT = 50
"""Files whose beginning is read before a folder is taken for another format's: some write one JSON file a picture."""

_FIRST_PICTURES = 50


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One file: its path, what it holds (``instances`` and so on, empty where its name does not say) and its split.

    ``words`` are what the folder of its pictures may be called by.
    """

    path: str
    kind: str
    split: str | None
    words: tuple[str, ...]


def find_annotation_files(files: Tree) -> list[CocoFile]:
    """The files, by split; of one split those of instances first. Raises DatasetError where some are of no split."""
    found = [
        _described(path)
        for path in sorted(files.paths)
        if _is_annotation_file(path) and index.looks_like(files.root / path)
    ]
    with_things = {each.split for each in found if each.kind != "stuff"}
    found = [each for each in found if each.kind != "stuff" or each.split not in with_things]
    root = keys.printable(str(files.root))
    if not found:
        raise DatasetError(
            f"{root} holds no COCO file: put one into annotations/ (instances_train.json), or name another format"
        )
    loose = [each for each in found if each.split is None]
    if loose and len(loose) < len(found):
        other = next(each for each in found if each.split is not None)
        raise DatasetError(
            f"{root}: {keys.printable(loose[0].path)} names no split and {keys.printable(other.path)} does: rename the "
            "first (instances_train.json), or move it elsewhere"
        )
    return sorted(found, key=lambda each: (each.split or "", each.kind != "instances", each.path))


def folder_of_pictures(files: Tree, described: CocoFile, names: Iterable[str]) -> str:
    """The folder below which most of the first pictures of a file lie by these names."""
    folder = described.path.rpartition("/")[0]
    base = folder.rpartition("/")[0] if folder.rpartition("/")[2].lower() == "annotations" else folder
    candidates = [join(base, word) for word in described.words]
    candidates += [join(base, f"images/{word}") for word in described.words]
    candidates += [join(base, "images"), folder, base, ""]
    first = list(islice(names, _FIRST_PICTURES))
    return max(candidates, key=lambda each: sum(named(files.paths, each, name) is not None for name in first))


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json") and not name.startswith(".") and not files.OF_EXPANSION.fullmatch(name)


def _is_annotation_file(path: str) -> bool:
    """True if a file is in one of the usual places and may be of objects or captions."""
    folder, _, name = path.rpartition("/")
    last = folder.rpartition("/")[2].lower()
    return (
        _is_json(name)
        and (folder == "" or last == "annotations" or last in SPLIT_NAMES)
        and not name.lower().startswith("panoptic")
    )


def _described(path: str) -> CocoFile:
    folder, _, name = path.rpartition("/")
    stem = keys.without_extension(name)
    kind = _KIND.fullmatch(stem)
    if kind is not None and kind[2].lower() != _NO_SPLIT:
        word = kind[2]
        split = _YEAR.sub("", word) or word
        return CocoFile(path, kind[1].lower(), split, tuple(dict.fromkeys((word, split))))
    word = next((each for each in _NOT_LETTERS.split(stem.lower()) if each in SPLIT_NAMES), "")
    last = folder.rpartition("/")[2]
    split = word or (last if last.lower() in SPLIT_NAMES else None)
    if kind is not None:
        return CocoFile(path, kind[1].lower(), split, (_NO_SPLIT,))
    return CocoFile(path, "", split, tuple(dict.fromkeys((stem, word))) if word else ())


class Coco(FolderFormat):
    """COCO: JSON files that list images, categories and objects."""

    name = "coco"
    writes = frozenset({"boxes", "instance_masks", "keypoints"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if a JSON file in one of the usual places begins as COCO's do."""
        return evidence.has(tree, self.name, filter(_is_annotation_file, tree.paths))

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the pictures that the files list; opens no picture. Raises DatasetError, StorageError."""
        files = tree
        found = find_annotation_files(files)
        listing.read.update(each.path for each in found)
        indexed = [index.index_file(each.path, index.read_text(files, each.path)) for each in found]
        categories = write.united(indexed)
        listing.classes = tuple(dict.fromkeys(each["name"] for each in categories))
        listing.keypoint_names = tuple(dict.fromkeys(name for each in categories for name in each.get("keypoints", ())))
        listing.details = write.details(indexed, categories)
        listing.splits = tuple(dict.fromkeys(each.split for each in found if each.split is not None))
        taken: dict[str, str | None] = {}
        for split, some in groupby(zip(found, indexed, strict=True), key=lambda pair: pair[0].split):
            parts = [(of_file, folder_of_pictures(files, each, of_file.entries)) for each, of_file in some]
            _add_split(listing, files, split, parts, Categories(categories), taken)
        for path in sorted(files.pictures()):
            if path not in taken:
                refuse(listing, path, Reason.MISPLACED, "no COCO file lists it; add it to one, or move it elsewhere")

    def sidecars(self, output: Output, whole: Whole) -> Sequence[WrittenFile]:
        """None. Raises RecordError where the picture's annotations cannot be written at the end."""
        said = output.annotations
        lacks = object_rules.lacking(said) or object_rules.without_class(said, whole.classes)
        if lacks is not None:
            raise RecordError(output.key, Reason.NOT_RENDERABLE, lacks)
        return ()

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:
        """One file for each split; see ``write``."""
        return write.files(outputs, whole)


_Part = tuple[Indexed, Entry]


def _add_split(
    listing: Listing,
    files: Tree,
    split: str | None,
    parts: Sequence[tuple[Indexed, str]],
    categories: Categories,
    taken: dict[str, str | None],
) -> None:
    prefix = "" if split is None else f"{split}/"
    one_folder = len({folder for _, folder in parts}) == 1
    pictures: dict[str, tuple[str, list[_Part]]] = {}
    for indexed, folder in parts:
        for detail in indexed.refused:
            refuse(listing, indexed.path, Reason.ANNOTATION, detail)
        for name, entry in indexed.entries.items():
            path = named(files.paths, folder, name)
            if path is None:
                _refuse_name(listing, indexed, folder, prefix, name)
            elif path in taken and path not in pictures:
                detail = f"it is in {taken[path]} too; take it out of one of them"
                refuse(listing, f"{prefix}{name}", Reason.MISPLACED, detail)
            else:
                taken[path] = split
                inside = path.removeprefix(f"{folder}/") if one_folder and folder else path
                if any(other is indexed for other, _ in pictures.get(path, ("", ()))[1]):
                    entry.problem = f"duplicate id: {indexed.path} lists {keys.printable(path)} by two names"
                pictures.setdefault(path, (f"{prefix}{inside}", []))[1].append((indexed, entry))

    def describe(path: str) -> Described:
        goes_by, of_files = pictures[path]
        problem = next((entry.problem for _, entry in of_files if entry.problem is not None), None)
        return Described(annotate=partial(_annotations, of_files, categories), named=goes_by, problem=problem)

    add_pictures(listing, pictures, split, describe)


def _refuse_name(listing: Listing, indexed: Indexed, folder: str, prefix: str, name: str) -> None:
    path = confined(folder, name)
    if path is None:
        detail = f"leads elsewhere: {indexed.path} lists a path that leads out of the dataset; write it relative to it"
        refuse(listing, f"{prefix}{name}", Reason.ANNOTATION, detail)
    else:
        detail = f"{indexed.path} lists it, but there is no such file in {folder or 'the folder'}"
        refuse(listing, f"{prefix}{name}", Reason.UNREADABLE, detail)


def _annotations(parts: Sequence[_Part], categories: Categories, height: int, width: int) -> Annotations:
    image: dict[str, Any] = {}
    objects: dict[tuple[Any, Any], dict[str, Any]] = {}
    for indexed, entry in parts:
        of_file = indexed.image(entry)
        check_size(of_file, height, width)
        image = {**of_file, **image}
        for each in indexed.objects(entry):
            same = (each.get("id"), each.get("category_id"))
            objects[same] = {**each, **objects.get(same, {})}
    says_boxes = any(indexed.says_boxes and indexed.categories for indexed, _ in parts)
    return read(list(objects.values()), image, categories, height=height, width=width, says_boxes=says_boxes)
