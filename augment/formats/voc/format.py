"""PASCAL VOC format: one XML file an image, and lists of names for the splits.

    JPEGImages/{name}.jpg             the images; or ``images/``, or another name in ``_IMAGES``
    Annotations/{name}.xml            their boxes: see ``xml``; or ``xmls/``, or another name in ``_ANNOTATIONS``
    ImageSets/Main/{split}.txt        the names in each split, one a line; or in ``ImageSets/Segmentation``
    SegmentationClass/{name}.png      masks of class indices, for some or all images
    labelmap.txt                      names and colours of the masks' classes, as CVAT writes them

Names of folders are compared without case. The folders of images and XML may be in each split (``train/images``,
``train/xmls``), have splits below them, or be named after one (``train_annotations``).

- **Root.** The folder that holds all this, or one above it: ``VOCdevkit/VOC2012`` if it is the only one.
- **Pairs.** An XML file belongs to the image with its name, next to it or at the same path below the folder of images.
  Otherwise it belongs to the only image with this name anywhere, or to the only one that its ``<filename>`` or
  ``<path>`` names. Apart from that these elements are ignored, because tools leave old names in them.
- **Splits.** Lists are splits if their name is one's (``train``, ``val``, ``test`` …); lists of single classes
  (``cat_train.txt``) are not. ``trainval`` is used as ``train`` if there is neither ``train`` nor ``val``. A name in
  two lists is refused in the later one, and so is an image in no list. Without lists, the splits are the folders that
  have the name of one, if every image is in one.
- **Names.** A record's name is its line in the list, without the folder of the split if every line of the list has it
  (an expansion writes it, because two splits may have equal names).
- **No XML.** An image without XML is refused, unless no image of its split has any: then none of them has annotations.
- **Classes** are those that occur. Indices in masks are the dataset's own (0 is the background, as in VOC). They are
  written back unchanged, as PNG with one channel instead of a palette. With ``labelmap.txt`` (or another file of
  ``_COLOURS``) the classes are those of that file, and masks may have its colours. Other masks (``SegmentationObject``)
  are not read, which is a notice.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from augment.datasets import keys
from augment.errors import DatasetError, Reason, RecordError
from augment.formats import evidence
from augment.formats.files import SPLIT_NAMES, above, add_images, refuse
from augment.formats.format import (
    Described,
    FolderFormat,
    Listing,
    MaskPlace,
    Output,
    OutputDataset,
    StreamedFile,
    WrittenFile,
)
from augment.formats.masks import find_classes
from augment.formats.tree import Tree, is_image, join
from augment.formats.voc.xml import MAX_BYTES, counts_from_0, file_name, num_lost, parse, write
from augment.samples.annotations import Annotations

_MAX_LIST_BYTES = 256 * 2**20
_IMAGES = frozenset(
    {"jpegimages", "pngimages", "images", "image", "imgs", "img", "pics", "jpegs", "jpgs", "pngs", "rgb"}
)
_ANNOTATIONS = frozenset(
    {"annotations", "annotation", "annots", "annot", "annos", "anno", "xmls", "xml", "labels", "label", "bboxes"}
)
_MASKS = "segmentationclass"
_OF_MASKS = frozenset({_MASKS, "segmentationobject", "segmentationclassraw", "segmentationclassvisualization"})
_COLOURS = ("labelmap.txt", "label_colors.txt", "class_dict.csv")
_FLAGS = frozenset({"-1", "0", "1"})


@dataclass(slots=True)
class VocLayout:
    """Files of a dataset by name, as in the lists: the path without the base, one folder and the extension.

    ``base`` is the folder that holds the dataset, ``lists`` that of the lists, relative to the root, or None.
    ``images_folder`` is the first folder of images, for messages.
    """

    base: str
    lists: str | None
    images_folder: str = ""
    images: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)


def find_layout(listing: Listing, tree: Tree) -> VocLayout:
    """Find the parts by the names of folders, and pair them; refuse images outside the layout.

    Raises DatasetError if there are none, or several datasets.
    """
    base = _base(tree)
    below = {inside.lower(): folder for folder in _folders(tree) if (inside := _below(base, folder)) is not None}
    lists = ("imagesets/main", "imagesets/segmentation", "imagesets")
    layout = VocLayout(base, next((below[name] for name in lists if name in below), None))
    _add_images(listing, tree, layout)
    _pair_xml(listing, tree, layout)
    return layout


def _folders(tree: Tree) -> list[str]:
    """Return all folders that hold a file, at any depth, outer ones first."""
    return sorted({folder for path in tree.paths for folder in above(path)}, key=lambda each: (each.count("/"), each))


def _base(tree: Tree) -> str:
    root = keys.printable(str(tree.root))
    xmls = [path for path in tree.paths if keys.extension(path).lower() == ".xml"]
    hold_xml = {folder for path in xmls for folder in above(path)}
    folders = [(folder, folder.rpartition("/")[2].lower()) for folder in _folders(tree)]
    sets = [folder for folder, name in folders if name == "annotations" and folder in hold_xml]
    sets = sets or [folder for folder, name in folders if name in _ANNOTATIONS and folder in hold_xml]
    lists = [folder for folder, name in folders if name == "imagesets"]
    sets = [folder for folder in sets or lists[:1] if not any(outer in sets for outer in above(folder))]
    if not sets and not xmls:
        raise DatasetError(f"{root} holds no XML file: a VOC dataset has XML files in Annotations")
    bases = {folder.rpartition("/")[0] for folder in sets} or {""}
    if all(each.rpartition("/")[2].lower() in SPLIT_NAMES for each in bases) and not any(
        each.rpartition("/")[0] in bases for each in lists
    ):
        bases = {each.rpartition("/")[0] for each in bases}
    if len(bases) > 1:
        shown = ", ".join(keys.printable(base or ".") for base in sorted(bases)[:3])
        raise DatasetError(f"{root} holds several VOC datasets ({shown}): give the folder of one")
    return bases.pop()


def _below(base: str, path: str) -> str | None:
    if not base:
        return path
    return path.removeprefix(f"{base}/") if path.startswith(f"{base}/") else None


def _names(inside: str, folders: frozenset[str]) -> Iterator[str]:
    """Yield possible names of a file: its path without the first of these folders, or without several in a row.

    If the folder is also named after a split (``train_images``), the split stays.
    """
    *parts, last = inside.split("/")
    for i, part in enumerate(parts):
        split = _split_before(part, folders)
        if part.lower() in folders or split is not None:
            start = [*parts[:i], *(() if split is None else (split,))]
            rest = parts[i + 1 :]
            yield keys.without_extension("/".join([*start, *rest, last]))
            while rest and rest[0].lower() in folders:
                rest = rest[1:]
                yield keys.without_extension("/".join([*start, *rest, last]))
            return


def _split_before(part: str, folders: frozenset[str]) -> str | None:
    match = re.fullmatch(r"([A-Za-z]+?)[-_]([A-Za-z]+)", part)
    if match is None or match[1].lower() not in SPLIT_NAMES or match[2].lower() not in folders:
        return None
    return match[1]


def _add_images(listing: Listing, tree: Tree, layout: VocLayout) -> None:
    inside = {path: _below(layout.base, path) for path in sorted(tree.images(), key=str.encode)}
    outside = {
        path: name for path, name in inside.items() if name is None or not _add_mask(listing, layout, name, path)
    }
    for path, place in list(outside.items()):
        name = None if place is None else next(_names(place, _IMAGES), None)
        if name is not None:
            _add_image(listing, layout, name, path)
            del outside[path]
            layout.images_folder = layout.images_folder or _folder_of(path, _IMAGES)
    if not layout.images:
        for path, place in list(outside.items()):
            if place is not None:
                _add_image(listing, layout, keys.without_extension(place), path)
                del outside[path]
    where = layout.images_folder or layout.base
    for path in outside:
        refuse(listing, path, Reason.MISPLACED, f"it is not in {where}; move it there")
    for name, path in layout.masks.items():
        if name not in layout.images:
            refuse(listing, path, Reason.MISPLACED, "its image is missing")
    unread = Counter(_folder_of(path, _OF_MASKS) for path in inside if path in listing.read)
    for folder, number in sorted(unread.items()):
        count = "1 mask is" if number == 1 else f"{number:,} masks are"
        listing.notices.append(f"{count} not read: those of {keys.printable(folder)}")


def _add_mask(listing: Listing, layout: VocLayout, inside: str, path: str) -> bool:
    """Add a file in a folder of masks, or return False. A mask of another kind is marked as read."""
    if (name := next(_names(inside, frozenset({_MASKS})), None)) is not None:
        first = layout.masks.setdefault(name, path)
        if first != path:
            refuse(listing, path, Reason.MISPLACED, f"{keys.printable(first)} is also a mask of this name; remove one")
        return True
    if _OF_MASKS.isdisjoint(inside.lower().split("/")[:-1]):
        return False
    listing.read.add(path)
    return True


def _folder_of(path: str, names: frozenset[str]) -> str:
    """Return the outermost folder of a path that has one of these names, with or without a split before it."""
    outer = reversed([*above(path)])
    return next((each for each in outer if next(_names(f"{each.rpartition('/')[2]}/", names), None) is not None), "")


def _add_image(listing: Listing, layout: VocLayout, name: str, path: str) -> None:
    first = layout.images.setdefault(name, path)
    if first != path:
        detail = f"{keys.printable(first)} has the same name, which annotations refer to; rename one of them"
        refuse(listing, path, Reason.MISPLACED, detail)


def _pair_xml(listing: Listing, tree: Tree, layout: VocLayout) -> None:
    """Find the XML of each image: by its path, or else by its name alone, or else by the name in it."""
    by_path = {keys.without_extension(path): name for name, path in layout.images.items()}
    pending = []
    for path in sorted(tree.paths, key=str.encode):
        if keys.extension(path).lower() == ".xml":
            candidates = [
                by_path.get(keys.without_extension(path)),
                *_names(_below(layout.base, path) or path, _ANNOTATIONS),
            ]
            name = next((name for name in candidates if name in layout.images), None)
            if name is None or layout.annotations.setdefault(name, path) != path:
                pending.append(path)
    _pair_alone(layout, {path: _stem(path) for path in pending})
    stems = set(map(_stem, layout.images))
    taken = set(layout.annotations.values())
    said = {path: _named_in(tree, path) for path in pending if path not in taken and _stem(path) not in stems}
    _pair_alone(layout, {path: name for path, name in said.items() if name is not None})
    listing.read.update(layout.annotations.values())


def _pair_alone(layout: VocLayout, names: Mapping[str, str]) -> None:
    """Pair XML files with images by names without folders, if the name is unique on both sides."""
    by_stem: dict[str, list[str]] = {}
    for name in layout.images:
        by_stem.setdefault(_stem(name), []).append(name)
    number = Counter(names.values())
    for path, stem in names.items():
        same = by_stem.get(stem, ())
        if number[stem] == 1 and len(same) == 1:
            layout.annotations.setdefault(same[0], path)


def _stem(path: str) -> str:
    """Return the last part of a path, without the extension of an image or XML; names in lists have none."""
    name = path.rpartition("/")[2]
    return keys.without_extension(name) if is_image(name) or keys.extension(name).lower() == ".xml" else name


def _named_in(tree: Tree, path: str) -> str | None:
    try:
        name = file_name(tree.read_bytes(path, max_bytes=MAX_BYTES))
    except ValueError:
        return None
    return None if name is None else _stem(name)


def split_images(files: Tree, found: VocLayout) -> Iterator[tuple[str | None, list[tuple[str, str]]]]:
    """Yield each split with its images' names and their records' names."""
    if found.lists is None:
        yield from _folders_as_splits(found.images)
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
        yield None, [(name, name) for name in found.images]
    known = frozenset(found.images)
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
    """Return the name in a line, without the ``1`` or ``-1`` that some lists add and without an image's extension."""
    if line in known:
        return line
    name = line.strip()
    before_flag = name.rsplit(maxsplit=1)
    if len(before_flag) == 2 and before_flag[1] in _FLAGS and name not in known:
        name = before_flag[0]
    return keys.without_extension(name) if name not in known and is_image(name) else name


