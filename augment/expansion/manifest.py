"""Manifest of an expansion: one row for each output and each refusal, one Parquet file for each shard.

``PathSet`` holds all paths in little memory.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from augment.errors import AugmentError, StorageError
from augment.expansion import folder
from augment.expansion.folder import Condition, File
from augment.user_state import sync


class PathSet:
    """Set of paths, for membership tests among millions: eight bytes for each path.

    It keeps 64-bit hashes. A path outside the set is taken for a member with a probability of (number of paths) /
    2**64: 1 in 10**12 for ten million.
    """

    def __init__(self, groups: Iterable[Sequence[str]]) -> None:
        parts = [hashed(group) for group in groups]
        self._hashes = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)

    def __len__(self) -> int:
        return int(self._hashes.size)

    def missing(self, paths: Sequence[str]) -> list[str]:
        """Return the paths that are not in the set, in their order."""
        known = np.isin(hashed(paths), self._hashes)
        return [path for path, is_known in zip(paths, known, strict=True) if not is_known]


def hashed(paths: Sequence[str]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each path."""
    # surrogateescape: a foreign file may have a name that is not UTF-8
    digests = (hashlib.blake2b(path.encode(errors="surrogateescape"), digest_size=8).digest() for path in paths)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


_BRIEF = [
    *("key", "status", "split", "copy", "path", "class", "size_bytes", "digest", "record_digest"),
    *("reason", "detail", "files"),
]
_EXPANSION = b"augment.expansion"
_ROWS_A_GROUP = 8_192


class Status(StrEnum):
    """Result for a record, or for one of its copies."""

    RENDERED = "rendered"
    """A copy was rendered; its path is ``path``."""
    ORIGINAL = "original"
    """The record's own bytes are at ``path``."""
    REFUSED = "refused"
    """The record, or a file that could not become one, is left out because of ``reason`` and ``detail``."""
    SKIPPED = "skipped"
    """The rule of copies gives this record none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the manifest.

    ``split`` is that of the output, None if splits have no folders. ``copy`` is None for originals and refusals.
    ``path`` is relative to the output folder; ``size_bytes`` and ``digest`` are of the encoded image. ``applied`` is
    JSON: the applied transforms with the drawn parameters, arrays as shape and digest; ``dropped`` is JSON too: the
    numbers of lost boxes and keypoints. ``annotations`` is the text of ``Annotations.to_json``.

    ``files`` are the other files of this output: its mask, at ``mask_path``, and the annotation files of the format. If
    images are packed, ``path`` is the packed file, ``files`` is that file alone, and ``made_of`` is the digest of all
    its inputs.
    """

    key: str
    status: Status
    split: str | None = None
    copy: int | None = None
    path: str | None = None
    extension: str | None = None
    label: int | None = None
    class_name: str | None = None
    height: int | None = None
    width: int | None = None
    size_bytes: int | None = None
    digest: str | None = None
    render_key: str | None = None
    record_digest: str | None = None
    reason: str | None = None
    detail: str | None = None
    applied: str | None = None
    dropped: str | None = None
    annotations: str | None = None
    mask_path: str | None = None
    mask_digest: str | None = None
    files: tuple[File, ...] = ()
    made_of: str | None = None

    def on_disk(self) -> tuple[File, ...]:
        """Every file of this output; none of a refusal."""
        if self.path is None:
            return ()
        image = File(self.path, self.size_bytes or 0, self.digest or "")
        return self.files if any(each.path == self.path for each in self.files) else (image, *self.files)


def files(rows: Iterable[Row]) -> set[File]:
    """Return the files of these rows, each once: rows of packed images share theirs."""
    return {file for row in rows for file in row.on_disk()}


_FILE = pa.struct([pa.field("path", pa.string()), pa.field("size_bytes", pa.int64()), pa.field("digest", pa.string())])
_TYPES: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    Status: pa.string(),
    str | None: pa.string(),
    int | None: pa.int32(),
    tuple[File, ...]: pa.list_(_FILE),
}
_COLUMNS = {each.name: "class" if each.name == "class_name" else each.name for each in fields(Row)}
"""Columns of a part by field of ``Row``; Python does not allow the name of the column ``class``."""
_SCHEMA = pa.schema(
    pa.field(
        _COLUMNS[each.name],
        pa.int64() if each.name == "size_bytes" else _TYPES[each.type],
        nullable=each.default is not MISSING,
    )
    for each in fields(Row)
)
_values = attrgetter(*_COLUMNS)


