"""Masks format: a folder of images and one of masks, or both in one folder, distinguished by file names.

    images/a.jpg        masks/a.png           one pair of folders, in the root
    train/images/…      train/masks/…         a pair in each split
    images/train/…      masks/train/…         the splits in each folder
    train/…             train_labels/…        or ``trainannot/``, ``train_masks/`` …: next to each split
    train/a.jpg         train/a_mask.png      image and mask in one folder

- **Folders of images** are called ``images`` (or as in ``_IMAGES``), those of masks ``masks``, ``labels``,
  ``annotations``, ``SegmentationClass`` (``_MASKS``), compared without case. A record's name is the path of its image
  without that folder: ``train/images/a.jpg`` is the record ``a`` of ``train``.
- **A pair** has the same path below both folders. The mask's name is the image's, with or without its extension, or
  with an ending of ``evidence.MASK_ENDINGS`` (``a_mask.png``; the image may also be ``a_sat.jpg``). An image without a
  mask, one with two, and a mask without an image are refused by name. A test split may have images without masks, if
  none of them has one.
- **In one folder** a mask is an image whose name without such an ending is another's. Folders are not classes then.
- **Masks** hold class indices, or the values of a file of names: see ``augment.images.masks``. Names are in a file of
  ``_NAMES``, in the root or next to the masks; then any larger index except 255 is refused. If each name has a value or
  a colour, these are the masks' legend.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from augment.datasets import keys
from augment.errors import DatasetError, Reason
from augment.formats import evidence, files, folder
from augment.formats.format import Described, FolderFormat, Listing, MaskPlace, Output, OutputDataset, StreamedFile
from augment.formats.tree import Tree, join
from augment.images.masks import MAX_LEGEND, Legend, is_index_png
from augment.validation import quoted

WRITTEN = "classes.txt"
VALUES_FILE = "_classes.csv"

_NAMES = (
    *("classes.txt", "codes.txt", "labels.txt", "labelmap.txt", "label_colors.txt", "class_dict.csv"),
    *("class_dict_seg.csv", "labels_class_dict.csv", VALUES_FILE, "class_names.txt"),
)
"""Files of class names, in order of preference; one in the root is preferred to one next to the masks."""
_MAX_BYTES = 2**20
_PNG_HEAD_BYTES = 32
_COLOUR = r"(?P<red>\d{1,3})[\s,]+(?P<green>\d{1,3})[\s,]+(?P<blue>\d{1,3})"
_NUMBERED = re.compile(r"(?P<number>\d+)\s*[:=,\s]\s*(?P<name>.*\S)")
_LINES = (
    re.compile(r"(?P<name>[^:]+):(?P<red>\d{1,3}),(?P<green>\d{1,3}),(?P<blue>\d{1,3})(:.*)?"),  # CVAT
    re.compile(r"(?P<number>\d+): (?P<name>.*\S)"),
    re.compile(rf"{_COLOUR}[\s,]+(?P<name>\S.*)"),
    re.compile(rf"(?P<name>\S.*?)[\s,:]+{_COLOUR}"),
    re.compile(r"(?P<name>[^:]+):[^:]*:[^:]*:[^:]*"),  # CVAT, without colours
    _NUMBERED,
)
"""Lines with more than a name; the first that fits all lines is used, with numbers only if these count from 0."""

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "class", "class_name", "class name", "label"),
    "value": ("pixel value", "pixel_value", "value", "id", "index", "class_id"),
    "red": ("r", "red"),
    "green": ("g", "green"),
    "blue": ("b", "blue"),
}
"""Names of a class table's columns, in lower case, by their meaning."""


class Classes(NamedTuple):
    """Names of the classes, and the values of the classes in mask files."""

    names: tuple[str, ...]
    legend: Legend = ()


def find_classes(listing: Listing, found: Tree, masks: Iterable[str], names: Sequence[str] = _NAMES) -> Classes | None:
    """Read the file of names in the root, or next to the masks or above them; None if it is missing.

    Raises DatasetError if one cannot be read or two differ.
    """
    above = {folder for path in masks for folder in files.above(path)}
    folders = ["", *sorted(above, key=lambda path: (path.count("/"), path))]
    paths = [path for folder in folders for name in names if (path := join(folder, name)) in found.paths]
    if not paths:
        return None
    same = [path for path in paths if path.rpartition("/")[2] == paths[0].rpartition("/")[2]]
    classes = [read_classes(found, path) for path in same]
    differing = next((path for path, each in zip(same, classes, strict=True) if each != classes[0]), None)
    if differing is not None:
        raise DatasetError(
            f"{found.root / differing} differs from {same[0]}; all masks of a dataset need the same list"
        )
    listing.read.update(same)
    listing.classes, listing.mask_legend = classes[0]
    listing.num_mask_values = len(listing.classes)
    return classes[0]


