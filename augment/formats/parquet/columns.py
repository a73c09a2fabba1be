"""Roles of a Parquet file's columns: from the ``huggingface`` metadata of its schema, from names and from types.

- **Images** are the columns that the metadata calls ``Image``. If there are none, they are those of binary data or of a
  struct with a binary member ``bytes``. One with a name in ``MASKS`` is the mask. The remaining column is the image; of
  several it is the one called ``image``.
- **Class**: ``label``, or else ``labels`` if it is not a list, or else the first ``ClassLabel``. ``labels`` as a list
  holds several classes of an image, ``label_weights`` the share of each.
- **Boxes**: ``objects``, a struct of lists or a list of structs, with ``bbox`` ([x_min, y_min, width, height] in
  pixels, as in COCO) and the class of each box in ``category`` (or another of ``CATEGORIES``). Its other members are
  attributes of the boxes.
- ``annotations`` is text: JSON as ``augment.samples.annotations`` describes it.
- Other columns of numbers, texts, lists and structs of these are carried over; binary data, dates and the like are not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

MASKS = ("mask", "segmentation_mask", "segmentation", "annotation", "seg", "semantic_mask", "label", "labels")
CATEGORIES = ("category", "categories", "category_id", "label", "labels")

_FEATURES = b"huggingface"


class LayoutError(Exception):
    """Error of columns that cannot be understood, or are ambiguous; the message ends with the remedy."""


@dataclass(frozen=True, slots=True)
class ClassColumn:
    """Column with classes, for ``objects`` in a member; ``names`` are those of its ``ClassLabel``."""

    column: str
    names: tuple[str, ...] | None
    member: str | None = None


@dataclass(frozen=True, slots=True)
class ParquetLayout:
    """Columns of a file, by role. ``image_path`` is the leaf with the names of the images' files.

    ``carried`` go into ``extra``, ``left_out`` are not read.
    """

    image: str
    image_path: str | None
    mask: str | None
    label: ClassColumn | None
    labels: ClassColumn | None
    label_weights: str | None
    objects: str | None
    category: ClassColumn | None
    annotations: str | None
    carried: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def said(self) -> tuple[str, ...]:
        """Columns that make up an image's annotations."""
        labels = None if self.labels is None else self.labels.column
        named = (labels, self.label_weights, self.objects, self.annotations)
        return tuple(column for column in named if column is not None) + self.carried


def layout_of(schema: pa.Schema) -> ParquetLayout:
    """Return the layout of a schema. Raises LayoutError."""
    if len(set(schema.names)) < len(schema.names):
        raise LayoutError("several columns have the same name; rename them")
    features = _features(schema.metadata or {})
    fields = {field.name: field for field in schema}
    images = _images(fields, features)
    masks = [name for name in MASKS if name in images]
    if len(masks) > 1:
        raise LayoutError(f"several columns may be the mask: {', '.join(masks)}; keep one")
    image = _image([name for name in images if name not in masks], schema.names)
    used = {image, *masks}
    label = _label(fields, features, used)
    labels = _several(fields, features)
    objects, category = _objects(fields, features)
    used |= {each.column for each in (label, labels) if each is not None}
    weights = "label_weights" if labels is not None and "label_weights" in fields else None
    annotations = "annotations" if "annotations" in fields and is_text(fields["annotations"].type) else None
    used |= {name for name in (weights, objects, annotations) if name is not None}
    others = [name for name in fields if name not in used]
    return ParquetLayout(
        image=image,
        image_path=_path_leaf(fields[image]),
        mask=masks[0] if masks else None,
        label=label,
        labels=labels,
        label_weights=weights,
        objects=objects,
        category=category,
        annotations=annotations,
        carried=tuple(name for name in others if _is_plain(fields[name].type)),
        left_out=tuple(name for name in others if not _is_plain(fields[name].type)),
    )


