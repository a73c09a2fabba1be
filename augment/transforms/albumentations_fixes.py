"""Transforms of Albumentations 2.0.8 with a fault that would refuse good records or spoil targets, mended.

Each keeps its name, its parameters and its chance; what is mended stands in its docstring. It is the last release
under its licence, so the faults will stay.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csgraph

from augment.transforms import keypoint_motion
from augment.transforms.albumentations_import import A, cv2
from augment.transforms.matrix_geometry import areas, hull_of, shapes_in, with_hulls, within
from augment.transforms.warp_field import Field

_Array = NDArray[Any]
_TOUCH_PX: Final = 1e-6
_geometry = A.augmentations.geometric.functional


class MissingTargetError(Exception):
    """A transform needs ``target``, and the sample has none."""

    def __init__(self, target: str) -> None:
        self.target = target
        super().__init__(f"it needs {target}")


class _Erased:
    """Boxes stay, but for those of which every pixel is erased.

    The original shrinks each box to the pixels that are left and rounds those that no hole touches to whole pixels,
    while masks and keypoints stay: three accounts of one object.
    """

    def apply_to_bboxes(self, bboxes: _Array, *, holes: _Array, **params: Any) -> _Array:
        height, width = params["shape"][:2]
        if not len(holes) or not len(bboxes):
            return bboxes
        left = np.ones((height, width), bool)
        for x_min, y_min, x_max, y_max in np.asarray(holes)[:, :4].astype(int):
            left[max(y_min, 0) : max(y_max, 0), max(x_min, 0) : max(x_max, 0)] = False
        return boxes_seen(bboxes, left)


def boxes_seen(bboxes: _Array, left: NDArray[np.bool_]) -> _Array:
    """Those boxes, in shares of the frame, of which a pixel is left."""
    height, width = left.shape
    totals = cv2.integral(left.astype(np.uint8), sdepth=cv2.CV_64F)
    x_min, y_min = (np.floor(bboxes[:, i] * side).astype(int) for i, side in ((0, width), (1, height)))
    x_max, y_max = (np.ceil(bboxes[:, i] * side - 1e-3).astype(int) for i, side in ((2, width), (3, height)))
    x_min, x_max = np.clip(x_min, 0, width), np.clip(x_max, 0, width)
    y_min, y_max = np.clip(y_min, 0, height), np.clip(y_max, 0, height)
    seen = totals[y_max, x_max] - totals[y_min, x_max] - totals[y_max, x_min] + totals[y_min, x_min]
    left_over: _Array = bboxes[seen > 0]
    return left_over


class CoarseDropout(_Erased, A.CoarseDropout):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class GridDropout(_Erased, A.GridDropout):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class XYMasking(_Erased, A.XYMasking):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class Erasing(_Erased, A.Erasing):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Where no rectangle of the range fits the picture, it stays; the original fails for want of a seed."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        return {"seed": 0, **super().get_params_dependent_on_data(params, data)}


class ConstrainedCoarseDropout(_Erased, A.ConstrainedCoarseDropout):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """A sample without the target that names the objects is refused; the original warns and does nothing."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        key, target = ("mask", "mask") if self.mask_indices is not None else ("bboxes", "boxes")
        if key not in data:
            raise MissingTargetError(target)
        return super().get_params_dependent_on_data(params, data)  # type: ignore[no-any-return]  # untyped


class RandomGridShuffle(A.RandomGridShuffle):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """A box is cut along the tiles, and the parts that touch again afterwards are one box again.

    The original paints each part into a mask of the picture's size: gigabytes for a hundred boxes. And keypoints
    outside the picture stay where they are; the original warns of each call that has one.
    """

    follows_itself = True

    def apply_to_bboxes(self, bboxes: _Array, *, tiles: _Array, mapping: list[int], **params: Any) -> _Array:
        size = np.array(params["shape"][1::-1])
        shift = (tiles[np.asarray(mapping)] - tiles)[:, 1::-1]
        shapes, rows = [], []
        for row, polygons in zip(bboxes, shapes_in(bboxes) * size, strict=True):
            parts = [
                within(polygons, (x_min, y_min, x_max, y_max)) + moved
                for (y_min, x_min, y_max, x_max), moved in zip(tiles, shift, strict=True)
            ]
            parts = [part for part in parts if areas(part[0]) > 0]
            for group in _joined(np.array([[*part[0].min(axis=0), *part[0].max(axis=0)] for part in parts])):
                shapes.append([_hull_of_parts([parts[i][nth] for i in group]) for nth in (0, 1)])
                rows.append(row)
        return with_hulls(np.array(rows).reshape(-1, bboxes.shape[1]), shapes, size)

    def apply_to_keypoints(self, keypoints: _Array, *, tiles: _Array, mapping: list[int], **_: Any) -> _Array:
        """A keypoint goes with the tile that holds its pixel; the original has tiles begin at the middle of theirs."""
        top, left, bottom, right = tiles.T
        target = tiles[np.asarray(mapping)]
        x, y = keypoints[:, 0, np.newaxis] + 0.5, keypoints[:, 1, np.newaxis] + 0.5
        within = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        rows, which = np.nonzero(within)
        moved = keypoints.copy()
        moved[rows, 0] += target[which, 1] - left[which]
        moved[rows, 1] += target[which, 0] - top[which]
        return moved


