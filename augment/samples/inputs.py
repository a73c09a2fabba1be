"""Check images and samples from a caller: shapes, dtypes and counts, each error with its remedy."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augment import validation
from augment.errors import CallError
from augment.samples.sample import UNLABELLED, Sample


def as_image(image: ArrayLike) -> NDArray[np.uint8]:
    """Return the array itself if it is uint8 (H, W, 3) with at least one pixel. Raises CallError otherwise."""
    try:
        array = np.asarray(image)
    except Exception as error:  # lists of unequal lengths, or a foreign __array__ that raises
        raise CallError(f"an image is uint8 (H, W, 3) RGB, not {validation.quoted(image)}; give an array") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        what = f"{array.dtype} {array.shape}" if array.ndim else validation.quoted(image)
        raise CallError(f"an image is uint8 (H, W, 3) RGB, not {what}; {_remedy(array)}")
    return array


def _remedy(array: NDArray[Any]) -> str:
    """Return how to turn an array of another kind into an image."""
    match array.dtype.kind, array.shape:
        case _, shape if not shape or 0 in shape:
            pass
        case "f", _:
            return "for values in 0 to 1, give (image * 255).round().astype(numpy.uint8)"
        case "i" | "u", _ if array.dtype != np.uint8:
            return "for values in 0 to 255, give image.astype(numpy.uint8)"
        case "u", (_, _):
            return "repeat the grey channel three times: numpy.stack([image] * 3, axis=-1)"
        case "u", (_, _, 1):
            return "repeat the grey channel three times: numpy.repeat(image, 3, axis=2)"
        case "u", (_, _, 4):
            return "leave out the alpha channel: image[:, :, :3]"
        case "u", (3, _, _):
            return "put the channels last: image.transpose(1, 2, 0)"
        case "u", (_, _, _, _):
            return "give one image after another"
    return "augment.decode_image decodes a file's bytes"


_KINDS = {"b": "booleans", "i": "integers", "u": "integers", "f": "floats"}
_TARGETS = {
    "mask": ("iub", (None, None), "integers (H, W)"),
    "labels": ("iuf", (None,), "numbers (C,), a weight for each class"),
    "boxes": ("iuf", (None, 4), "numbers (N, 4): x_min, y_min, x_max, y_max"),
    "box_labels": ("iu", (None,), "integers (N,), one for each box"),
    "box_rows": ("iu", (None,), "integers (N,), one for each box"),
    "instance_masks": ("iub", (None, None, None), "integers (N, H, W), one mask for each box"),
    "keypoints": ("iuf", (None, 2), "numbers (N, 2): x, y"),
    "keypoint_labels": ("iu", (None,), "integers (K,), one for each keypoint"),
    "keypoint_visibility": ("iu", (None,), "integers (K,), one for each keypoint"),
    "keypoint_angles": ("iuf", (None,), "numbers (K,), one for each keypoint"),
    "keypoint_scales": ("iuf", (None,), "numbers (K,), one for each keypoint"),
    "keypoint_boxes": ("iu", (None,), "integers (K,), one for each keypoint"),
    "keypoint_rows": ("iu", (None,), "integers (K,), one for each keypoint"),
}
_OWNED = {"boxes": ("box_labels", "box_rows", "instance_masks")} | {
    "keypoints": tuple(name for name in _TARGETS if name.startswith("keypoint_"))
}
"""Targets that have one row for each row of another."""


def as_sample(sample: Sample) -> Sample:
    """Return the sample itself, or a copy of it with arrays in place of lists.

    Raises CallError if a field is not as ``Sample`` describes it; arrays without rows may have any shape.
    """
    arrays: dict[str, Any] = {"image": as_image(sample.image)}
    for name, (kinds, shape, what) in _TARGETS.items():
        value = getattr(sample, name)
        if value is None:
            continue
        try:
            array = np.asarray(value)
        except Exception as error:  # as for an image
            raise CallError(f"{name} is {validation.quoted(value)}; it must be {what}") from error
        fits = array.ndim == len(shape) and all(
            wanted in (None, there) for wanted, there in zip(shape, array.shape, strict=True)
        )
        if array.size and not (array.dtype.kind in kinds and fits):
            raise CallError(f"{name} is {_KINDS.get(array.dtype.kind, array.dtype)} {array.shape}; it must be {what}")
        arrays[name] = array
    for owner, names in _OWNED.items():
        num_rows = len(arrays.get(owner, ()))
        for name in names:
            if name in arrays and len(arrays[name]) != num_rows:
                one = {"boxes": "box"}.get(owner, "keypoint")
                raise CallError(f"{name} has {len(arrays[name])} rows for {num_rows} {owner}; give one for each {one}")
    for name in ("mask", "instance_masks"):
        if name in arrays and arrays[name].size and arrays[name].shape[-2:] != arrays["image"].shape[:2]:
            there, image = arrays[name].shape[-2:], arrays["image"].shape[:2]
            raise CallError(f"{name} is {there} high and wide, the image is {image}; they must have one size")
    if sample.label is not None:
        validation.integer("label", sample.label, UNLABELLED)
    if all(getattr(sample, name) is array for name, array in arrays.items()):
        return sample
    return replace(sample, **arrays)
