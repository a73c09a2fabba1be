"""What a format finds in a dataset's folder, before any picture is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from augment.annotations import Annotations
from augment.errors import Reason


@dataclass(frozen=True, slots=True)
class Part:
    """Where something lies inside of a file: see ``read.read_part``; None is a size that only reading tells."""

    offset: int
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class MaskPlace:
    """Where a picture's mask lies; ``path`` is relative to the root."""

    path: str
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """What a format knows of one file beyond its place.

    ``named`` is the path that the record goes by: its key is that path less split and extension. Where None it is the
    file's own. ``class_name`` beats the group's. ``problem`` refuses the record (Reason.ANNOTATION) and says why.

    ``annotate`` stands for ``annotations`` where these follow from the picture's size or should not wait in memory: it
    is called with height and width when they are known, in a thread of the scan, perhaps more than once. It refuses the
    record by a ValueError, whose text is a problem; None where nothing is said of it.
    """

    annotations: Annotations | None = None
    annotate: Callable[[int, int], Annotations | None] | None = None
    mask: MaskPlace | None = None
    class_name: str | None = None
    named: str | None = None
    part: Part | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files of one folder, which share split and class.

    ``folder`` is relative to the root, empty for the root itself; where pictures lie inside of a file, it is that file,
    and ``names`` are the names of its members. ``split`` is the name of the split, with which the names that records go
    by begin, or None. ``misplaced`` tells that a picture among them belongs nowhere, and why. ``described`` holds, by
    the places in ``names``, what is known of a picture beyond that; formats without annotations have none.
    """

    folder: str
    names: tuple[str, ...]
    split: str | None = None
    class_name: str | None = None
    misplaced: str | None = None
    described: Mapping[int, Described] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusedPath:
    """A file or folder that cannot be used; ``path`` is relative to the root and printable."""

    path: str
    reason: Reason
    detail: str


@dataclass(slots=True)
class Listing:
    """Every file that may be a record. ``splits`` are the names of the splits, those without a file too.

    ``classes`` are the names of classes in the order that their indices have, where the format says so; else they are
    those that occur, sorted. ``num_mask_values`` bounds the values of masks, beside 255 (which many call "ignore").
    ``details`` goes into the manifest's summary, and comes back to the format when it writes.
    """

    splits: tuple[str, ...] = ()
    groups: list[FileGroup] = field(default_factory=list)
    refused: list[RefusedPath] = field(default_factory=list)
    num_files: int = 0
    classes: tuple[str, ...] | None = None
    keypoint_names: tuple[str, ...] = ()
    num_mask_values: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