def _folders_as_splits(images: Iterable[str]) -> Iterator[tuple[str | None, list[tuple[str, str]]]]:
    names = list(images)
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
        """Return True if VOC's XML has the name of an image, or the folders are VOC's."""
        folders = {folder.path.rpartition("/")[2].lower() for folder in tree.folders}
        if {"imagesets", "jpegimages"} <= folders:
            return True
        xmls = tree.of_suffixes([".xml"])
        if not xmls:
            return False
        stems = {keys.without_extension(path.rpartition("/")[2]) for path in tree.images()}
        about = [path for path in xmls if keys.without_extension(path.rpartition("/")[2]) in stems]
        in_folders = (path for path in xmls if not _ANNOTATIONS.isdisjoint(path.lower().split("/")[:-1]))
        return evidence.has(tree, self.name, about) or (bool(stems) and evidence.has(tree, self.name, in_folders))

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """Add the images that have XML or are in a list; opens no image. Raises DatasetError, StorageError."""
        layout = find_layout(listing, tree)
        splits = dict(split_images(tree, layout))
        listing.splits = tuple(name for name in splits if name is not None)
        origin, lost = _survey(tree, layout.annotations.values())
        listing.details = {"origin": origin}
        listing.notices += [f"left out of objects: {number:,} of <{tag}>" for tag, number in sorted(lost.items())]
        listing.read.update(join(layout.base, name) for name in _COLOURS[:1])
        if layout.masks and find_classes(listing, tree, layout.masks.values(), _COLOURS) is not None:
            listing.details["mask_classes"] = True
        taken: dict[str, str | None] = {}
        for split, names in splits.items():
            _add_split(listing, tree, layout, split, names, taken)
        listing.read.update(path for path in tree.paths if "imagesets" in path.lower().split("/")[:-1])
        for name, path in layout.images.items():
            if name not in taken:
                refuse(listing, path, Reason.MISPLACED, f"no list in {layout.lists} names it; add it to one")

    def image_path(self, output: Output) -> str:
        """Return a path in the folder of images; the split is part of the name, because splits may share keys."""
        return f"JPEGImages/{_name(output)}.{_extension(output)}"

    def mask_path(self, output: Output) -> str:
        """Return the path of the same name in the folder of masks."""
        return f"SegmentationClass/{_name(output)}.png"

    def sidecars(self, output: Output, whole: OutputDataset) -> Sequence[WrittenFile]:
        """Return its XML, unless it has no boxes. Raises RecordError if a name does not fit into a list or XML."""
        name = _name(output)
        if _NAMELESS.search(name):
            detail = f"{keys.printable(name)!r} cannot be a line in a list of names; rename the image, or choose COCO"
            raise RecordError(output.key, Reason.NOT_RENDERABLE, detail)
        if output.annotations.boxes is None and "boxes" not in whole.targets:
            return ()
        xml = write(output, file_name=f"{name.rpartition('/')[2]}.{_extension(output)}")
        return (WrittenFile(f"Annotations/{name}.xml", xml),)

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Yield a list of names for each split, and the names of the masks' classes if they have some."""
        for split, some in groupby(outputs(), key=lambda output: output.split):
            if split is not None:
                yield StreamedFile(f"ImageSets/Main/{split}.txt", (f"{_name(output)}\n".encode() for output in some))
        has_names = whole.source_format == "masks" or (
            whole.source_format == self.name and "mask_classes" in whole.details
        )
        if has_names and "mask" in whole.targets and whole.classes:
            yield StreamedFile(_COLOURS[0], iter([_label_map(whole.classes)]))