def _features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    if _FEATURES not in metadata:
        return {}
    try:
        features = json.loads(metadata[_FEATURES])["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LayoutError(f"the huggingface metadata of its schema holds no features ({error}); repair it") from error
    return features if isinstance(features, Mapping) else {}


def _images(fields: Mapping[str, pa.Field], features: Mapping[str, Any]) -> list[str]:
    """Return the columns that hold images, in the order of the schema."""
    named = [name for name in fields if _kind(features.get(name)) == "Image"]
    without = [name for name in named if not _has_bytes(fields[name].type)]
    if without:
        raise LayoutError(f"column {without[0]} holds paths, not images; write it with the images' bytes in it")
    found = named or [name for name in fields if _has_bytes(fields[name].type)]
    for name in found:
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise LayoutError(f"column {name!r} cannot be read under this name; rename it")
    return found


def _image(images: list[str], names: list[str]) -> str:
    if not images:
        raise LayoutError(f"no column holds images, of {', '.join(names) or 'none'}; write their bytes into one")
    if len(images) == 1:
        return images[0]
    if "image" in images:
        return "image"
    raise LayoutError(f"several columns may be the image: {', '.join(images)}; rename one of them to image")


def _label(fields: Mapping[str, pa.Field], features: Mapping[str, Any], used: set[str]) -> ClassColumn | None:
    labelled = [name for name in fields if _kind(features.get(name)) == "ClassLabel"]
    for name in ("label", "labels", *labelled):
        if (
            name in fields
            and name not in used
            and (pa.types.is_integer(fields[name].type) or is_text(fields[name].type))
        ):
            return ClassColumn(name, _names(features.get(name)))
    return None


def _several(fields: Mapping[str, pa.Field], features: Mapping[str, Any]) -> ClassColumn | None:
    if "labels" not in fields or not _is_list(fields["labels"].type):
        return None
    inner = fields["labels"].type.value_type
    if not (pa.types.is_integer(inner) or is_text(inner)):
        return None
    return ClassColumn("labels", _names(_element(features.get("labels"))))


def _objects(fields: Mapping[str, pa.Field], features: Mapping[str, Any]) -> tuple[str | None, ClassColumn | None]:
    if "objects" not in fields:
        return None, None
    kind = fields["objects"].type
    struct = kind.value_type if _is_list(kind) else kind
    if not pa.types.is_struct(struct) or struct.get_field_index("bbox") < 0:
        return None, None
    feature = features.get("objects")
    for name in CATEGORIES:
        if struct.get_field_index(name) < 0:
            continue
        inner = struct.field(name).type
        inner = inner if _is_list(kind) or not _is_list(inner) else inner.value_type
        if pa.types.is_integer(inner) or is_text(inner):
            members = _element(feature) if _kind(feature) is not None or isinstance(feature, list) else feature
            given = members.get(name) if isinstance(members, Mapping) else None
            return "objects", ClassColumn("objects", _names(given) or _names(_element(given)), name)
    return "objects", None


def _kind(feature: object) -> object:
    return feature.get("_type") if isinstance(feature, Mapping) else None


def _element(feature: object) -> Any:
    """Return the feature of a list's elements, in any form that versions of ``datasets`` have written."""
    if isinstance(feature, list):
        return feature[0] if len(feature) == 1 else None
    return feature.get("feature") if isinstance(feature, Mapping) else None


def _names(feature: object) -> tuple[str, ...] | None:
    if not isinstance(feature, Mapping) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise LayoutError("a ClassLabel of its huggingface metadata has names that are not distinct texts; repair it")
    return tuple(names)


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def _path_leaf(field: pa.Field) -> str | None:
    if not pa.types.is_struct(field.type):
        return None
    index = field.type.get_field_index("path")
    return f"{field.name}.path" if index >= 0 and is_text(field.type.field(index).type) else None


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_binary(kind.value_type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def is_text(kind: pa.DataType) -> bool:
    """True if a column of this type holds texts."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_plain(kind: pa.DataType) -> bool:
    if _is_list(kind):
        return _is_plain(kind.value_type)
    if pa.types.is_struct(kind):
        return all(_is_plain(kind.field(i).type) for i in range(kind.num_fields))
    return bool(
        is_text(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )
