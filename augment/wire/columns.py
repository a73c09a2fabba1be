"""Arrow columns of a batch's images and targets: names, types, and conversion from and to arrays.

label             int64: index of the class, -1 for none
label_weights     arrow.fixed_shape_tensor float32 [C]: a weight for each class
mask              arrow.fixed_shape_tensor uint8 or uint16 [H, W], or of variable shape, as ``image``
boxes             list of float32 [4]: x_min, y_min, x_max, y_max
box_labels        list of int64
instance_masks    arrow.variable_shape_tensor uint8 [N, H, W]: 0 and 1, one for each box
keypoints         list of float32 [2]: x, y
keypoint_labels   list of int64;   keypoint_visibility  list of int8
keypoint_angles   list of float32; keypoint_scales      list of float32
keypoint_boxes    list of int64: the index of the object's box in the row, or -1
inverse           arrow.fixed_shape_tensor float64 [3, 3]: from the view's pixels to the original image's, or NaN
source_size       arrow.fixed_shape_tensor int64 [2]: height and width of the original image

Each further view of the same rows has separate columns for the image and its targets, with the view's number after the
name: ``image_1``, ``mask_1``, ``boxes_1``, …, ``inverse_1``. ``label``, ``label_weights`` and ``source_size`` appear
once.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from augment.errors import CallError
from augment.normalize.pixel_format import PLAIN, PixelFormat
from augment.samples.sample import Batch

_LIST_MAX = 2**31 - 1

RAGGED: Mapping[str, pa.DataType] = {
    "boxes": pa.list_(pa.float32(), 4),
    "box_labels": pa.int64(),
    "keypoints": pa.list_(pa.float32(), 2),
    "keypoint_labels": pa.int64(),
    "keypoint_visibility": pa.int8(),
    "keypoint_angles": pa.float32(),
    "keypoint_scales": pa.float32(),
    "keypoint_boxes": pa.int64(),
}
"""Element types of the ``Batch`` fields that have, for each row, one element per box or keypoint."""


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """Common properties of all batches of a stream: the columns and their sizes.

    ``image_shape`` is (H, W, 3), or None if images differ in size. ``targets`` are names of ``Sample``'s fields;
    ``num_classes`` and ``mask_bits`` (8 or 16) are the sizes of some of them. ``metadata`` (JSON) holds the
    normalisation, the class names and the address. ``views`` are the layouts of views 1, 2, …; ``has_inverses`` applies
    to all of them.
    """

    image_shape: tuple[int, int, int] | None
    targets: frozenset[str] = frozenset()
    num_classes: int = 0
    mask_bits: int = 8
    metadata: Mapping[str, Any] = field(default_factory=dict)
    views: "tuple[BatchLayout, ...]" = ()
    has_inverses: bool = False
    pixel_format: PixelFormat = PLAIN


MASKS: Mapping[str, str] = {"mask": "masks", "instance_masks": "instance_masks"}
"""Columns of masks, and the fields of ``Batch`` that hold them."""

_TENSORS = {
    "image": "images",
    "label_weights": "label_weights",
    **MASKS,
    "inverse": "inverses",
    "source_size": "source_sizes",
}

COLUMNS: Mapping[str, str] = {"label": "labels", **_TENSORS, **{name: name for name in RAGGED}}
"""Columns of a view's images and targets, and the fields of ``Batch`` that hold them."""

_PIXEL_TYPES = {"uint8": pa.uint8(), "float32": pa.float32(), "float16": pa.float16()}
_ONCE = frozenset({"label", "label_weights", "source_size"})
_NUMBERED = re.compile(r"(\w+?)_([1-9][0-9]*)")


def view_name(name: str, view: int) -> str:
    """Return the name of a column in a view."""
    return f"{name}_{view}" if view and name not in _ONCE else name


def num_views(names: Iterable[str]) -> int:
    """Return the number of views that columns of these names hold."""
    there = set(names)
    return next(view for view in itertools.count(1) if view_name("image", view) not in there)


