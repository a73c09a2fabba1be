"""Conversion of annotations to the arrays of a sample, and back.

A decoded image, its mask and its annotations make the sample from which all draws of a record start.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.errors import Reason, RecordError
from augment.images import masks
from augment.samples.annotations import Annotations, Corners
from augment.samples.sample import Sample

_OF_KEYPOINTS: Mapping[str, tuple[type, float]] = {
    "keypoint_labels": (np.int64, -1),
    "keypoint_visibility": (np.int8, 2),
    "keypoint_angles": (np.float32, 0.0),
    "keypoint_scales": (np.float32, 0.0),
    "keypoint_boxes": (np.int64, -1),
}
"""Type of each field, and the value for an image without it in a dataset that has it."""


MAX_MASK_BYTES = 2**30
"""Limit on all object masks of one image, which are in memory together: 3,495 masks at COCO's 640 x 480."""

_OF_PLACES = re.compile(
    r"(?i)^(x|y|w|h|cx|cy|objects|width|height|pose|rotation|angle|yaw|obb|area|points?|landmarks?|lines?|parts?)$"
    r"|(^|_)(bbox|bndbox|box)(es)?(_|$)|polygon|polyline|segmentation|contour|keypoint|landmarks"
    r"|^[xy](_?(min|max|cent(er|re)))?$"
    r"|(^|_)[xy][0-9]*$|coordinates|corners"
)
"""Names that tools of the field use for positions, sizes and directions."""

_MOVED = {"mask": "mask", "instance_masks": "mask", "boxes": "boxes", "keypoints": "keypoints"}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names of a dataset's classes and keypoints, by index, and the targets of its samples.

    ``targets`` are names of ``Sample``'s fields. In a dataset with boxes, a sample of an image without boxes has an
    empty array of them.
    """

    classes: tuple[str, ...]
    keypoint_names: tuple[str, ...] = ()
    targets: frozenset[str] = frozenset()

    @property
    def moved(self) -> frozenset[str]:
        """Targets that move with the pixels, by the catalogue's names: ``mask``, ``boxes``, ``keypoints``."""
        return moved_targets(self.targets)


def moved_targets(names: frozenset[str]) -> frozenset[str]:
    """Return those of these fields of ``Sample`` that move with the pixels, by the catalogue's names."""
    return frozenset(_MOVED[name] for name in names & _MOVED.keys())


def fill(sample: Sample, annotations: Annotations, vocabulary: Vocabulary) -> None:
    """Add the annotations to a sample that has its image.

    Raises RecordError with an empty key above MAX_MASK_BYTES, ValueError if a class is not in the vocabulary or run
    lengths are invalid.
    """
    index = {name: i for i, name in enumerate(vocabulary.classes)}
    targets = vocabulary.targets
    if "labels" in targets:
        sample.labels = np.zeros(len(index), np.float32)
        for name, share in (annotations.labels or {}).items():
            sample.labels[_place(index, name, "class")] = share
    if "boxes" in targets:
        boxes = annotations.boxes or ()
        sample.boxes = np.array(boxes, np.float32).reshape(-1, 4)
        names = annotations.box_labels
        labels = [-1] * len(boxes) if names is None else [_place(index, name, "class") for name in names]
        sample.box_labels = np.array(labels, np.int64)
    if "instance_masks" in targets:
        sample.instance_masks = _instance_masks(annotations, *sample.image.shape[:2])
    if "keypoints" in targets:
        _fill_keypoints(sample, annotations, vocabulary)


def annotations_of(
    sample: Sample, source: Annotations, vocabulary: Vocabulary, donors: Sequence[Annotations] = ()
) -> Annotations:
    """Return the annotations of an augmented sample: its targets, and the values carried over from ``source``.

    ``source`` are the record's annotations. Instance masks become run lengths. Rows after those of ``source`` come from
    ``donors``, in order.
    """
    rows = _rows(sample.box_rows, sample.boxes)
    members: dict[str, Any] = {"extra": _still_true(source.extra), "labels": source.labels}
    if sample.labels is not None:
        members["labels"] = {
            vocabulary.classes[i]: float(share) for i, share in enumerate(sample.labels.tolist()) if share
        }
    if sample.boxes is not None:
        members["boxes"] = _pairs(sample.boxes)
        if _is_named(source.box_labels, sample.box_labels):
            members["box_labels"] = tuple(vocabulary.classes[i] for i in _there(sample.box_labels))
        if any(each.box_attributes is not None for each in (source, *donors)):
            attributes = [one for each in (source, *donors) for one in _attributes(each)]
            members["box_attributes"] = tuple(_still_true(attributes[i]) or {} for i in rows)
    if sample.instance_masks is not None:
        own = source.instance_masks or ()
        members["instance_masks"] = tuple(
            None if (row < len(own) and own[row] is None) or not mask.any() else masks.run_lengths(mask)
            for row, mask in zip(rows, sample.instance_masks, strict=True)
        )
    if sample.keypoints is not None:
        members |= _keypoint_members(sample, source, vocabulary, rows)
    return Annotations(**members)


def _attributes(said: Annotations) -> Sequence[Mapping[str, Any]]:
    """Return the attributes of each box, empty for boxes without any."""
    return ({},) * len(said.boxes or ()) if said.box_attributes is None else said.box_attributes