def _label_map(classes: Iterable[str]) -> bytes:
    """Return CVAT's lines without colours, because masks hold indices.

    Raises DatasetError if a name does not fit into a line.
    """
    for name in classes:
        if name != name.strip() or ":" in name or len(name.splitlines()) != 1:
            raise DatasetError(f"class {name!r} cannot be in a line of {_COLOURS[0]}; rename it")
    return "".join(["# label:color_rgb:parts:actions\n", *(f"{name}:::\n" for name in classes)]).encode()


def _name(output: Output) -> str:
    return output.name if output.split is None else f"{output.split}/{output.name}"


def _extension(output: Output) -> str:
    """Return the image's extension, also if the key includes it: names in XML and lists lack the last extension."""
    return output.extension or keys.extension(output.key).removeprefix(".")


def _survey(files: Tree, xmls: Iterable[str]) -> tuple[int, Counter[str]]:
    """Return the origin of pixel coordinates (0 if a box is below 1, else 1), and counts of left-out elements."""
    origin, lost = 1, Counter[str]()
    for path in xmls:
        try:
            data = files.read_bytes(path, max_bytes=MAX_BYTES)
        except ValueError:
            continue  # the record is refused later
        if origin and counts_from_0(data):
            origin = 0
        lost += num_lost(data)
    return origin, lost


