"""The PASCAL VOC format: one XML file an image, and lists of names for the splits.

    JPEGImages/{name}.jpg             the images; ``images/`` does too
    Annotations/{name}.xml            their boxes: see ``xml``
    ImageSets/Main/{split}.txt        the names in each split, one a line; else those in ``ImageSets/Segmentation``
    SegmentationClass/{name}.png      masks of class indices, for as many images as there are

Names of folders are compared without case. Without ``Annotations``, an XML file is next to its image (as labelImg saves
it).

- **Root.** The folder that holds all this, or one above it: ``VOCdevkit/VOC2012`` if there is only one.
- **Splits.** Lists are splits if their name is one's (``train``, ``val``, ``test`` …); lists of single classes
  (``cat_train.txt``) are not. ``trainval`` counts if there is neither ``train`` nor ``val``, and is called ``train``.
  A name in two lists is refused in the later one, and so is an image in no list. Without lists, the splits are the
  folders that have the name of one, if every image is in one.
- **Names.** A record's name is its line in the list, without the folder of the split if every line of the list has it
  (so an expansion writes them: two splits may have equal names).
- **No XML.** An image without one is refused, unless no image of its split has one: then none of them has annotations.
- **Classes** are those that occur. Indices in masks are the dataset's own (0 is the background, as VOC has it); they
  come back as they were, as PNG with one channel instead of a palette. ``SegmentationObject`` is not read.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from augment.datasets import keys
from augment.errors import DatasetError, Reason, RecordError
from augment.formats import evidence
from augment.formats.files import SPLIT_NAMES, above, add_pictures, refuse
from augment.formats.format import Described, FolderFormat, Listing, MaskPlace, Output, StreamedFile, Whole, WrittenFile
from augment.formats.tree import Tree, is_picture, join
from augment.formats.voc.xml import MAX_BYTES, counts_from_0, parse, write
from augment.samples.annotations import Annotations

_MAX_LIST_BYTES = 256 * 2**20
_PICTURE_FOLDERS = ("jpegimages", "images")
_FLAGS = frozenset({"-1", "0", "1"})
_OF_MASKS = frozenset(
    {"segmentationclass", "segmentationobject", "segmentationclassraw", "segmentationclassvisualization"}
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which folder plays which part; each is relative to the root. None where there is no such folder."""

    base: str
    annotations: str | None
    pictures: str
    masks: str | None
    lists: str | None


def find_layout(root: Path, files: Tree) -> Layout:
    """Find the parts by the names of folders. Raises DatasetError where there are none, or several sets of them."""
    folders = {folder for path in files.paths for folder in above(path)}
    hold_xml = {folder for path in files.paths if path.lower().endswith(".xml") for folder in above(path)}
    by_lower: dict[str, list[str]] = {}
    for folder in sorted(folders, key=lambda each: (each.count("/"), each)):
        by_lower.setdefault(folder.rpartition("/")[2].lower(), []).append(folder)
    with_xml = [folder for folder in by_lower.get("annotations", ()) if folder in hold_xml]
    bases = [folder.rpartition("/")[0] for folder in with_xml]
    if len(with_xml) > 1:
        shown = ", ".join(keys.printable(base or ".") for base in bases[:3])
        raise DatasetError(f"{keys.printable(str(root))} holds several sets of VOC ({shown}): give the folder of one")
    if not with_xml:
        lists = next(iter(by_lower.get("imagesets", ())), None)
        if lists is None and not any(keys.extension(path).lower() == ".xml" for path in files.paths):
            raise DatasetError(
                f"{keys.printable(str(root))} holds no XML file: a dataset of VOC has some in Annotations"
            )
        if lists is None:
            return Layout("", None, "", None, None)
        bases = [lists.rpartition("/")[0]]
    base = bases[0]
    inside = {name.lower(): name for name in (_below(base, folder) for folder in folders) if name is not None}
    pictures = next((inside[name] for name in _PICTURE_FOLDERS if name in inside), "")
    masks = inside.get("segmentationclass")
    lists = next((inside[name] for name in ("imagesets/main", "imagesets/segmentation") if name in inside), None)
    return Layout(
        base,
        with_xml[0] if with_xml else None,
        join(base, pictures) if pictures else base,
        None if masks is None else join(base, masks),
        None if lists is None else join(base, lists),
    )


def _below(base: str, folder: str) -> str | None:
    if not base:
        return folder
    return folder.removeprefix(f"{base}/") if folder.startswith(f"{base}/") else None


def is_mask(path: str, found: Layout) -> bool:
    """Whether a file lies in one of the folders of masks."""
    top = (_below(found.base, path) or "").partition("/")[0].lower()
    return top in _OF_MASKS


