"""The COCO format: JSON files that list pictures, categories, and objects with boxes, masks and keypoints.

    annotations/instances_train2017.json   train2017/…                as COCO itself
    annotations/instances_train.json       images/train/…, train/…, images/…
    train/_annotations.coco.json           train/…                    as Roboflow exports it
    annotations.json                       beside its pictures

- **Which files.** The ``*.json`` in the root, in ``annotations/`` and in folders with the name of a split, as far as
  they hold a list of images, annotations or categories. Panoptic files are left out, and ``stuff_*`` where there is
  another file for the split.
- **Splits.** A file's split is the word in its name that is one's (``instances_val2017.json``: ``val``), else that of
  its folder. Files without one are one dataset without splits, or an error beside files with one.
- **Files of one split** are read together (``instances_…``, ``person_keypoints_…``, ``captions_…``): objects with the
  same id, picture and category are one, with the members of both.
- **Pictures** are looked for by their ``file_name`` in the file's folder and in the folders that the layouts above
  have; the folder where most of a file's first pictures lie is the one. The key is the ``file_name``. A name that leads
  out of the dataset's folder, or to nothing, is refused; so is a picture that no file lists.
- **Classes** are the categories in the order of their ids. Categories of one name are one class.
- **Written** are ``{split}/…`` and ``annotations/instances_{split}.json`` (without splits, the pictures and
  ``annotations.json`` in the root), keypoints included. Ids of images and annotations are running numbers from 1 over
  all splits; categories keep their ids and members where the source was COCO, else they count from 1.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from augment import keys
from augment.annotations import Annotations
from augment.errors import Reason, RecordError
from augment.formats import coco_categories, coco_files, coco_json, coco_objects, coco_writable, tree
from augment.formats.coco import write
from augment.formats.coco.index import Entry, Indexed, index
from augment.formats.coco_objects import Categories
from augment.formats.format import Described, Listing
from augment.formats.tree import Tree
from augment.formats.writing import Output, Packed, StreamedFile, Whole, WrittenFile

NAME = "coco"
WRITES = frozenset({"boxes", "instance_masks", "keypoints"})
PACKS = False


def find(root: Path, *, max_files: int | None = None) -> Listing:
    """List the pictures that the files list; opens no picture. Raises DatasetError, StorageError."""
    listing = Listing()
    files = tree.grow(root, listing, max_files=max_files)
    found = coco_files.find(files)
    indexed = [index(each.path, coco_json.read_text(files, each.path)) for each in found]
    categories = coco_categories.united(indexed)
    listing.classes = tuple(dict.fromkeys(each["name"] for each in categories))
    listing.keypoint_names = coco_categories.names_of_keypoints(categories)
    listing.details = coco_categories.details(indexed, categories)
    listing.splits = tuple(dict.fromkeys(each.split for each in found if each.split is not None))
    taken: dict[str, str | None] = {}
    for split, some in groupby(zip(found, indexed, strict=True), key=lambda pair: pair[0].split):
        parts = [(index, coco_files.folder_of_pictures(files, each, index.entries)) for each, index in some]
        _add_split(listing, files, split, parts, Categories(categories), taken)
    for path in sorted(files.pictures()):
        if path not in taken:
            tree.refuse(listing, path, Reason.MISPLACED, "no COCO file lists it; add it to one, or move it elsewhere")
    return listing


def recognise(root: Path) -> bool:
    """Whether a JSON file in one of the usual places begins as COCO's do."""
    return coco_files.recognise(root)


def picture_path(output: Output) -> str:
    """Below the folder of its split."""
    return output.file_name if output.split is None else f"{output.split}/{output.file_name}"


def mask_path(output: Output) -> str:
    """Never called: there is no place for one."""
    raise NotImplementedError(output.name)


def sidecars(output: Output, whole: Whole) -> Sequence[WrittenFile]:
    """None. Raises RecordError where the picture's annotations cannot be written at the end."""
    try:
        coco_writable.check_writable(output.annotations, whole.classes)
    except RecordError as error:
        raise RecordError(output.key, error.reason, error.detail) from error
    return ()


def closing(outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:
    """One file for each split; see ``coco_writing``."""
    return write.files(outputs, whole)


def pack(outputs: Sequence[Packed], whole: Whole, *, split: str | None, index: int) -> WrittenFile:
    """Never called: pictures are files."""
    raise NotImplementedError(index)


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
            tree.refuse(listing, indexed.path, Reason.ANNOTATION, detail)
        for name, entry in indexed.entries.items():
            path = coco_files.resolve(files, folder, name)
            if path is None:
                _refuse_name(listing, indexed, folder, prefix, name)
            elif path in taken and path not in pictures:
                detail = f"it is in {taken[path]} too; take it out of one of them"
                tree.refuse(listing, f"{prefix}{name}", Reason.MISPLACED, detail)
            else:
                taken[path] = split
                inside = path.removeprefix(f"{folder}/") if one_folder and folder else path
                if any(other is indexed for other, _ in pictures.get(path, ("", ()))[1]):
                    entry.problem = f"duplicate id: {indexed.path} lists {keys.printable(path)} by two names"
                pictures.setdefault(path, (f"{prefix}{inside}", []))[1].append((indexed, entry))

    def describe(path: str) -> Described:
        named, of_files = pictures[path]
        problem = next((entry.problem for _, entry in of_files if entry.problem is not None), None)
        return Described(annotate=partial(_annotations, of_files, categories), named=named, problem=problem)

    tree.add_pictures(listing, pictures, split, describe)


def _refuse_name(listing: Listing, indexed: Indexed, folder: str, prefix: str, name: str) -> None:
    path = tree.confined(folder, name)
    if path is None:
        detail = f"leads elsewhere: {indexed.path} lists a path that leads out of the dataset; write it relative to it"
        tree.refuse(listing, f"{prefix}{name}", Reason.ANNOTATION, detail)
    else:
        detail = f"{indexed.path} lists it, but there is no such file in {folder or 'the folder'}"
        tree.refuse(listing, f"{prefix}{name}", Reason.UNREADABLE, detail)


def _annotations(parts: Sequence[_Part], categories: Categories, height: int, width: int) -> Annotations:
    image: dict[str, Any] = {}
    objects: dict[tuple[Any, Any], dict[str, Any]] = {}
    for indexed, entry in parts:
        of_file = indexed.image(entry)
        coco_objects.check_size(of_file, height, width)
        image = {**of_file, **image}
        for each in indexed.objects(entry):
            same = (each.get("id"), each.get("category_id"))
            objects[same] = {**each, **objects.get(same, {})}
    says_boxes = any(indexed.says_boxes and indexed.categories for indexed, _ in parts)
    return coco_objects.read(
        list(objects.values()), image, categories, height=height, width=width, says_boxes=says_boxes
    )
