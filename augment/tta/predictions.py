"""Checks of callers' predictions, and their conversion to arrays that fit the batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import validation
from augment.errors import CallError
from augment.samples.sample import Batch
from augment.tta.boxes import Boxes

_NAMES = ("labels", "masks", "boxes", "scores", "box_labels", "keypoints", "keypoint_scores")
_OWNERS = {"scores": "boxes", "box_labels": "boxes", "keypoint_scores": "keypoints"}


@dataclass(frozen=True, slots=True)
class Taken:
    """Predictions for one view; ``names`` are the entries that were given.

    labels float64 (N, C); masks a float32 (C, h, w) or (h, w) for each row; boxes for each row; keypoints float64
    (N, K, 2); keypoint_scores float64 (N, K).
    """

    names: frozenset[str]
    labels: NDArray[np.float64] | None = None
    masks: list[NDArray[np.float32]] | None = None
    boxes: list[Boxes] | None = None
    keypoints: NDArray[np.float64] | None = None
    keypoint_scores: NDArray[np.float64] | None = None


def taken(predictions: Sequence[Mapping[str, Any]], batch: Batch) -> list[Taken]:
    """Check and convert predictions, one mapping for each view of the batch, all with the same entries and shapes."""
    num_views = len(batch.views)
    given = list(validation.many("predictions", predictions))
    if isinstance(predictions, Mapping) or not all(isinstance(each, Mapping) for each in given):
        raise CallError("predictions must be a list of one mapping for each view, such as {'labels': array}")
    if len(given) != num_views:
        raise CallError(
            f"predictions has {len(given)} entries, the batch has {num_views} views; give one for each view, in order"
        )
    views = [_of_view(view, each, len(batch)) for view, each in enumerate(given)]
    _check_alike(views)
    return views


def _of_view(view: int, given: Mapping[str, Any], num_rows: int) -> Taken:
    where = f"predictions[{view}]"
    names = frozenset(name for name, value in given.items() if value is not None)
    for name in sorted(names - set(_NAMES), key=str):
        raise CallError(f"{where} has {validation.quoted(name)}; allowed are {', '.join(_NAMES)}")
    for name in sorted(names):
        if (owner := _OWNERS.get(name)) and owner not in names:
            raise CallError(f"{where} has {name} without {owner}; give both")
    if not names:
        raise CallError(f"{where} is empty; give at least one of labels, masks, boxes, keypoints")
    return Taken(
        names,
        labels=_labels(where, given["labels"], num_rows) if "labels" in names else None,
        masks=_maps(f"{where}['masks']", given["masks"], num_rows) if "masks" in names else None,
        boxes=_boxes(where, given, num_rows) if "boxes" in names else None,
        keypoints=_rows(f"{where}['keypoints']", given["keypoints"], (num_rows, None, 2))
        if "keypoints" in names
        else None,
        keypoint_scores=_scores_of_points(where, given) if "keypoint_scores" in names else None,
    )


def _check_alike(views: Sequence[Taken]) -> None:
    first = views[0]
    for view, other in enumerate(views[1:], start=1):
        if other.names != first.names:
            one, two = (", ".join(sorted(each.names)) for each in (first, other))
            raise CallError(f"predictions[0] has {one}, predictions[{view}] has {two}; give the same for every view")
        for name in ("labels", "keypoints"):
            one, two = getattr(first, name), getattr(other, name)
            if one is not None and one.shape != two.shape:
                raise CallError(
                    f"{name} are {one.shape} for view 0 and {two.shape} for view {view}; give the same shape for all"
                )
        for row, (mine, yours) in enumerate(zip(first.masks or (), other.masks or (), strict=True)):
            if mine.shape[:-2] != yours.shape[:-2]:
                raise CallError(
                    f"masks of row {row} are {mine.shape} for view 0 and {yours.shape} for view {view}; the number of "
                    "classes must be the same for every view"
                )


def _rows(name: str, value: Any, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    array = _array(name, value)
    if array.ndim != len(shape) or any(
        expected not in (None, actual) for expected, actual in zip(shape, array.shape, strict=True)
    ):
        sides = ", ".join("any" if side is None else str(side) for side in shape)
        raise CallError(f"{name} is {array.shape}; it must be ({sides})")
    return array.astype(np.float64)


def _maps(name: str, value: Any, num_rows: int) -> list[NDArray[np.float32]]:
    maps = []
    for row, each in enumerate(_each_row(name, value, num_rows)):
        array = _array(f"{name}[{row}]", each)
        if array.ndim not in {2, 3} or 0 in array.shape:
            raise CallError(f"{name}[{row}] is {array.shape}; it must be (C, h, w), scores for each class, or (h, w)")
        maps.append(array.astype(np.float32))
    return maps


def _boxes(where: str, given: Mapping[str, Any], num_rows: int) -> list[Boxes]:
    if "scores" not in given or given["scores"] is None:
        raise CallError(f"{where} has boxes without scores; give the model's confidence in each, or ones")
    names = ["boxes", "scores", *(["box_labels"] if given.get("box_labels") is not None else [])]
    columns = [_each_row(f"{where}[{name!r}]", given[name], num_rows) for name in names]
    boxes_by_row = []
    for row, values in enumerate(zip(*columns, strict=True)):
        arrays = [_array(f"{where}[{name!r}][{row}]", value) for name, value in zip(names, values, strict=True)]
        num_boxes = len(arrays[0])
        places = arrays[0].reshape(0, 4) if arrays[0].size == 0 else arrays[0]
        if places.shape != (num_boxes, 4):
            raise CallError(f"{where}['boxes'][{row}] is {places.shape}; it must be (M, 4): x_min, y_min, x_max, y_max")
        for name, array in zip(names[1:], arrays[1:], strict=True):
            if array.shape != (num_boxes,):
                raise CallError(
                    f"{where}[{name!r}][{row}] is {array.shape} for {num_boxes} boxes; give one for each box"
                )
        scores = arrays[1].astype(np.float64)
        if not (np.isfinite(places).all() and np.isfinite(scores).all() and (scores >= 0).all()):
            raise CallError(f"{where} has boxes or scores that are not numbers, or scores below 0, in row {row}")
        if (places[:, 2:] < places[:, :2]).any():
            raise CallError(
                f"{where}['boxes'][{row}] has a box that ends before it begins; give x_min, y_min, x_max, y_max"
            )
        classes = arrays[2].astype(np.int64) if len(arrays) > 2 else np.zeros(num_boxes, np.int64)
        boxes_by_row.append(Boxes(places.astype(np.float64), scores, classes))
    return boxes_by_row


def _labels(where: str, value: Any, num_rows: int) -> NDArray[np.float64]:
    labels = _rows(f"{where}['labels']", value, (num_rows, None))
    if not np.isfinite(labels).all():
        raise CallError(f"{where}['labels'] has values that are not numbers; check the model's output")
    return labels


def _scores_of_points(where: str, given: Mapping[str, Any]) -> NDArray[np.float64]:
    shape = np.shape(given["keypoints"])[:2]
    scores = _rows(f"{where}['keypoint_scores']", given["keypoint_scores"], shape)
    if not (np.isfinite(scores).all() and (scores >= 0).all()):
        raise CallError(
            f"{where}['keypoint_scores'] has values that are not numbers, or below 0; give weights of at least 0"
        )
    return scores


def _each_row(name: str, value: Any, num_rows: int) -> list[Any]:
    try:
        rows = list(value)
    except TypeError:
        rows = None
    if rows is None or isinstance(value, str | bytes | Mapping):
        raise CallError(f"{name} is {validation.quoted(value)}; give one entry for each of the {num_rows} rows")
    if len(rows) != num_rows:
        raise CallError(f"{name} has {len(rows)} rows, the batch has {num_rows}; give one entry for each row")
    return rows


def _array(name: str, value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except Exception as error:  # lists of unequal lengths, a tensor on a device, a faulty __array__ of the caller
        raise CallError(f"{name} is {validation.quoted(value)}, which NumPy cannot read; give an array") from error
    if array.dtype.kind not in "biuf":
        raise CallError(f"{name} is {array.dtype}; it must be numbers")
    return array
