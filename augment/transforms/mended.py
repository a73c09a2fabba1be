"""Transforms of Albumentations 2.0.8 with a fault that would refuse good records or spoil targets, mended.

Each keeps its name, its parameters and its chance; what is mended stands in its docstring. It is the last release
under its licence, so the faults will stay.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csgraph

from augment.transforms import limits
from augment.transforms.distorted import Field
from augment.transforms.library import A, cv2

_Array = NDArray[Any]
_MIRRORS = (cv2.BORDER_REFLECT, cv2.BORDER_REFLECT_101)
_geometry = A.augmentations.geometric.functional


class MissingTargetError(Exception):
    """A transform needs ``target``, and the sample has none."""

    def __init__(self, target: str) -> None:
        self.target = target
        super().__init__(f"it needs {target}")


class Erasing(A.Erasing):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Where no rectangle of the range fits the picture, it stays; the original fails for want of a seed."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        return {"seed": 0, **super().get_params_dependent_on_data(params, data)}


class Morphological(A.Morphological):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Boxes stay; the original takes boxes for channels, and they come out as boxes of one another."""

    def apply_to_bboxes(self, bboxes: _Array, *_: Any, **__: Any) -> _Array:
        return bboxes


class ConstrainedCoarseDropout(A.ConstrainedCoarseDropout):  # type: ignore[misc]  # Albumentations' metaclass is untyped
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

    def apply_to_bboxes(self, bboxes: _Array, *, tiles: _Array, mapping: list[int], **params: Any) -> _Array:
        height, width = params["shape"][:2]
        size = np.array([width, height, width, height])
        top, left, bottom, right = tiles.T
        target = tiles[np.asarray(mapping)]
        shift = np.column_stack([target[:, 1] - left, target[:, 0] - top] * 2)
        moved = []
        for row in bboxes:
            x_min, y_min, x_max, y_max = row[:4] * size
            parts = np.column_stack(
                [np.maximum(x_min, left), np.maximum(y_min, top), np.minimum(x_max, right), np.minimum(y_max, bottom)]
            )
            seen = (parts[:, 0] < parts[:, 2]) & (parts[:, 1] < parts[:, 3])
            moved += [np.concatenate([box / size, row[4:]]) for box in _joined(parts[seen] + shift[seen])]
        return np.array(moved).reshape(-1, bboxes.shape[1])

    def apply_to_keypoints(self, keypoints: _Array, *, tiles: _Array, mapping: _Array, **params: Any) -> _Array:
        height, width = params["shape"][:2]
        x, y = keypoints[:, 0], keypoints[:, 1]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        moved = keypoints.copy()
        moved[inside] = super().apply_to_keypoints(keypoints[inside], tiles=tiles, mapping=mapping)
        return moved


class PixelDropout(A.PixelDropout):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Boxes stay; the original paints each into a mask of the picture's size and cuts it to the pixels left."""

    def apply_to_bboxes(self, bboxes: _Array, *_: Any, **__: Any) -> _Array:
        return bboxes


class _Followed:
    """Boxes and keypoints follow the field of a distortion as ``distorted.Field`` finds them.

    The original needs a minute and gigabytes for a few hundred boxes, and moves keypoints by up to five pixels.
    """

    def apply_to_bboxes(self, bboxes: _Array, **params: Any) -> _Array:
        height, width = params["shape"][:2]
        size = np.array([width, height, width, height])
        boxes, rows = self._field(params).boxes(bboxes[:, :4] * size)
        return np.hstack([boxes / size, bboxes[rows, 4:]])

    def apply_to_keypoints(self, keypoints: _Array, **params: Any) -> _Array:
        points, rows = self._field(params).points(keypoints[:, :2])
        return np.hstack([points, keypoints[rows, 2:]])

    def _field(self, params: Mapping[str, Any]) -> Field:
        return Field(params["map_x"], params["map_y"])


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
        height, width = params["shape"][:2]
        y, x = np.mgrid[1 : height + 1, 1 : width + 1].astype(np.float32)
        mesh = params["generated_mesh"]
        return Field(*(_geometry.distort_image(one, mesh, cv2.INTER_NEAREST) - 1 for one in (x, y)))


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


def _joined(parts: _Array) -> list[_Array]:
    """The box about each group of rectangles that touch one another."""
    if not len(parts):
        return []
    low, high = parts[:, None, :2], parts[None, :, 2:]
    touch = (low <= high).all(axis=2)
    count, groups = csgraph.connected_components(touch & touch.T)
    members = [parts[groups == group] for group in range(count)]
    return [np.concatenate([one[:, :2].min(axis=0), one[:, 2:].max(axis=0)]) for one in members]


def keep_keypoints(transform: Any, rebuild: Callable[[Mapping[str, Any]], Any]) -> None:
    """Let keypoints follow a transform that mirrors the picture into its border without being mirrored themselves.

    Albumentations adds a keypoint for each mirror image, seen or not; ours keep their number and their order. Boxes
    are mirrored: an object that is seen twice has two. ``rebuild`` makes the same transform with other parameters.
    """
    if mirrors(transform):
        twin = rebuild({"border_mode": cv2.BORDER_CONSTANT})
        transform._key2func["keypoints"] = twin.apply_to_keypoints  # noqa: SLF001 - there is no public way


def mirrors(transform: Any) -> bool:
    return getattr(transform, "border_mode", None) in _MIRRORS


def check_mirror_images(params: Mapping[str, Any]) -> None:
    """ValueError where so many mirror images of the boxes would be made that it takes seconds, whatever is seen."""
    shape = params["shape"][:2]
    pads = params.get("pad_params") or params
    if "bbox_matrix" in params:
        left, right, top, bottom = _geometry.calculate_affine_transform_padding(params["bbox_matrix"], shape)
    elif "pad_top" in pads:
        left, right, top, bottom = (pads[f"pad_{side}"] for side in ("left", "right", "top", "bottom"))
    else:
        return
    grid = _geometry.get_pad_grid_dimensions(top, bottom, left, right, shape)["grid_shape"]
    num_images = int(np.prod(grid))
    if num_images > limits.MIRROR_IMAGES:
        raise ValueError(
            f"the border would mirror the boxes {num_images} times; the limit is {limits.MIRROR_IMAGES} "
            "(MIRROR_IMAGES): use a constant border, or shift, shrink or pad less"
        )