def read_classes(found: Tree, path: str) -> Classes:
    """Read names and legend. Raises DatasetError if they cannot be read, or a name, value or colour occurs twice."""
    try:
        text = found.read_text(path, max_bytes=_MAX_BYTES)
        names, legend = _of_table(text) if path.endswith(".csv") else _of_lines(text)
        if len(legend) > MAX_LEGEND:
            raise ValueError(f"it lists {len(legend)} values or colours, of {MAX_LEGEND} allowed; write class indices")
        limit = 255 if legend and len(legend[0]) > 1 else 65_535
        if legend and max(map(max, legend)) > limit:
            raise ValueError(f"it lists the value {max(map(max, legend))}, of at most {limit}; correct it")
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"{found.root / path}: {error}") from error
    if not names:
        raise DatasetError(f"{found.root / path} names no class; write one name a line")
    for what, each in (("", names), ("the value or colour ", legend)):
        twice = next((value for value, number in Counter(each).items() if number > 1), None)
        if twice is not None:
            shown = repr(twice) if isinstance(twice, str) else ", ".join(map(str, twice))
            raise DatasetError(f"{found.root / path} names {what}{shown} twice; give each index its own name")
    return Classes(names, legend)


def written(classes: tuple[str, ...]) -> bytes:
    """Return the names, one a line. Raises DatasetError if a name cannot be read back."""
    for name in classes:
        if name != name.strip() or len(name.splitlines()) != 1:
            raise DatasetError(f"class {name!r} cannot be a line of {WRITTEN}; rename it")
    text = "".join(f"{name}\n" for name in classes)
    if _of_lines(text) != (classes, ()):
        text = "".join(f"{number}: {name}\n" for number, name in enumerate(classes))
    return text.encode()


def _of_lines(text: str) -> Classes:
    lines = [line.strip() for line in text.strip().splitlines()]
    if lines and lines[0].startswith("#") and ":" in lines[0]:  # CVAT: "# label:color_rgb:parts:actions"
        del lines[0]
    if lines and lines[0] == "__ignore__":  # labelme: the class of the index -1, which it writes as 255
        del lines[0]
    if not all(lines):
        raise ValueError(f"line {lines.index('') + 1} is empty; each line names a class")
    for pattern in _LINES:
        matches = [match for line in lines if (match := pattern.fullmatch(line)) is not None]
        if len(matches) < len(lines):
            continue
        names = tuple(match["name"] for match in matches)
        if "red" in pattern.groupindex:
            return Classes(names, tuple((int(each["red"]), int(each["green"]), int(each["blue"])) for each in matches))
        if "number" not in pattern.groupindex or all(int(match["number"]) == i for i, match in enumerate(matches)):
            return Classes(names)
    return Classes(tuple(lines))


