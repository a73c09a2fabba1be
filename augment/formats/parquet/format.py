"""Parquet with a column of images, as Hugging Face's ``datasets`` writes it: ``data/train-00000-of-00001.parquet``.

See ``columns`` for the role of each column and ``shards`` for the shards and their splits. A record's name is the
``path`` that the column holds with the image's bytes. Only its last part is used if it is absolute, leads upwards or is
an address. If it is missing, or several records of a split share it, the name is the shard and the number of the row,
``data/train-00000-of-00001.parquet/000012``.

Columns that are neither images nor annotations are carried over into ``extra`` if they have at most
``read.CARRIED_MEAN_BYTES`` a row, and a value at most ``read.CARRIED_MAX_CHARS`` as JSON. Numbers that are not finite
become null. Columns that are left out are named in the summary's ``details``.

Written files have the features that ``datasets`` reads: images, classes and boxes. Their schema follows from the
dataset and not from a single shard, so that all shards have the same. As in ``datasets``, images are neither compressed
nor put into dictionaries, and have no statistics. Row groups are small, because a whole group has to be read for one
row.
"""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augment.datasets import parquet_rows
from augment.errors import DatasetError
from augment.formats.files import Lazily
from augment.formats.format import (
    Described,
    FileGroup,
    FileSlice,
    Listing,
    MaskPlace,
    Output,
    OutputDataset,
    Packed,
    ShardFormat,
    StreamedFile,
    WrittenFile,
)
from augment.formats.parquet import read
from augment.formats.parquet.read import Meaning, RowReader, Shelf
from augment.formats.shared import shards
from augment.formats.shared.class_names import NO_CLASS
from augment.formats.tree import Tree
from augment.samples.annotations import Annotations

GROUP_ROWS = 100
GROUP_BYTES = 2**20
"""Size of the images in a row group, which has at least one image."""

_IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_BOXES = pa.list_(pa.list_(pa.float64(), 4))


def card(splits: Sequence[str]) -> str:
    """Return the head of ``README.md``, which tells ``datasets`` each split's shards; by default it is ``train``."""
    files = [(split, f"data/{split}-*.parquet") for split in splits] or [("train", "data/shard-*.parquet")]
    lines = [f"  - split: {json.dumps(split)}\n    path: {json.dumps(path)}\n" for split, path in files]
    return f"---\nconfigs:\n- config_name: default\n  data_files:\n{''.join(lines)}---\n"


def file_bytes(outputs: Sequence[Packed], whole: OutputDataset) -> bytes:
    """Return a Parquet file of these outputs, one row each, in their order."""
    schema = _schema(whole)
    images = [f"{name}.{leaf}" for name in ("image", "mask") if name in schema.names for leaf in ("bytes", "path")]
    others = [name for name in _leaves("", list(schema)) if name not in images]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        schema,
        compression={leaf: "none" if leaf in images else "snappy" for leaf in images + others},
        use_dictionary=others,
        column_encoding=dict.fromkeys(images, "PLAIN"),
        write_statistics=others,
    ) as writer:
        for group in _groups(outputs):
            rows = [_row(packed, whole) for packed in group]
            writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=GROUP_ROWS)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _groups(outputs: Sequence[Packed]) -> Iterator[list[Packed]]:
    group: list[Packed] = []
    num_bytes = 0
    for packed in outputs:
        if group and (len(group) == GROUP_ROWS or num_bytes + len(packed.image) > GROUP_BYTES):
            yield group
            group, num_bytes = [], 0
        group.append(packed)
        num_bytes += len(packed.image)
    if group:
        yield group