def tensor_field(name: str, value_type: pa.DataType, shape: Sequence[int | None], dims: Sequence[str]) -> pa.Field:
    """Return a column of tensors: of fixed shape if every side is known, else of variable shape.

    pyarrow has no Python class for the second, so it is declared by its metadata and written by its storage.
    """
    if None not in shape:
        return pa.field(name, pa.fixed_shape_tensor(value_type, list(shape), dim_names=list(dims)), nullable=False)
    storage = pa.struct([("data", pa.list_(value_type)), ("shape", pa.list_(pa.int32(), len(shape)))])
    described = json.dumps({"dim_names": list(dims), "uniform_shape": list(shape)}, separators=(",", ":"))
    metadata = {
        b"ARROW:extension:name": b"arrow.variable_shape_tensor",
        b"ARROW:extension:metadata": described.encode(),
    }
    return pa.field(name, storage, nullable=False, metadata=metadata)


def tensor_column(arrays: NDArray[Any] | Sequence[NDArray[Any]], column_type: pa.DataType) -> pa.Array:
    """Return arrays, one for each row, as a column of ``tensor_field``'s type."""
    if isinstance(column_type, pa.FixedShapeTensorType):
        shape = tuple(column_type.shape)
        dtype = column_type.value_type.to_pandas_dtype()
        stacked = np.ascontiguousarray(arrays, dtype=dtype).reshape(len(arrays), *shape)
        storage = pa.FixedSizeListArray.from_arrays(pa.array(stacked.reshape(-1)), int(np.prod(shape)))
        return pa.ExtensionArray.from_storage(column_type, storage)
    value_type = column_type.field("data").type.value_type
    num_dims = column_type.field("shape").type.list_size
    sizes = np.array([array.size for array in arrays], dtype=np.int64)
    if sizes.sum() > _LIST_MAX:
        raise CallError(
            f"a batch of images of different sizes holds {sizes.sum()} values, an Arrow list at most {_LIST_MAX}; "
            "ask for a smaller batch_size or resize in the pipeline"
        )
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    empty = np.empty(0, value_type.to_pandas_dtype())
    data = np.concatenate([empty, *(np.ravel(array) for array in arrays)], dtype=empty.dtype)
    shapes = np.array([array.shape for array in arrays], dtype=np.int32).reshape(-1)
    return pa.StructArray.from_arrays(
        [
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(data)),
            pa.FixedSizeListArray.from_arrays(pa.array(shapes), num_dims),
        ],
        fields=list(column_type),
    )


def tensors(column: pa.Array) -> Any:
    """Return the arrays of a ``tensor_column``: one for a fixed shape, else a list. They are views of its memory."""
    if isinstance(column, pa.FixedShapeTensorArray):
        shape = tuple(column.type.shape)
        if not len(column):
            return np.empty((0, *shape), column.type.value_type.to_pandas_dtype())
        return column.to_numpy_ndarray()
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    data, shapes = storage.field("data"), storage.field("shape")
    values, offsets = data.values.to_numpy(), data.offsets.to_numpy()
    sizes = shapes.flatten().to_numpy().reshape(-1, shapes.type.list_size)
    return [values[offsets[i] : offsets[i + 1]].reshape(sizes[i]) for i in range(len(column))]


def fields_of(layout: BatchLayout) -> list[pa.Field]:
    """Return the columns of the images and targets of a layout, in their order: all of view 0, all of view 1, …."""
    fields = []
    for view, each in enumerate((layout, *layout.views)):
        found = _fields_of_view(each, has_inverses=layout.has_inverses)
        fields += [one.with_name(view_name(one.name, view)) for one in found if view == 0 or one.name not in _ONCE]
    return fields