class PixelDropout(A.PixelDropout):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Boxes stay; the original paints each into a mask of the picture's size and cuts it to the pixels left."""

    def apply_to_bboxes(self, bboxes: _Array, *_: Any, **__: Any) -> _Array:
        return bboxes


class _Followed:
    """Boxes and keypoints follow the field of a distortion as ``warp_field.Field`` finds them.

    The original needs a minute and gigabytes for a few hundred boxes, moves keypoints by up to five pixels, and leaves
    their angles and scales as they were.
    """

    follows_itself = True

    def apply_to_bboxes(self, bboxes: _Array, **params: Any) -> _Array:
        size = np.array(params["shape"][1::-1])
        shapes, rows = self._field(params).shapes(shapes_in(bboxes) * size)
        return with_hulls(bboxes[rows], shapes, size)

    def apply_to_keypoints(self, keypoints: _Array, **params: Any) -> _Array:
        points, rows, steps = self._point_field(params).points(keypoints[:, :2])
        moved = np.hstack([points, keypoints[rows, 2:]])
        keypoint_motion.turned(moved, steps[..., 0], steps[..., 1])
        return moved

    def _field(self, params: Mapping[str, Any]) -> Field:
        return Field(params["map_x"], params["map_y"])

    def _point_field(self, params: Mapping[str, Any]) -> Field:
        return self._field(params)


class ElasticTransform(_Followed, A.ElasticTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class GridDistortion(_Followed, A.GridDistortion):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class OpticalDistortion(_Followed, A.OpticalDistortion):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class ThinPlateSpline(_Followed, A.ThinPlateSpline):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class GridElasticDeform(_Followed, A.GridElasticDeform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Its field is what its mesh makes of a picture of coordinates, counted from 1: what no cell covers becomes 0."""

    def _field(self, params: Mapping[str, Any]) -> Field:
        return Field(*self._mesh(params, self.mask_interpolation))

    def _point_field(self, params: Mapping[str, Any]) -> Field:
        """Between pixels, where a pixel is not mixed with what lies beyond the picture's edge."""
        exact, between = self._mesh(params, self.mask_interpolation), self._mesh(params, cv2.INTER_LINEAR)
        mixed = np.maximum(*(np.abs(one - other) for one, other in zip(exact, between, strict=True))) > 1
        return Field(*(np.where(mixed, one, other) for one, other in zip(exact, between, strict=True)))

    @staticmethod
    def _mesh(params: Mapping[str, Any], interpolation: int) -> list[_Array]:
        height, width = params["shape"][:2]
        y, x = np.mgrid[1 : height + 1, 1 : width + 1].astype(np.float32)
        mesh = params["generated_mesh"]
        return [_geometry.distort_image(one, mesh, interpolation) - 1 for one in (x, y)]


class PiecewiseAffine(_Followed, A.PiecewiseAffine):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Between four points of the grid the picture is bent by what they moved, bilinearly.

    The original weighs all points by their distance, which wraps the picture around each of them however little it
    moved, in a loop over pixels that takes seconds; at a scale of 0 it fails.
    """

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        height, width = params["shape"][:2]
        num_rows, num_columns = self.py_random.randint(*self.nb_rows), self.py_random.randint(*self.nb_cols)
        scale = self.py_random.uniform(*self.scale) * (1 if self.absolute_scale else min(height, width)) / 3
        moves = self.random_generator.normal(0, scale, (num_rows, num_columns, 2)).astype(np.float32)
        columns, rows = np.meshgrid(
            np.linspace(0, num_columns - 1, width, dtype=np.float32),
            np.linspace(0, num_rows - 1, height, dtype=np.float32),
        )
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        bent = cv2.remap(moves, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return {
            "map_x": np.clip(x + bent[..., 1], 0, width - 1),
            "map_y": np.clip(y + bent[..., 0], 0, height - 1),
        }


def _hull_of_parts(parts: list[_Array]) -> _Array:
    """The convex hull of polygons, those without an area left out; one point where all are."""
    return hull_of(np.concatenate([part for part in parts if areas(part) > 0] or [parts[0][:1]]))


def _joined(boxes: _Array) -> list[NDArray[np.int64]]:
    """The groups of boxes (N, 4) that touch one another, each by its rows."""
    if not len(boxes):
        return []
    low, high = boxes[:, None, :2], boxes[None, :, 2:]
    touch = (low <= high + _TOUCH_PX).all(axis=2)
    count, groups = csgraph.connected_components(touch & touch.T)
    return [np.flatnonzero(groups == group) for group in range(count)]
