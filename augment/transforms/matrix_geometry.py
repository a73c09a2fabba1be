"""Transforms that keep lines straight: boxes and keypoints follow the matrix by which the image was resampled.

Albumentations 2.0.8 has three errors here. It moves keypoints of resized images as if pixels were measured at their
corners (off by up to half a pixel of the larger image). It derives the matrix of boxes separately from the image's (off
by half a pixel for ``SafeRotate`` and ``Perspective`` of images of 130 pixels). It mirrors boxes about the image's
edge, while ``reflect_101`` mirrors about its last pixel. Here all have one matrix, pixel to pixel; whole numbers are
the middles of pixels. ``placed`` of a class gives the matrix and the size of the result.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits
from augment.transforms.albumentations_import import cv2
from augment.transforms.entry import Unfit

_Array = NDArray[Any]
Placed = tuple[NDArray[np.float64], tuple[int, int]]
"""Matrix, (3, 3), with height and width of the result."""

LABEL: Final = 4
BOX_ROW: Final = 5
VISIBLE: Final = 6
SHAPES: Final = 7
"""Columns of boxes after their corners: class, row in the sample, visible share of the area, and shapes.

The shapes of a box are two convex polygons with the same number of points, in shares of the frame: the outline (at
first the box itself) and the ellipse in it. Each is moved as pixels are and cut at every frame. A box therefore does
not grow with each rotation, and a remaining corner of a box is distinguished from a remaining part of the object.
"""

GONE: Final = 6
"""Column of keypoints after Albumentations' five and their row: 1 if a step has moved the keypoint out of its frame."""

_CORNERS: Final = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
_HORIZON: Final = 1e-6
"""Points whose third coordinate is not larger are on or behind the horizon of a perspective."""
_UPRIGHT: Final = 1e-5
"""Tolerance between a point and its box's edge, in shares of the frame, for rounding to float32."""


def _circle(num_points: int) -> NDArray[np.float64]:
    turns = np.arange(num_points) * (2 * np.pi / num_points)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1) / 2 + 0.5


_ELLIPSE: Final = _circle(16)
_FINE_ELLIPSE: Final = _circle(360)


def shifted(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def resized(before: tuple[int, int], after: tuple[int, int]) -> NDArray[np.float64]:
    """Return the matrix of a resize for the middles of pixels; sizes are height and width."""
    y, x = after[0] / before[0], after[1] / before[1]
    return np.array([[x, 0.0, (x - 1) / 2], [0.0, y, (y - 1) / 2], [0.0, 0.0, 1.0]])


def points_through(points: _Array, matrix: _Array) -> _Array:
    """Map points (N, 2) by the matrix; NaN for those behind the horizon."""
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(homogeneous[:, 2:] > _HORIZON, homogeneous[:, :2] / homogeneous[:, 2:], np.nan)


def beyond(points: _Array, height: int, width: int) -> NDArray[np.bool_]:
    """Return True for each keypoint (N, 2+) whose pixel is outside the frame, or that has no place."""
    return np.asarray(~((points[:, :2] >= -0.5) & (points[:, :2] < (width - 0.5, height - 0.5))).all(axis=1))


def shapes_of(boxes: _Array) -> NDArray[np.float64]:
    """Return the initial shapes (N, 2, K, 2) of boxes (N, 4), in the boxes' unit."""
    outlines = np.repeat(_CORNERS, len(_ELLIPSE) // len(_CORNERS), axis=0)
    low, high = boxes[:, np.newaxis, np.newaxis, :2], boxes[:, np.newaxis, np.newaxis, 2:4]
    return np.asarray(low + (high - low) * np.stack([outlines, _ELLIPSE]), np.float64)


def joined_shapes(parts: Sequence[_Array]) -> NDArray[np.float64]:
    """Join shapes (…, K, 2) of different K in one array by repeating the points at the end."""
    num_points = max(part.shape[-2] for part in parts)
    return np.concatenate([part[..., np.minimum(np.arange(num_points), part.shape[-2] - 1), :] for part in parts])


def shapes_in(rows: _Array) -> NDArray[np.float64]:
    """Return the shapes (N, 2, K, 2) from columns of boxes."""
    num_points = (rows.shape[1] - SHAPES) // 4 if len(rows) else 1  # without boxes Albumentations drops columns
    return np.asarray(rows[:, SHAPES:], np.float64).reshape(len(rows), 2, num_points, 2)


def with_shapes(rows: _Array, shapes: _Array) -> NDArray[np.float64]:
    """Return columns of boxes with these shapes: each box is the upright box around its outline."""
    if not len(rows):
        return np.zeros((0, SHAPES + 4))
    low, high = shapes[:, 0].min(axis=1), shapes[:, 0].max(axis=1)
    return np.hstack([low, high, rows[:, LABEL:SHAPES], shapes.reshape(len(rows), -1)], dtype=np.float64)


def hull_of(points: _Array) -> NDArray[np.float64]:
    """Return the convex hull (K, 2) of points (N, 2)."""
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], np.float64)


