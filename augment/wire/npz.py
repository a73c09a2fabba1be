"""One batch as the bytes of an .npz file, for ``numpy.load`` without pickles.

image      uint8 (N, H, W, 3); where pictures differ in size, all their values in one row, and
image_shape    int64 (N, 3) says how to cut it
key        text (N,)
position   int64 (N,)
replaces   text (N,), empty where the row is nobody's replacement
label      int64 (N,), where the dataset has classes
epoch, index    int64 ()
"""

import io
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.errors import CallError
from augment.sample import Batch

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
        return Batch(
            epoch=int(content["epoch"]),
            index=int(content["index"]),
            images=_images(content),
            keys=content["key"].tolist(),
            positions=content["position"],
            labels=content.get("label"),
            replaces=[text or None for text in content["replaces"].tolist()],
        )
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError) as error:
        raise CallError(f"this is no complete .npz file of a batch: {error}; ask for it again") from error


def _arrays(batch: Batch) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "epoch": np.array(batch.epoch, np.int64),
        "index": np.array(batch.index, np.int64),
    }
    if isinstance(batch.images, np.ndarray):
        arrays["image"] = np.ascontiguousarray(batch.images)
    else:
        flat = [np.ravel(image) for image in batch.images]
        arrays["image"] = np.concatenate(flat) if flat else np.empty(0, np.uint8)
        arrays["image_shape"] = np.array([image.shape for image in batch.images], np.int64).reshape(-1, 3)
    arrays["key"] = np.array(batch.keys, dtype=np.str_)
    arrays["position"] = np.asarray(batch.positions, np.int64)
    arrays["replaces"] = np.array([other or "" for other in batch.replaces], dtype=np.str_)
    if batch.labels is not None:
        arrays["label"] = np.asarray(batch.labels, np.int64)
    return arrays


def _images(content: dict[str, NDArray[Any]]) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
    if "image_shape" not in content:
        return content["image"]
    shapes = content["image_shape"]
    cuts = np.cumsum(shapes.prod(axis=1))[:-1]
    parts = np.split(content["image"], cuts) if len(shapes) else []
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
