"""Manifest: the result of a scan, as one memory-mapped Arrow IPC file.

The file holds one table, uncompressed and in record batches of equal length. The place of any row follows from its
number, and only the requested rows are read. First come the records, sorted by (split, UTF-8 bytes of the key). Refused
files follow in new batches, sorted by the bytes of their paths. The summary (``DatasetSummary``) is JSON in the
schema's metadata. Any Arrow reader can open the file.
"""

import json
import mmap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augment.errors import DatasetError, Reason, StorageError
from augment.images.masks import Legend
from augment.samples.sample import Refusal
from augment.user_state import replacing

VERSION = 1
BATCH_ROWS = 65_536

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),  # relative to the split; of a refused file, its path
        pa.field("path", pa.string(), nullable=False),  # relative to the root
        pa.field("label", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("size_bytes", pa.int64()),
        pa.field("digest", pa.binary(16)),
        pa.field("offset", pa.int64()),  # position in the file; null if the file is the image
        pa.field("annotations", pa.string()),  # JSON, as annotations.py describes it
        pa.field("mask_path", pa.string()),
        pa.field("mask_offset", pa.int64()),
        pa.field("mask_size_bytes", pa.int64()),
        pa.field("mask_digest", pa.binary(16)),
        pa.field("refusal", pa.string()),  # null in records; "reason: detail" in refused rows
        pa.field("encoding", pa.string()),  # of the image, as decode.encoding names it
        pa.field(
            "conversions", pa.string()
        ),  # kinds of conversion by decoding, as headers.Conversion names them; or null
    ]
)

_RARE = ("offset", "annotations", "mask_path", "mask_offset", "mask_size_bytes", "mask_digest")
"""Columns that are null in most datasets. They are read through Arrow's scalars, and only if not null."""

_MAY_LACK = frozenset({"encoding", "conversions"})
"""Text columns that manifests of earlier versions lack; they are read as null."""

_METADATA_KEY = b"augment.manifest"


class Size(NamedTuple):
    """Least height and width among some records, and the key of the record with the shortest side."""

    height: int
    width: int
    key: str


def least(sizes: Iterable[Size]) -> Size:
    """Return the ``Size`` of all these records together; the first of equals is named."""
    several = tuple(sizes)
    smallest = min(several, key=lambda size: min(size.height, size.width))
    return Size(min(size.height for size in several), min(size.width for size in several), smallest.key)


class ConvertedImages(NamedTuple):
    """Number of images that decoding converts in one way, and the key of the first."""

    number: int
    first: str


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """Rows of one split and facts about all of them. ``name`` is None if the dataset has no splits.

    ``conversions`` has the kinds, by name, that any image meets; manifests of earlier versions have none.
    """

    name: str | None
    start: int
    stop: int
    smallest: Size | None
    common_size: tuple[int, int] | None
    num_unlabelled: int
    first_unlabelled: str | None
    conversions: Mapping[str, ConvertedImages] = field(default_factory=dict)

    @property
    def num_records(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """Facts about the whole dataset; ``scanned_ns`` is the time at which the scan began to read.

    ``targets`` are those that any record has, by the names of ``Sample``'s fields, sorted. ``mask_bits`` is 16 if a
    mask file has 16 bits a pixel. ``details`` is private to the format: the ids of COCO's categories, the skeleton of
    YOLO's poses. ``notices`` describe files that were not read, ``ignore`` are the patterns of files that the scan had
    to ignore. ``num_crowds`` counts boxes with COCO's ``iscrowd``. ``mask_legend`` maps the values of mask files to
    classes (``images.masks.Legend``).
    """

    format: str
    root: str
    digest: str
    classes: tuple[str, ...]
    splits: tuple[SplitSummary, ...]
    num_records: int
    num_refused: int
    scanned_ns: int
    targets: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    mask_bits: int = 8
    details: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    num_crowds: int = 0
    mask_legend: Legend = ()

    @property
    def conversions(self) -> dict[str, int]:
        """Number of images of the dataset with each kind of conversion, by name."""
        counted: Counter[str] = Counter()
        for split in self.splits:
            counted.update({kind: images.number for kind, images in split.conversions.items()})
        return dict(counted)

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, "batch_rows": BATCH_ROWS, **asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes) -> "DatasetSummary":
        """Parse a summary. Raises ValueError, KeyError or TypeError if the text is not a summary of this version."""
        fields: dict[str, Any] = json.loads(text)
        version, batch_rows = fields.pop("version"), fields.pop("batch_rows")
        if (version, batch_rows) != (VERSION, BATCH_ROWS):
            raise ValueError(f"version {version} with batches of {batch_rows} rows, not version {VERSION}")
        splits = tuple(_split_summary(**split) for split in fields.pop("splits"))
        names: dict[str, Any] = {name: tuple(fields.pop(name)) for name in ("classes", "targets", "keypoint_names")}
        names |= {name: tuple(fields.pop(name, ())) for name in ("notices", "ignore")}  # earlier versions have none
        names["mask_legend"] = tuple(map(tuple, fields.pop("mask_legend", ())))
        return cls(splits=splits, **names, **fields)


