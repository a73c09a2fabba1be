"""Conversion of a sample's targets to Albumentations' arrays and back, with the pipeline's rules.

Boxes and keypoints carry their row as a column. Instance masks are passed as one stack; the rows of the remaining boxes
select from it. Targets without a place (NaN, visibility 0) are not passed and stay unchanged.
"""

import itertools
import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.pipelines.spec import BOX_ROUNDING, BoxRules, KeypointRules, PipelineSpec
from augment.samples import annotations
from augment.samples.sample import Sample
from augment.transforms.donors.partial_sample import OF_BOXES, OF_KEYPOINTS, Piece
from augment.transforms.matrix_geometry import BOX_ROW, LABEL, SHAPES, VISIBLE, areas, beyond, shapes_in, shapes_of

_Array = NDArray[Any]

_ROW: Final = 2
_GONE: Final = 3
_ANGLE: Final = 4
_SCALE: Final = 5
"""Columns of keypoints after x and y: the row, 1 for one that has left a frame; angle and scale if the sample has any.
"""

_ELLIPSE_PX: Final = 2.0
"""Least visible area of the ellipse in a box, or half the visible box: a box's corners hold no object."""

_DECIMALS: Final = 3
"""Decimals of a box's pixels; further ones are the noise of shares in float32."""

_TARGETS: Final = ("labels", "mask", *OF_BOXES, *OF_KEYPOINTS)
_ALL_BOXES: Final = BoxRules(0.0, 0.0, 0.0, 0.0)
_targets_of: Final = operator.attrgetter(*_TARGETS)


