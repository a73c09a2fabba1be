"""Interface of every dataset format: finding files before any image is opened, and writing a dataset.

If each image is a separate file (``FolderFormat``), the format gives the paths of the image and its mask and the files
next to it. If images are packed into files (``ShardFormat``), it packs the outputs of one shard. Files that describe
the whole dataset are written last (``closing``). All results are functions of the arguments: no time, no host, no order
of calls.
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
    """Position of data inside a file: see ``read.read_part``. A size of None is only known once the data are read."""

    offset: int
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class MaskPlace:
    """Path of an image's mask, relative to the root, and its position in that file."""

    path: str
    part: FileSlice | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """A format's knowledge of one file beyond its path.

    ``named`` is the path that gives the record's key, without split and extension; None means the file's own.
    ``class_name`` takes precedence over the group's. ``problem`` refuses the record (Reason.ANNOTATION) with this text.

    ``annotate`` replaces ``annotations`` if these depend on the image's size or should not be kept in memory. It is
    called with height and width once they are known, in a thread of the scan, perhaps more than once. A ValueError from
    it refuses the record with its text; it returns None for an image without annotations.
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

    ``folder`` is relative to the root, empty for the root itself. For images inside a file, ``folder`` is that file and
    ``names`` are its members. ``split`` is the name of the split, with which the records' names begin, or None.
    ``misplaced`` refuses the images among them with this text. ``described`` maps indices in ``names`` to the images'
    descriptions; formats without annotations have none.
    """

    folder: str
    names: tuple[str, ...]
    split: str | None = None
    class_name: str | None = None
    misplaced: str | None = None
    described: Mapping[int, Described] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusedPath:
    """File or folder that cannot be used; ``path`` is relative to the root and printable."""

    path: str
    reason: Reason
    detail: str


@dataclass(slots=True)
class Listing:
    """Every file that may be a record. ``splits`` are the names of the splits, including those without files.

    ``classes`` are the names of classes by index, if the format lists them, or else those that occur, sorted.
    ``num_mask_values`` bounds the values of masks, apart from 255 (which many call "ignore"). ``mask_legend`` maps
    values of mask files to classes; empty if they hold indices. ``details`` is kept in the manifest's summary for the
    format when it writes.

    ``read`` are the files that the format took its annotations from, or knows to be unrelated to images. A file that is
    neither there nor in a group nor refused was not read, and ``evidence`` judges it. ``is_named`` is True if the user
    named the format. ``notices`` are sentences for the user. ``ignore`` are the patterns of files that were not listed
    at all.
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

    ``key`` is relative to the split. ``extension`` is that of the image's file, without a dot; it is empty if the key
    already includes it (two originals differ by their extension only). ``height`` and ``width`` are the output's,
    ``class_name`` is the image's single class.
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
        """Key with the number of the copy: the name of a file without its extension."""
        return self.key if self.copy is None else f"{self.key}__{self.copy}"

    @property
    def file_name(self) -> str:
        """Name with the extension."""
        return f"{self.name}.{self.extension}" if self.extension else self.name


@dataclass(frozen=True, slots=True)
class Packed:
    """Output with its bytes: the encoded image, and its mask as PNG."""

    output: Output
    image: bytes
    mask: bytes | None


@dataclass(frozen=True, slots=True)
class OutputDataset:
    """Facts about the dataset that a format writes. ``details`` are those of the format that was read.

    ``source_format`` is the name of that format; only a format that reads its own ``details`` may use them. ``targets``
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
    """File to write: its path relative to the output folder, and its bytes."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamedFile:
    """File that is written piece by piece, because it describes every output and may be large."""

    path: str
    pieces: Iterator[bytes]


class Format(ABC):
    """Dataset format: finds the files of a dataset, and chooses the paths of an expansion's files.

    ``writes`` names the targets (fields of ``Sample``) that it can hold; an expansion of a dataset with others is
    refused. Subclasses are ``FolderFormat`` and ``ShardFormat``.
    """

    name: ClassVar[str]
    writes: ClassVar[frozenset[str]]
    tells_crowds: ClassVar[bool] = True
    """False if a crowd (COCO's ``iscrowd``) is written like any other object."""

    @abstractmethod
    def recognise(self, tree: Tree) -> bool:
        """Return True if there is evidence that a dataset is in this format; opens few files."""

    @abstractmethod
    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """List the files that may be records; opens no image. Raises DatasetError if the layout is ambiguous.

        ``max_files`` bounds images that are packed into files; the files are already counted.
        """

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Return the files that describe the whole dataset, written last.

        Each call of ``outputs`` starts at the first output. Outputs are sorted by (split, UTF-8 key, copy), with the
        unchanged original last among a key's. The pieces of each file are consumed before the next file is requested.
        """
        return iter(())


class FolderFormat(Format):
    """Format in which each image is a separate file."""

    def image_path(self, output: Output) -> str:
        """Return the path of an image below the output folder; different outputs never share a path."""
        return f"{output.split}/{output.file_name}" if output.split else output.file_name

    def mask_path(self, output: Output) -> str:
        """Return the path of its mask (PNG). A format whose ``writes`` has ``mask`` must override this."""
        raise TypeError(f"the format {self.name} has no path for the mask of {output.name}")

    def sidecars(self, output: Output, whole: OutputDataset) -> Sequence[WrittenFile]:
        """Return the files that belong to one image, such as its annotations if they are a separate file."""
        return ()


class ShardFormat(Format):
    """Format in which the outputs of a shard are packed into one file."""

    @abstractmethod
    def pack(self, outputs: Sequence[Packed], whole: OutputDataset, *, split: str | None, index: int) -> WrittenFile:
        """Pack shard ``index`` of a split into one file."""
