"""The PASCAL VOC format: one XML file a picture, and lists of names for the splits.

    JPEGImages/{name}.jpg             the pictures; ``images/`` does too
    Annotations/{name}.xml            their boxes: see ``voc_xml``
    ImageSets/Main/{split}.txt        the names in each split, one a line; else those in ``ImageSets/Segmentation``
    SegmentationClass/{name}.png      masks of class indices, for as many pictures as there are

Names of folders are compared without case. Where there is no ``Annotations``, an XML file lies beside its picture (as
labelImg saves it).

- **Which root.** The folder that holds all this, or one above it: ``VOCdevkit/VOC2012`` where there is only one.
- **Splits.** Lists are splits where their name is one's (``train``, ``val``, ``test`` …); lists of single classes
  (``cat_train.txt``) are not. ``trainval`` counts where there is neither ``train`` nor ``val``, and is called
  ``train``. A name in two lists is refused in the later one, a picture in none of them too. Without lists, the splits
  are the folders that have the name of one, if every picture lies in one.
- **Names.** A record's name is its line in the list, without the folder of the split where every line of the list has
  it (so an expansion writes them: two splits may have equal names).
- **No XML.** A picture without one is refused, unless no picture of its split has one: then nothing is said of them.
- **Classes** are those that occur. Indices in masks are the dataset's own (0 is the background, as VOC has it); they
  come back as they were, as PNG with one channel instead of a palette. ``SegmentationObject`` is not looked at.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from augment import keys
from augment.annotations import Annotations
from augment.errors import Reason, RecordError
from augment.formats import tree, voc_layout, voc_xml
from augment.formats.files import join
from augment.formats.format import Described, Listing, MaskPlace
from augment.formats.tree import Tree
from augment.formats.voc_layout import Layout
from augment.formats.writing import Output, Packed, StreamedFile, Whole, WrittenFile

NAME = "voc"
WRITES = frozenset({"boxes", "mask"})
PACKS = False

_NAMELESS = re.compile(r"[\x00-\x1f\x7f]|^\s|\s$")


def find(root: Path, *, max_files: int | None = None) -> Listing:
    """List the pictures that have XML or stand in a list; opens no picture. Raises DatasetError, StorageError."""
    listing = Listing()
    files = tree.grow(root, listing, max_files=max_files)
    layout = voc_layout.layout(root, files)
    pictures = _pictures(listing, files, layout)
    splits = dict(voc_layout.splits(files, layout, pictures))
    listing.splits = tuple(name for name in splits if name is not None)
    listing.details = {"origin": _origin(files, layout, pictures)}
    taken: dict[str, str | None] = {}
    for split, names in splits.items():
        _add_split(listing, files, layout, pictures, split, names, taken)
    for name, path in pictures.items():
        if name not in taken:
            tree.refuse(listing, path, Reason.MISPLACED, f"no list in {layout.lists} names it; add it to one")
    return listing


def recognise(root: Path) -> bool:
    """Whether the names of folders are VOC's, or XML lies where its pictures do."""
    return voc_layout.recognise(root)


def picture_path(output: Output) -> str:
    """Below the folder of pictures; the split is part of the name, for two splits may have equal keys."""
    return f"JPEGImages/{_name(output)}.{_extension(output)}"


def mask_path(output: Output) -> str:
    """Under the same name."""
    return f"SegmentationClass/{_name(output)}.png"


def sidecars(output: Output, whole: Whole) -> Sequence[WrittenFile]:
    """Its XML, unless nothing is said about boxes. Raises RecordError where a name cannot stand in a list or in XML."""
    name = _name(output)
    if _NAMELESS.search(name):
        detail = f"{keys.printable(name)!r} cannot be a line in a list of names; rename the picture, or choose COCO"
        raise RecordError(output.key, Reason.NOT_RENDERABLE, detail)
    if output.annotations.boxes is None and "boxes" not in whole.targets:
        return ()
    try:
        xml = voc_xml.write(
            output.annotations,
            file_name=f"{name.rpartition('/')[2]}.{_extension(output)}",
            height=output.height,
            width=output.width,
            has_mask=output.has_mask,
        )
    except RecordError as error:
        raise RecordError(output.key, error.reason, error.detail) from error
    return (WrittenFile(f"Annotations/{name}.xml", xml),)