def part_name(index: int) -> str:
    """Return the name of a shard's part of the manifest."""
    return f"manifest-{index:05d}.parquet"


def part_names(root: Path) -> list[str]:
    """Return the names of all parts in the folder, in the order of their shards."""
    names = [name for name in folder.names(root, "manifest-") if name.endswith(".parquet")]
    return sorted(names, key=lambda name: (len(name), name))


def write_part(root: Path, index: int, expansion: str, rows: Sequence[Row]) -> None:
    """Write a shard's part, which marks the shard finished. It is durable when this returns."""
    values = [_values(row) for row in rows]
    columns: dict[str, list[Any]] = {name: [each[i] for each in values] for i, name in enumerate(_SCHEMA.names)}
    columns["files"] = [[asdict(each) for each in row.files] for row in rows]
    table = pa.table(columns, schema=_SCHEMA.with_metadata({_EXPANSION: expansion.encode()}))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    folder.place(root, part_name(index), sink.getvalue().to_pybytes(), temporary=f"{index:05d}", durable=True)


def read_part(root: Path, index: int, expansion: str, *, brief: bool = False) -> list[Row] | None:
    """Return the rows of a shard, or None if its part is missing, damaged or another expansion's.

    ``brief`` reads only the columns that are needed to check the outputs.
    """
    table = _read_table(root, index, expansion, _BRIEF if brief else _SCHEMA.names)
    return None if table is None else _rows(table)


def read_records(root: Path, index: int, expansion: str) -> dict[tuple[str | None, str], str] | None:
    """Return the digests of a shard's records by split and key, or None if its part cannot be read."""
    table = _read_table(root, index, expansion, ["split", "key", "record_digest"])
    if table is None:
        return None
    table = table.filter(table.column("record_digest").is_valid())
    splits, keys, digests = (table.column(name).to_pylist() for name in ("split", "key", "record_digest"))
    return dict(zip(zip(splits, keys, strict=True), digests, strict=True))


class Previous:
    """Rows of the folder's outputs before the current update, read by ranges of keys."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file

    @classmethod
    def open(cls, root: Path) -> "Previous | None":
        """Open the file, or return None if no update is under way."""
        path = root / folder.PREVIOUS
        try:
            return cls(pq.ParquetFile(path, memory_map=True))
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException) as error:
            raise StorageError(
                f"cannot read {path}: {error}; remove that file and run the same command again: all is rendered again"
            ) from error

    def rows(self, split: str | None, first_key: str, last_key: str) -> list[Row]:
        """Return the rows of a split whose key is between these two, inclusive."""
        metadata = self._file.metadata
        found: list[Row] = []
        for group in range(metadata.num_row_groups):
            keys = metadata.row_group(group).column(0).statistics
            if keys is None or not keys.has_min_max or (keys.min <= last_key and first_key <= keys.max):
                table = self._file.read_row_group(group)
                keys_of_rows = table.column("key")
                inside = pc.and_(pc.greater_equal(keys_of_rows, first_key), pc.less_equal(keys_of_rows, last_key))
                splits = table.column("split")
                of_split = (
                    splits.is_null() if split is None else pc.fill_null(pc.equal(splits, split), fill_value=False)
                )
                found += _rows(table.filter(pc.and_(inside, of_split)))
        return found

    def all_rows(self) -> Iterator[Row]:
        """Yield all rows, in the order in which they were gathered."""
        for table in self.tables():
            yield from _rows(table)

    def paths(self) -> Iterator[list[str]]:
        """Yield the paths of all rows' files, some thousands at a time."""
        return (_paths(table) for table in self.tables(["path", "files"]))

    def images(self) -> Iterator[list[str]]:
        """Yield the paths of all rows' images, some thousands at a time."""
        return (table.column("path").to_pylist() for table in self.tables(["path"]))

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield all rows as tables, some thousands at a time."""
        for group in range(self._file.metadata.num_row_groups):
            yield self._file.read_row_group(group, columns=columns)


def keep_previous(root: Path, num_shards: int, expansion: str) -> None:
    """Gather the rows of all outputs in the folder in one hidden file; the parts may be replaced afterwards.

    If an interrupted update left such a file, its rows are kept for outputs that no finished shard has written since.
    (The journals have already undone unfinished shards.)

    A row whose file was changed loses its record's digest, so that its output is made again. The check must be here,
    because the part's time, which tells the files to read again, is lost with the part.
    """
    draft = root / f"{folder.TEMPORARY}previous"
    earlier = Previous.open(root)
    try:
        with pq.ParquetWriter(draft, _SCHEMA, compression="zstd") as writer:
            for table in _grouped(
                _less_changed(root, each, folder.changed_ns(root, part_name(index)))
                for index, each in _output_tables(root, num_shards, expansion)
            ):
                writer.write_table(table, row_group_size=_ROWS_A_GROUP)
            if earlier is not None:
                known = path_set(root, num_shards, expansion)
                since_ns = folder.changed_ns(root, folder.PREVIOUS)
                for table in earlier.tables():
                    paths = table.column("path").to_pylist()
                    left = set(known.missing(paths))
                    rest = table.filter(pa.array([path in left for path in paths], pa.bool_()))
                    writer.write_table(_less_changed(root, rest, since_ns))
        sync(draft)
        draft.rename(root / folder.PREVIOUS)
        sync(root)
    except AugmentError:
        draft.unlink(missing_ok=True)
        raise
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise folder.storage_error("write", root / folder.PREVIOUS, error) from error


def path_set(root: Path, num_shards: int, expansion: str) -> PathSet:
    """Return the paths of all files of finished shards."""
    tables = _output_tables(root, num_shards, expansion, ["path", "files"])
    return PathSet(_paths(table) for _, table in tables)


def is_whole(root: Path, num_shards: int, expansion: str) -> bool:
    """Return True if every shard has a readable part."""
    return all(_read_table(root, index, expansion, ["key"]) is not None for index in range(num_shards))


def is_damaged(root: Path, num_shards: int, expansion: str) -> bool:
    """Return True if a part cannot be read or is another expansion's."""
    return any(
        (root / part_name(index)).exists() and _read_table(root, index, expansion, ["key"]) is None
        for index in range(num_shards)
    )