def _fields_of_view(layout: BatchLayout, *, has_inverses: bool) -> list[pa.Field]:
    targets = layout.targets
    shape = (None, None) if layout.image_shape is None else layout.image_shape[:2]
    form = layout.pixel_format
    images = form.shape(layout.image_shape or (None, None, 3))
    fields = [tensor_field("image", _PIXEL_TYPES[form.dtype], images, form.dim_names)]
    if "label" in targets:
        fields.append(pa.field("label", pa.int64(), nullable=False))
    if "labels" in targets:
        fields.append(tensor_field("label_weights", pa.float32(), [layout.num_classes], ["class"]))
    if "mask" in targets:
        fields.append(tensor_field("mask", pa.uint16() if layout.mask_bits > 8 else pa.uint8(), shape, ["H", "W"]))
    names = targets | ({"box_labels"} if "boxes" in targets else set())
    fields += [pa.field(name, pa.list_(kind), nullable=False) for name, kind in RAGGED.items() if name in names]
    if "instance_masks" in targets:
        fields.append(tensor_field("instance_masks", pa.uint8(), [None, None, None], ["N", "H", "W"]))
    if has_inverses:
        fields.append(tensor_field("inverse", pa.float64(), [3, 3], ["row", "column"]))
        fields.append(tensor_field("source_size", pa.int64(), [2], ["side"]))
    return fields


def padding(batch: Batch) -> NDArray[np.bool_]:
    """Return ``is_padding`` of each row: bool (N,)."""
    return np.zeros(len(batch), np.bool_) if batch.is_padding is None else batch.is_padding


def column_of(batch: Batch, field: pa.Field) -> pa.Array:
    """Return the column of a batch for one of the fields from ``fields_of``."""
    numbered = _NUMBERED.fullmatch(field.name)
    if numbered is None:
        return _column_of_view(batch, field)
    view = int(numbered[2])
    if view >= len(batch.views):
        raise CallError(f"the batch has {len(batch.views)} views, but its layout has view {view}")
    return _column_of_view(batch.views[view], field.with_name(numbered[1]))


def _column_of_view(batch: Batch, field: pa.Field) -> pa.Array:
    if field.name == "label":
        return pa.array(batch.labels, pa.int64())
    values = getattr(batch, COLUMNS[field.name])
    if values is None:
        raise CallError(f"the batch has no {field.name}, but its layout has")
    return tensor_column(values, field.type) if field.name in _TENSORS else _ragged(values, field.type)


def targets_in(record_batch: pa.RecordBatch, view: int = 0) -> dict[str, Any]:
    """Return the fields of ``Batch`` that a record batch holds for a view; arrays share memory if Arrow allows it."""
    there = {name: view_name(name, view) for name in COLUMNS}
    columns = {
        name: record_batch.column(column) for name, column in there.items() if column in record_batch.schema.names
    }
    found: dict[str, Any] = {"labels": columns["label"].to_numpy()} if "label" in columns else {}
    found |= {field: tensors(columns[name]) for name, field in _TENSORS.items() if name in columns}
    return found | {name: _arrays(columns[name]) for name in RAGGED if name in columns}


def _ragged(arrays: Sequence[NDArray[Any]], column_type: pa.ListType) -> pa.Array:
    kind = column_type.value_type
    width = kind.list_size if isinstance(kind, pa.FixedSizeListType) else 1
    dtype = (kind.value_type if width > 1 else kind).to_pandas_dtype()
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int32)
    flat = np.concatenate([np.empty(0, dtype), *(np.ravel(array) for array in arrays)], dtype=dtype)
    values = pa.array(flat)
    if width > 1:
        values = pa.FixedSizeListArray.from_arrays(values, type=kind)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=column_type)


def _arrays(column: pa.ListArray) -> list[NDArray[Any]]:
    kind = column.type.value_type
    width = kind.list_size if isinstance(kind, pa.FixedSizeListType) else None
    values = column.values if width is None else column.values.flatten()
    flat = values.to_numpy(zero_copy_only=False)
    rows = flat if width is None else flat.reshape(-1, width)
    offsets = column.offsets.to_numpy()
    return [rows[offsets[i] : offsets[i + 1]] for i in range(len(column))]
