"""Samples to the fields of a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.sample import UNLABELLED, Batch, Sample

_BY_ROW = (
    "boxes",
    "box_labels",
    "instance_masks",
    "keypoints",
    "keypoint_labels",
    "keypoint_visibility",
    "keypoint_angles",
    "keypoint_scales",
)


class Images:
    """The pictures of a batch, row by row: one array where all have one shape, else a list.

    Each is copied as soon as it is there, while the processor's cache still holds it; its own memory is free for the
    next one.
    """

    def __init__(self, num_rows: int, image_shape: tuple[int, int, int] | None) -> None:
        self._taken = 0
        self.rows: NDArray[np.uint8] | list[NDArray[np.uint8]] = (
            [] if image_shape is None else np.empty((num_rows, *image_shape), np.uint8)
        )

    def take(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Add the next row: the picture, as it lies in the batch."""
        if isinstance(self.rows, list):
            self.rows.append(image)
            return image
        row: NDArray[np.uint8] = self.rows[self._taken]
        if image.shape != row.shape:
            raise ValueError(f"a picture is {image.shape}, the others of its batch {row.shape}")
        row[...] = image
        self._taken += 1
        return row


def targets(samples: Sequence[Sample], names: frozenset[str], *, fixed: bool) -> dict[str, Any]:
    """The fields of ``Batch`` that hold these targets, by the names of ``Sample``'s fields.

    ``fixed`` tells that all pictures have one size: then masks become one array.
    """
    found: dict[str, Any] = {}
    if "label" in names:
        labels = [UNLABELLED if sample.label is None else sample.label for sample in samples]
        found["labels"] = np.array(labels, dtype=np.int64)
    if "labels" in names:
        weights = [sample.labels for sample in samples]
        found["label_weights"] = np.array(weights, np.float32).reshape(len(samples), -1)
    if "mask" in names:
        masks = [sample.mask for sample in samples if sample.mask is not None]
        found["masks"] = np.stack(masks) if fixed and masks else masks
    wanted = names | ({"box_labels"} if "boxes" in names else set())
    for name in _BY_ROW:
        if name in wanted:
            found[name] = [getattr(sample, name) for sample in samples]
    if "keypoint_boxes" in names:
        found["keypoint_boxes"] = [_places(sample) for sample in samples]
    return found


def sample(batch: Batch, row: int) -> Sample:
    """One row of a batch; its arrays are views. Rows of boxes and keypoints are counted in the batch's row."""
    label = None if batch.labels is None else int(batch.labels[row])
    found = {"labels": batch.label_weights, "mask": batch.masks}
    found |= {name: getattr(batch, name) for name in (*_BY_ROW, "keypoint_boxes")}
    arrays: dict[str, Any] = {name: values[row] for name, values in found.items() if values is not None}
    return Sample(batch.images[row], label=None if label == UNLABELLED else label, **arrays)


def _places(sample: Sample) -> NDArray[np.int64]:
    """For each keypoint the place of its box among the sample's, which may be fewer than the record's."""
    belongs = np.asarray(sample.keypoint_boxes, np.int64)
    if sample.box_rows is None:
        return belongs
    places = {int(row): place for place, row in enumerate(sample.box_rows)}
    return np.array([places.get(int(row), -1) for row in belongs], np.int64)
