"""Test-time augmentation: predictions for several views of the same images, joined to one for each image.

The batch's inverse maps bring predictions back to the upright original image. Numbers for classes are joined by class,
keypoints are averaged; ``maps`` and ``boxes`` join the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import validation
from augment.errors import CallError
from augment.samples.sample import Batch
from augment.tta import boxes, maps
from augment.tta.frame import Frame
from augment.tta.predictions import Taken, taken

_Array = NDArray[np.float64]


def _geometric_mean(views: _Array) -> _Array:
    if (views < 0).any():
        raise CallError(
            f"labels holds {views.min():g}; a geometric mean needs probabilities, 0 and above: apply softmax or "
            "sigmoid first, or use labels='mean'"
        )
    with np.errstate(divide="ignore"):
        joined: _Array = np.exp(np.log(views).mean(axis=0))
    return joined


JOINS: Mapping[str, Callable[[_Array], _Array]] = {
    "mean": lambda views: np.mean(views, axis=0),
    "max": lambda views: np.max(views, axis=0),
    "geometric_mean": _geometric_mean,
}
"""Functions from (V, N, C) to (N, C), by name; the results are not scaled to a sum of 1."""


def checked_pairs(flip_idx: Sequence[int] | None, num_points: int) -> NDArray[np.intp] | None:
    """Return ``flip_idx`` as an array. Raises CallError unless it names each keypoint once."""
    if flip_idx is None:
        return None
    pairs = [validation.integer("flip_idx", each, 0, num_points - 1) for each in validation.many("flip_idx", flip_idx)]
    if sorted(pairs) != list(range(num_points)):
        raise CallError(f"flip_idx is {validation.quoted(pairs)}; it must name each of the {num_points} keypoints once")
    return np.array(pairs, np.intp)


def averaged(
    places: _Array, weights: _Array | None, rows: Sequence[tuple[Frame, ...]], pairs: NDArray[np.intp] | None
) -> tuple[_Array, _Array]:
    """Return the mean (N, K, 2) of ``places`` (V, N, K, 2) over the views that have a point, and weights (N, K).

    A weight is the mean over the views that have the point, 0 if none has. New arrays.
    """
    back = np.empty(places.shape)
    shares = np.ones(places.shape[:3]) if weights is None else weights.copy()
    for row, frames in enumerate(rows):
        for view, frame in enumerate(frames):
            back[view, row] = frame.to_source(places[view, row])
            if pairs is not None and frame.mirrors:
                back[view, row] = back[view, row][pairs]
                shares[view, row] = shares[view, row][pairs]
    has_point = ~np.isnan(back).any(axis=-1)
    num_views = has_point.sum(axis=0)
    shares = np.where(has_point, shares, 0.0)
    total = shares.sum(axis=0)
    even = np.where(total > 0, shares, has_point)  # if all weights are 0, all count the same
    with np.errstate(invalid="ignore"):
        joined = (np.nan_to_num(back) * even[..., np.newaxis]).sum(axis=0) / even.sum(axis=0)[..., np.newaxis]
    return joined, total / np.maximum(num_views, 1)


FUSIONS = ("wbf", "nms")
"""Ways to join boxes: weighted boxes fusion or non-maximum suppression."""

_NUM_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Merged:
    """One prediction for each row, in pixels of its upright original image; entries without predictions are None.

    labels:     float64 (N, C).
    masks:      for each row float32 (C, H, W), or (H, W) for maps without classes; NaN for pixels in no view.
    coverage:   for each row uint16 (H, W), how many views show a pixel.
    boxes:      for each row float32 (M, 4), x_min, y_min, x_max, y_max, the highest score first.
    scores:     for each row float32 (M,).
    box_labels: for each row int64 (M,); all 0 if the predictions name no classes.
    keypoints:  float32 (N, K, 2), NaN if no view has the point.
    keypoint_scores: float32 (N, K).
    """

    labels: NDArray[np.float64] | None = None
    masks: list[NDArray[np.float32]] | None = None
    coverage: list[NDArray[np.uint16]] | None = None
    boxes: list[NDArray[np.float32]] | None = None
    scores: list[NDArray[np.float32]] | None = None
    box_labels: list[NDArray[np.int64]] | None = None
    keypoints: NDArray[np.float32] | None = None
    keypoint_scores: NDArray[np.float32] | None = None


def merge_predictions(
    predictions: Sequence[Mapping[str, Any]],
    batch: Batch,
    *,
    labels: str = "mean",
    boxes: str = "wbf",
    iou_threshold: float = 0.55,
    stride: float | None = None,
    flip_idx: Sequence[int] | None = None,
) -> Merged:
    """Join predictions: one mapping for each view of the batch, in the views' order, all with the same entries.

    An entry is a model's output for a view's images, in the view's pixels:

    - ``labels``: (N, C), a number for each class; joined by ``labels``: mean, max or geometric_mean.
    - ``masks``: (N, C, h, w) or (N, h, w), or a list of one map for each row; averaged over the views that show a
      pixel. A map is spread evenly over its view, or has cells of ``stride`` pixels.
    - ``boxes``: for each row (M, 4), pixels at their edges, with ``scores`` (M,) and, for several classes,
      ``box_labels`` (M,). Boxes of one class that overlap more than ``iou_threshold`` are joined by ``boxes``: wbf or
      nms.
    - ``keypoints``: (N, K, 2), x and y, NaN for those not found, and optionally ``keypoint_scores`` (N, K) as weights.
      In a mirrored view, point k of the image is the model's point ``flip_idx[k]``.

    Arrays are anything that NumPy reads. Raises CallError if they do not fit the batch, or if a view has no inverse
    map; labels need none.
    """
    validation.instance("batch", batch, Batch, "give the batch that was predicted, of a stream with `views`")
    if labels not in tuple(JOINS):
        raise CallError(f"labels is {validation.quoted(labels)}; it is one of {', '.join(JOINS)}")
    if boxes not in FUSIONS:
        raise CallError(f"boxes is {validation.quoted(boxes)}; it is one of {', '.join(FUSIONS)}")
    iou_threshold = _number("iou_threshold", iou_threshold, "from 0 to 1", lambda number: 0 <= number <= 1)
    if stride is not None:
        stride = _number("stride", stride, "above 0, or None", lambda number: 0 < number < np.inf)
    checked = taken(predictions, batch)
    merged: dict[str, Any] = {}
    if checked[0].labels is not None:
        merged["labels"] = JOINS[labels](np.stack([view.labels for view in checked if view.labels is not None]))
    if {"masks", "boxes", "keypoints"} & checked[0].names:
        rows = list(zip(*_frames(batch), strict=True))
        merged |= _masks(checked, rows, stride) if checked[0].masks is not None else {}
        merged |= _boxes(checked, rows, boxes, iou_threshold) if checked[0].boxes is not None else {}
        merged |= _keypoints(checked, rows, flip_idx) if checked[0].keypoints is not None else {}
    return Merged(**merged)


_Rows = Sequence[tuple[Frame, ...]]
"""The frame of each view, for each row."""


def _masks(predictions: Sequence[Taken], rows: _Rows, stride: float | None) -> dict[str, Any]:
    masks, coverage = [], []
    for row, frames in enumerate(rows):
        row_maps = [view.masks[row] for view in predictions if view.masks is not None]
        is_plain = row_maps[0].ndim == 2
        views = [
            maps.ViewMap(frame, values[np.newaxis] if is_plain else values, stride)
            for frame, values in zip(frames, row_maps, strict=True)
        ]
        mean, seen = maps.averaged(views)
        masks.append(mean[0] if is_plain else mean)
        coverage.append(seen)
    return {"masks": masks, "coverage": coverage}


def _boxes(predictions: Sequence[Taken], rows: _Rows, how: str, iou_threshold: float) -> dict[str, Any]:
    joined = []
    for row, frames in enumerate(rows):
        views = [
            boxes.to_source(view.boxes[row], frame)
            for view, frame in zip(predictions, frames, strict=True)
            if view.boxes is not None
        ]
        is_fused = how == "wbf"
        joined.append(boxes.fused(views, frames, iou_threshold) if is_fused else boxes.suppressed(views, iou_threshold))
    return {
        "boxes": [each.boxes.astype(np.float32) for each in joined],
        "scores": [each.scores.astype(np.float32) for each in joined],
        "box_labels": [each.labels for each in joined],
    }


def _keypoints(predictions: Sequence[Taken], rows: _Rows, flip_idx: Sequence[int] | None) -> dict[str, Any]:
    places = np.stack([view.keypoints for view in predictions if view.keypoints is not None])
    scores = [view.keypoint_scores for view in predictions if view.keypoint_scores is not None]
    weights = np.stack(scores) if scores else None
    joined, certain = averaged(places, weights, rows, checked_pairs(flip_idx, places.shape[2]))
    return {"keypoints": joined.astype(np.float32)} | (
        {"keypoint_scores": certain.astype(np.float32)} if weights is not None else {}
    )


def _frames(batch: Batch) -> list[list[Frame]]:
    """Return the frame of each row, for each view."""
    frames = []
    for number, view in enumerate(batch.views):
        if view.inverses is None or batch.source_sizes is None:
            raise CallError(
                f"view {number} of the batch has no inverse maps; masks, boxes and keypoints need them: declare the "
                "stream with `views`, or join labels alone"
            )
        lost = [key for key, inverse in zip(view.keys, view.inverses, strict=True) if not _leads_back(inverse)]
        if lost:
            raise CallError(
                f"view {number} of {validation.quoted(lost[0])} ({len(lost)} of {len(view)} rows) has no inverse map: "
                "a transform without a matrix moved its pixels; leave distortions out of the views, or join labels "
                "alone"
            )
        rows = zip(view.inverses, view.images, batch.source_sizes.tolist(), strict=True)
        frames.append([Frame(inverse, _size(image), (height, width)) for inverse, image, (height, width) in rows])
    return frames


def _size(image: NDArray[Any]) -> tuple[int, int]:
    """Return height and width of channels-first or channels-last images."""
    height, width = image.shape[:2] if image.shape[2] == _NUM_CHANNELS else image.shape[1:]
    return int(height), int(width)


def _leads_back(inverse: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(inverse).all()) and abs(np.linalg.det(inverse)) > 0


def _number(name: str, value: object, limit: str, holds: Callable[[float], bool]) -> float:
    if isinstance(value, int | float | np.number) and not isinstance(value, bool) and holds(float(value)):
        return float(value)
    raise CallError(f"{name} is {validation.quoted(value)}; give a number {limit}")