def _schema(whole: OutputDataset) -> pa.Schema:
    fields: dict[str, tuple[pa.DataType, Any]] = {"image": (_IMAGE, {"_type": "Image"})}
    classes = {"names": list(whole.classes), "_type": "ClassLabel"}
    if "label" in whole.targets:
        fields["label"] = pa.int64(), classes
    if "labels" in whole.targets:
        fields["labels"] = pa.list_(pa.int64()), _sequence(classes)
        fields["label_weights"] = pa.list_(pa.float64()), _sequence(_value("float64"))
    if "mask" in whole.targets:
        fields["mask"] = _IMAGE, {"_type": "Image"}
    if "boxes" in whole.targets:
        kind = pa.struct([pa.field("bbox", _BOXES), pa.field("category", pa.list_(pa.int64()))])
        box = {**_sequence(_value("float64")), "length": 4}
        fields["objects"] = kind, {"bbox": _sequence(box), "category": _sequence(classes)}
    fields["annotations"] = pa.string(), _value("string")
    features = {name: feature for name, (_, feature) in fields.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([pa.field(name, kind) for name, (kind, _) in fields.items()], metadata)


def _value(dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "_type": "Value"}


def _sequence(feature: Any) -> dict[str, Any]:
    return {"feature": feature, "_type": "Sequence"}


def _leaves(prefix: str, fields: Sequence[pa.Field]) -> Iterator[str]:
    """Yield the columns as Parquet counts them: fields with neither members nor elements."""
    for field in fields:
        path, kind = f"{prefix}{field.name}", field.type
        while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            path, kind = f"{path}.list.element", kind.value_type
        if pa.types.is_struct(kind):
            yield from _leaves(f"{path}.", [kind.field(i) for i in range(kind.num_fields)])
        else:
            yield path


def _row(packed: Packed, whole: OutputDataset) -> dict[str, Any]:
    output = packed.output
    said = output.annotations
    index = {name: i for i, name in enumerate(whole.classes)}
    row: dict[str, Any] = {"image": {"bytes": packed.image, "path": output.file_name}}
    if "label" in whole.targets:
        row["label"] = NO_CLASS if output.class_name is None else index[output.class_name]
    if "labels" in whole.targets:
        labels = said.labels
        row["labels"] = None if labels is None else [index[name] for name in labels]
        row["label_weights"] = None if labels is None else list(labels.values())
        said = replace(said, labels=None)
    if "mask" in whole.targets and packed.mask is not None:
        row["mask"] = {"bytes": packed.mask, "path": None}
    if "boxes" in whole.targets and said.boxes is not None:
        row["objects"] = {
            "bbox": [[x_min, y_min, x_max - x_min, y_max - y_min] for x_min, y_min, x_max, y_max in said.boxes],
            "category": None if said.box_labels is None else [index[name] for name in said.box_labels],
        }
        said = replace(said, boxes=None, box_labels=None)
    row["annotations"] = None if said == Annotations() else said.to_json()
    return row


class Parquet(ShardFormat):
    """Parquet shards with an image in each row."""

    name = "parquet"
    writes = frozenset({"label", "labels", "mask", "boxes", "instance_masks", "keypoints"})

    def recognise(self, tree: Tree) -> bool:
        """Return True if there are Parquet files, and no separate images."""
        return shards.recognise(tree, ".parquet")

    def find(self, tree: Tree, listing: Listing, *, max_files: int | None = None) -> None:
        """Read the footers of all shards, and the columns of names and classes; no image.

        Raises DatasetError if a file is not a shard, is truncated or encrypted, if the columns or splits are ambiguous,
        or if there are more than ``max_files`` rows; StorageError.
        """
        root = tree.root
        info = shards.read_info(root)
        shelves: list[Shelf] = []
        for shard in shards.find(tree, listing, ".parquet", splits=info.splits):
            shelves.append(read.open_shelf(root / shard.path, shard))
            listing.num_files += shelves[-1].description.num_rows
            if max_files is not None and listing.num_files > max_files:
                raise DatasetError(f"{root} holds more than {max_files} rows (max_files); split it, or raise the limit")
        if not shelves:
            return
        layout = read.common_layout(shelves)
        meaning = Meaning(layout, info)
        for shelf in shelves:
            read.read_shelf(shelf, meaning)
        name = shards.names_of(
            [shelf.shard for shelf in shelves], [shelf.names for shelf in shelves], lambda _, i: f"{i:06d}"
        )
        for number, shelf in enumerate(shelves):
            describe = functools.partial(_described, shelf, meaning, functools.partial(name, number))
            described = Lazily(len(shelf.names), describe)
            names = tuple(own or f"{i:06d}" for i, own in enumerate(shelf.names))
            group = FileGroup(f"{shelf.shard.path}/{layout.image}", names, shelf.shard.split, described=described)
            listing.groups.append(group)
        listing.classes = meaning.names.values.classes
        listing.keypoint_names = meaning.names.keypoint_names
        listing.details = {"left_out": list(layout.left_out)} if layout.left_out else {}

    def closing(self, outputs: Callable[[], Iterator[Output]], whole: OutputDataset) -> Iterator[StreamedFile]:
        """Return ``README.md``, by which ``datasets`` finds the shards of each split, and ``dataset_info.json``."""
        yield StreamedFile("README.md", iter([card(whole.splits).encode()]))
        yield shards.info_file(whole)

    def pack(self, outputs: Sequence[Packed], whole: OutputDataset, *, split: str | None, index: int) -> WrittenFile:
        """Pack ``data/{split}-{index:05d}.parquet``, or ``data/shard-{index:05d}.parquet``.

        The folder is ``data``, because in the root ``datasets`` would take the manifest for a shard.
        """
        return WrittenFile(f"data/{split or 'shard'}-{index:05d}.parquet", file_bytes(outputs, whole))


def _described(shelf: Shelf, meaning: Meaning, name: Callable[[int], str], i: int) -> Described:
    """Return the description of row ``i`` of a shard."""
    layout, part = meaning.layout, FileSlice(i, None)
    class_name, problem = meaning.label.name_or_problem(shelf.values[i])
    return Described(
        annotate=functools.partial(_annotate, shelf, meaning, i) if layout.said else None,
        mask=None if layout.mask is None else MaskPlace(f"{shelf.shard.path}/{layout.mask}", part),
        class_name=class_name,
        named=name(i),
        part=part,
        problem=problem,
    )


def _annotate(shelf: Shelf, meaning: Meaning, i: int, height: int, width: int) -> Annotations | None:  # noqa: ARG001
    try:
        row = parquet_rows.read_row(shelf.path, meaning.layout.said, i)
    except parquet_rows.UnreadableRowError as error:
        raise ValueError(f"not readable: {error}") from error
    said = RowReader(meaning).annotations(row)
    if said is not None:
        meaning.names.check(said)
    return said
