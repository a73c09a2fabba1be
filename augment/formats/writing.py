"""What a format is asked to write: the outputs of an expansion, one after another, and what describes all of them.

A format is a module with the names of ``registry.Format``. Where a picture is a file of its own, the format says where
it goes (``picture_path``), where its mask goes (``mask_path``) and what else lies beside it (``sidecars``); what
describes the whole dataset is written last (``closing``). Where pictures lie inside of files (``PACKS``), the format
packs the outputs of one shard into one file (``pack``).

All of it is a function of what it is given: no time, no host, no order of calls.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from augment.annotations import NOTHING, Annotations


@dataclass(frozen=True, slots=True)
class Output:
    """One picture of an expansion. ``copy`` is None for a record's own, unchanged picture.

    ``key`` is relative to the split. ``extension`` is that of the picture's file, without a dot; it is empty where the
    key holds it already (of two originals that differ by their extension only). ``height`` and ``width`` are the
    output's, ``class_name`` is the picture's single class.
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
    """An output with its bytes: the encoded picture, and its mask as PNG."""

    output: Output
    picture: bytes
    mask: bytes | None


@dataclass(frozen=True, slots=True)
class Whole:
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
