"""Folder format: images in class folders, or in one folder, or either below ``train/ val/ test/``.

The layout follows from the folders' names alone:

- **Splits.** If every folder in the root has the name of a split (``files.SPLIT_NAMES``, in any case), each is a split
  with its own name. Two or more such folders among others are ambiguous, which is an error. A single one (the class
  *train* among vehicles) is a class like the others.
- **Classes.** An image's class is the first folder below the split (or the root), however deep the image is. A folder
  without a usable image is not a class, because neither git nor most archives keep empty folders. An image outside the
  class folders has no class; if no image has one, the dataset has none. Images outside the splits are refused.
- **Every other file** that is not a usable image is refused by name. See ``files`` for skipped files and for links.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import dropwhile
from pathlib import Path

from augment.datasets import keys
from augment.errors import DatasetError
from augment.formats import evidence, files
from augment.formats.files import Lazily
from augment.formats.format import Described, FileGroup, FolderFormat, Listing, Output
from augment.formats.tree import Folder, Tree, is_image, join


class ClassFolders(FolderFormat):
    """Images in class folders, in one folder, or either below split folders."""

    name = "folder"
    writes = frozenset({"label"})

    def recognise(self, tree: Tree) -> bool:
        """Return True: any folder may be in this format, and ``find`` refuses files that do not fit."""
        return True

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the files that may be records. Raises DatasetError if the folders do not determine splits or classes."""
        holders = [folder for folder in tree.folders if any(map(is_image, folder.files))]
        are_classes = _only_structure(holders)
        if are_classes and not listing.is_named and not any(evidence.masks_among(list(tree.images()))):
            shown = " and ".join(map(keys.printable, sorted({folder.parts[0] for folder in holders})[:3]))
            raise DatasetError(
                f"{keys.printable(str(tree.root))}: all images are in {shown}, names that only structure a dataset: if "
                "they are its classes, name the format (--format folder; for an expansion --from-format folder)"
            )
        below = tuple if are_classes else _below_structure
        inside = {folder.path: below(folder.parts) for folder in tree.folders}
        tops = sorted({parts[0] for folder in holders if (parts := inside[folder.path])})
        listing.splits = splits(tree.root, tops)
        beside = f"it is outside the splits {', '.join(listing.splits)}; move it into one" if listing.splits else None
        for folder in tree.folders:
            names = tuple(name for name in folder.files if _may_be_image(name))
            if not names:
                continue
            parts = inside[folder.path]
            split = parts[0] if parts and parts[0] in listing.splits else None
            classes = below(parts[1:] if split is not None else parts)
            misplaced = beside if split is None else None
            class_name = classes[0] if classes else None
            group = FileGroup(folder.path, names, split, class_name, misplaced)
            if split is not None and folder.parts[0] != split:  # a record's name begins with its split
                rest = [part for i, part in enumerate(folder.parts) if i != folder.parts.index(split)]
                group = replace(group, described=_named("/".join([split, *rest]), names))
            listing.groups.append(group)

    def image_path(self, output: Output) -> str:
        """Return the path in the folder of its class, below that of its split.

        The class may already be the first part of the key, if this format was read. For an image without a class, the
        folders become part of the file name, because they would be read as its class. Raises DatasetError if a class
        cannot be the name of a folder.
        """
        name = output.class_name
        if name is None:
            inside = output.file_name.replace("/", "__")
        elif output.key.startswith(f"{name}/"):
            inside = output.file_name
        else:
            _check_folder(name)
            inside = f"{name}/{output.file_name}"
        return join(output.split or "", inside)


def _named(folder: str, names: Sequence[str]) -> Lazily:
    return Lazily(len(names), lambda i: Described(named=f"{folder}/{names[i]}"))


def _may_be_image(name: str) -> bool:
    """True unless the name is that of a text or a description; the content then decides."""
    return is_image(name) or not (evidence.DOCUMENTS.fullmatch(name) or keys.extension(name).lower() in evidence.KINDS)


def _below_structure(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders of a path without the first ones that only structure the dataset."""
    return tuple(dropwhile(evidence.is_structural, parts))


def _only_structure(holders: Sequence[Folder]) -> bool:
    """True if all images are in several purely structural folders, and no two share a name."""
    tops = {next((part for part in folder.parts if part.lower() not in files.SPLIT_NAMES), "") for folder in holders}
    if len(tops) < 2 or not all(map(evidence.is_structural, tops)):
        return False
    names = (name for folder in holders for name in set(filter(is_image, folder.files)))
    return max(Counter(map(keys.without_extension, names)).values()) == 1


def splits(root: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Return the folders in a root that are splits: all, or none. Raises DatasetError if they are ambiguous."""
    found = tuple(name for name in folders if name.lower() in files.SPLIT_NAMES)
    others = [keys.printable(name) for name in folders if name not in found]
    if len(found) > 1 and others:
        raise DatasetError(
            f"{root} holds the splits {', '.join(found)} and the folders {', '.join(others[:3])}"
            f"{' …' if len(others) > 3 else ''}: move the latter elsewhere, or give the folder of one split"
        )
    return () if others else found


def _check_folder(class_name: str) -> None:
    if not class_name or "/" in class_name or "\0" in class_name or class_name.startswith("."):
        raise DatasetError(
            f"class {class_name!r} cannot be the name of a folder; rename it in the dataset, or write another format "
            "(csv)"
        )