@dataclass(frozen=True, slots=True)
class Carrier:
    """Converter of targets for one pipeline.

    ``mark`` is the value of instance masks while they are converted, 1 to 255. Nothing else in the pipeline writes this
    value into masks, so a border filled with a class is not taken for an object.
    """

    boxes: BoxRules
    keypoints: KeypointRules
    keypoint_names: tuple[str, ...]
    mark: int

    @classmethod
    def of(cls, spec: PipelineSpec, keypoint_names: tuple[str, ...]) -> "Carrier":
        taken: set[object] = set()
        for node in spec.nodes():
            for name in ("fill_mask", "mask_drop_value", "ignore_values"):
                value = node.params.get(name)
                taken.update(value if isinstance(value, list) else [value])
        mark = next(value for value in range(255, 0, -1) if value not in taken)
        return cls(spec.boxes, spec.keypoints, keypoint_names, mark)

    def swaps_sides(self, sample: Sample) -> bool:
        """Return True if keypoints of this sample are renamed in a mirror."""
        return self.keypoints.swap_sides and bool(self.keypoint_names) and sample.keypoint_labels is not None

    def take_in(self, piece: Piece) -> dict[str, Any]:
        """Return the targets in Albumentations' format, by its names.

        A box's fifth column is its label, where transforms that choose objects look for it.
        """
        sample = piece.sample
        data: dict[str, Any] = {}
        if sample.mask is not None:
            data["mask"] = _small_mask(sample.mask)
        if sample.instance_masks is not None:
            data["masks"] = (sample.instance_masks != 0) * np.uint8(self.mark) if len(sample.instance_masks) else []
        if sample.boxes is not None:
            data["bboxes"] = _box_columns(piece)
        if sample.keypoints is not None and len(points := _keypoint_columns(sample)):
            data["keypoints"] = points
        return data

    def take_out(self, sample: Sample, result: Mapping[str, Any], *, mirrored: bool, last: bool) -> Piece:
        """Return the transformed sample, every array of it new.

        ``result`` is Albumentations' output for the image and ``take_in``; the image is used without a copy. Before the
        ``last`` part of a pipeline nothing is dropped that is still visible.
        """
        image = result["image"]
        out = replace(sample, image=image)
        visible, shapes = np.empty(0), None
        if sample.labels is not None:
            out.labels = sample.labels.copy()
        if sample.mask is not None:
            out.mask = np.ascontiguousarray(result["mask"]).astype(sample.mask.dtype)
        if sample.boxes is not None:
            visible, shapes = self._boxes_out(sample, out, result, self.boxes if last else _ALL_BOXES)
        elif sample.instance_masks is not None:
            masks = np.asarray(result["masks"], np.uint8).reshape(-1, *image.shape[:2])
            out.instance_masks = (masks == self.mark).astype(np.uint8)
        if sample.keypoints is not None:
            outside = self.keypoints.outside if last or self.keypoints.outside == "keep" else "mark"
            self._keypoints_out(sample, out, result, mirrored=mirrored, outside=outside)
        return Piece(out, visible, shapes)

    def _boxes_out(
        self, sample: Sample, out: Sample, result: Mapping[str, Any], rules: BoxRules
    ) -> tuple[_Array, NDArray[np.float64]]:
        """Return the visible share of each box, and its shapes."""
        columns = np.asarray(result["bboxes"], dtype=np.float64)
        columns = columns if len(columns) else np.zeros((0, SHAPES + 4))
        columns = columns[np.argsort(columns[:, BOX_ROW], kind="stable")]
        columns[:, :4] = np.round(columns[:, :4], _DECIMALS)
        shapes = shapes_in(columns) * out.image.shape[1::-1]
        keeps = rules.keeps(columns[:, :4], columns[:, VISIBLE])
        columns, shapes = columns[keeps], shapes[keeps]
        rows = columns[:, BOX_ROW].astype(np.int64)
        least = np.minimum(areas(shapes[:, 0]) / 2, _ELLIPSE_PX if rules.min_area else 0.0)
        is_seen = areas(shapes[:, 1]) >= least
        if sample.instance_masks is not None:
            masks = self._masks_out(sample.instance_masks, out, result, columns[:, :4], rows)
            had_any = np.asarray(sample.instance_masks.any(axis=(1, 2)))[rows]
            is_seen = np.where(had_any, masks.any(axis=(1, 2)), is_seen)
            out.instance_masks = masks[is_seen]
        columns, rows, shapes = columns[is_seen], rows[is_seen], shapes[is_seen]
        out.boxes = columns[:, :4].astype(np.float32)
        if sample.box_labels is not None:
            out.box_labels = sample.box_labels[rows]
        out.box_rows = rows if sample.box_rows is None else sample.box_rows[rows]
        return columns[:, VISIBLE], shapes

    def _masks_out(
        self, before: _Array, out: Sample, result: Mapping[str, Any], boxes: _Array, rows: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Return the mask of each box; of an object with several boxes, the part within each."""
        if not len(before):
            return np.zeros((0, *out.image.shape[:2]), np.uint8)
        masks: NDArray[np.uint8] = (np.asarray(result["masks"])[rows] == self.mark).astype(np.uint8)
        several = np.isin(
            rows, [row for row, count in zip(*np.unique(rows, return_counts=True), strict=True) if count > 1]
        )
        for i in np.flatnonzero(several):
            x_min, y_min = np.floor(boxes[i, :2] + BOX_ROUNDING).astype(int)
            x_max, y_max = np.ceil(boxes[i, 2:] - BOX_ROUNDING).astype(int)
            part = masks[i, y_min:y_max, x_min:x_max].copy()
            masks[i] = 0
            masks[i, y_min:y_max, x_min:x_max] = part
        return masks

    def _keypoints_out(
        self, sample: Sample, out: Sample, result: Mapping[str, Any], *, mirrored: bool, outside: str
    ) -> None:
        before = _some(sample.keypoints)
        columns = _keypoint_columns(sample)
        had_place = np.zeros(len(before), bool)
        had_place[columns[:, _ROW].astype(np.int64)] = True
        columns = np.asarray(result.get("keypoints", columns[:0]), dtype=np.float64).reshape(-1, columns.shape[1])
        height, width = out.image.shape[:2]
        gone = (columns[:, _GONE] > 0) | beyond(columns, height, width)
        left = columns if outside == "keep" else columns[~gone]
        left = left[np.isfinite(left[:, :2]).all(axis=1)]
        rows = left[:, _ROW].astype(np.int64)
        out.keypoints = np.full((len(before), 2), np.nan, np.float32)
        out.keypoints[rows] = left[:, :2]
        has_place = np.zeros(len(before), bool)
        has_place[rows] = True
        for name, column in (("keypoint_angles", _ANGLE), ("keypoint_scales", _SCALE)):
            if getattr(sample, name) is not None:
                values = np.zeros(len(before), np.float32)
                values[rows] = left[:, column]
                setattr(out, name, values)
        if out.keypoint_angles is not None:
            out.keypoint_angles = _whole_turn(out.keypoint_angles)
        if sample.keypoint_visibility is not None:
            out.keypoint_visibility = np.where(has_place, sample.keypoint_visibility, 0).astype(np.int8)
        for name in ("keypoint_labels", "keypoint_boxes"):
            if (values := getattr(sample, name)) is not None:
                setattr(out, name, values.copy())
        out.keypoint_rows = np.arange(len(before)) if sample.keypoint_rows is None else sample.keypoint_rows.copy()
        if mirrored and self.swaps_sides(sample):
            order, labels = annotations.exchange(
                _some(sample.keypoint_labels), sample.keypoint_boxes, annotations.partners(self.keypoint_names)
            )
            owners = out.keypoint_boxes
            _select(out, order)
            out.keypoint_labels, out.keypoint_boxes = labels, owners
            had_place, has_place = had_place[order], has_place[order]
        lost = had_place & ~has_place
        if outside == "drop" and lost.any():
            _select(out, np.flatnonzero(~lost))


def dropped(before: Sample, after: Sample) -> dict[str, int]:
    """Return the numbers of boxes that are gone and of keypoints that lost their place, if there are any."""
    lost: dict[str, int] = {}
    if before.boxes is not None:
        lost["boxes"] = len(np.setdiff1d(_ids(before.box_rows, before.boxes), _ids(after.box_rows, after.boxes)))
    if before.keypoints is not None:
        had_place = placed(before)
        left = _some(after.keypoints)
        seen = _ids(after.keypoint_rows, left)[np.isfinite(left).all(axis=1)]
        lost["keypoints"] = len(np.setdiff1d(had_place, seen))
    return {name: count for name, count in lost.items() if count}


def _ids(rows: NDArray[np.int64] | None, values: NDArray[Any] | None) -> NDArray[np.int64]:
    return np.arange(len(_some(values))) if rows is None else rows


def placed(sample: Sample) -> NDArray[np.int64]:
    """Return the rows of keypoints that have a place."""
    if sample.keypoints is None:
        return np.empty(0, np.int64)
    return _ids(sample.keypoint_rows, sample.keypoints)[_keypoint_columns(sample)[:, _ROW].astype(np.int64)]


def drop_lost(sample: Sample, placed: Collection[int]) -> None:
    """Drop the keypoints, by their rows, that have lost their place, with all their annotations."""
    if sample.keypoints is not None:
        here = np.isfinite(sample.keypoints).all(axis=1)
        had = np.isin(_ids(sample.keypoint_rows, sample.keypoints), list(placed))
        _select(sample, np.flatnonzero(here | ~had))


def has_targets(sample: Sample) -> bool:
    """Return True if the sample has targets other than its class."""
    return any(map(operator.is_not, _targets_of(sample), itertools.repeat(None)))  # called for every sample: no loop


def _select(out: Sample, rows: NDArray[np.int64]) -> None:
    for name in OF_KEYPOINTS:
        if (values := getattr(out, name)) is not None:
            setattr(out, name, values[rows])


def _box_columns(piece: Piece) -> NDArray[np.float64]:
    sample = piece.sample
    boxes = np.asarray(sample.boxes, dtype=np.float64).reshape(-1, 4)
    columns = np.ones((len(boxes), SHAPES))
    height, width = sample.image.shape[:2]
    columns[:, :4] = np.clip(boxes, 0.0, (width, height, width, height))
    columns[:, LABEL] = -1.0 if sample.box_labels is None else sample.box_labels
    columns[:, BOX_ROW] = np.arange(len(boxes))
    columns[:, VISIBLE] = piece.visible
    shapes = shapes_of(columns[:, :4]) if piece.shapes is None else piece.shapes
    return np.hstack([columns, (shapes / (width, height)).reshape(len(boxes), 4 * shapes.shape[2])])


def _keypoint_columns(sample: Sample) -> NDArray[np.float64]:
    """Return columns of the keypoints that have a place."""
    points = np.asarray(sample.keypoints, dtype=np.float64).reshape(-1, 2)
    turns = sample.keypoint_angles is not None or sample.keypoint_scales is not None
    columns = np.zeros((len(points), _SCALE + 1 if turns else _GONE + 1))
    columns[:, :2] = points
    columns[:, _ROW] = np.arange(len(points))
    columns[:, _GONE] = beyond(points, *sample.image.shape[:2])
    if sample.keypoint_angles is not None:
        columns[:, _ANGLE] = sample.keypoint_angles
    if sample.keypoint_scales is not None:
        columns[:, _SCALE] = sample.keypoint_scales
    has_place = np.isfinite(points).all(axis=1)
    if sample.keypoint_visibility is not None:
        has_place &= sample.keypoint_visibility != 0
    return columns[has_place]


def _whole_turn(angles: _Array) -> NDArray[np.float32]:
    """Return angles in [0, 2 pi); one that rounding left just below a whole turn becomes 0."""
    turned = np.mod(angles.astype(np.float64), 2 * np.pi)
    return np.where(turned > 2 * np.pi - 1e-6, 0.0, turned).astype(np.float32)


def _some(array: NDArray[Any] | None) -> NDArray[Any]:
    if array is None:
        raise AssertionError("the caller has checked that it exists")
    return array


def _small_mask(mask: NDArray[Any]) -> NDArray[Any]:
    """Return a copy in the smallest type that holds its values: OpenCV takes 8 and 16 bits everywhere, others not."""
    low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    for dtype in (np.uint8, np.uint16, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return mask.astype(dtype)
    return mask.astype(np.int32)
