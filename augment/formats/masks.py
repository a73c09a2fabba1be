"""The ``masks`` format: a folder of images and one of masks, whose files have the same names.

    images/a.jpg        masks/a.png           one pair of folders, in the root
    train/images/…      train/masks/…         a pair in each split
    images/train/…      masks/train/…         the splits in each folder
    train/…             train_labels/…        or ``trainannot/``, ``train_masks/`` …: next to each split

- **Folders of images** are called ``images`` (or as in ``_PICTURES``), those of masks ``masks``, ``labels``,
  ``annotations``, ``SegmentationClass`` (``_MASKS``), compared without case. A record's name is the path of its image
  less that folder: ``train/images/a.jpg`` is the record ``a`` of ``train``.
- **A pair** has the same place below both: the mask's name is the image's, with or without its extension, or with an
  ending of ``_ENDINGS`` (``a_mask.png``). An image without a mask, one with two, and a mask without an image are
  refused by name.
- **Masks** hold class indices: see ``augment.images.masks``. Their names are in ``classes.txt``, ``codes.txt`` or
  ``labels.txt`` (one a line, the first is index 0), ``label_colors.txt`` (likewise, after three numbers) or
  ``class_dict.csv``, in the root or next to the masks; then an index beyond them, other than 255, is refused.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from augment.datasets import keys
from augment.errors import DatasetError, Reason
from augment.formats import files, folder
from augment.formats.format import Described, FolderFormat, Listing, MaskPlace, Output, StreamedFile, Whole
from augment.formats.tree import Tree, is_picture, join

WRITTEN = "classes.txt"

_NAMES = (WRITTEN, "codes.txt", "labels.txt", "label_colors.txt", "class_dict.csv")
"""In this order; the one in the root counts before one beside the masks."""
_MAX_BYTES = 2**20
_COLOURED = re.compile(r"\d{1,3}[\s,]+\d{1,3}[\s,]+\d{1,3}[\s,]+(?P<name>.*\S)")
_NUMBERED = re.compile(r"(?P<number>\d+)\s*[:=,\s]\s*(?P<name>.*\S)")


def find_class_file(found: Tree, masks: Iterable[str]) -> str | None:
    """The file with the names in the root, else beside one of these masks or above it; None where there is none."""
    folders = {above for path in masks for above in files.above(path)}
    for above in ["", *sorted(folders, key=lambda path: (path.count("/"), path))]:
        for name in _NAMES:
            path = join(above, name)
            if path in found.paths:
                return path
    return None


def read_class_names(found: Tree, path: str) -> tuple[str, ...]:
    """The names. Raises DatasetError where it cannot be read, or a name is missing or stands there twice."""
    try:
        text = found.read_text(path, max_bytes=_MAX_BYTES)
        names = tuple(_of_table(text) if path.endswith(".csv") else _of_lines(text))
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"{found.root / path}: {error}") from error
    if not names:
        raise DatasetError(f"{found.root / path} names no class; write one name a line")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f"{found.root / path} names {twice!r} twice; give each index its own name")
    return names


def written(classes: tuple[str, ...]) -> bytes:
    """The names, one a line. Raises DatasetError where a name would not come back."""
    for name in classes:
        if name != name.strip() or len(name.splitlines()) != 1:
            raise DatasetError(f"class {name!r} cannot stand in a line of {WRITTEN}; rename it")
    text = "".join(f"{name}\n" for name in classes)
    if tuple(_of_lines(text)) != classes:
        text = "".join(f"{number}: {name}\n" for number, name in enumerate(classes))
    return text.encode()


def _of_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.strip().splitlines()]
    if not all(lines):
        raise ValueError(f"line {lines.index('') + 1} is empty; each line names a class")
    coloured = [_COLOURED.fullmatch(line) for line in lines]
    if all(coloured):
        return [match["name"] for match in coloured if match]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(match and int(match["number"]) == i for i, match in enumerate(numbered)):
        return [match["name"] for match in numbered if match]
    return lines


def _of_table(text: str) -> list[str]:
    rows = [row for row in csv.reader(text.splitlines(), strict=True) if row]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "name" not in header:
        raise ValueError("its header has no column name")
    return [row[header.index("name")].strip() for row in rows[1:] if len(row) == len(header)]


_PICTURES = frozenset({"images", "image", "imgs", "img", "jpegimages"})
_MASKS = frozenset(
    {"masks", "mask", "labels", "label", "annotations", "annotation", "annot", "gt", "ground_truth", "groundtruth"}
    | {"segmentationclass", "segmentationclasspng", "segmentations", "segmentation"}
)
_OF_SPLIT = re.compile(
    rf"({'|'.join(sorted(files.SPLIT_NAMES, key=len, reverse=True))})[_-]?(masks?|labels?|annot|annotations?|gt)",
    re.IGNORECASE,
)
_ENDINGS = re.compile(r"_(mask|masks|label|labels|annot|annotation|gt|seg|segmentation|P|L)$")


class _Place(NamedTuple):
    """What a file is by the folders that it lies in, and these less the one that says so."""

    is_mask: bool
    inside: tuple[str, ...]


@dataclass(slots=True)
class _Masks:
    """The masks, by the place below their folder and by what their pictures may be called."""

    by_name: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    by_start: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    matched: set[str] = field(default_factory=set)

    def add(self, inside: tuple[str, ...], path: str) -> None:
        name = keys.without_extension(path.rpartition("/")[2])
        self.by_name.setdefault((*inside, name), []).append(path)
        start = _ENDINGS.sub("", name)
        if start != name:
            self.by_start.setdefault((*inside, start), []).append(path)

    def paths(self) -> set[str]:
        return {path for paths in self.by_name.values() for path in paths}

    def of(self, inside: tuple[str, ...], name: str) -> list[str]:
        """The masks of the picture with this name; they are matched from now on."""
        bare = keys.without_extension(name)
        found = (
            self.by_name.get((*inside, name)) or self.by_name.get((*inside, bare)) or self.by_start.get((*inside, bare))
        )
        self.matched.update(found or ())
        return found or []


class MaskFolders(FolderFormat):
    """Images beside a folder of mask images with the same names."""

    name = "masks"
    writes = frozenset({"mask"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if an image in a folder of masks has the name of one in a folder of images."""
        masks, pictures = _Masks(), list[tuple[_Place, str]]()
        for path in tree.pictures():
            folder, _, name = path.rpartition("/")
            place = _place(tuple(folder.split("/")) if folder else ())
            if place is not None and place.is_mask:
                masks.add(place.inside, path)
            elif place is not None:
                pictures.append((place, name))
        return any(masks.of(place.inside, name) for place, name in pictures)

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the images with their masks. Raises DatasetError if there is no such pair of folders, StorageError."""
        found, root = tree, tree.root
        masks, pictures, others = _Masks(), dict[str, _Place](), list[str]()
        for path in sorted(found.paths, key=str.encode):
            place = _place(tuple(path.split("/")[:-1]))
            if not is_picture(path):
                continue
            if place is None:
                others.append(path)
            elif place.is_mask:
                masks.add(place.inside, path)
            else:
                pictures[path] = place
        if not pictures or not masks.by_name:
            raise DatasetError(
                f"{root} has no folder of pictures with a folder of masks beside it; call them images and masks, or "
                "name another format"
            )
        names_file = find_class_file(found, masks.paths())
        if names_file is not None:
            listing.classes = read_class_names(found, names_file)
            listing.num_mask_values = len(listing.classes)
            listing.read.add(names_file)
        tops = {place.inside[0] if place.inside else "" for place in pictures.values()}
        listing.splits = () if "" in tops else folder.splits(root, sorted(tops))
        files.add_described(listing, _described(pictures, masks, listing.splits))
        files.add_misplaced(listing, others, "it lies neither among the pictures nor among the masks; move it")
        for path in sorted(masks.paths() - masks.matched, key=str.encode):
            files.refuse(listing, path, Reason.ANNOTATION, "mask without picture: none has its name")

    def picture_path(self, output: Output) -> str:
        """In ``images`` in the folder of its split."""
        return join(output.split or "", f"images/{output.file_name}")

    def mask_path(self, output: Output) -> str:
        """At the same place in ``masks``."""
        return join(output.split or "", f"masks/{output.name}.png")

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:
        """``classes.txt`` in the root, where classes have names. Raises DatasetError where a line cannot hold one."""
        if whole.classes:
            yield StreamedFile(WRITTEN, iter([written(whole.classes)]))


def _place(parts: tuple[str, ...]) -> _Place | None:
    """None where no folder tells what is in it."""
    for i, part in enumerate(parts):
        if part.lower() in _PICTURES | _MASKS:
            return _Place(part.lower() in _MASKS, parts[:i] + parts[i + 1 :])
    if parts and (match := _OF_SPLIT.fullmatch(parts[0])):
        return _Place(True, (match[1], *parts[1:]))  # noqa: FBT003 - the field's name says it
    if parts and parts[0].lower() in files.SPLIT_NAMES:
        return _Place(False, parts)  # noqa: FBT003
    return None


def _described(
    pictures: dict[str, _Place], masks: _Masks, splits: tuple[str, ...]
) -> Iterator[tuple[str, str | None, Described]]:
    seen: dict[str, str] = {}
    for path, place in pictures.items():
        name = path.rpartition("/")[2]
        split = place.inside[0] if place.inside and place.inside[0] in splits else None
        named = "/".join((*place.inside, name))
        found = masks.of(place.inside, name)
        described = Described(named=named, mask=MaskPlace(found[0]) if found else None)
        if named in seen:
            described = Described(problem=f"named twice: {keys.printable(seen[named])} lies at the same place")
        elif not found:
            described = Described(named=named, problem="picture without mask: none has its name")
        elif len(found) > 1:
            described = Described(named=named, problem=f"several masks: {', '.join(map(keys.printable, found[:3]))}")
        seen.setdefault(named, path)
        yield path, split, described