def closing(outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:  # noqa: ARG001
    """A list of names for each split; none where there are no splits."""
    for split, some in groupby(outputs(), key=lambda output: output.split):
        if split is not None:
            yield StreamedFile(f"ImageSets/Main/{split}.txt", (f"{_name(output)}\n".encode() for output in some))


def pack(outputs: Sequence[Packed], whole: Whole, *, split: str | None, index: int) -> WrittenFile:
    """Never called: pictures are files."""
    raise NotImplementedError(index)


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
        if not path.startswith(prefix) or voc_layout.is_mask(path, layout):
            others.append(path)
            continue
        first = pictures.setdefault(keys.without_extension(path.removeprefix(prefix)), path)
        if first != path:
            detail = f"{keys.printable(first)} has the same name, and annotations go by that; rename one of them"
            tree.refuse(listing, path, Reason.MISPLACED, detail)
    for path in others:
        if not voc_layout.is_mask(path, layout):
            tree.refuse(listing, path, Reason.MISPLACED, f"it does not lie in {layout.pictures}; move it there")
        elif path.startswith(of_masks) and keys.without_extension(path.removeprefix(of_masks)) not in pictures:
            tree.refuse(listing, path, Reason.MISPLACED, "a mask of a picture that is not there")
    return pictures


def _origin(files: Tree, layout: Layout, pictures: Iterable[str]) -> int:
    """What the dataset counts pixels from: 0 where a box lies below 1, else 1."""
    for name in pictures:
        path = voc_layout.xml(layout, name)
        if path not in files.paths:
            continue
        try:
            data = files.read_bytes(path, max_bytes=voc_xml.MAX_BYTES)
        except ValueError:
            continue  # the record will be refused for it
        if voc_xml.counts_from_0(data):
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
            tree.refuse(listing, f"{prefix}{short}", Reason.MISPLACED, detail)
        elif name not in pictures:
            detail = f"{layout.lists} lists it, but there is no such picture in {layout.pictures or 'the folder'}"
            tree.refuse(listing, f"{prefix}{short}", Reason.UNREADABLE, detail)
        else:
            taken[name] = split
            path = pictures[name]
            goes_by[path] = (name, f"{prefix}{short}{keys.extension(path)}")
    has_xml = any(voc_layout.xml(layout, name) in files.paths for name, _ in goes_by.values())
    describe = partial(_describe, files, layout, int(listing.details["origin"]), goes_by, has_xml)
    tree.add_pictures(listing, goes_by, split, describe)


def _describe(
    files: Tree,
    layout: Layout,
    origin: int,
    goes_by: dict[str, tuple[str, str]],
    has_xml: bool,  # noqa: FBT001 - bound once, never read at a call
    path: str,
) -> Described:
    name, named = goes_by[path]
    xml = voc_layout.xml(layout, name)
    mask = None if layout.masks is None else join(layout.masks, f"{name}.png")
    place = MaskPlace(mask) if mask is not None and mask in files.paths else None
    if xml in files.paths:
        return Described(annotate=partial(_annotations, files, xml, origin), mask=place, named=named)
    problem = f"no annotations: there is no {keys.printable(xml)}; write one, without objects where there are none"
    return Described(mask=place, named=named, problem=problem if has_xml else None)


def _annotations(files: Tree, path: str, origin: int, height: int, width: int) -> Annotations:
    try:
        data = files.read_bytes(path, max_bytes=voc_xml.MAX_BYTES)
    except ValueError as error:
        raise ValueError(f"unreadable annotations: {error}") from error
    return voc_xml.parse(data, height, width, origin=origin)
