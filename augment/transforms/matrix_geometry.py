"""Transforms that keep lines straight: boxes and keypoints follow the very matrix that the picture was resampled with.

Albumentations 2.0.8 moves keypoints of resized pictures as if pixels were measured at their corners (off by up to half
a pixel of the larger picture), derives the matrix of boxes beside that of the picture (off by half a pixel for
``SafeRotate`` and ``Perspective`` of pictures of 130 pixels), and mirrors boxes about the picture's edge where
``reflect_101`` mirrors about its last pixel. Here all of them have one matrix, pixel to pixel, whole numbers being the
middles of pixels; ``placed`` of a class says which, and how large the result is.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits
from augment.transforms.albumentations_import import A, cv2
from augment.transforms.entry import Unfit

_Array = NDArray[Any]
Placed = tuple[NDArray[np.float64], tuple[int, int]]
"""The matrix, (3, 3), and the height and width of the result."""

_CORNERS: Final = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
_CIRCLE: Final = (
    np.stack([np.sin(np.arange(360) * np.pi / 180), np.cos(np.arange(360) * np.pi / 180)], axis=1) / 2 + 0.5
)
_GRID: Final = np.stack(np.meshgrid(np.linspace(0, 1, 33), np.linspace(0, 1, 33)), axis=-1).reshape(-1, 2)
_HORIZON: Final = 1e-6
"""Points whose third coordinate is no larger lie on or behind the horizon of a perspective."""


def shifted(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def resized(before: tuple[int, int], after: tuple[int, int]) -> NDArray[np.float64]:
    """What resizing does to the middles of pixels; sizes are height and width."""
    y, x = after[0] / before[0], after[1] / before[1]
    return np.array([[x, 0.0, (x - 1) / 2], [0.0, y, (y - 1) / 2], [0.0, 0.0, 1.0]])


def cut(bboxes: _Array, visible: int) -> _Array:
    """Boxes in shares of the frame, cut at it, without those of which nothing is left; a new array.

    Column ``visible`` is multiplied by the share of each box's area that is left.
    """
    boxes = np.array(bboxes, dtype=np.float64)
    whole = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    np.clip(boxes[:, :4], 0.0, 1.0, out=boxes[:, :4])
    sides = boxes[:, 2:4] - boxes[:, :2]
    left = (sides > 0).all(axis=1)
    boxes[left, visible] *= sides[left].prod(axis=1) / whole[left]
    return boxes[left]


def points_through(points: _Array, matrix: _Array) -> _Array:
    """Points (N, 2) after the matrix; NaN where they lie behind the horizon."""
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(homogeneous[:, 2:] > _HORIZON, homogeneous[:, :2] / homogeneous[:, 2:], np.nan)


def boxes_through(
    boxes: _Array,
    matrix: NDArray[np.float64],
    *,
    shape: tuple[int, int],
    frame: tuple[int, int],
    border_mode: int,
    ellipse: bool = False,
) -> _Array:
    """The upright boxes about boxes after a matrix, and about their images in a border that repeats the picture.

    ``boxes`` are (N, 4+) in pixels at their edges, within a picture of ``shape``; ``frame`` is the size of the result,
    beyond which boxes are not cut. With ``ellipse`` a box is taken for the ellipse within it. Raises ValueError where
    a border would repeat boxes more than ``MIRROR_IMAGES`` times.
    """
    at_edges = shifted(0.5, 0.5) @ matrix @ shifted(-0.5, -0.5)
    boxes = np.vstack([boxes, *_images(boxes, at_edges, shape, frame, border_mode)])
    outline = _CIRCLE if ellipse else _CORNERS
    moved = boxes.astype(np.float64)
    corners = _within(boxes, outline) @ at_edges[:, :2].T + at_edges[:, 2]
    behind = (corners[..., 2] <= _HORIZON).any(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = corners[..., :2] / corners[..., 2:]
    moved[:, :2], moved[:, 2:4] = flat.min(axis=1), flat.max(axis=1)
    for row in np.flatnonzero(behind):  # only the part before the horizon is seen
        points = points_through(_within(boxes[row : row + 1], _GRID)[0], at_edges)
        if np.isnan(points).all():
            moved[row, :4] = -1.0
        else:
            moved[row, :2], moved[row, 2:4] = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    return moved


def _within(boxes: _Array, outline: _Array) -> _Array:
    """Points (N, M, 2) of boxes, by their shares (M, 2) of width and height."""
    low, size = boxes[:, np.newaxis, :2], (boxes[:, 2:4] - boxes[:, :2])[:, np.newaxis]
    points: _Array = low + size * outline
    return points


def _images(
    boxes: _Array, at_edges: NDArray[np.float64], shape: tuple[int, int], frame: tuple[int, int], border_mode: int
) -> list[_Array]:
    """The boxes again for each repetition of the picture that the frame can show, the picture itself left out."""
    if border_mode not in {cv2.BORDER_REFLECT, cv2.BORDER_REFLECT_101, cv2.BORDER_WRAP} or not len(boxes):
        return []
    seen = points_through(_CORNERS * (frame[1], frame[0]), np.linalg.inv(at_edges))
    if np.isnan(seen).any():  # the frame holds a horizon, where repetitions have no end
        return []
    shared = 1 if border_mode == cv2.BORDER_REFLECT_101 else 0  # its mirror is the middle of the last pixel
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
                image = boxes.copy()
                for axis, nth in enumerate((nth_x, nth_y)):
                    sides = [axis, axis + 2]
                    if nth % 2 and border_mode != cv2.BORDER_WRAP:
                        image[:, sides] = (nth + 1) * periods[axis] + shared - boxes[:, sides[::-1]]
                    else:
                        image[:, sides] = boxes[:, sides] + nth * periods[axis]
                images.append(image)
    return images


class Straight:
    """Moves boxes and keypoints by the picture's own matrix; keypoints keep their number and order.

    A border that mirrors or repeats the picture repeats boxes with it: an object that is seen twice has two. Keypoints
    stay one each.
    """

    def placed(self, params: Mapping[str, Any]) -> Placed:
        """The matrix from the picture that came in to the one that goes out, and the latter's height and width."""
        raise NotImplementedError

    def apply_to_bboxes(self, bboxes: _Array, **params: Any) -> _Array:
        matrix, frame = self.placed(params)
        shape = params["shape"][:2]
        boxes = np.array(bboxes, dtype=np.float64)
        boxes[:, :4] *= (shape[1], shape[0], shape[1], shape[0])
        border_mode = getattr(self, "border_mode", cv2.BORDER_CONSTANT)
        ellipse = getattr(self, "rotate_method", "") == "ellipse"
        boxes = boxes_through(boxes, matrix, shape=shape, frame=frame, border_mode=border_mode, ellipse=ellipse)
        boxes[:, :4] /= (frame[1], frame[0], frame[1], frame[0])
        return boxes

    def apply_to_keypoints(self, keypoints: _Array, **params: Any) -> _Array:
        moved = np.array(keypoints, dtype=np.float64)
        moved[:, :2] = points_through(moved[:, :2], self.placed(params)[0])
        return moved