def xml_path(found: Layout, name: str) -> str:
    """The path of the XML file of this name."""
    folder = found.pictures if found.annotations is None else found.annotations
    return join(folder, f"{name}.xml")


def split_images(
    files: Tree, found: Layout, pictures: Iterable[str]
) -> Iterator[tuple[str | None, list[tuple[str, str]]]]:
    """Each split with the names in it, and what each record there goes by."""
    if found.lists is None:
        yield from _folders_as_splits(pictures)
        return
    lists = {}
    for path in sorted(files.below(found.lists)):
        name, extension = keys.without_extension(path.removeprefix(f"{found.lists}/")), keys.extension(path)
        if extension.lower() == ".txt" and (name.lower() in SPLIT_NAMES or name.lower() == "trainval"):
            lists[name] = path
    trainval = next((name for name in lists if name.lower() == "trainval"), None)
    if trainval is not None:
        path = lists.pop(trainval)
        if not {"train", "val"} & {name.lower() for name in lists}:
            lists = {"train": path, **lists}
    if not lists:
        yield None, [(name, name) for name in pictures]
    known = frozenset(pictures)
    for split, path in lists.items():
        try:
            text = files.read_text(path, max_bytes=_MAX_LIST_BYTES)
        except ValueError as error:
            raise DatasetError(f"{keys.printable(str(files.root))}: the list {error}") from error
        names = list(dict.fromkeys(name for line in text.split("\n") if (name := _listed(line, known))))
        prefix = f"{split}/"
        cut = prefix if all(name.startswith(prefix) for name in names) else ""
        yield split, [(name, name.removeprefix(cut)) for name in names]


def _listed(line: str, known: frozenset[str]) -> str:
    """The name in a line: without the ``1`` or ``-1`` that some lists add, and without a picture's extension."""
    if line in known:
        return line
    name = line.strip()
    before_flag = name.rsplit(maxsplit=1)
    if len(before_flag) == 2 and before_flag[1] in _FLAGS and name not in known:
        name = before_flag[0]
    return keys.without_extension(name) if name not in known and is_picture(name) else name


def _folders_as_splits(pictures: Iterable[str]) -> Iterator[tuple[str | None, list[tuple[str, str]]]]:
    names = list(pictures)
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    if not all(top.lower() in SPLIT_NAMES for top in tops):
        yield None, [(name, name) for name in names]
        return
    for split in sorted(tops):
        yield split, [(name, name.removeprefix(f"{split}/")) for name in names if name.startswith(f"{split}/")]


_NAMELESS = re.compile(r"[\x00-\x1f\x7f]|^\s|\s$")


