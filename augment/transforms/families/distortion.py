"""Distortions that bend straight lines: elastic, lens and mesh distortions, shuffled tiles, grown and shrunk shapes."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csgraph

from augment.transforms import keypoint_motion, limits, schema
from augment.transforms.albumentations_import import A, corrected, cv2
from augment.transforms.entry import TransformEntry, cells, interpolation, mask_interpolation, moving_entry, needs, warp
from augment.transforms.matrix_geometry import areas, hull_of, shapes_in, with_hulls, within
from augment.transforms.warp_field import Field

_Array = NDArray[Any]
_TOUCH_PX: Final = 1e-6
_geometry = A.augmentations.geometric.functional

_KEYPOINTS = {
    "keypoint_remapping_method": schema.choice(
        {"mask": "to the nearest pixel", "direct": "the same"},
        "method for keypoints; accepted for old files, without effect",
    )
}


class RandomGridShuffle(A.RandomGridShuffle):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """RandomGridShuffle that cuts boxes along the tiles, and joins parts that touch again afterwards.

    The original paints each part into a mask of the image's size: gigabytes for a hundred boxes. Here keypoints outside
    the image stay where they are, while the original warns at each call that has one.
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
        """Move each keypoint with the tile of its pixel; in the original tiles start at the middle of a pixel."""
        top, left, bottom, right = tiles.T
        target = tiles[np.asarray(mapping)]
        x, y = keypoints[:, 0, np.newaxis] + 0.5, keypoints[:, 1, np.newaxis] + 0.5
        within = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        rows, which = np.nonzero(within)
        moved = keypoints.copy()
        moved[rows, 0] += target[which, 1] - left[which]
        moved[rows, 1] += target[which, 0] - top[which]
        return moved