def _output_tables(
    root: Path, num_shards: int, expansion: str, columns: list[str] = _SCHEMA.names
) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows of outputs of each finished shard, with its number."""
    for index in range(num_shards):
        table = _read_table(root, index, expansion, columns)
        if table is not None:
            yield index, table.filter(table.column("path").is_valid())


def _less_changed(root: Path, table: pa.Table, since_ns: int) -> pa.Table:
    """Return the rows of outputs; ``record_digest`` is null if the file is not what the row describes."""
    right = pa.array(
        [folder.condition(root, row.on_disk(), since_ns) is Condition.RIGHT for row in _rows(table)], pa.bool_()
    )
    column = _SCHEMA.get_field_index("record_digest")
    kept = pc.if_else(right, table.column("record_digest").combine_chunks(), pa.scalar(None, pa.string()))
    return table.set_column(column, _SCHEMA.field(column), kept)


def _paths(table: pa.Table) -> list[str]:
    inside = pc.list_flatten(table.column("files").combine_chunks())
    return [*table.column("path").to_pylist(), *pc.struct_field(inside, "path").to_pylist()]


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    num_rows = 0
    for table in tables:
        waiting.append(table)
        num_rows += table.num_rows
        if num_rows >= _ROWS_A_GROUP:
            yield pa.concat_tables(waiting)
            waiting, num_rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _read_table(root: Path, index: int, expansion: str, columns: list[str]) -> pa.Table | None:
    path = root / part_name(index)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise folder.storage_error("read", path, error) from error
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if (file.schema_arrow.metadata or {}).get(_EXPANSION) != expansion.encode():
            return None
        if not file.schema_arrow.remove_metadata().equals(_SCHEMA):
            return None
        return file.read(columns).replace_schema_metadata(None)
    except (pa.ArrowException, OSError):  # damaged counts as missing: the shard is done again
        return None


def _rows(table: pa.Table) -> list[Row]:
    attributes = dict(zip(_SCHEMA.names, _COLUMNS, strict=True))
    names = [attributes[name] for name in table.column_names]
    columns = [table.column(name).to_pylist() for name in table.column_names]
    columns[names.index("status")] = [Status(value) for value in columns[names.index("status")]]
    if "files" in names:
        place = names.index("files")
        columns[place] = [tuple(File(**each) for each in files) for files in columns[place]]
    return [Row(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]