class Voc(FolderFormat):
    """PASCAL VOC: an XML file for each image, masks as images."""

    name = "voc"
    writes = frozenset({"boxes", "mask"})
    tells_crowds = False

    def recognise(self, tree: Tree) -> bool:
        """Return True if XML of VOC has the name of an image, or the folders are VOC's."""
        folders = {folder.path.rpartition("/")[2].lower() for folder in tree.folders}
        if {"imagesets", "jpegimages"} <= folders:
            return True
        stems = {keys.without_extension(path.rpartition("/")[2]) for path in tree.pictures()}
        xmls = (path for path in tree.paths if keys.extension(path).lower() == ".xml")
        return evidence.has(
            tree, self.name, (path for path in xmls if keys.without_extension(path.rpartition("/")[2]) in stems)
        )

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the pictures that have XML or stand in a list; opens no picture. Raises DatasetError, StorageError."""
        files = tree
        layout = find_layout(files.root, files)
        pictures = _pictures(listing, files, layout)
        splits = dict(split_images(files, layout, pictures))
        listing.splits = tuple(name for name in splits if name is not None)
        listing.details = {"origin": _origin(files, layout, pictures)}
        taken: dict[str, str | None] = {}
        for split, names in splits.items():
            _add_split(listing, files, layout, pictures, split, names, taken)
        listing.read.update(xml_path(layout, name) for name in pictures)
        listing.read.update(path for path in files.paths if "imagesets" in path.lower().split("/")[:-1])
        for name, path in pictures.items():
            if name not in taken:
                refuse(listing, path, Reason.MISPLACED, f"no list in {layout.lists} names it; add it to one")

    def picture_path(self, output: Output) -> str:
        """Below the folder of pictures; the split is part of the name, for two splits may have equal keys."""
        return f"JPEGImages/{_name(output)}.{_extension(output)}"

    def mask_path(self, output: Output) -> str:
        """Under the same name."""
        return f"SegmentationClass/{_name(output)}.png"

    def sidecars(self, output: Output, whole: Whole) -> Sequence[WrittenFile]:
        """Return its XML, unless it has no boxes. Raises RecordError if a name cannot stand in a list or in XML."""
        name = _name(output)
        if _NAMELESS.search(name):
            detail = f"{keys.printable(name)!r} cannot be a line in a list of names; rename the picture, or choose COCO"
            raise RecordError(output.key, Reason.NOT_RENDERABLE, detail)
        if output.annotations.boxes is None and "boxes" not in whole.targets:
            return ()
        xml = write(output, file_name=f"{name.rpartition('/')[2]}.{_extension(output)}")
        return (WrittenFile(f"Annotations/{name}.xml", xml),)

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:
        """A list of names for each split; none where there are no splits."""
        for split, some in groupby(outputs(), key=lambda output: output.split):
            if split is not None:
                yield StreamedFile(f"ImageSets/Main/{split}.txt", (f"{_name(output)}\n".encode() for output in some))


def _name(output: Output) -> str:
    return output.name if output.split is None else f"{output.split}/{output.name}"


def _extension(output: Output) -> str:
    """That of the picture; where the key has it already, once more: XML goes by the name less its extension."""
    return output.extension or keys.extension(output.key).removeprefix(".")


def _pictures(listing: Listing, files: Tree, layout: Layout) -> dict[str, str]:
    """The pictures by their names, which are their paths below the folder of pictures, less the extension."""
    prefix = f"{layout.pictures}/" if layout.pictures else ""
    of_masks = f"{layout.masks or 'SegmentationClass'}/"
    pictures: dict[str, str] = {}
    others = []
    for path in sorted(files.pictures(), key=str.encode):
        if not path.startswith(prefix) or is_mask(path, layout):
            others.append(path)
            continue
        first = pictures.setdefault(keys.without_extension(path.removeprefix(prefix)), path)
        if first != path:
            detail = f"{keys.printable(first)} has the same name, and annotations go by that; rename one of them"
            refuse(listing, path, Reason.MISPLACED, detail)
    for path in others:
        if not is_mask(path, layout):
            refuse(listing, path, Reason.MISPLACED, f"it does not lie in {layout.pictures}; move it there")
        elif path.startswith(of_masks) and keys.without_extension(path.removeprefix(of_masks)) not in pictures:
            refuse(listing, path, Reason.MISPLACED, "a mask of a picture that is not there")
    return pictures


def _origin(files: Tree, layout: Layout, pictures: Iterable[str]) -> int:
    """What the dataset counts pixels from: 0 where a box lies below 1, else 1."""
    for name in pictures:
        path = xml_path(layout, name)
        if path not in files.paths:
            continue
        try:
            data = files.read_bytes(path, max_bytes=MAX_BYTES)
        except ValueError:
            continue  # the record will be refused for it
        if counts_from_0(data):
            return 0
    return 1


def _add_split(
    listing: Listing,
    files: Tree,
    layout: Layout,
    pictures: dict[str, str],
    split: str | None,
    names: list[tuple[str, str]],
    taken: dict[str, str | None],
) -> None:
    goes_by: dict[str, tuple[str, str]] = {}
    prefix = "" if split is None else f"{split}/"
    for name, short in names:
        if name in taken:
            detail = f"it is in {taken[name]} too; take it out of one of them"
            refuse(listing, f"{prefix}{short}", Reason.MISPLACED, detail)
        elif name not in pictures:
            detail = f"{layout.lists} lists it, but there is no such picture in {layout.pictures or 'the folder'}"
            refuse(listing, f"{prefix}{short}", Reason.UNREADABLE, detail)
        else:
            taken[name] = split
            path = pictures[name]
            goes_by[path] = (name, f"{prefix}{short}{keys.extension(path)}")
    has_xml = any(xml_path(layout, name) in files.paths for name, _ in goes_by.values())
    origin = int(listing.details["origin"])

    def describe(path: str) -> Described:
        name, named = goes_by[path]
        xml = xml_path(layout, name)
        mask = None if layout.masks is None else join(layout.masks, f"{name}.png")
        place = MaskPlace(mask) if mask is not None and mask in files.paths else None
        if xml in files.paths:
            return Described(annotate=partial(_annotations, files, xml, origin), mask=place, named=named)
        problem = f"no annotations: there is no {keys.printable(xml)}; write one, without objects where there are none"
        return Described(mask=place, named=named, problem=problem if has_xml else None)

    add_pictures(listing, goes_by, split, describe)


def _annotations(files: Tree, path: str, origin: int, height: int, width: int) -> Annotations:
    try:
        data = files.read_bytes(path, max_bytes=MAX_BYTES)
    except ValueError as error:
        raise ValueError(f"unreadable annotations: {error}") from error
    return parse(data, height, width, origin=origin)
