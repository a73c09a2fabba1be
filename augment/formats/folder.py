"""The folder format: pictures in class folders, or in one folder, or either below ``train/ val/ test/``.

Layout, from the folders' names alone:

- **Splits.** Where every folder in the root has the name of a split (``files.SPLIT_NAMES``, in any case), each is one,
  under its own name. Two or more such folders beside others are ambiguous, which is an error; one alone beside others
  (the class *train* among vehicles) is a class like them.
- **Classes.** The first folder below the split (or the root) that a picture lies in is its class, however deep it
  lies. A folder without a usable picture is no class: empty folders survive neither git nor most archives. A picture
  beside class folders has no class; where no picture has one, the dataset has none. Pictures beside splits are refused.
- **Every other file** that is no usable picture is refused by name. What is left out in silence, and what becomes of
  links, is said in ``files``.
"""

from collections.abc import Sequence
from pathlib import Path

from augment.datasets import keys
from augment.errors import DatasetError
from augment.formats import files
from augment.formats.format import FileGroup, FolderFormat, Listing, Output


class ClassFolders(FolderFormat):
    """Images in class folders, in one folder, or either below split folders."""

    name = "folder"
    writes = frozenset({"label"})

    def recognise(self, root: Path) -> bool:
        """Any folder may be one."""
        return True

    def find(self, root: Path, *, max_files: int | None = None) -> Listing:
        """List what may be a record below ``root``; opens no file. Raises DatasetError, StorageError."""
        listing = Listing(splits=splits(root, files.top(root).folders))
        beside = f"it lies beside the splits {', '.join(listing.splits)}; move it into one" if listing.splits else None
        for place in files.folders(root, listing, max_files=max_files):
            if not place.files:
                continue
            split = place.parts[0] if place.parts and place.parts[0] in listing.splits else None
            inside = place.parts if split is None else place.parts[1:]
            misplaced = None if place.parts else beside
            listing.groups.append(FileGroup(place.path, place.files, split, inside[0] if inside else None, misplaced))
        return listing

    def picture_path(self, output: Output) -> str:
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
        return files.join(output.split or "", inside)


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
