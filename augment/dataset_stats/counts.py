"""Counts of a dataset's records for each split, taken from the manifest alone. No image is opened."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.datasets.dataset import TRAINING_SPLITS, Dataset, in_ranges

_MANY = 4096


@dataclass(frozen=True, slots=True)
class Range:
    """Least, median and largest of some numbers; the median of an even number is the mean of the middle two."""

    least: float
    median: float
    largest: float

    @classmethod
    def of(cls, numbers: NDArray[Any]) -> "Range | None":
        """Return the range of the numbers, or None if there are no numbers."""
        if not len(numbers):
            return None
        return cls(float(numbers.min()), float(np.median(numbers)), float(numbers.max()))


@dataclass(frozen=True)
class Census:
    """Counts of the records of one split; ``split`` is None if the dataset has no splits.

    ``classes`` counts records by class, ``labels`` counts images by each of their labels, ``box_classes`` counts boxes.
    A record or box without a class counts under None. Arrays per record: ``heights`` and ``widths`` (int64, of the
    upright image), ``boxes`` and ``keypoints`` (int64, numbers of them). Arrays per box: ``box_sizes``, float64 (N, 2),
    width and height in pixels; ``box_scales``, float64 (N,), the square root of the covered part of the image.
    ``num_without_boxes`` counts images without boxes and images that are not annotated.
    """

    split: str | None
    num_records: int
    classes: Mapping[str | None, int]
    labels: Mapping[str, int]
    box_classes: Mapping[str | None, int]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    boxes: NDArray[np.int64]
    box_sizes: NDArray[np.float64]
    box_scales: NDArray[np.float64]
    keypoints: NDArray[np.int64]
    keypoint_visibility: Mapping[int, int]
    num_masks: int
    num_instance_masks: int

    @property
    def aspect_ratios(self) -> NDArray[np.float64]:
        """Width divided by height of each record."""
        return self.widths / self.heights

    @property
    def num_without_boxes(self) -> int:
        return int(np.count_nonzero(self.boxes == 0))


@dataclass
class _Totals:
    labels: Counter[str] = field(default_factory=Counter)
    box_classes: Counter[str | None] = field(default_factory=Counter)
    boxes: list[int] = field(default_factory=list)
    box_rows: list[tuple[float, float, float, float]] = field(default_factory=list)
    box_owners: list[int] = field(default_factory=list)
    keypoints: list[int] = field(default_factory=list)
    visibility: Counter[int] = field(default_factory=Counter)
    num_instance_masks: int = 0

    def add(self, place: int, said: Mapping[str, Any]) -> None:
        """Count one record's annotations; ``place`` is the record's index."""
        self.labels.update(name for name, share in said.get("labels", {}).items() if share)
        boxes = said.get("boxes") or ()
        self.boxes.append(len(boxes))
        self.box_rows += [tuple(box) for box in boxes]
        self.box_owners += [place] * len(boxes)
        self.box_classes.update(said.get("box_labels") or [None] * len(boxes))
        points = said.get("keypoints") or ()
        seen = said.get("keypoint_visibility") or [2] * len(points)
        self.keypoints.append(sum(each > 0 for each in seen))
        self.visibility.update(seen)
        self.num_instance_masks += sum(each is not None for each in said.get("instance_masks") or ())


def take(dataset: Dataset) -> Census:
    """Count the records of a dataset's view: one split, or all records."""
    sizes = [np.empty((0, 2), np.int64)]
    totals, num_masks = _Totals(), 0
    for some in in_ranges(dataset, _MANY):
        sizes.append(dataset.sizes(some))
        for place, text in enumerate(dataset.annotations(some), some.start):
            totals.add(place, {} if text is None else json.loads(text))
    if "mask" in dataset.targets:
        num_masks = dataset.num_masks
    heights, widths = np.concatenate(sizes).T
    corners = np.array(totals.box_rows, np.float64).reshape(-1, 4)
    box_sizes = corners[:, 2:] - corners[:, :2]
    owners = np.array(totals.box_owners, np.int64)
    areas = (heights * widths)[owners].astype(np.float64)
    counted = Counter(dataset.labels())
    classes: dict[str | None, int] = {name: counted[i] for i, name in enumerate(dataset.classes) if counted[i]}
    if "label" in dataset.targets and counted[None]:
        classes[None] = counted[None]
    return Census(
        split=dataset.split,
        num_records=dataset.num_records,
        classes=classes,
        labels=_ordered(totals.labels, dataset.classes),
        box_classes=_ordered(totals.box_classes, (*dataset.classes, None)),
        heights=heights,
        widths=widths,
        boxes=np.array(totals.boxes, np.int64),
        box_sizes=box_sizes,
        box_scales=np.sqrt(box_sizes.prod(axis=1) / areas) if len(areas) else np.empty(0),
        keypoints=np.array(totals.keypoints, np.int64),
        keypoint_visibility=dict(sorted(totals.visibility.items())),
        num_masks=num_masks,
        num_instance_masks=totals.num_instance_masks,
    )


def views(dataset: Dataset) -> list[Dataset]:
    """Return one view for each split that has records, or the dataset itself if it has no splits or a split is chosen.

    Training comes first and test last.
    """
    if dataset.split is not None or not dataset.splits:
        return [dataset]
    names = [name for name, number in dataset.splits.items() if number]
    names.sort(key=lambda name: (name.lower() not in TRAINING_SPLITS, name.lower().startswith("test"), name.encode()))
    return [dataset.choose(name) for name in names]


def _ordered(counted: Counter[Any], names: Sequence[Any]) -> dict[Any, int]:
    return {name: counted[name] for name in names if counted[name]}
