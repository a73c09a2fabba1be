"""What a format finds in a dataset's folder, before any file is opened."""

from dataclasses import dataclass, field

from augment.errors import Reason


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files of one folder, which share split and class.

    ``folder`` is relative to the root, empty for the root itself. ``split`` is the name of the split's folder, which
    lies in the root, or None. ``misplaced`` tells that a picture among them belongs nowhere, and why.
    """

    folder: str
    names: tuple[str, ...]
    split: str | None = None
    class_name: str | None = None
    misplaced: str | None = None


@dataclass(frozen=True, slots=True)
class RefusedPath:
    """A file or folder that cannot be used; ``path`` is relative to the root and printable."""

    path: str
    reason: Reason
    detail: str


@dataclass(slots=True)
class Listing:
    """Every file that may be a record. ``splits`` are the names of the splits' folders, those without a file too."""

    splits: tuple[str, ...] = ()
    groups: list[FileGroup] = field(default_factory=list)
    refused: list[RefusedPath] = field(default_factory=list)
    num_files: int = 0
