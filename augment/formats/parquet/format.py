"""Parquet with a column of pictures, as Hugging Face's ``datasets`` writes it: ``data/train-00000-of-00001.parquet``.

Which column is what, ``parquet_layout`` says; shards and their splits, ``shards``. A record goes by the name that the
column has beside the picture's bytes (``path``): of an absolute path, one that leads upwards or an address by its last
part. Where there is none, and where several records of a split have one name, it is the shard and the number of the
row, ``data/train-00000-of-00001.parquet/000012``.

Columns that are neither pictures nor annotations are carried along in ``extra`` if they have no more than
``parquet_files.CARRIED_MEAN_BYTES`` a row, and a value no more than ``parquet_said.CARRIED_MAX_CHARS`` as JSON; numbers
that are not finite become null. What is left out stands in the summary's ``details``.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from augment import parquet_rows
from augment.annotations import Annotations
from augment.errors import DatasetError
from augment.formats import dataset_info, parquet_files, parquet_writing, shards
from augment.formats.dataset_info import DatasetInfo
from augment.formats.format import Described, FileGroup, Listing, MaskPlace, Part
from augment.formats.parquet_files import Meaning, Shelf
from augment.formats.parquet_said import RowReader
from augment.formats.writing import Output, Packed, StreamedFile, Whole, WrittenFile

NAME = "parquet"
WRITES = frozenset({"label", "labels", "mask", "boxes", "instance_masks", "keypoints"})
PACKS = True


def recognise(root: Path) -> bool:
    """Whether there are Parquet files in the root or a folder of it, and no pictures beside them."""
    return shards.recognise(root, ".parquet")


def find(root: Path, *, max_files: int | None = None) -> Listing:
    """Read what all shards say of themselves, and the columns of names and classes; no picture.

    Raises DatasetError where a shard is none, was cut or encrypted, the columns or splits are ambiguous or there are
    more than ``max_files`` rows; StorageError.
    """
    listing = Listing()
    info = dataset_info.read_info(root)
    shelves: list[Shelf] = []
    for shard in shards.find(root, listing, ".parquet", splits=info.splits):
        shelves.append(parquet_files.open_shelf(root / shard.path, shard))
        listing.num_files += shelves[-1].description.num_rows
        if max_files is not None and listing.num_files > max_files:
            raise DatasetError(f"{root} holds more than {max_files} rows (max_files); split it, or raise the limit")
    if not shelves:
        return listing
    layout = parquet_files.common_layout(shelves)
    meaning = Meaning(layout, info)
    for shelf in shelves:
        parquet_files.read_shelf(shelf, meaning)
    name = shards.names_of(
        [shelf.shard for shelf in shelves], [shelf.names for shelf in shelves], lambda _, i: f"{i:06d}"
    )
    for number, shelf in enumerate(shelves):
        described = _Described(shelf, meaning, functools.partial(name, number))
        names = tuple(own or f"{i:06d}" for i, own in enumerate(shelf.names))
        group = FileGroup(f"{shelf.shard.path}/{layout.image}", names, shelf.shard.split, described=described)
        listing.groups.append(group)
    listing.classes = meaning.names.values.classes
    listing.keypoint_names = meaning.names.keypoint_names
    listing.details = {"left_out": list(layout.left_out)} if layout.left_out else {}
    return listing


def picture_path(output: Output) -> str:
    """Never called: pictures lie inside of files."""
    raise NotImplementedError(output.name)


def mask_path(output: Output) -> str:
    """Never called, as ``picture_path``."""
    raise NotImplementedError(output.name)


def sidecars(output: Output, whole: Whole) -> Sequence[WrittenFile]:
    """Never called, as ``picture_path``."""
    raise NotImplementedError(output.name)


def closing(outputs: Callable[[], Iterator[Output]], whole: Whole) -> Iterator[StreamedFile]:  # noqa: ARG001
    """``README.md``, by which ``datasets`` finds the shards of each split, and ``dataset_info.json``."""
    yield StreamedFile("README.md", iter([parquet_writing.card(whole.splits).encode()]))
    text = dataset_info.text(DatasetInfo(whole.classes, whole.keypoint_names, whole.splits))
    yield StreamedFile(dataset_info.NAME, iter([text.encode()]))


def pack(outputs: Sequence[Packed], whole: Whole, *, split: str | None, index: int) -> WrittenFile:
    """``data/{split}-{index:05d}.parquet``, or ``data/shard-{index:05d}.parquet``."""
    return WrittenFile(parquet_writing.shard_path(split, index), parquet_writing.file_bytes(outputs, whole))


@dataclass(frozen=True, slots=True)
class _Described(Mapping[int, Described]):
    """What is known of the rows of one shard, by their numbers; made when it is asked for."""

    shelf: Shelf
    meaning: Meaning
    name: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.shelf.names)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __getitem__(self, i: int) -> Described:
        layout, value = self.meaning.layout, self.shelf.values[i]
        class_name, problem = None, None
        if value is not None:
            try:
                class_name = self.meaning.label.name(value)
            except ValueError as error:
                problem = str(error)
        part = Part(i, None)
        return Described(
            annotate=functools.partial(self._annotate, i) if layout.said else None,
            mask=None if layout.mask is None else MaskPlace(f"{self.shelf.shard.path}/{layout.mask}", part),
            class_name=class_name,
            named=self.name(i),
            part=part,
            problem=problem,
        )

    def _annotate(self, i: int, height: int, width: int) -> Annotations | None:  # noqa: ARG002 - as Described has it
        meaning = self.meaning
        try:
            row = parquet_rows.read_row(self.shelf.path, meaning.layout.said, i)
        except parquet_rows.UnreadableRowError as error:
            raise ValueError(f"not readable: {error}") from error
        said = RowReader(meaning.layout, meaning.labels, meaning.categories).annotations(row)
        if said is not None:
            meaning.names.check(said)
        return said