class _Warped(Straight):
    def placed(self, params: Mapping[str, Any]) -> Placed:
        height, width = params["output_shape"]
        return _square(params["matrix"]), (round(height), round(width))


class Affine(_Warped, A.Affine):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class ShiftScaleRotate(_Warped, A.ShiftScaleRotate):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class SafeRotate(_Warped, A.SafeRotate):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class Rotate(Straight, A.Rotate):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    def placed(self, params: Mapping[str, Any]) -> Placed:
        matrix = _square(params["matrix"])
        if not self.crop_border:
            return matrix, params["shape"][:2]
        x_min, y_min = params["x_min"], params["y_min"]
        return shifted(-x_min, -y_min) @ matrix, (params["y_max"] - y_min, params["x_max"] - x_min)


class Perspective(Straight, A.Perspective):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    def placed(self, params: Mapping[str, Any]) -> Placed:
        height, width = params["max_height"], params["max_width"]
        matrix = np.asarray(params["matrix"], dtype=np.float64)
        if not self.keep_size:
            return matrix, (height, width)
        shape = params["shape"][:2]
        return np.diag([shape[1] / width, shape[0] / height, 1.0]) @ matrix, shape


class _Padded(Straight):
    def placed(self, params: Mapping[str, Any]) -> Placed:
        height, width = params["shape"][:2]
        top, bottom, left, right = (params[f"pad_{side}"] for side in ("top", "bottom", "left", "right"))
        return shifted(left, top), (height + top + bottom, width + left + right)


class Pad(_Padded, A.Pad):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class PadIfNeeded(_Padded, A.PadIfNeeded):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class _Cropped(Straight):
    """A crop out of the picture, which was padded first where it was too small."""

    def placed(self, params: Mapping[str, Any]) -> Placed:
        x_min, y_min, x_max, y_max = params["crop_coords"]
        pad = params.get("pad_params") or {"pad_left": 0, "pad_top": 0}
        return shifted(pad["pad_left"] - x_min, pad["pad_top"] - y_min), (y_max - y_min, x_max - x_min)


class RandomCrop(_Cropped, A.RandomCrop):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class CenterCrop(_Cropped, A.CenterCrop):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class Crop(_Cropped, A.Crop):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class _CroppedToSize(_Cropped):
    def placed(self, params: Mapping[str, Any]) -> Placed:
        matrix, part = super().placed(params)
        return resized(part, self.result) @ matrix, self.result

    @property
    def result(self) -> tuple[int, int]:
        height, width = self.size  # type: ignore[attr-defined]  # of the class that this is mixed into
        return height, width


class RandomResizedCrop(_CroppedToSize, A.RandomResizedCrop):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class RandomSizedCrop(_CroppedToSize, A.RandomSizedCrop):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class RandomSizedBBoxSafeCrop(_CroppedToSize, A.RandomSizedBBoxSafeCrop):  # type: ignore[misc]  # as above
    @property
    def result(self) -> tuple[int, int]:
        return self.height, self.width


class CropAndPad(Straight, A.CropAndPad):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """What is cut off is not in the border that mirrors the rest."""

    def placed(self, params: Mapping[str, Any]) -> Placed:
        x_min, y_min, _, _ = params["crop_params"] or (0, 0, 0, 0)
        top, _, left, _ = params["pad_params"] or (0, 0, 0, 0)
        matrix, frame = shifted(left - x_min, top - y_min), params["result_shape"]
        if not self.keep_size:
            return matrix, frame
        return resized(frame, params["shape"][:2]) @ matrix, params["shape"][:2]

    def apply_to_bboxes(self, bboxes: _Array, **params: Any) -> _Array:
        if params["crop_params"] is None:
            return super().apply_to_bboxes(bboxes, **params)
        x_min, y_min, x_max, y_max = params["crop_params"]
        height, width = params["shape"][:2]
        boxes = np.array(bboxes, dtype=np.float64)
        boxes[:, [0, 2]] = (boxes[:, [0, 2]] * width - x_min) / (x_max - x_min)
        boxes[:, [1, 3]] = (boxes[:, [1, 3]] * height - y_min) / (y_max - y_min)
        boxes = cut(boxes, -1)
        matrix, frame = self.placed(params)
        part = (y_max - y_min, x_max - x_min)
        boxes[:, :4] *= (part[1], part[0], part[1], part[0])
        matrix = matrix @ shifted(x_min, y_min)
        boxes = boxes_through(boxes, matrix, shape=part, frame=frame, border_mode=self.border_mode)
        boxes[:, :4] /= (frame[1], frame[0], frame[1], frame[0])
        return boxes


class _Resized(Straight):
    def placed(self, params: Mapping[str, Any]) -> Placed:
        before = params["shape"][:2]
        after = self.result_of(before, params)
        return resized(before, after), after

    def result_of(self, before: tuple[int, int], params: Mapping[str, Any]) -> tuple[int, int]:
        scale = params["scale"]
        return max(1, round(before[0] * scale)), max(1, round(before[1] * scale))


class Resize(_Resized, A.Resize):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    def result_of(self, before: tuple[int, int], params: Mapping[str, Any]) -> tuple[int, int]:  # noqa: ARG002
        return self.height, self.width


class RandomScale(_Resized, A.RandomScale):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    def result_of(self, before: tuple[int, int], params: Mapping[str, Any]) -> tuple[int, int]:
        return int(before[0] * params["scale"]), int(before[1] * params["scale"])


class LongestMaxSize(_Resized, A.LongestMaxSize):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


class SmallestMaxSize(_Resized, A.SmallestMaxSize):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    pass


def _square(matrix: _Array) -> NDArray[np.float64]:
    """A matrix of two rows with its third."""
    full = np.eye(3)
    full[: len(matrix)] = matrix
    return full