def _split_summary(*, smallest: Any, common_size: Any, conversions: Any = None, **fields: Any) -> SplitSummary:
    return SplitSummary(
        smallest=None if smallest is None else Size(*smallest),
        common_size=None if common_size is None else (common_size[0], common_size[1]),
        conversions={kind: ConvertedImages(*images) for kind, images in (conversions or {}).items()},
        **fields,
    )


_SMALL_BYTES = 2**24
_ROWS_MAPPED = 64
"""Number of rows after which a large manifest's pages are released. Each row maps up to 64 kB a column, because Linux
maps a page's neighbours too; in time the whole file would count as the process's memory."""


class RecordRow(NamedTuple):
    """One record as the manifest holds it: bytes and integers, not resolved."""

    key: bytes
    path: bytes
    label: int | None
    height: int
    width: int
    size_bytes: int
    digest: bytes
    offset: int | None
    annotations: bytes | None
    mask: "MaskRow | None"
    encoding: str | None = None


class MaskRow(NamedTuple):
    """Columns of a record's mask."""

    path: bytes
    offset: int | None
    size_bytes: int
    digest: bytes


class Manifest:
    """Manifest that is open for reading. Safe between threads."""

    def __init__(self, buffer: pa.Buffer, name: str, mapped: mmap.mmap | None = None) -> None:
        """Read the footer of a manifest's bytes, in memory or ``mapped``; messages use ``name``."""
        self.buffer = buffer
        self._name = name
        self._mapped = mapped if mapped is not None and len(mapped) > _SMALL_BYTES else None
        self._num_read = 0
        try:
            self._reader = pa.ipc.open_file(buffer)
            metadata = self._reader.schema.metadata or {}
            self.summary = DatasetSummary.from_json(metadata[_METADATA_KEY])
            types = dict(zip(self._reader.schema.names, self._reader.schema.types, strict=True))
            for each in SCHEMA:  # earlier versions have more columns, which are ignored
                if types.get(each.name, each.type if each.name in _MAY_LACK else None) != each.type:
                    raise ValueError(f"it has no column {each.name} of {each.type}")
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{name} is not a manifest that this version reads ({error}); scan the dataset again"
            ) from error
        self._lock = Lock()
        self._batches: dict[int, _Columns] = {}

    def row(self, index: int) -> RecordRow:
        """Return one record; ``index`` must be in [0, num_records)."""
        columns, i = self._place(index)
        row = columns.row(i)
        if self._mapped is not None:
            self._num_read += 1
            if self._num_read >= _ROWS_MAPPED:  # threads that count at once may release twice, which is harmless
                self._num_read = 0
                self._mapped.madvise(mmap.MADV_DONTNEED)
        return row

    def key(self, index: int) -> bytes:
        """Return the UTF-8 key of one record; no other column is read."""
        columns, i = self._place(index)
        return columns.key[i]

    def path(self, index: int) -> bytes:
        """Return the path of one record, relative to the root."""
        columns, i = self._place(index)
        return columns.path[i]

    def find(self, key: bytes, start: int, stop: int) -> int | None:
        """Return the index of the record with this key, or None; ``start`` to ``stop`` are the records of one split."""
        low, high = start, stop
        while low < high:
            middle = (low + high) // 2
            if self.key(middle) < key:
                low = middle + 1
            else:
                high = middle
        return low if low < stop and self.key(low) == key else None

    def refusals(self) -> Iterator[Refusal]:
        """Yield the refused files, in the order of their paths relative to the root."""
        first = -(-self.summary.num_records // BATCH_ROWS)
        for number in range(first, self._reader.num_record_batches):
            batch = self._batch(number)
            keys, verdicts = batch.column("key").to_pylist(), batch.column("refusal").to_pylist()
            for key, verdict in zip(keys, verdicts, strict=True):
                reason, _, detail = verdict.partition(": ")
                yield Refusal(key, Reason(reason), detail)

    def record_batches(self, start: int = 0, stop: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the batches that hold any of the records from ``start`` to ``stop``."""
        last = self.summary.num_records if stop is None else stop
        return (self._batch(number) for number in range(start // BATCH_ROWS, -(-last // BATCH_ROWS)))

    def _place(self, index: int) -> "tuple[_Columns, int]":
        number, i = divmod(index, BATCH_ROWS)
        columns = self._batches.get(number)
        if columns is None:
            batch = self._batch(number)
            try:
                columns = self._batches[number] = _Columns(batch)
            except ValueError as error:  # a buffer's length does not fit its rows
                raise StorageError(f"{self._name} is damaged ({error}); scan the dataset again") from error
        return columns, i

    def _batch(self, number: int) -> pa.RecordBatch:
        try:
            with self._lock:
                batch = self._reader.get_batch(number)
        except (pa.ArrowException, OSError, ValueError) as error:  # IndexError: fewer batches than the footer has
            raise StorageError(f"{self._name} is damaged ({error}); scan the dataset again") from error
        if batch.schema.names == SCHEMA.names:
            return batch
        lacking = _MAY_LACK.difference(batch.schema.names)
        columns = [
            pa.nulls(len(batch), pa.string()) if name in lacking else batch.column(name) for name in SCHEMA.names
        ]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


class _Text:
    """Strings of a column, read directly from its buffers; an Arrow scalar would cost five times as much."""

    __slots__ = ("_data", "_offsets")

    def __init__(self, column: pa.Array) -> None:
        _, offsets, data = column.buffers()
        self._offsets = np.frombuffer(offsets, dtype=np.int32)
        self._data = memoryview(data if data is not None else b"")

    def __getitem__(self, i: int) -> bytes:
        return bytes(self._data[self._offsets[i] : self._offsets[i + 1]])


class _Columns:
    """One record batch as plain buffers; creating it reads none of them."""

    __slots__ = ("_batch", "_digest", "_encoding", "_label", "_labelled", "_numbers", "_rare", "key", "path")

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch  # keeps the memory of the views below alive
        self.key = _Text(batch.column("key"))
        self.path = _Text(batch.column("path"))
        validity, labels = batch.column("label").buffers()
        self._labelled = None if validity is None else np.frombuffer(validity, dtype=np.uint8)
        self._label = np.frombuffer(labels, dtype=np.int32)
        self._numbers = tuple(_numbers(batch, name) for name in ("height", "width", "size_bytes"))
        self._digest = memoryview(batch.column("digest").buffers()[1])
        encoding = batch.column("encoding")
        self._encoding = _Text(encoding) if encoding.null_count < len(encoding) else None
        self._rare = {name: column for name in _RARE if (column := batch.column(name)).null_count < len(column)}

    def row(self, i: int) -> RecordRow:
        labelled = self._labelled is None or bool(self._labelled[i >> 3] >> (i & 7) & 1)
        heights, widths, sizes = self._numbers
        return RecordRow(
            key=self.key[i],
            path=self.path[i],
            label=int(self._label[i]) if labelled else None,
            height=heights.item(i),
            width=widths.item(i),
            size_bytes=sizes.item(i),
            digest=bytes(self._digest[16 * i : 16 * i + 16]),
            offset=self._value("offset", i),
            annotations=None if (text := self._value("annotations", i)) is None else text.encode(),
            mask=self._mask(i),
            encoding=None if self._encoding is None else self._encoding[i].decode() or None,
        )

    def _value(self, name: str, i: int) -> Any:
        return self._rare[name][i].as_py() if name in self._rare else None

    def _mask(self, i: int) -> MaskRow | None:
        path = self._value("mask_path", i)
        if path is None:
            return None
        names = ("mask_offset", "mask_size_bytes", "mask_digest")
        return MaskRow(path.encode(), *(self._value(name, i) for name in names))


def _numbers(batch: pa.RecordBatch, name: str) -> NDArray[np.int32] | NDArray[np.int64]:
    column = batch.column(name)
    return np.frombuffer(column.buffers()[1], dtype=column.type.to_pandas_dtype())


def open_file(path: Path) -> Manifest:
    """Map a manifest into memory. Raises DatasetError if it is missing, StorageError if it cannot be read."""
    if path.is_dir():
        raise DatasetError(f"{path} is a folder, not a manifest; scan it")
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        return Manifest(pa.py_buffer(mapped), str(path), mapped)
    except FileNotFoundError as error:
        raise DatasetError(f"there is no manifest {path}; scan the dataset first") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise DatasetError(f"{path} is not a manifest ({error}); scan the dataset again") from error
    except OSError as error:
        raise StorageError(f"the manifest {path} cannot be read: {error}") from error


def write(
    sink: Any, summary: DatasetSummary, records: Iterable[pa.RecordBatch], refused: Iterable[pa.RecordBatch] = ()
) -> None:
    """Write a manifest into a binary file that is open for writing.

    ``records`` and ``refused`` are sorted, in batches of any length with the columns of ``SCHEMA``. One batch of each
    is in memory at a time.
    """
    schema = SCHEMA.with_metadata({_METADATA_KEY: summary.to_json()})
    with pa.ipc.new_file(sink, schema) as writer:
        for part in (records, refused):
            for batch in _equal_batches(part):
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def _equal_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    pending: list[pa.RecordBatch] = []
    missing = BATCH_ROWS
    for batch in batches:
        rest = batch
        while rest.num_rows:
            pending.append(rest.slice(0, missing))
            rest = rest.slice(pending[-1].num_rows)
            missing -= pending[-1].num_rows
            if not missing:
                yield pa.concat_batches(pending)
                pending, missing = [], BATCH_ROWS
    if pending:
        yield pa.concat_batches(pending)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name, complete and on disk, only if the block succeeds."""
    try:
        with replacing(path, durable=True) as draft, draft.open("wb") as file:
            yield file
    except OSError as error:
        raise StorageError(f"the manifest {path} cannot be written: {error.strerror or error}") from error
