"""Format: the interface of every dataset format. What it finds, before any image is opened, and what it writes.

Where each image is a file (``FolderFormat``), the format gives the paths of the image and its mask and the files next
to it; where images are packed into files (``ShardFormat``), it packs the outputs of one shard. Files that describe the
whole dataset are written last (``closing``). All of it is a function of the arguments: no time, no host, no order of
calls.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from augment.errors import Reason
from augment.formats.tree import Tree
from augment.images.masks import Legend
from augment.samples.annotations import NOTHING, Annotations


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Where something lies inside of a file: see ``read.read_part``; None is a size that only reading tells."""

    offset: int
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class MaskPlace:
    """Where an image's mask lies; ``path`` is relative to the root."""

    path: str
    part: FileSlice | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """What a format knows of one file beyond its place.

    ``named`` is the path that the record goes by: its key is that path less split and extension. Where None it is the
    file's own. ``class_name`` beats the group's. ``problem`` refuses the record (Reason.ANNOTATION) and says why.

    ``annotate`` stands for ``annotations`` where these follow from the image's size or should not wait in memory: it
    is called with height and width when they are known, in a thread of the scan, perhaps more than once. It refuses the
    record by a ValueError, whose text is a problem; None where nothing is said of it.
    """

    annotations: Annotations | None = None
    annotate: Callable[[int, int], Annotations | None] | None = None
    mask: MaskPlace | None = None
    class_name: str | None = None
    named: str | None = None
    part: FileSlice | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files of one folder, which share split and class.

    ``folder`` is relative to the root, empty for the root itself; where images lie inside of a file, it is that file,
    and ``names`` are the names of its members. ``split`` is the name of the split, with which the names that records go
    by begin, or None. ``misplaced`` tells that an image among them belongs nowhere, and why. ``described`` holds, by
    the places in ``names``, what is known of an image beyond that; formats without annotations have none.
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
    ``mask_legend`` says what stands for each class in mask files; empty if they hold indices.
    ``details`` goes into the manifest's summary, and comes back to the format when it writes.

    ``read`` are the files that the format took its annotations from, or knows to say nothing of images: what is neither
    there nor in a group nor refused was not read, which ``evidence`` judges. ``is_named`` is True if the user named the
    format; then folders and files are what that format makes of them. ``notices`` are sentences for the
    user. ``ignore`` are the patterns of files that were not listed at all.
    """

    splits: tuple[str, ...] = ()
    groups: list[FileGroup] = field(default_factory=list)
    refused: list[RefusedPath] = field(default_factory=list)
    num_files: int = 0
    classes: tuple[str, ...] | None = None
    keypoint_names: tuple[str, ...] = ()
    num_mask_values: int | None = None
    mask_legend: Legend = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    is_named: bool = False
    notices: list[str] = field(default_factory=list)
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """One image of an expansion. ``copy`` is None for a record's own, unchanged image.

    ``key`` is relative to the split. ``extension`` is that of the image's file, without a dot; it is empty where the
    key holds it already (of two originals that differ by their extension only). ``height`` and ``width`` are the
    output's, ``class_name`` is the image's single class.
    """

    key: str
    split: str | None
    copy: int | None
    extension: str
    height: int
    width: int
    class_name: str | None = None
    annotations: Annotations = NOTHING
    has_mask: bool = False

    @property
    def name(self) -> str:
        """The key with the number of the copy: what a file is called, less its extension."""
        return self.key if self.copy is None else f"{self.key}__{self.copy}"

    @property
    def file_name(self) -> str:
        """The name with the extension."""
        return f"{self.name}.{self.extension}" if self.extension else self.name


@dataclass(frozen=True, slots=True)
class Packed:
    """An output with its bytes: the encoded image, and its mask as PNG."""

    output: Output
    image: bytes
    mask: bytes | None


@dataclass(frozen=True, slots=True)
class OutputDataset:
    """What a format may know of the dataset that it writes. ``details`` are those of the format that was read.

    ``source_format`` says which that was: only a format that reads its own ``details`` may look into them. ``targets``
    are names of ``Sample``'s fields.
    """

    classes: tuple[str, ...]
    keypoint_names: tuple[str, ...]
    targets: frozenset[str]
    splits: tuple[str, ...]
    source_format: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file to be written: its path relative to the output folder, and its bytes."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamedFile:
    """A file that is written piece by piece, because it describes every output and may be large."""

    path: str
    pieces: Iterator[bytes]


class Format(ABC):
    """A dataset format: finds the files of a dataset, and says where the files of an expansion go.

    ``writes`` names the targets (fields of ``Sample``) that it can hold; an expansion of a dataset with others is
    refused. Subclasses are ``FolderFormat`` and ``ShardFormat``.
    """

    name: ClassVar[str]
    writes: ClassVar[frozenset[str]]
    tells_crowds: ClassVar[bool] = True
    """False if a crowd (COCO's ``iscrowd``) is written as any other object."""

    @abstractmethod
    def recognise(self, tree: Tree) -> bool:
        """Return True if there is evidence that a dataset of unnamed format is of this one; open little."""

    @abstractmethod
    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the files that may be records; open no image. Raises DatasetError if the layout is ambiguous.

        ``max_files`` bounds images that are packed into files; the files are counted already.
        """

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Return the files that describe all of it, written last; ``outputs()`` begins at the first output each time.

        Outputs come sorted by (split, UTF-8 key, copy), the unchanged original last among a key's. The pieces of each
        file are consumed before the next file is asked for.
        """
        return iter(())


class FolderFormat(Format):
    """A format in which each image is a file of its own."""

    def image_path(self, output: Output) -> str:
        """Return the path of an image below the output folder; different outputs never share a path."""
        return f"{output.split}/{output.file_name}" if output.split else output.file_name

    def mask_path(self, output: Output) -> str:
        """Return the path of its mask (PNG). A format whose ``writes`` has ``mask`` must override this."""
        raise TypeError(f"the format {self.name} has no path for the mask of {output.name}")

    def sidecars(self, output: Output, whole: OutputDataset) -> Sequence[WrittenFile]:
        """Return the files beside one image: its annotations, if they are a file of their own."""
        return ()


class ShardFormat(Format):
    """A format in which the outputs of a shard are packed into one file."""

    @abstractmethod
    def pack(self, outputs: Sequence[Packed], whole: OutputDataset, *, split: str | None, index: int) -> WrittenFile:
        """Pack shard ``index`` of a split into one file."""