def _of_table(text: str) -> Classes:
    """Read a table with a column of names, and perhaps one of values or three of colours."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), strict=True) if row]
    header = [cell.lower() for cell in rows[0]] if rows else []
    at = {what: next(map(header.index, filter(header.__contains__, names)), None) for what, names in _COLUMNS.items()}
    name, value, *colour = at.values()
    if name is None:
        raise ValueError(f"its header has no column of names ({', '.join(_COLUMNS['name'])})")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header) or not row[name]:
            raise ValueError(f"row {number} has {len(row)} cells for {len(header)} columns, or no name")
    names = tuple(row[name] for row in rows[1:])
    values = () if value is None else tuple((_number(row[value]),) for row in rows[1:])
    if None in colour:
        return Classes(names, values)
    if values and values != tuple((i,) for i in range(len(values))):
        raise ValueError("it has colours and values that do not count from 0; remove one of them")
    return Classes(names, tuple(tuple(_number(row[i]) for i in colour if i is not None) for row in rows[1:]))


def _number(cell: str) -> int:
    if not (cell.isascii() and cell.isdigit() and len(cell) < 6):
        raise ValueError(f"{quoted(cell)} is not a mask's value; write a whole number")
    return int(cell)


_IMAGES = frozenset({"images", "image", "imgs", "img", "jpegimages"})
_MASKS = frozenset(
    {"masks", "mask", "labels", "label", "annotations", "annotation", "annot", "gt", "ground_truth", "groundtruth"}
    | {"segmentationclass", "segmentationclasspng", "segmentations", "segmentation"}
)
_OF_SPLIT = re.compile(
    rf"({'|'.join(sorted(files.SPLIT_NAMES, key=len, reverse=True))})[_-]?"
    "(masks?|labels?|annot|annotations?|gt|(?P<images>images?|imgs?))",
    re.IGNORECASE,
)
_IMAGE_ENDINGS = re.compile(r"[-_. ](images?|img|rgb|sat|photo|orig|original|input)$", re.IGNORECASE)
"""Ending after the name that an image shares with its mask: ``1_sat.jpg`` has ``1_mask.png``."""
_TESTS = frozenset({"test", "testing"})


class _Place(NamedTuple):
    """Kind of a file according to its folders, and the folders without the one that determines it."""

    is_mask: bool
    inside: tuple[str, ...]


@dataclass(slots=True)
class _Masks:
    """Masks by folder and by their images' possible names, and the places of all images."""

    by_name: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    by_start: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    matched: set[str] = field(default_factory=set)
    images: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, inside: tuple[str, ...], path: str) -> None:
        name = _bare(path)
        self.by_name.setdefault((*inside, name), []).append(path)
        start = evidence.MASK_ENDINGS.sub("", name)
        if start != name:
            self.by_start.setdefault((*inside, start), []).append(path)

    def paths(self) -> set[str]:
        return {path for paths in self.by_name.values() for path in paths}

    def of(self, inside: tuple[str, ...], name: str) -> list[str]:
        """Return the masks of the image with this name and mark them as matched."""
        bare = keys.without_extension(name)
        start = _IMAGE_ENDINGS.sub("", bare)
        found = (
            self.by_name.get((*inside, name))
            or self.by_name.get((*inside, bare))
            or self.by_start.get((*inside, bare))
            or (self.by_start.get((*inside, start)) if (*inside, start) not in self.images else None)
        )
        self.matched.update(found or ())
        return found or []