class _Followed:
    """Mixin that moves boxes and keypoints by the field of a distortion, with ``warp_field.Field``.

    The original needs a minute and gigabytes for a few hundred boxes, moves keypoints by up to five pixels, and does
    not change their angles and scales.
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


class GridElasticDeform(_Followed, A.GridElasticDeform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """GridElasticDeform; its field is its mesh applied to coordinates counted from 1, so pixels in no cell become 0."""

    def _field(self, params: Mapping[str, Any]) -> Field:
        return Field(*self._mesh(params, self.mask_interpolation))

    def _point_field(self, params: Mapping[str, Any]) -> Field:
        """Return the field between pixels, but not in pixels that are mixed with those beyond the image's edge."""
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
    """PiecewiseAffine that bends the image bilinearly between four points of the grid.

    The original weighs all points by their distance. That wraps the image around each of them, however little it moved,
    in a loop over pixels that takes seconds. At a scale of 0 it fails.
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
    """Return the convex hull of polygons without those of no area; one point if all have none."""
    return hull_of(np.concatenate([part for part in parts if areas(part) > 0] or [parts[0][:1]]))


def _joined(boxes: _Array) -> list[NDArray[np.int64]]:
    """Return the groups of boxes (N, 4) that touch one another, as rows."""
    if not len(boxes):
        return []
    low, high = boxes[:, None, :2], boxes[None, :, 2:]
    touch = (low <= high + _TOUCH_PX).all(axis=2)
    count, groups = csgraph.connected_components(touch & touch.T)
    return [np.flatnonzero(groups == group) for group in range(count)]


ENTRIES = (
    moving_entry(
        "ElasticTransform",
        "Moves every pixel by a smooth random field (Simard et al., 2003); visible from an alpha of about 100.",
        {
            "alpha": schema.number(0, limits.DISPLACEMENT, "strength of the displacement"),
            "sigma": schema.number(1, limits.DISPLACEMENT_SIGMA_PX, "smoothness of the field: its Gaussian, in pixels"),
        }
        | warp()
        | {
            "approximate": schema.flag("smooth with a kernel of 17 pixels: faster, coarser"),
            "same_dxdy": schema.flag("use one field for both directions"),
            "noise_distribution": schema.choice(
                {"gaussian": "Gaussian", "uniform": "uniform"}, "distribution of the noise that is smoothed"
            ),
        }
        | _KEYPOINTS,
        implementation=corrected(_Followed, A.ElasticTransform),
    ),
    moving_entry(
        "GridDistortion",
        "Puts a grid over the image and moves its lines at random.",
        {
            "num_steps": schema.integer(1, limits.GRID_CELLS, "cells of the grid on each side"),
            "distort_limit": schema.pair(
                schema.number(-1, 1, "change of a cell's size, as a share of it"), scalar="symmetric"
            ),
            "normalized": schema.flag("keep the outer lines in place, so that nothing leaves the frame"),
        }
        | warp()
        | _KEYPOINTS,
        implementation=corrected(_Followed, A.GridDistortion),
        output_size=needs(lambda params: (params["num_steps"], params["num_steps"]), "each cell needs a pixel"),
    ),
    moving_entry(
        "OpticalDistortion",
        "Applies the barrel or pincushion distortion of a lens.",
        {
            "distort_limit": schema.pair(schema.number(-5, 5, "strength of the lens"), scalar="symmetric"),
            "mode": schema.choice({"camera": "camera matrix", "fisheye": "fisheye"}, "model of the lens"),
        }
        | warp()
        | _KEYPOINTS,
        implementation=corrected(_Followed, A.OpticalDistortion),
    ),
    moving_entry(
        "PiecewiseAffine",
        "Moves the points of a grid at random and bends the image between them.",
        {
            "scale": schema.pair(
                schema.number(0, limits.PAD_PX, "standard deviation of a point's move as a share of the side"),
                scalar="from-zero",
            ),
            "nb_rows": schema.pair(schema.integer(2, limits.AFFINE_GRID, "rows of the grid"), scalar="repeat"),
            "nb_cols": schema.pair(schema.integer(2, limits.AFFINE_GRID, "columns of the grid"), scalar="repeat"),
            "absolute_scale": schema.flag("give scale in pixels"),
        }
        | warp()
        | _KEYPOINTS,
        implementation=PiecewiseAffine,
    ),
    moving_entry(
        "ThinPlateSpline",
        "Moves a few control points at random and bends the image like a thin metal plate.",
        {
            "scale_range": schema.pair(schema.number(0, 1, "move of a control point; 1 is a tenth of the side")),
            "num_control_points": schema.integer(2, limits.CONTROL_POINTS, "control points on each side"),
        }
        | warp()
        | _KEYPOINTS,
        implementation=corrected(_Followed, A.ThinPlateSpline),
    ),
    moving_entry(
        "GridElasticDeform",
        "Moves the corners of a mesh at random and warps each cell to them.",
        {
            "num_grid_xy": cells(limits.MESH_CELLS, "cells of the mesh, across and down"),
            "magnitude": schema.integer(1, limits.PAD_PX, "largest move of a corner, in pixels"),
            "interpolation": interpolation(warps=True),
            "mask_interpolation": mask_interpolation(warps=True),
        },
        implementation=GridElasticDeform,
    ),
    moving_entry(
        "RandomGridShuffle",
        "Cuts the image into tiles and shuffles those of one size.",
        {"grid": cells(limits.TILES_SHUFFLED, "tiles, down and across")},
        implementation=RandomGridShuffle,
    ),
    TransformEntry(
        "Morphological",
        "Grows the bright or the dark parts of the image; objects in masks and boxes may grow or shrink with them.",
        {
            "scale": schema.pair(
                schema.integer(1, limits.KERNEL_PX, "width and height of the ellipse"), scalar="from-one"
            ),
            "operation": schema.choice({"dilation": "bright parts", "erosion": "dark parts"}, "parts that grow"),
        },
        targets=frozenset({"image", "keypoints"}),
        moves_pixels=True,
    ),
)
