"""Boxes, masks of objects and keypoints of mixed rows: covered ones are removed, pasted ones are added.

The objects of a row are a mapping from fields of ``Batch`` that hold an array for each row to that row's array.
Functions return new mappings and do not change arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.pipelines.spec import BoxRules, KeypointRules
from augment.samples.annotations import BY_KEYPOINT
from augment.samples.sample import OF_OBJECTS, Batch

_Array = NDArray[Any]
_Flags = NDArray[np.bool_]
Objects = Mapping[str, _Array]
Box = tuple[int, int, int, int]

_OF_BOXES: Final = ("boxes", "box_labels", "instance_masks")
_OF_KEYPOINTS: Final = ("keypoints", *BY_KEYPOINT)


def of_rows(batch: Batch) -> list[dict[str, _Array]]:
    """Return the objects of each row; mappings are empty if the batch has none."""
    fields = {name: rows for name in OF_OBJECTS if (rows := getattr(batch, name)) is not None}
    rows_of_objects = [{name: rows[row] for name, rows in fields.items()} for row in range(len(batch))]
    for row, objects in enumerate(rows_of_objects):
        if "instance_masks" in objects:  # if it has no objects, their array may have any size
            height, width = batch.images[row].shape[:2]
            objects["instance_masks"] = objects["instance_masks"].reshape(-1, height, width)
    return rows_of_objects


def by_field(rows: Sequence[Objects]) -> dict[str, list[_Array]]:
    """Return the fields of ``Batch`` from rows: the inverse of ``of_rows``."""
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def cover(objects: Objects, box: Box, boxes: BoxRules, keypoints: KeypointRules) -> Objects:
    """Return the rest of a row's objects after other pixels were pasted into ``box``.

    A partly covered box becomes the upright box around the rest, and ``boxes`` decides again if it is kept. Keypoints
    in ``box`` are lost.
    """
    result = dict(objects)
    if (num_boxes := _num_boxes(objects)) is not None:
        if (masks := objects.get("instance_masks")) is not None:
            result["instance_masks"] = masks.copy()
            _window(result["instance_masks"], box)[:] = 0
        stays: _Flags = np.ones(num_boxes, np.bool_)
        if "boxes" in result:
            before = objects["boxes"].astype(np.float64)
            shared = _area(_overlap(before, box))
            left = _Left(_rest(before, box), _share(_area(before) - shared, _area(before)))
            left = left.by_masks(masks, result.get("instance_masks"))
            result["boxes"] = left.boxes.astype(np.float32)
            stays = (shared == 0) | boxes.keeps(left.boxes, left.visible)
        result = _choose_boxes(result, stays & _is_seen(masks, result.get("instance_masks"), num_boxes))
    if "keypoints" in result:
        lost = _within(result["keypoints"], box)
        result = _lose(result, lost)
        if keypoints.outside == "drop":
            result = _choose_keypoints(result, ~lost)
    return result


def cut(objects: Objects, box: Box, boxes: BoxRules, keypoints: KeypointRules) -> Objects:
    """Return the objects that are pasted along with the pixels in ``box``, at the same place.

    Boxes are cut at ``box``, and ``boxes`` decides again if they are kept. Keypoints in it are pasted, and all of an
    object that is pasted: those outside are marked as lost.
    """
    result = dict(objects)
    if (num_boxes := _num_boxes(objects)) is not None:
        if (masks := objects.get("instance_masks")) is not None:
            result["instance_masks"] = np.zeros_like(masks)
            _window(result["instance_masks"], box)[:] = _window(masks, box)
        comes: _Flags = np.ones(num_boxes, np.bool_)
        if "boxes" in result:
            before = objects["boxes"].astype(np.float64)
            inside = _overlap(before, box)
            left = _Left(inside, _share(_area(inside), _area(before)))
            left = left.by_masks(masks, result.get("instance_masks"))
            result["boxes"] = left.boxes.astype(np.float32)
            comes = boxes.keeps(left.boxes, left.visible)
        result = _choose_boxes(result, comes & _is_seen(masks, result.get("instance_masks"), num_boxes))
    if "keypoints" in result:
        within = _within(result["keypoints"], box)
        lost = np.isfinite(result["keypoints"]).all(axis=1) & ~within
        owned: _Flags = np.zeros(len(within), np.bool_)
        if "keypoint_boxes" in result:
            owned = result["keypoint_boxes"] >= 0
        if keypoints.outside == "drop":
            owned = owned & ~lost
        result = _choose_keypoints(_lose(result, lost), within | owned)
    return result


def union(first: Objects, second: Objects) -> Objects:
    """Return the objects of both, the second's after the first's."""
    result = {name: np.concatenate([first[name], second[name]]) for name in first}
    if "keypoint_boxes" in result:
        belongs = second["keypoint_boxes"]
        moved = np.where(belongs >= 0, belongs + (_num_boxes(first) or 0), -1)
        result["keypoint_boxes"] = np.concatenate([first["keypoint_boxes"], moved])
    return result


@dataclass(frozen=True, slots=True)
class _Left:
    """Rest of each box: the upright box around it, (N, 4), and its share of the area, (N,)."""

    boxes: _Array
    visible: _Array

    def by_masks(self, before: _Array | None, after: _Array | None) -> "_Left":
        """Use what is left of the mask for each box whose mask lost a part."""
        if before is None or after is None:
            return self
        boxes, visible = self.boxes.copy(), self.visible.copy()
        areas, rest = (masks.sum(axis=(1, 2), dtype=np.int64) for masks in (before, after))
        for row in np.flatnonzero((rest > 0) & (rest < areas)):
            visible[row] = rest[row] / areas[row]
            y, x = (np.flatnonzero(after[row].any(axis=axis)) for axis in (1, 0))
            low = np.maximum(boxes[row, :2], (x[0], y[0]))
            high = np.minimum(boxes[row, 2:], (x[-1] + 1, y[-1] + 1))
            if (low < high).all():  # else the mask is outside its box, and the box is the better measure
                boxes[row] = *low, *high
        return _Left(boxes, visible)


def _is_seen(before: _Array | None, after: _Array | None, num_boxes: int) -> _Flags:
    """Return True for each object that still has pixels; an object that had no mask counts as visible."""
    if before is None or after is None:
        return np.ones(num_boxes, np.bool_)
    return np.asarray(after.any(axis=(1, 2)) | ~before.any(axis=(1, 2)), np.bool_)


def _window(masks: _Array, box: Box) -> _Array:
    x_min, y_min, x_max, y_max = box
    return masks[:, y_min:y_max, x_min:x_max]


def _num_boxes(objects: Objects) -> int | None:
    return next((len(objects[name]) for name in _OF_BOXES if name in objects), None)


def _choose_boxes(objects: Objects, stays: _Flags) -> dict[str, _Array]:
    result = {name: values[stays] if name in _OF_BOXES else values for name, values in objects.items()}
    if "keypoint_boxes" in result:
        places = np.append(np.where(stays, np.cumsum(stays) - 1, -1), -1)  # the last one serves index -1
        result["keypoint_boxes"] = places[result["keypoint_boxes"]].astype(np.int64)
    return result


def _choose_keypoints(objects: Objects, stays: _Flags) -> dict[str, _Array]:
    return {name: values[stays] if name in _OF_KEYPOINTS else values for name, values in objects.items()}


def _lose(objects: Objects, lost: _Flags) -> dict[str, _Array]:
    """Mark these keypoints as lost: NaN and visibility 0, as transforms of a pipeline do."""
    result = dict(objects)
    for name, value in (
        ("keypoints", np.nan),
        ("keypoint_visibility", 0),
        ("keypoint_angles", 0),
        ("keypoint_scales", 0),
    ):
        if name in result:
            result[name] = result[name].copy()
            result[name][lost] = value
    return result


def _within(points: _Array, box: Box) -> _Flags:
    """Return True for each point whose pixel is in the box; coordinates of points count from the middles of pixels."""
    x_min, y_min, x_max, y_max = box
    low, high = np.array([x_min, y_min]) - 0.5, np.array([x_max, y_max]) - 0.5
    return np.asarray(((points >= low) & (points < high)).all(axis=1), np.bool_)


def _overlap(boxes: _Array, box: Box) -> _Array:
    """Return the part of each box inside ``box``; sides are 0 if there is no such part."""
    low = np.maximum(boxes[:, :2], box[:2])
    return np.concatenate([low, np.maximum(np.minimum(boxes[:, 2:], box[2:]), low)], axis=1)


def _rest(boxes: _Array, box: Box) -> _Array:
    """Return the upright box around the part of each box outside ``box``; sides are 0 if there is no such part.

    A side moves only if ``box`` covers its whole length.
    """
    rest = boxes.copy()
    shared = _overlap(boxes, box)
    any_shared = _area(shared) > 0
    for axis in (0, 1):
        across = 1 - axis
        whole = any_shared & (shared[:, across] <= boxes[:, across]) & (shared[:, across + 2] >= boxes[:, across + 2])
        low = whole & (shared[:, axis] <= boxes[:, axis])
        high = whole & (shared[:, axis + 2] >= boxes[:, axis + 2])
        rest[low, axis] = shared[low, axis + 2]
        rest[high, axis + 2] = np.maximum(shared[high, axis], rest[high, axis])
    return rest


def _area(boxes: _Array) -> _Array:
    area: _Array = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def _share(part: _Array, whole: _Array) -> _Array:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