def _add_split(
    listing: Listing,
    files: Tree,
    layout: VocLayout,
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
        elif name not in layout.images:
            where = layout.images_folder or "the folder"
            detail = f"{layout.lists} lists it, but there is no such image in {where}"
            refuse(listing, f"{prefix}{short}", Reason.UNREADABLE, detail)
        else:
            taken[name] = split
            path = layout.images[name]
            goes_by[path] = (name, f"{prefix}{short}{keys.extension(path)}")
    has_xml = any(name in layout.annotations for name, _ in goes_by.values())
    origin = int(listing.details["origin"])

    def describe(path: str) -> Described:
        name, named = goes_by[path]
        xml, mask = layout.annotations.get(name), layout.masks.get(name)
        place = None if mask is None else MaskPlace(mask)
        if xml is not None:
            return Described(annotate=partial(_annotations, files, xml, origin), mask=place, named=named)
        problem = "no annotations: there is no XML file of this name; write one, without objects if the image has none"
        return Described(mask=place, named=named, problem=problem if has_xml else None)

    add_images(listing, goes_by, split, describe)


def _annotations(files: Tree, path: str, origin: int, height: int, width: int) -> Annotations:
    try:
        data = files.read_bytes(path, max_bytes=MAX_BYTES)
    except ValueError as error:
        raise ValueError(f"unreadable annotations: {error}") from error
    return parse(data, height, width, origin=origin)