class MaskFolders(FolderFormat):
    """Images and a folder of mask images with the same names."""

    name = "masks"
    writes = frozenset({"mask"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if an image in a folder of masks has the name of one in a folder of images.

        Also if at least half of all images have a mask in their own folder.
        """
        masks, images, _ = _in_folders(tree)
        if any(masks.of(place.inside, path.rpartition("/")[2]) for path, place in images.items()):
            return True
        masks, images = _in_one_folder(tree)
        return bool(masks.by_name) and 2 * len(masks.by_name) >= len(images)

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the images with their masks. Raises DatasetError if there is no such pair of folders, StorageError."""
        masks, images, others = _in_folders(tree)
        if not images or not masks.by_name:
            masks, images = _in_one_folder(tree)
            others = []
            listing.notices += _not_classes(images.values())
        if not masks.by_name:
            raise DatasetError(
                f"{tree.root} has no pair of folders with images and masks; call the folders images and masks, "
                "name each mask like its image with _mask appended, or name another format"
            )
        find_classes(listing, tree, masks.paths())
        tops = {place.inside[0] if place.inside else "" for place in images.values()}
        listing.splits = () if "" in tops else folder.splits(tree.root, sorted(tops))
        without = _splits_without(images, masks, listing.splits)
        listing.notices += [f"no image of the split {split} has a mask" for split in without]
        files.add_described(listing, _described(images, masks, listing.splits, without))
        files.add_misplaced(listing, others, "it is in neither the images' nor the masks' folder; move it")
        for path in sorted(masks.paths() - masks.matched, key=str.encode):
            files.refuse(listing, path, Reason.ANNOTATION, "mask without image: no image has its name")

    def image_path(self, output: Output) -> str:
        """Return a path in ``images`` in the folder of its split."""
        return join(output.split or "", f"images/{output.file_name}")

    def mask_path(self, output: Output) -> str:
        """Return the same path in ``masks``."""
        return join(output.split or "", f"masks/{output.name}.png")

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Yield ``classes.txt`` in the root, if classes have names. Raises DatasetError if a name cannot be a line."""
        if whole.classes:
            yield StreamedFile(WRITTEN, iter([written(whole.classes)]))


def _place(parts: tuple[str, ...]) -> _Place | None:
    """Return the kind of a folder's files, or None if the folder names do not determine it."""
    for i, part in enumerate(parts):
        if part.lower() in _IMAGES | _MASKS:
            return _Place(part.lower() in _MASKS, parts[:i] + parts[i + 1 :])
    if parts and (match := _OF_SPLIT.fullmatch(parts[0])):
        return _Place(is_mask=match["images"] is None, inside=(match[1], *parts[1:]))
    if parts and parts[0].lower() in files.SPLIT_NAMES:
        return _Place(is_mask=False, inside=parts)
    return None


def _in_folders(tree: Tree) -> tuple[_Masks, dict[str, _Place], list[str]]:
    """Separate masks and images by their folders; the last result is the images in other folders."""
    masks, images, others = _Masks(), dict[str, _Place](), list[str]()
    places = {folder.path: _place(folder.parts) for folder in tree.folders}
    for path in sorted(tree.images(), key=str.encode):
        place = places[path.rpartition("/")[0]]
        if place is None:
            others.append(path)
        elif place.is_mask:
            masks.add(place.inside, path)
        else:
            images[path] = place
            masks.images.add((*place.inside, _bare(path)))
    return masks, images, others


def _in_one_folder(tree: Tree) -> tuple[_Masks, dict[str, _Place]]:
    """Separate masks and images by name: a mask's name without its ending is that of an image in its folder.

    A PNG of one channel is also the mask of a JPEG with the same name.
    """
    paths = sorted(tree.images(), key=str.encode)
    if not _may_have_masks(tree, paths):
        return _Masks(), {}
    stems = {keys.without_extension(path) for path in paths}
    stems |= {_IMAGE_ENDINGS.sub("", stem) for stem in stems}
    photos = {keys.without_extension(path) for path in paths if keys.extension(path).lower() in {".jpg", ".jpeg"}}
    masks, images = _Masks(), dict[str, _Place]()
    for path in paths:
        parts, stem = tuple(path.split("/")[:-1]), keys.without_extension(path)
        place = _place(parts) or _Place(is_mask=False, inside=parts)
        start = evidence.MASK_ENDINGS.sub("", stem)
        is_png = keys.extension(path).lower() == ".png"
        is_pair = is_png and stem in photos and is_index_png(files.head(tree.root / path, _PNG_HEAD_BYTES))
        if is_pair or (start != stem and start in stems):
            masks.add(place.inside, path)
        else:
            images[path] = place
            masks.images.add((*place.inside, _bare(path)))
    return masks, images


def _may_have_masks(tree: Tree, paths: Sequence[str]) -> bool:
    """True if a name has a mask's ending, or there are both JPEG and PNG; most class folders have neither."""
    if ".png" in tree.by_suffix and not tree.by_suffix.keys().isdisjoint({".jpg", ".jpeg"}):
        return True
    return any(evidence.ends_as_mask(keys.without_extension(path)) for path in paths)


def _bare(path: str) -> str:
    return keys.without_extension(path.rpartition("/")[2])


def _not_classes(places: Iterable[_Place]) -> list[str]:
    """Return a notice of folders that might have been meant as classes."""
    tops = {
        next((part for part in place.inside if part.lower() not in files.SPLIT_NAMES), None): None for place in places
    }
    names = sorted(name for name in tops if name is not None)
    if len(names) < 2:
        return []
    shown = ", ".join(map(keys.printable, names[:3])) + (" …" if len(names) > 3 else "")
    return [f"{len(names):,} folders of images with masks are not classes, but part of the keys: {shown}"]


def _splits_without(images: Mapping[str, _Place], masks: _Masks, splits: Sequence[str]) -> list[str]:
    """Return the test splits in which no image has a mask; test splits are often published without."""
    found = []
    for split in splits:
        inside = [(place.inside, path) for path, place in images.items() if place.inside[0] == split]
        if split.lower() in _TESTS and not any(masks.of(each, path.rpartition("/")[2]) for each, path in inside):
            found.append(split)
    return found


def _described(
    images: dict[str, _Place], masks: _Masks, splits: tuple[str, ...], without: Sequence[str]
) -> Iterator[tuple[str, str | None, Described]]:
    seen: dict[str, str] = {}
    for path, place in images.items():
        name = path.rpartition("/")[2]
        split = place.inside[0] if place.inside and place.inside[0] in splits else None
        named = "/".join((*place.inside, name))
        found = masks.of(place.inside, name)
        described = Described(named=named, mask=MaskPlace(found[0]) if found else None)
        if named in seen:
            described = Described(problem=f"named twice: {keys.printable(seen[named])} has the same name")
        elif not found and split not in without:
            described = Described(named=named, problem="image without mask: no mask has its name")
        elif len(found) > 1:
            described = Described(
                named=named, problem=f"several masks: {', '.join(map(keys.printable, found[:3]))}; merge them"
            )
        seen.setdefault(named, path)
        yield path, split, described