def with_hulls(rows: _Array, shapes: Sequence[Sequence[_Array]], size: _Array) -> NDArray[np.float64]:
    """Return columns of boxes with these shapes, polygons of any number of points in a frame of this size."""
    polygons = joined_shapes([np.zeros((0, 1, 2)), *(polygon[np.newaxis] for both in shapes for polygon in both)])
    return with_shapes(rows, polygons.reshape(len(rows), 2, polygons.shape[1], 2) / size)


def areas(polygons: _Array) -> NDArray[np.float64]:
    """Return the areas (…) of polygons (…, K, 2) (shoelace formula)."""
    points = polygons - polygons[..., :1, :]  # moves the first to 0, whose edges add nothing
    x, y = points[..., 0], points[..., 1]
    doubled = (x[..., :-1] * y[..., 1:] - y[..., :-1] * x[..., 1:]).sum(axis=-1)
    return np.asarray(np.abs(doubled) / 2, np.float64)


def within(polygons: _Array, frame: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """Clip convex polygons (…, K, 2) to the frame (x_min, y_min, x_max, y_max), by Sutherland and Hodgman.

    If nothing is left, all points are the same. The number of points may change, and points may be repeated.
    """
    low, high = frame[:2], frame[2:]
    flat = polygons.reshape(-1, *polygons.shape[-2:])
    crosses = ((flat < low) | (flat > high)).any(axis=(1, 2))
    if not crosses.any():
        return polygons
    cut = flat[crosses]
    for axis, limit, side in ((0, frame[0], 1), (0, frame[2], -1), (1, frame[1], 1), (1, frame[3], -1)):
        cut = _kept(cut, side * (cut[..., axis] - limit))
    cut = np.clip(cut, low, high)  # a cut may miss the edge by a rounding error
    whole = joined_shapes([flat, cut[:0]])
    whole[crosses] = joined_shapes([cut, flat[:0]])
    return whole.reshape(*polygons.shape[:-2], *whole.shape[1:])


def _kept(polygons: _Array, distances: _Array) -> NDArray[np.float64]:
    """Return the parts of convex polygons (…, K, 2) whose distance (…, K) from a line is not negative."""
    inside = distances >= 0
    if inside.all():
        return polygons
    following = np.arange(1, inside.shape[-1] + 1) % inside.shape[-1]
    after, further = polygons[..., following, :], distances[..., following]
    crosses = inside != inside[..., following]
    share = np.divide(distances, distances - further, out=np.zeros_like(distances), where=crosses)
    between = polygons + (after - polygons) * share[..., np.newaxis]
    shape = (*inside.shape[:-1], 2 * inside.shape[-1])
    points = np.stack([polygons, between], axis=-2).reshape(*shape, 2)
    stays = np.stack([inside, crosses], axis=-1).reshape(shape)
    counts = stays.sum(axis=-1, keepdims=True)
    order = np.argsort(~stays, axis=-1, kind="stable")
    nth = np.minimum(np.arange(max(int(counts.max()), 1)), np.maximum(counts - 1, 0))
    return np.take_along_axis(points, np.take_along_axis(order, nth, axis=-1)[..., np.newaxis], axis=-2)


def _moved(polygons: _Array, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map polygons (…, K, 2) by the matrix, without the parts behind its horizon."""
    if matrix[2, 0] or matrix[2, 1]:
        polygons = _kept(polygons, polygons @ matrix[2, :2] + (matrix[2, 2] - 2 * _HORIZON))
    homogeneous = polygons @ matrix[:, :2].T + matrix[:, 2]
    third = homogeneous[..., 2:]
    return np.asarray(homogeneous[..., :2] / np.where(third > _HORIZON, third, 1.0), np.float64)


class WarpStep(NamedTuple):
    """One resampling of an image: matrix from pixel to pixel, height and width of the result, and border."""

    matrix: NDArray[np.float64]
    frame: tuple[int, int]
    border_mode: int = cv2.BORDER_CONSTANT


def boxes_through(
    rows: _Array, steps: Sequence[WarpStep], *, shape: tuple[int, int], ellipse: bool = False
) -> NDArray[np.float64]:
    """Map columns of boxes, in shares of an image of ``shape``, by these steps, to shares of the last frame.

    The shapes are mapped by the steps' matrices and cut at each frame; a part cut off never comes back. Boxes are the
    upright ones around their outlines, and column ``VISIBLE`` is multiplied by the remaining share of the outline's
    area. Boxes of which nothing is left are dropped. A border that repeats the image repeats boxes. With ``ellipse``, a
    box that is still upright is mapped as the ellipse in it. Raises Unfit if a border would repeat boxes more than
    ``MIRROR_IMAGES`` times.
    """
    shapes = shapes_in(rows)
    if not len(rows):
        return with_shapes(rows, shapes)
    if ellipse:
        shapes = _as_ellipses(rows, shapes)
    shapes = shapes * shape[::-1]
    for matrix, frame, border_mode in steps:
        at_edges = shifted(0.5, 0.5) @ matrix @ shifted(-0.5, -0.5)
        images = [shapes, *_images(shapes, at_edges, shape, frame, border_mode)]
        rows = np.tile(rows, (len(images), 1))
        shapes = _moved(np.concatenate(images), at_edges)
        whole = areas(shapes[:, 0])
        shapes = within(shapes, (0, 0, frame[1], frame[0]))
        left = areas(shapes[:, 0])
        seen = left > 0
        rows, shapes = rows[seen], shapes[seen]
        rows[:, VISIBLE] *= left[seen] / whole[seen]
        shape = frame
    return with_shapes(rows, shapes / shape[::-1])


def _as_ellipses(rows: _Array, shapes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shapes with the ellipse instead of each outline that is an upright box."""
    edges = rows[:, np.newaxis, :4].reshape(len(rows), 1, 2, 2)
    upright = (np.abs(shapes[:, 0, :, np.newaxis] - edges).min(axis=2) < _UPRIGHT).all(axis=(1, 2))
    shapes = joined_shapes([shapes, np.zeros((0, 2, len(_FINE_ELLIPSE), 2))])
    turns = np.arange(shapes.shape[2]) * len(_FINE_ELLIPSE) // shapes.shape[2]
    low, high = rows[upright, np.newaxis, :2], rows[upright, np.newaxis, 2:4]
    shapes[upright, 0] = low + (high - low) * _FINE_ELLIPSE[turns]
    return shapes


def _images(
    shapes: _Array, at_edges: NDArray[np.float64], shape: tuple[int, int], frame: tuple[int, int], border_mode: int
) -> list[_Array]:
    """Return a copy of the shapes for each repetition of the image that the frame can show."""
    if border_mode not in {cv2.BORDER_REFLECT, cv2.BORDER_REFLECT_101, cv2.BORDER_WRAP} or not len(shapes):
        return []
    seen = points_through(_CORNERS * (frame[1], frame[0]), np.linalg.inv(at_edges))
    if np.isnan(seen).any():  # the frame shows a horizon, so repetitions would never end
        return []
    shared = 1 if border_mode == cv2.BORDER_REFLECT_101 else 0  # it mirrors about the middle of the last pixel
    periods = np.array([max(shape[1] - shared, 1), max(shape[0] - shared, 1)])
    first, last = (np.floor(end / periods).astype(int) for end in (seen.min(axis=0), seen.max(axis=0)))
    count = int(np.prod(last - first + 1.0))
    if count > limits.MIRROR_IMAGES:
        raise Unfit(
            f"the border would mirror the boxes {count} times; the limit is {limits.MIRROR_IMAGES} "
            "(MIRROR_IMAGES): use a constant border, or shift, shrink or pad less"
        )
    images = []
    for nth_y in range(first[1], last[1] + 1):
        for nth_x in range(first[0], last[0] + 1):
            if nth_x or nth_y:
                nth = np.array([nth_x, nth_y])
                mirrors = (nth % 2 == 1) & (border_mode != cv2.BORDER_WRAP)
                images.append(np.where(mirrors, (nth + 1) * periods + shared - shapes, shapes + nth * periods))
    return images


class Straight:
    """Mixin that moves boxes and keypoints by the image's own matrix; keypoints keep their number and order.

    A border that mirrors or repeats the image repeats its boxes too: an object that is seen twice has two. Keypoints
    are not repeated.
    """

    def placed(self, params: Mapping[str, Any]) -> Placed:
        """Return the matrix from the input image to the output image, and the latter's height and width."""
        raise NotImplementedError

    def steps(self, params: Mapping[str, Any]) -> list[WarpStep]:
        """Return the single resamplings whose product is ``placed``."""
        return [WarpStep(*self.placed(params), getattr(self, "border_mode", cv2.BORDER_CONSTANT))]

    def apply_to_bboxes(self, bboxes: _Array, **params: Any) -> _Array:
        ellipse = getattr(self, "rotate_method", "") == "ellipse"
        return boxes_through(bboxes, self.steps(params), shape=params["shape"][:2], ellipse=ellipse)

    def apply_to_keypoints(self, keypoints: _Array, **params: Any) -> _Array:
        moved = np.array(keypoints, dtype=np.float64)
        for matrix, (height, width), _ in self.steps(params):
            moved[:, :2] = points_through(moved[:, :2], matrix)
            moved[beyond(moved, height, width), GONE : GONE + 1] = 1.0
        return moved


class Warped(Straight):
    """Mixin that records the drawn shift (pixels) and shear (degrees), which the original keeps only in its matrix."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        self._also_drawn: dict[str, Any] = {}
        drawn: dict[str, Any] = super().get_params_dependent_on_data(params, data)  # type: ignore[misc]  # of the class
        return drawn | self._also_drawn

    def _get_translate_params(self, image_shape: tuple[int, int]) -> dict[str, int]:
        self._also_drawn["translate"] = shift = super()._get_translate_params(image_shape)  # type: ignore[misc]
        return shift  # type: ignore[no-any-return]  # Albumentations is untyped

    def _get_shear_params(self) -> dict[str, float]:
        shear: dict[str, float] = super()._get_shear_params()  # type: ignore[misc]  # of the class it is mixed into
        self._also_drawn["shear"] = {
            axis: 0.0 - degrees for axis, degrees in shear.items()
        }  # its matrix uses the negative angle
        return shear

    def placed(self, params: Mapping[str, Any]) -> Placed:
        height, width = params["output_shape"]
        return square(params["matrix"]), (round(height), round(width))


def square(matrix: _Array) -> NDArray[np.float64]:
    """Add the third row to a matrix of two."""
    full = np.eye(3)
    full[: len(matrix)] = matrix
    return full
