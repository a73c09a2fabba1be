"""The symmetries of the square, as fast as memory allows: pixels of three bytes are moved as pixels of four."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import A, cv2
from augment.transforms.quick.mirror import mirrored

TILE_PX: Final = 256
"""Side of the tiles: 256 KiB of four-byte pixels each, which stay in a core's cache."""


class Symmetry(NamedTuple):
    """Rows and columns are swapped, or not, and then the picture is flipped as ``cv2.flip`` counts, or not."""

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
"""By Albumentations' names of the group's elements; turns are anticlockwise."""

_TURNS: Final = ("e", "r90", "r180", "r270")


def turned(image: NDArray[Any], element: str) -> NDArray[Any]:
    """The picture after one of ``SYMMETRIES``: a new C-contiguous array, but for "e", which is the array itself.

    ``image`` is (H, W) or (H, W, C), of any dtype OpenCV knows and any strides.
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
    if image.ndim == 3 and transposes:  # OpenCV transposes pixels of some sizes only
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


class Transpose(A.Transpose):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """The same bytes."""

    def apply(self, img: NDArray[Any], **_: Any) -> NDArray[Any]:
        return turned(img, "t")


class RandomRotate90(A.RandomRotate90):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """The same bytes."""

    def apply(self, img: NDArray[Any], factor: int, **_: Any) -> NDArray[Any]:
        return turned(img, _TURNS[factor])


class D4(A.D4):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """The same bytes."""

    def apply(self, img: NDArray[Any], group_element: str, **_: Any) -> NDArray[Any]:
        return turned(img, group_element)


class SquareSymmetry(D4):
    """D4 under another name."""
