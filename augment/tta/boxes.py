"""Boxes of several views, mapped back to the original image and joined.

Weighted boxes fusion: R. Solovyev, W. Wang, T. Gabruseva, "Weighted boxes fusion: ensembling boxes from different
object detection models", Image and Vision Computing 107 (2021), section 3. Boxes are float (N, 4), x_min, y_min, x_max,
y_max in pixels, measured at the edges of pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augment.tta.frame import Frame

_CORNERS = np.array([[0, 1], [2, 1], [2, 3], [0, 3]])


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes (N, 4) with their scores and classes (N,)."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> "Boxes":
        """Return these rows as new arrays."""
        return Boxes(self.boxes[rows], self.scores[rows], self.labels[rows])


def to_source(predicted: Boxes, frame: Frame) -> Boxes:
    """Return the upright boxes around the four corners in the original, cut at its edges.

    Boxes without area are left out, as are those that reach behind a perspective's horizon.
    """
    corners = frame.to_source(predicted.boxes[:, _CORNERS] - 0.5) + 0.5
    in_front = np.flatnonzero(~np.isnan(corners).any(axis=(1, 2)))
    predicted, corners = predicted.take(in_front), corners[in_front]
    height, width = frame.source
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    boxes = np.clip(boxes, 0, [width, height, width, height])
    has_area = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    return Boxes(boxes, predicted.scores, predicted.labels).take(has_area)


def fused(views: Sequence[Boxes], frames: Sequence[Frame], iou_threshold: float) -> Boxes:
    """Fuse boxes: overlapping boxes of one class become their mean, weighted by their scores.

    A fused box's score is the mean of its parts' scores, times min(T, V) / V for T boxes of V views. V counts only the
    views that show the middle of the box.
    """
    every = _together(views)
    clusters: list[list[int]] = []
    means = np.zeros((len(every.scores), 4))
    classes = np.zeros(len(every.scores), np.int64)
    for row in np.argsort(-every.scores, kind="stable"):
        cluster_means = means[: len(clusters)]
        overlaps = np.where(classes[: len(clusters)] == every.labels[row], _iou(every.boxes[row], cluster_means), 0.0)
        best = int(overlaps.argmax()) if len(overlaps) else -1
        if best < 0 or overlaps[best] <= iou_threshold:
            best = len(clusters)
            clusters.append([])
            classes[best] = every.labels[row]
        clusters[best].append(int(row))
        weights = every.scores[clusters[best]]
        weights = weights if weights.sum() > 0 else np.ones_like(weights)
        means[best] = weights @ every.boxes[clusters[best]] / weights.sum()
    boxes = means[: len(clusters)]
    sizes = np.array([len(rows) for rows in clusters], np.int64)
    scores = np.array([every.scores[rows].mean() for rows in clusters])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5
    num_views = np.sum([frame.shows(middles) for frame in frames], axis=0)
    num_views = np.maximum(num_views, 1)  # a mean of boxes may be in a place that no view shows
    scores = scores * np.minimum(sizes, num_views) / num_views
    return Boxes(boxes, scores, classes[: len(clusters)]).take(np.argsort(-scores, kind="stable"))


def suppressed(views: Sequence[Boxes], iou_threshold: float) -> Boxes:
    """Suppress non-maxima: of overlapping boxes of one class, keep the one with the highest score unchanged."""
    every = _together(views)
    waiting = np.argsort(-every.scores, kind="stable")
    kept = []
    while len(waiting):
        first, waiting = waiting[0], waiting[1:]
        kept.append(first)
        apart = _iou(every.boxes[first], every.boxes[waiting]) <= iou_threshold
        waiting = waiting[apart | (every.labels[waiting] != every.labels[first])]
    return every.take(np.array(kept, np.intp))


def _together(views: Sequence[Boxes]) -> Boxes:
    return Boxes(
        np.concatenate([each.boxes for each in views]),
        np.concatenate([each.scores for each in views]),
        np.concatenate([each.labels for each in views]),
    )


def _iou(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of a box (4,) with each of others (N, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.clip(sides, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    shares: NDArray[np.float64] = common / np.maximum(areas - common, np.finfo(float).tiny)
    return shares