def _is_named(said: Sequence[str] | None, indices: NDArray[np.int64] | None) -> bool:
    """True if each of them has a name. The record's own are all named or all unnamed; donors may differ."""
    if indices is None or not (indices >= 0).all():
        return False
    return said is not None or bool(len(indices))


def _there(indices: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return np.empty(0, np.int64) if indices is None else indices


def _still_true(said: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the carried values without those named after a position, which is wrong once the pixels have moved."""
    if said is None:
        return None
    return {name: value for name, value in said.items() if not _OF_PLACES.search(name)}


def _fill_keypoints(sample: Sample, annotations: Annotations, vocabulary: Vocabulary) -> None:
    points = annotations.keypoints or ()
    sample.keypoints = np.array(points, np.float32).reshape(-1, 2)
    index = {name: i for i, name in enumerate(vocabulary.keypoint_names)}
    for name, (dtype, absent) in _OF_KEYPOINTS.items():
        if name in vocabulary.targets:
            given = getattr(annotations, name)
            if given is None:
                given = (absent,) * len(points)
            elif name == "keypoint_labels":
                given = [_place(index, label, "keypoint") for label in given]
            setattr(sample, name, np.array(given, dtype))
    if sample.keypoint_visibility is not None:
        sample.keypoints[sample.keypoint_visibility == 0] = np.nan


def _keypoint_members(
    sample: Sample, source: Annotations, vocabulary: Vocabulary, box_rows: Sequence[int]
) -> dict[str, Any]:
    points = sample.keypoints
    assert points is not None  # noqa: S101 - checked by the caller
    lost = np.asarray(~np.isfinite(points).all(axis=1))
    visibility = sample.keypoint_visibility
    if visibility is None and lost.any():
        visibility = np.full(len(points), 2, np.int8)
    members: dict[str, Any] = {"keypoints": _pairs(np.where(lost[:, np.newaxis], 0, points))}
    if visibility is not None:
        members["keypoint_visibility"] = tuple(np.where(lost, 0, visibility).tolist())
    if _is_named(source.keypoint_labels, sample.keypoint_labels):
        members["keypoint_labels"] = tuple(vocabulary.keypoint_names[i] for i in _there(sample.keypoint_labels))
    for name in ("keypoint_angles", "keypoint_scales"):
        values = getattr(sample, name)
        if values is not None:
            members[name] = tuple(np.where(np.isfinite(values), values, 0).tolist())
    if sample.keypoint_boxes is not None:
        places = {row: place for place, row in enumerate(box_rows)}
        members["keypoint_boxes"] = tuple(places.get(row, -1) for row in sample.keypoint_boxes.tolist())
    return members


def _instance_masks(annotations: Annotations, height: int, width: int) -> NDArray[np.uint8]:
    given = annotations.instance_masks or (None,) * len(annotations.boxes or ())
    num_bytes = len(given) * height * width
    if num_bytes > MAX_MASK_BYTES:
        detail = (
            f"{len(given)} masks of objects on {width} x {height} pixels are {num_bytes} bytes, of {MAX_MASK_BYTES} "
            "allowed (MAX_MASK_BYTES); make the image smaller, or remove some objects"
        )
        raise RecordError("", Reason.NOT_RENDERABLE, detail)
    stack = np.zeros((len(given), height, width), np.uint8)
    for i, mask in enumerate(given):
        if mask is not None:
            stack[i] = masks.rasterise(mask, height, width)
    return stack


def _rows(rows: NDArray[np.int64] | None, values: NDArray[Any] | None) -> list[int]:
    return list(range(0 if values is None else len(values))) if rows is None else rows.tolist()


def _pairs(values: NDArray[np.float32]) -> tuple[Corners, ...]:
    return tuple(map(tuple, values.astype(np.float64).tolist()))


def _place(index: Mapping[str, int], name: str, what: str) -> int:
    if name not in index:
        raise ValueError(f"{what} {name!r} is unknown; there are {', '.join(index) or 'none'}")
    return index[name]


def with_targets(
    image: NDArray[np.uint8],
    annotations: Annotations,
    mask: Callable[[], NDArray[np.integer[Any]]] | None,
    vocabulary: Vocabulary,
    *,
    full_size: tuple[int, int],
) -> Sample:
    """Return the sample of a decoded image, with the targets of the vocabulary.

    ``full_size`` is the image's height and width in the coordinates of the annotations; it may have been decoded
    smaller. ``mask`` decodes its mask. In a dataset with masks, an image without one gets a mask that ignores all
    pixels.

    Raises RecordError with an empty key if the mask cannot be decoded; ValueError as ``targets.fill`` does.
    """
    sample = Sample(image)
    if not vocabulary.targets - {"label"}:
        return sample
    fill(sample, annotations, vocabulary)
    height, width = sample.image.shape[:2]
    if sample.boxes is not None and (height, width) != full_size:
        sample.boxes *= np.array([width / full_size[1], height / full_size[0]] * 2, np.float32)
    if mask is not None:
        try:
            sample.mask = mask()
        except RecordError as error:
            raise RecordError("", error.reason, f"its mask: {error.detail}") from error
    elif "mask" in vocabulary.targets:
        sample.mask = np.full((height, width), masks.IGNORED, np.uint8)
    return sample
