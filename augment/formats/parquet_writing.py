"""Outputs to a Parquet file that ``datasets`` reads with its features: pictures, classes and boxes are what they are.

The schema follows from what the dataset has, never from what one shard holds: all shards have the same. Pictures are
neither compressed nor put into dictionaries, as ``datasets`` does it, and have no statistics; row groups are small,
because a group is what has to be read for one row of it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augment.annotations import Annotations
from augment.formats.class_values import NO_CLASS
from augment.formats.writing import Packed, Whole

GROUP_ROWS = 100
GROUP_BYTES = 2**20
"""Of pictures in a row group, which has one at least."""

_PICTURE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_BOXES = pa.list_(pa.list_(pa.float64(), 4))


def shard_path(split: str | None, index: int) -> str:
    """Where a shard lies; below ``data``, because ``datasets`` would take the manifest beside it for a shard."""
    return f"data/{split or 'shard'}-{index:05d}.parquet"


def card(splits: Sequence[str]) -> str:
    """The head of ``README.md`` that tells ``datasets`` the shards of each split; without splits all are ``train``."""
    files = [(split, f"data/{split}-*.parquet") for split in splits] or [("train", "data/shard-*.parquet")]
    lines = [f"  - split: {json.dumps(split)}\n    path: {json.dumps(path)}\n" for split, path in files]
    return f"---\nconfigs:\n- config_name: default\n  data_files:\n{''.join(lines)}---\n"


def file_bytes(outputs: Sequence[Packed], whole: Whole) -> bytes:
    """A Parquet file of these outputs, a row each, in their order."""
    schema = _schema(whole)
    pictures = [f"{name}.{leaf}" for name in ("image", "mask") if name in schema.names for leaf in ("bytes", "path")]
    others = [name for name in _leaves(schema) if name not in pictures]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        schema,
        compression={leaf: "none" if leaf in pictures else "snappy" for leaf in pictures + others},
        use_dictionary=others,
        column_encoding=dict.fromkeys(pictures, "PLAIN"),
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
        if group and (len(group) == GROUP_ROWS or num_bytes + len(packed.picture) > GROUP_BYTES):
            yield group
            group, num_bytes = [], 0
        group.append(packed)
        num_bytes += len(packed.picture)
    if group:
        yield group


def _schema(whole: Whole) -> pa.Schema:
    fields: dict[str, tuple[pa.DataType, Any]] = {"image": (_PICTURE, {"_type": "Image"})}
    classes = {"names": list(whole.classes), "_type": "ClassLabel"}
    if "label" in whole.targets:
        fields["label"] = pa.int64(), classes
    if "labels" in whole.targets:
        fields["labels"] = pa.list_(pa.int64()), _sequence(classes)
        fields["label_weights"] = pa.list_(pa.float64()), _sequence(_value("float64"))
    if "mask" in whole.targets:
        fields["mask"] = _PICTURE, {"_type": "Image"}
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


def _leaves(schema: pa.Schema) -> list[str]:
    """The columns as Parquet counts them: what has neither members nor elements."""
    return list(_below("", list(schema)))


def _below(prefix: str, fields: Sequence[pa.Field]) -> Iterator[str]:
    for field in fields:
        path, kind = f"{prefix}{field.name}", field.type
        while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            path, kind = f"{path}.list.element", kind.value_type
        if pa.types.is_struct(kind):
            yield from _below(f"{path}.", [kind.field(i) for i in range(kind.num_fields)])
        else:
            yield path


def _row(packed: Packed, whole: Whole) -> dict[str, Any]:
    output = packed.output
    said = output.annotations
    index = {name: i for i, name in enumerate(whole.classes)}
    row: dict[str, Any] = {"image": {"bytes": packed.picture, "path": output.file_name}}
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
