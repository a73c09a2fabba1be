"""One batch as the bytes of an .npz file, for ``numpy.load`` without pickles.

image      uint8 (N, H, W, 3); if images differ in size, all their values in one row, and
image_shape    int64 (N, 3), the shape of each
key        text (N,)
position   int64 (N,)
replaces   text (N,), empty unless the row replaces a refused record
is_padding bool (N,), True if another rank has the row too
label      int64 (N,), if records have one class
label_weights  float32 (N, C), if they may have several
mask       like image, less its channels; so is mask_shape
boxes, box_labels, keypoints, keypoint_labels, …   of all rows, one row after the other, and
{name}_count   int64 (N,), the number in each row
instance_masks uint8, all values in one row, and instance_masks_shape int64 (N, 3)
inverse    float64 (N, 3, 3), NaN if a distortion has no matrix, and
source_size    int64 (N, 2), if the stream has views
image_1, mask_1, boxes_1, inverse_1, …   as those above, of the next view of the same rows; so is image_1_shape
epoch, index    int64 ()
"""

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.samples.sample import Batch
from augment.wire import columns

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""Earliest time that a zip can hold, used so that equal batches are equal bytes."""


def to_bytes(batch: Batch) -> bytes:
    """Return the file: a zip of npy members, stored without compression; equal batches give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, array in _arrays(batch).items():
            member = zipfile.ZipInfo(f"{name}.npy", _LONG_AGO)
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
    return out.getvalue()


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
    for name, dtype in (("label", np.int64), ("label_weights", np.float32), ("source_size", np.int64)):
        if (values := getattr(batch, columns.COLUMNS[name])) is not None:
            arrays[name] = np.asarray(values, dtype)
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


def _add_tensors(arrays: dict[str, NDArray[Any]], name: str, tensors: NDArray[Any] | list[NDArray[Any]]) -> None:
    if isinstance(tensors, np.ndarray):
        arrays[name] = np.ascontiguousarray(tensors)
        return
    arrays[name] = np.concatenate([np.ravel(each) for each in tensors]) if tensors else np.empty(0, np.uint8)
    num_dims = tensors[0].ndim if tensors else 3
    arrays[f"{name}_shape"] = np.array([each.shape for each in tensors], np.int64).reshape(-1, num_dims)
