"""One batch as the bytes of an .npz file, for ``numpy.load`` without pickles.

image      uint8 (N, H, W, 3); where pictures differ in size, all their values in one row, and
image_shape    int64 (N, 3) says how to cut it
key        text (N,)
position   int64 (N,)
replaces   text (N,), empty unless the row replaces a refused record
is_padding bool (N,), True if another rank has the row too
label      int64 (N,), where records have one class
label_weights  float32 (N, C), where they may have several
mask       like image, less its channels; so is mask_shape
boxes, box_labels, keypoints, keypoint_labels, …   of all rows one behind the other, and
{name}_count   int64 (N,) says how many each row has
instance_masks uint8, all values in one row, and instance_masks_shape int64 (N, 3)
inverse    float64 (N, 3, 3), NaN where a distortion has no matrix, and
source_size    int64 (N, 2), where the stream has views
image_1, mask_1, boxes_1, inverse_1, …   as those above, of the next view of the same rows; so is image_1_shape
epoch, index    int64 ()
"""

import io
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.errors import CallError
from augment.samples.sample import Batch
from augment.wire import columns

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip can hold, so that equal batches are equal bytes."""


def to_bytes(batch: Batch) -> bytes:
    """The file: a zip of npy members, stored without compression; equal batches give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, array in _arrays(batch).items():
            member = zipfile.ZipInfo(f"{name}.npy", _LONG_AGO)
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def from_bytes(data: bytes | memoryview) -> Batch:
    """The batch of one file; CallError where it is none or was cut."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        return _batch(content)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError) as error:
        raise CallError(f"this is no complete .npz file of a batch: {error}; ask for it again") from error


def _batch(content: dict[str, NDArray[Any]]) -> Batch:
    first, *others = (_view(content, view) for view in range(columns.num_views(content)))
    first.other_views = tuple(others)
    return first


def _arrays(batch: Batch) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "epoch": np.array(batch.epoch, np.int64),
        "index": np.array(batch.index, np.int64),
    }
    arrays |= _arrays_of_view(batch, 0)
    arrays["key"] = np.array(batch.keys, dtype=np.str_)
    arrays["position"] = np.asarray(batch.positions, np.int64)
    arrays["replaces"] = np.array([other or "" for other in batch.replaces], dtype=np.str_)
    arrays["is_padding"] = columns.padding(batch)
    if batch.labels is not None:
        arrays["label"] = np.asarray(batch.labels, np.int64)
    if batch.label_weights is not None:
        arrays["label_weights"] = np.asarray(batch.label_weights, np.float32)
    if batch.source_sizes is not None:
        arrays["source_size"] = np.asarray(batch.source_sizes, np.int64)
    for view, other in enumerate(batch.other_views, start=1):
        arrays |= _arrays_of_view(other, view)
    return arrays


def _arrays_of_view(batch: Batch, view: int) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    _add_tensors(arrays, columns.view_name("image", view), batch.images)
    for column, field in columns.MASKS.items():
        tensors = getattr(batch, field)
        if tensors is not None:
            _add_tensors(arrays, columns.view_name(column, view), tensors)
    for field in columns.RAGGED:
        rows = getattr(batch, field)
        if rows is not None:
            name = columns.view_name(field, view)
            arrays[name] = np.concatenate(rows) if rows else np.empty(0)
            arrays[f"{name}_count"] = np.array([len(row) for row in rows], np.int64)
    if batch.inverses is not None:
        arrays[columns.view_name("inverse", view)] = np.asarray(batch.inverses, np.float64)
    return arrays


def _view(content: dict[str, NDArray[Any]], view: int) -> Batch:
    moved = {name: columns.view_name(name, view) for name in (*columns.MASKS, *columns.RAGGED)}
    there = {name: column for name, column in moved.items() if column in content}
    targets: dict[str, Any] = {
        field: _tensors(content, there[name]) for name, field in columns.MASKS.items() if name in there
    }
    targets |= {name: _ragged(content, there[name]) for name in columns.RAGGED if name in there}
    return Batch(
        epoch=int(content["epoch"]),
        index=int(content["index"]),
        images=_tensors(content, columns.view_name("image", view)),
        keys=content["key"].tolist(),
        positions=content["position"],
        labels=content.get("label"),
        label_weights=content.get("label_weights"),
        replaces=[text or None for text in content["replaces"].tolist()],
        is_padding=content["is_padding"],
        inverses=content.get(columns.view_name("inverse", view)),
        source_sizes=content.get("source_size"),
        **targets,
    )


def _add_tensors(arrays: dict[str, NDArray[Any]], name: str, tensors: NDArray[Any] | list[NDArray[Any]]) -> None:
    if isinstance(tensors, np.ndarray):
        arrays[name] = np.ascontiguousarray(tensors)
        return
    arrays[name] = np.concatenate([np.ravel(each) for each in tensors]) if tensors else np.empty(0, np.uint8)
    num_dims = tensors[0].ndim if tensors else 3
    arrays[f"{name}_shape"] = np.array([each.shape for each in tensors], np.int64).reshape(-1, num_dims)


def _tensors(content: dict[str, NDArray[Any]], name: str) -> Any:
    if f"{name}_shape" not in content:
        return content[name]
    shapes = content[f"{name}_shape"]
    cuts = np.cumsum(shapes.prod(axis=1))[:-1]
    parts = np.split(content[name], cuts) if len(shapes) else []
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _ragged(content: dict[str, NDArray[Any]], name: str) -> list[NDArray[Any]]:
    counts = content[f"{name}_count"]
    return list(np.split(content[name], np.cumsum(counts)[:-1])) if len(counts) else []
