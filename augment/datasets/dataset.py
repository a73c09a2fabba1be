"""Dataset: its records by index and by key, its splits and classes, and a digest of it all.

A ``Dataset`` is a view of a manifest: the whole, or one split. In the view of a split, keys are relative to the split.
In the view of a whole dataset with splits, keys begin with the split's name (``val/cat/1``), because two splits may
hold equal keys.
"""

import difflib
import functools
import operator
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augment import validation
from augment.address import digest_fields
from augment.datasets import keys, manifest, read
from augment.datasets.manifest import Manifest, MaskRow, Size, SplitSummary
from augment.datasets.targets import Vocabulary, with_targets
from augment.errors import AugmentError, CallError, DatasetError
from augment.images import masks
from augment.images.decode import DEFAULT_MAX_PIXELS, decode_image
from augment.images.headers import Conversion
from augment.samples import annotations, notebook
from augment.samples.sample import MaskFile, Record, Refusal, thumbnail_of

TRAINING_SPLITS = ("train", "training")
"""Names of the default split, compared without case; the first that exists is used."""


class Dataset:
    """Records in the order of their keys, as a scan wrote them.

    Opening one reads no record: rows are read from the mapped manifest on request. Safe between threads. Pickles as the
    path of its manifest, or else as the manifest's bytes.
    """

    def __init__(self, source: Manifest, *, path: Path | None = None, split: str | None = None) -> None:
        """Use ``Dataset.open`` or a scan instead."""
        validation.instance("source", source, Manifest, "Dataset.open reads a manifest, augment.scan a folder")
        self.source = source
        self._path = path
        self.split = split
        summary = source.summary
        self.root = Path(summary.root)
        self.format = summary.format
        self.classes = summary.classes
        self.keypoint_names = summary.keypoint_names
        self.mask_bits = summary.mask_bits
        self.mask_legend = summary.mask_legend
        self.details = summary.details
        self.digest = summary.digest
        self._splits = tuple(part for part in summary.splits if split is None or part.name == split)
        self._start = self._splits[0].start
        self.num_records = self._splits[-1].stop - self._start

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Dataset":
        """Map the manifest that a scan or ``save`` wrote, in a time that does not depend on its size.

        Raises DatasetError if it is not a manifest, StorageError if it cannot be read.
        """
        place = validation.path("path", path, "the path of a manifest's file").absolute()
        return cls(manifest.open_file(place), path=place)

    @classmethod
    def from_buffer(cls, buffer: pa.Buffer) -> "Dataset":
        """Open a manifest in memory, as returned by ``to_buffer``, without a copy."""
        return cls(Manifest(validation.instance("buffer", buffer, pa.Buffer, "give to_buffer's result"), "the buffer"))

    def to_buffer(self) -> pa.Buffer:
        """Return the whole manifest's bytes, without a copy; the buffer keeps them alive."""
        return self.source.buffer

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole manifest (whatever split is chosen). The file gets its name only once it is complete."""
        with manifest.new_file(validation.path("path", path, "the path of a file")) as file:
            file.write(self.source.buffer)

    @property
    def splits(self) -> dict[str, int]:
        """Number of records in each split of the whole dataset; empty if it has no splits."""
        return {part.name: part.num_records for part in self.source.summary.splits if part.name is not None}

    @property
    def targets(self) -> frozenset[str]:
        """Targets of the records, by the names of ``Sample``'s fields: ``label``, ``mask``, ``boxes``."""
        return frozenset(self.source.summary.targets)

    @property
    def moved_targets(self) -> frozenset[str]:
        """Targets that move with the pixels, by the catalogue's names."""
        return self.vocabulary.moved

    @property
    def vocabulary(self) -> Vocabulary:
        """Names that the dataset's annotations use."""
        return Vocabulary(self.classes, self.keypoint_names, self.targets)

    @property
    def notices(self) -> tuple[str, ...]:
        """Remarks for the user on a dataset that was not refused, one sentence each."""
        unpaired = annotations.unpaired_notice(self.keypoint_names)
        own = () if unpaired is None else (unpaired,)
        return (*self.source.summary.notices, *own, *self._conversion_notices())

    def _conversion_notices(self) -> Iterator[str]:
        """Describe the losses of reading the images, one sentence for each kind."""
        for kind in Conversion:
            images = [(part, part.conversions[kind]) for part in self._splits if kind in part.conversions]
            if not images:
                continue
            number = sum(each.number for _, each in images)
            have = "has" if number == 1 else "have"
            first = keys.printable(self._full(images[0][0], images[0][1].first))
            count = f"{number:,} of {self.num_records:,} images"
            yield f"{count} {have} {kind.feature}; {kind.result} (the first is `{first}`)"

    @property
    def num_refused(self) -> int:
        """Number of files of the whole dataset that the scan refused."""
        return self.source.summary.num_refused

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Files that the scan refused, by path: of the chosen split, relative to it, or of the whole dataset.

        They are read from the manifest at each call.
        """
        if self.split is None:
            return tuple(self.source.refusals())
        prefix = f"{self.split}/"
        return tuple(
            Refusal(refusal.key.removeprefix(prefix), refusal.reason, refusal.detail)
            for refusal in self.source.refusals()
            if refusal.key.startswith(prefix)
        )

    @property
    def num_unlabelled(self) -> int:
        """Number of records without a class in a dataset with classes: images outside the class folders."""
        return sum(part.num_unlabelled for part in self._splits) if "label" in self.targets else 0

    @property
    def first_unlabelled(self) -> str | None:
        """Key of the first record without a class, for a message; None if the dataset has no classes."""
        if "label" not in self.targets:
            return None
        return next((self._full(part, part.first_unlabelled) for part in self._splits if part.first_unlabelled), None)

    def choose(self, split: str | None) -> "Dataset":
        """Return the view of one split. None chooses the training split if there is one, else all records.

        Raises DatasetError if the split does not exist or has no records.
        """
        if split is not None:
            validation.text("split", split, "the name of a split, or None")
        splits = self.source.summary.splits
        names = [part.name for part in splits if part.name is not None]
        if split is not None and split not in names:
            raise DatasetError(f"{self.root} has no split {split!r}; {_splits_remedy(split, names)}")
        if split is None:
            by_lower = {name.lower(): name for name in names}
            filled = [part.name for part in splits if part.num_records]
            only = filled[0] if len(filled) == 1 else None
            split = next((by_lower[name] for name in TRAINING_SPLITS if name in by_lower), only)
        if split is not None and not next(part.num_records for part in splits if part.name == split):
            refused = len(Dataset(self.source, split=split).refused)
            raise DatasetError(
                f"split {split!r} of {self.root} has no usable image ({refused} files were refused); "
                "add some, or choose another split"
            )
        return Dataset(self.source, path=self._path, split=split)

    @property
    def is_for_training(self) -> bool:
        """True for the training split, and for a dataset without splits."""
        return self.split is None or self.split.lower() in TRAINING_SPLITS

    def record(self, index: SupportsIndex) -> Record:
        """Return the record at an index in [0, num_records)."""
        i = self._place(index)
        row = self.source.row(i)
        return Record(
            key=self._prefix(i) + row.key.decode(),
            path=self.root / row.path.decode(),
            height=row.height,
            width=row.width,
            size_bytes=row.size_bytes,
            digest=row.digest.hex(),
            label=row.label,
            offset=row.offset,
            annotations=None if row.annotations is None else row.annotations.decode(),
            mask=None if row.mask is None else self._mask(row.mask),
            encoding=row.encoding,
        )

    def _mask(self, row: MaskRow) -> MaskFile:
        path = self.root / row.path.decode()
        return MaskFile(path, row.size_bytes, row.digest.hex(), row.offset)

    def records(self, indices: Iterable[SupportsIndex]) -> list[Record]:
        """Return the records at these indices, in this order."""
        return [self.record(index) for index in validation.many("indices", indices)]

    def keys(self, indices: Iterable[SupportsIndex]) -> list[str]:
        """Return the keys at these indices, in this order; no other column is read."""
        places = map(self._place, validation.many("indices", indices))
        return [self._prefix(i) + self.source.key(i).decode() for i in places]

    def labels(self, places: range | None = None) -> list[int | None]:
        """Return the labels of a range of records, or of all; no other column is read."""
        return [label for part in self._column("label", places) for label in part.to_pylist()]

    def annotations(self, places: range | None = None) -> list[str | None]:
        """Return the annotations of a range of records, or of all, as JSON or None; no other column is read."""
        return [text for part in self._column("annotations", places) for text in part.to_pylist()]

    def sizes(self, places: range | None = None) -> NDArray[np.int64]:
        """Return height and width of a range of records, or of all: int64 (N, 2)."""
        columns = [[part.to_numpy() for part in self._column(name, places)] for name in ("height", "width")]
        return np.column_stack([np.concatenate(parts) if parts else np.empty(0) for parts in columns]).astype(np.int64)

    @property
    def num_masks(self) -> int:
        """Number of records with a mask."""
        return sum(len(part) - part.null_count for part in self._column("mask_path", None))

    def digests(self) -> NDArray[np.void]:
        """Return the digests of all records, 16 bytes each, in their order."""
        parts = [np.array(part.to_pylist(), "V16") for part in self._column("digest", None)]
        return np.concatenate(parts) if parts else np.empty(0, "V16")

    @functools.cached_property
    def split_digest(self) -> str:
        """Return 32 hexadecimal digits over each (key, record digest) of the chosen split; reads both columns."""
        pairs = zip(self._column("key", None), self._column("digest", None), strict=True)
        fields = (
            value
            for keys, digests in pairs
            for pair in zip(keys.to_pylist(), digests.to_pylist(), strict=True)
            for value in pair
        )
        return digest_fields(fields, person=b"augment.split").hex()

    def _column(self, name: str, places: range | None) -> Iterator[pa.Array]:
        start, stop = (0, self.num_records) if places is None else (places.start, places.stop)
        start, stop = self._start + start, self._start + stop
        for number, batch in enumerate(self.source.record_batches(start, stop), start // manifest.BATCH_ROWS):
            first = number * manifest.BATCH_ROWS
            inside = max(start - first, 0)
            yield batch.column(name).slice(inside, min(stop - first, batch.num_rows) - inside)

    def __iter__(self) -> Iterator[Record]:
        return (self.record(index) for index in range(self.num_records))

    def find(self, key: str) -> int | None:
        """Return the index of the record with this key, by binary search, or None."""
        validation.instance("key", key, str, "keys are text: paths without extension")
        for part in self._splits:
            prefix = self._prefix_of(part)
            if key.startswith(prefix):
                sought = key.removeprefix(prefix).encode(errors="surrogatepass")
                found = self.source.find(sought, part.start, part.stop)
                if found is not None:
                    return found - self._start
        return None

    def read(self, record: Record) -> bytes:
        """Return the encoded bytes of one of this dataset's records, checked to be the scanned ones.

        Raises RecordChangedError if they differ, RecordError if the file cannot be read, StorageError if the machine
        fails.
        """
        validation.instance("record", record, Record, "give one of this dataset's records")
        return read.read_record(record, self._class_name(record), root=self.root)

    def is_unchanged(self, record: Record) -> bool:
        """True if the record's file is known to have the scanned bytes; the file is not read."""
        return read.is_unchanged(record, self._class_name(record))

    def read_mask(self, record: Record) -> bytes:
        """Return the encoded bytes of the record's mask, checked likewise.

        Raises as ``read`` does, CallError if the record has no mask.
        """
        return read.read_mask(record, root=self.root, legend=self.mask_legend)

    def decode_mask(self, record: Record, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.integer[Any]]:
        """Decode the class indices of the record's mask: a new array, uint8 or uint16 (H, W).

        Raises as ``read_mask`` does, and RecordError with an empty key if they cannot be decoded.
        """
        return masks.decode_mask(self.read_mask(record), max_pixels=max_pixels, legend=self.mask_legend)

    def _class_name(self, record: Record) -> str | None:
        return None if record.label is None else self.classes[record.label]

    def min_size(self) -> Size:
        """Return the least height, the least width, and the key of the record with the shortest side."""
        sizes = [
            Size(part.smallest.height, part.smallest.width, self._full(part, part.smallest.key))
            for part in self._splits
            if part.smallest is not None
        ]
        return manifest.least(sizes)

    def common_size(self) -> tuple[int, int] | None:
        """Return height and width if all records share them, else None."""
        sizes = {part.common_size for part in self._splits if part.num_records}
        return sizes.pop() if len(sizes) == 1 else None

    def __repr__(self) -> str:
        split = "" if self.split is None else f", split={self.split!r}"
        return f"<Dataset {self.root} ({self.num_records} records{split}) {self.digest}>"

    def _repr_html_(self) -> str:
        """Return records from all over the dataset with their targets drawn; one that is refused is shown as text."""
        thumbnails, lines = [], []
        num_shown = min(notebook.IMAGES_MAX, self.num_records)
        for record in self.records(i * self.num_records // num_shown for i in range(num_shown)):
            try:
                thumbnails.append(self._thumbnail(record))
            except AugmentError as error:
                lines.append(f"{type(error).__name__}: {error}")
        return notebook.page(repr(self), thumbnails, [*lines, *self.notices])

    def _thumbnail(self, record: Record) -> notebook.Thumbnail:
        text = record.annotations
        said = annotations.NOTHING if text is None else annotations.Annotations.from_json(text)
        mask = None if record.mask is None else functools.partial(self.decode_mask, record)
        size = record.height, record.width
        sample = with_targets(decode_image(self.read(record)), said, mask, self.vocabulary, full_size=size)
        names = [] if record.label is None else [self.classes[record.label]]
        names += [] if said.labels is None else [f"{name} {share:.2g}" for name, share in said.labels.items()]
        return thumbnail_of(sample, ": ".join(map(notebook.shortened, [record.key, *names])), self.classes)

    def __reduce__(self) -> tuple[object, ...]:
        if self._path is not None:
            return _reopen, (self._path, self.root, self.digest, self.split)
        return _rebuild, (self.source.buffer.to_pybytes(), self.split)

    def _place(self, index: SupportsIndex) -> int:
        try:
            i = operator.index(index)
        except TypeError:
            raise CallError(f"record is {validation.quoted(index)}; give an integer, its index") from None
        if not 0 <= i < self.num_records:
            raise CallError(f"record is {i}; give an index in [0, {self.num_records}), the number of records")
        return self._start + i

    def _prefix(self, row: int) -> str:
        return self._prefix_of(next(part for part in self._splits if row < part.stop))

    def _prefix_of(self, part: SplitSummary) -> str:
        return f"{part.name}/" if self.split is None and part.name is not None else ""

    def _full(self, part: SplitSummary, key: str | None) -> str:
        return f"{self._prefix_of(part)}{key}"


def in_ranges(dataset: Dataset, num_records: int) -> Iterator[range]:
    """Yield the indices of all records as ranges of ``num_records`` each."""
    for start in range(0, dataset.num_records, num_records):
        yield range(start, min(start + num_records, dataset.num_records))


def _splits_remedy(wanted: str, names: list[str]) -> str:
    if not names:
        return "it has no splits, so leave the split out"
    close = difflib.get_close_matches(wanted, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"it has {', '.join(names)}{hint}"


def _rebuild(data: bytes, split: str | None) -> Dataset:
    return Dataset(Manifest(pa.py_buffer(data), "the pickled dataset"), split=split)


@functools.lru_cache(maxsize=8)  # a worker gets the same dataset with every task
def _reopen(path: Path, root: Path, digest: str, split: str | None) -> Dataset:  # noqa: ARG001 - part of the cache's key
    dataset = Dataset.open(path)
    if dataset.digest != digest:
        raise DatasetError(
            f"{path} now holds dataset {dataset.digest}, not {digest}: it was scanned again; open it again"
        )
    return Dataset(dataset.source, path=path, split=split)
