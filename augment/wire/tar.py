"""Batch to the members of a tar, by the conventions of WebDataset: files that share a base name are one sample.

    {epoch:06d}-{position:012d}.png      the image: png, jpg, or npy for arrays; floats, and channels first,
                                         only as npy
    {epoch:06d}-{position:012d}.cls      the index of its class, if the dataset has classes
    {epoch:06d}-{position:012d}.mask.png class indices, if the dataset has masks
    {epoch:06d}-{position:012d}.json     key, replaces, position, is_padding, render_key, applied; if present also
                                         mixed, label_weights, boxes, box_labels, keypoints, … (indices, as in Arrow),
                                         instance_masks as COCO's run lengths, inverse, source_size
    {epoch:06d}-{position:012d}.1.png, {epoch:06d}-{position:012d}.1.mask.png, …
                                         with several views: the next one's image and mask

With several views, the .json has the members of each view (its targets, inverse, render_key, applied) in the list
``views``, whose first is that of .png.

A stream is the members of any number of batches and ``STREAM_END``: pure bytes that can be cut and joined, because each
batch is whole members. Names are unique by construction, headers (ustar, POSIX.1-1988) hold no time and no owner.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.errors import CallError, KeyedErrors
from augment.images import encode, masks
from augment.normalize.pixel_format import PLAIN, PixelFormat
from augment.samples.sample import Batch
from augment.wire import columns

STREAM_END = bytes(2 * tarfile.BLOCKSIZE)
"""Two empty blocks that end a tar; a cut stream lacks them."""

IMAGE_FORMATS = ("png", "jpg", "npy")
"""Formats of images in a tar, by the file extensions that readers know."""


def check_options(image_format: str, quality: int = encode.DEFAULT_QUALITY, pixel_format: PixelFormat = PLAIN) -> None:
    """Raise CallError unless a tar can hold images in this format."""
    if image_format not in IMAGE_FORMATS:
        raise CallError(f"image_format is {image_format!r}; in a tar it must be one of {', '.join(IMAGE_FORMATS)}")
    if image_format != "npy":
        encode.check_options(_ENCODERS[image_format], quality)
        if pixel_format != PLAIN:
            raise CallError(
                f"image_format is {image_format}, which holds uint8 images with their channels last; this stream's "
                f"are {pixel_format.dtype} {pixel_format.layout}: ask for image_format npy, or for format arrow or npz"
            )


def batch_members(
    batch: Batch,
    image_format: str = "png",
    quality: int = encode.DEFAULT_QUALITY,
    pixel_format: PixelFormat = PLAIN,
) -> Iterator[bytes]:
    """Yield the members of one batch: header, content and padding in turn. ``quality`` is that of jpg.

    Raises RecordError if an image is longer than its format allows.
    """
    check_options(image_format, quality, pixel_format)
    for row, key in enumerate(batch.keys):
        name = f"{batch.epoch:06d}-{int(batch.positions[row]):012d}"
        for number, view in enumerate(batch.views):
            with KeyedErrors(key):
                image = _image(view.images[row], image_format, quality)
            of_view = f"{name}.{number}" if number else name
            yield from _member(f"{of_view}.{image_format}", image)
            if number == 0 and batch.labels is not None:
                yield from _member(f"{name}.cls", str(int(batch.labels[row])).encode())
            if view.masks is not None:
                yield from _member(f"{of_view}.mask.png", masks.encode_mask(view.masks[row]))
        yield from _member(f"{name}.json", _description(batch, row))


_ENCODERS = {"png": "png", "jpg": "jpeg"}


def _image(image: NDArray[np.uint8], image_format: str, quality: int) -> bytes:
    if image_format in _ENCODERS:
        return encode.encode_image(image, _ENCODERS[image_format], quality)
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(image), version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _description(batch: Batch, row: int) -> bytes:
    members: dict[str, Any] = {
        "epoch": batch.epoch,
        "key": batch.keys[row],
        "position": int(batch.positions[row]),
        "replaces": batch.replaces[row],
        "is_padding": bool(columns.padding(batch)[row]),
    }
    if batch.label_weights is not None:
        members["label_weights"] = batch.label_weights[row].tolist()
    if batch.source_sizes is not None:
        members["source_size"] = batch.source_sizes[row].tolist()
    if batch.other_views:
        members["views"] = [_of_view(view, row) for view in batch.views]
    else:
        members |= _of_view(batch, row)
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


def _of_view(batch: Batch, row: int) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for each in columns.RAGGED:
        rows = getattr(batch, each)
        if rows is not None:
            members[each] = _finite(rows[row])
    if batch.instance_masks is not None:
        members["instance_masks"] = [
            {"size": [runs.height, runs.width], "counts": runs.counts}
            for runs in map(masks.run_lengths, batch.instance_masks[row])
        ]
    if batch.inverses is not None:
        members["inverse"] = _finite(batch.inverses[row])
    if batch.provenance:
        members |= batch.provenance[row].as_json()
    return members


def _finite(values: NDArray[Any]) -> object:
    """Return the values as lists with null for NaN, which JSON lacks; a lost keypoint has it."""
    if values.dtype.kind != "f" or bool(np.isfinite(values).all()):
        return values.tolist()
    found = values.astype(object)
    found[~np.isfinite(values)] = None
    return found.tolist()


def _member(name: str, content: bytes) -> tuple[bytes, bytes, bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    return header.tobuf(tarfile.USTAR_FORMAT), content, bytes(-len(content) % tarfile.BLOCKSIZE)
