"""The folder format: images in class folders, or in one folder, or either below ``train/ val/ test/``.

Layout, from the folders' names alone:

- **Splits.** Where every folder in the root has the name of a split (``files.SPLIT_NAMES``, in any case), each is one,
  under its own name. Two or more such folders beside others are ambiguous, which is an error; one alone beside others
  (the class *train* among vehicles) is a class like them.
- **Classes.** The first folder below the split (or the root) that an image lies in is its class, however deep it
  lies. A folder without a usable image is no class: empty folders survive neither git nor most archives. An image
  beside class folders has no class; where no image has one, the dataset has none. Images beside splits are refused.
- **Every other file** that is no usable image is refused by name. What is left out in silence, and what becomes of
  links, is said in ``files``.
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
        """Any folder may be one; ``find`` refuses what it is not."""
        return True

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List what may be a record. Raises DatasetError if the folders do not tell splits or classes."""
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
        beside = f"it lies beside the splits {', '.join(listing.splits)}; move it into one" if listing.splits else None
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

        The class may be the first part of the key already, if this format was read. The folders of an image without a
        class become part of its name, because they would be read as its class. Raises DatasetError if a class cannot
        be the name of a folder.
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
    """True unless the name says that a file is a text or describes something; it is opened to see what it is."""
    return is_image(name) or not (evidence.DOCUMENTS.fullmatch(name) or keys.extension(name).lower() in evidence.KINDS)


def _below_structure(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders on the way, less the first ones that only structure the dataset."""
    return tuple(dropwhile(evidence.is_structural, parts))


def _only_structure(holders: Sequence[Folder]) -> bool:
    """True if all images are in several folders that only structure, and each has a name of its own."""
    tops = {next((part for part in folder.parts if part.lower() not in files.SPLIT_NAMES), "") for folder in holders}
    if len(tops) < 2 or not all(map(evidence.is_structural, tops)):
        return False
    names = (name for folder in holders for name in set(filter(is_image, folder.files)))
    return max(Counter(map(keys.without_extension, names)).values()) == 1


def splits(root: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Which of the folders in a root are splits: all, or none. Raises DatasetError where that is ambiguous."""
    found = tuple(name for name in folders if name.lower() in files.SPLIT_NAMES)
    others = [keys.printable(name) for name in folders if name not in found]
    if len(found) > 1 and others:
        raise DatasetError(
            f"{root} holds the splits {', '.join(found)} and beside them {', '.join(others[:3])}"
            f"{' …' if len(others) > 3 else ''}: move these elsewhere, or give the folder of one split"
        )
    return () if others else found


def _check_folder(class_name: str) -> None:
    if not class_name or "/" in class_name or "\0" in class_name or class_name.startswith("."):
        raise DatasetError(
            f"class {class_name!r} cannot be the name of a folder; rename it in the dataset, or write another format "
            "(csv)"
        )
