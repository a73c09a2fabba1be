"""Mirrors, the symmetries of the square, and rotations about the image's centre.

Symmetries are exact: no pixel is computed. They are as fast as memory allows, because pixels of three bytes are moved
as pixels of four.
"""

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augment.transforms import schema
from augment.transforms.albumentations_import import A, corrected, cv2
from augment.transforms.entry import Extent, Params, moving_entry, rotate_method, warp
from augment.transforms.matrix_geometry import Placed, Straight, Warped, shifted, square

STRIP_BYTES: Final = 256 * 1024
"""Size of a strip in bytes (of four-byte pixels) in which larger images are moved; it fits a core's cache."""


def mirrored(image: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Mirror the image left to right into a new C-contiguous array, or into ``out``, of the same shape and dtype.

    ``image`` is (H, W) or (H, W, C), of any dtype OpenCV supports and any strides. Rows of ``out`` may be apart, but it
    must not overlap ``image``. Raises ValueError if it has another shape or dtype.

    OpenCV reverses elements of 1, 2, 4 or 8 bytes in registers, and those of 3 one by one. A uint8 (H, W, 3) image is
    therefore converted to four channels and back, which takes a quarter of the time.
    """
    if out is None:
        out = np.empty(image.shape, image.dtype)
    elif out.shape != image.shape or out.dtype != image.dtype:
        raise ValueError(f"out is {out.dtype} {out.shape}; it must be like the image, {image.dtype} {image.shape}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        cv2.flip(image, 1, dst=out)
        return out
    height, width, _ = image.shape
    num_rows = max(1, min(height, STRIP_BYTES // (4 * width)))
    wide, turned = np.empty((2, num_rows, width, 4), np.uint8)
    for top in range(0, height, num_rows):
        strip = image[top : top + num_rows]
        used = slice(len(strip))
        cv2.cvtColor(strip, cv2.COLOR_RGB2RGBA, dst=wide[used])
        cv2.flip(wide[used], 1, dst=turned[used])
        cv2.cvtColor(turned[used], cv2.COLOR_RGBA2RGB, dst=out[top : top + num_rows])
    return out


class _Symmetric(Straight):
    """Mixin for one of ``SYMMETRIES``, named by ``element_of``, with the bytes of Albumentations."""

    element = "e"

    def element_of(self, params: Mapping[str, Any]) -> str:  # noqa: ARG002
        return self.element

    def apply(self, img: NDArray[Any], **params: Any) -> NDArray[Any]:
        return turned(img, self.element_of(params))

    def placed(self, params: Mapping[str, Any]) -> Placed:
        height, width = params["shape"][:2]
        transposes, flip = SYMMETRIES[self.element_of(params)]
        matrix = np.eye(3)
        if transposes:
            matrix[:2], (height, width) = matrix[[1, 0]], (width, height)
        if flip in {_LEFT_TO_RIGHT, _BOTH}:
            matrix = np.array([[-1.0, 0.0, width - 1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
        if flip in {_UPSIDE_DOWN, _BOTH}:
            matrix = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, height - 1], [0.0, 0.0, 1.0]]) @ matrix
        return matrix, (height, width)


class HorizontalFlip(_Symmetric, A.HorizontalFlip):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    element = "h"


TILE_PX: Final = 256
"""Side of a tile: 256 KiB of four-byte pixels, which fit a core's cache."""


class Symmetry(NamedTuple):
    """Symmetry of the square: an optional swap of rows and columns, then an optional flip as ``cv2.flip`` counts."""

    transposes: bool
    flip: int | None


_UPSIDE_DOWN, _LEFT_TO_RIGHT, _BOTH = 0, 1, -1

SYMMETRIES: Final[Mapping[str, Symmetry]] = MappingProxyType(
    {
        "e": Symmetry(transposes=False, flip=None),
        "r90": Symmetry(transposes=True, flip=_UPSIDE_DOWN),
        "r180": Symmetry(transposes=False, flip=_BOTH),
        "r270": Symmetry(transposes=True, flip=_LEFT_TO_RIGHT),
        "v": Symmetry(transposes=False, flip=_UPSIDE_DOWN),
        "hvt": Symmetry(transposes=True, flip=_BOTH),
        "h": Symmetry(transposes=False, flip=_LEFT_TO_RIGHT),
        "t": Symmetry(transposes=True, flip=None),
    }
)
"""Symmetries by Albumentations' names of the group's elements; turns are anticlockwise."""

_TURNS: Final = ("e", "r90", "r180", "r270")


def turned(image: NDArray[Any], element: str) -> NDArray[Any]:
    """Apply one of ``SYMMETRIES`` to the image: a new C-contiguous array, but the array itself for "e".

    ``image`` is (H, W) or (H, W, C), of any dtype OpenCV supports and any strides.
    """
    transposes, flip = SYMMETRIES[element]
    if element == "e":
        return image
    if element == "h":
        return mirrored(image)
    if element == "v":
        return _flipped(image, flip)
    if image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        return _by_tiles(image, transposes=transposes, flip=flip)
    if image.ndim == 3 and transposes:  # OpenCV transposes only pixels of some sizes
        return _flipped(image.swapaxes(0, 1).copy(), flip)
    return _flipped(cv2.transpose(image) if transposes else image, flip)


def _flipped(image: NDArray[Any], flip: int | None) -> NDArray[Any]:
    if flip is None:
        return image
    return cv2.flip(image, flip, dst=np.empty(image.shape, image.dtype)).reshape(image.shape)


def _by_tiles(image: NDArray[np.uint8], *, transposes: bool, flip: int | None) -> NDArray[np.uint8]:
    height, width, _ = image.shape
    size = (width, height) if transposes else (height, width)
    out = np.empty((*size, 3), np.uint8)
    space = np.empty((2, min(height, TILE_PX) * min(width, TILE_PX) * 4), np.uint8)
    for top in range(0, height, TILE_PX):
        for left in range(0, width, TILE_PX):
            tile = image[top : top + TILE_PX, left : left + TILE_PX]
            rows, columns = (
                slice(start, start + length) for start, length in zip((top, left), tile.shape, strict=False)
            )
            if transposes:
                rows, columns = columns, rows
            if flip in {_UPSIDE_DOWN, _BOTH}:
                rows = slice(size[0] - rows.stop, size[0] - rows.start)
            if flip in {_LEFT_TO_RIGHT, _BOTH}:
                columns = slice(size[1] - columns.stop, size[1] - columns.start)
            one, other = (part[: tile.size // 3 * 4] for part in space)
            wide = cv2.cvtColor(tile, cv2.COLOR_RGB2RGBA, dst=one.reshape(*tile.shape[:2], 4))
            if transposes:
                wide = cv2.transpose(wide, dst=other.reshape(tile.shape[1], tile.shape[0], 4))
                one, other = other, one
            if flip is not None:
                wide = cv2.flip(wide, flip, dst=other.reshape(wide.shape))
            cv2.cvtColor(wide, cv2.COLOR_RGBA2RGB, dst=out[rows, columns])
    return out


class VerticalFlip(_Symmetric, A.VerticalFlip):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    element = "v"


class Transpose(_Symmetric, A.Transpose):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    element = "t"


class RandomRotate90(_Symmetric, A.RandomRotate90):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    def element_of(self, params: Mapping[str, Any]) -> str:
        return _TURNS[params["factor"]]


class D4(_Symmetric, A.D4):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    def element_of(self, params: Mapping[str, Any]) -> str:
        return str(params["group_element"])


class SquareSymmetry(D4, A.SquareSymmetry):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """D4 under another name."""


_LIMIT = schema.pair(schema.number(-360, 360, "angle in degrees, anticlockwise"), scalar="symmetric")


def _transpose(params: Params, before: Extent) -> Iterable[Extent]:
    del params
    return (before.swapped,)


def _any_turn(params: Params, before: Extent) -> Iterable[Extent]:
    del params
    return {before, before.swapped}


def _rotate(params: Params, before: Extent) -> Iterable[Extent]:
    """Return the size, or any part with ``crop_border``: the part without a border depends on the angle."""
    if not params["crop_border"]:
        return (before,)
    return (before.part,)


class Rotate(Straight, A.Rotate):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Rotate that always leaves a pixel with ``crop_border``; the original may round to none, and fails."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Add the angle, in degrees anticlockwise from -180 to 180; the original records only the matrix."""
        drawn: dict[str, Any] = super().get_params_dependent_on_data(params, data)
        for axis, side in (("y", params["shape"][0]), ("x", params["shape"][1])):
            if self.crop_border and drawn[f"{axis}_max"] <= drawn[f"{axis}_min"]:
                drawn[f"{axis}_min"] = min(drawn[f"{axis}_min"], side - 1)
                drawn[f"{axis}_max"] = drawn[f"{axis}_min"] + 1
        cos, sin = drawn["matrix"][0, :2]
        return {"angle": math.degrees(math.atan2(sin, cos)), **drawn}

    def placed(self, params: Mapping[str, Any]) -> Placed:
        matrix = square(params["matrix"])
        if not self.crop_border:
            return matrix, params["shape"][:2]
        x_min, y_min = params["x_min"], params["y_min"]
        return shifted(-x_min, -y_min) @ matrix, (params["y_max"] - y_min, params["x_max"] - x_min)


ENTRIES = (
    moving_entry("HorizontalFlip", "Mirrors the image left to right.", implementation=HorizontalFlip, reads_only=True),
    moving_entry("VerticalFlip", "Mirrors the image top to bottom.", implementation=VerticalFlip, reads_only=True),
    moving_entry(
        "Transpose",
        "Swaps rows and columns, which mirrors at the diagonal.",
        implementation=Transpose,
        output_size=_transpose,
        reads_only=True,
    ),
    moving_entry(
        "D4",
        "Applies one of the eight symmetries of the square at random: no change, three rotations, four mirrors.",
        implementation=D4,
        output_size=_any_turn,
        reads_only=True,
    ),
    moving_entry(
        "SquareSymmetry",
        "Does the same as D4, under the name in newer documents.",
        implementation=SquareSymmetry,
        output_size=_any_turn,
        reads_only=True,
    ),
)


ROTATION_ENTRIES = (
    moving_entry(
        "RandomRotate90",
        "Turns the image by 0, 90, 180 or 270 degrees; exact, and width and height may be swapped.",
        implementation=RandomRotate90,
        output_size=_any_turn,
        reads_only=True,
    ),
    moving_entry(
        "Rotate",
        "Turns the image by a random angle and keeps its size; cuts off corners, or the border with crop_border.",
        {"limit": _LIMIT}
        | warp()
        | {
            "rotate_method": rotate_method(),
            "crop_border": schema.flag(
                "cut the result to the largest upright rectangle without border; its size varies"
            ),
        },
        implementation=Rotate,
        output_size=_rotate,
    ),
    moving_entry(
        "SafeRotate",
        "Turns the image by a random angle and shrinks it until all of it fits its size.",
        {"limit": _LIMIT} | warp() | {"rotate_method": rotate_method()},
        implementation=corrected(Warped, A.SafeRotate),
    ),
)
