"""What every method of normalisation is: pixels in, floats out, and a way back for people to look.

Samples stay uint8 on their way; normalisation is arithmetic on a finished batch, done by whoever needs floats. There
are 256 values in a channel, so every method is a table of 256 floats for each channel: one table for all pictures
(``ByValue``), or one that a picture's own pixels decide (``ByPicture``). Tables are computed in float64 and rounded
once. No method looks beyond one picture, so that nothing depends on batches, workers or an order.
"""

import functools
from abc import ABC, abstractmethod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.document import JSON
from augment.levels import LEVELS
from augment.normalize.look_up import look_up

TOP: Final = LEVELS - 1
"""White."""

GREY: Final = 128
"""What a picture of one value is shown as where only its contrast is known."""


class Normalization(ABC):
    """How uint8 pixels become floats. Two are equal where their canonical sections are."""

    @abstractmethod
    def canonical(self) -> dict[str, JSON]:
        """The section with everything filled in; ``section.parse`` reads it back to an equal value."""

    @abstractmethod
    def table(self, image: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
        """What the 256 values of each channel become in a picture of these pixels (H, W, 3): (3, 256)."""

    @abstractmethod
    def denormalise(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Pixels to look at: uint8 (H, W, 3) of the floats (H, W, 3) of one picture, a new array."""

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise uint8 (..., H, W, 3): float32 of the same shape, a new array."""
        dtype = np.dtype(np.float32)
        return look_up(images, lambda image: self.table(image, dtype), dtype, first=False)


class ByValue(Normalization):
    """A method whose float follows from the value and the channel alone. Hashable.

    ``denormalise`` gives for each float the value whose float is nearest, of two as near the lower one. Floats that
    ``apply`` gave come back exactly where ``is_distinct`` says so for their type; for float32 that is always so,
    because ``section.parse`` refuses what is not, unless a section asks to clip. NaN becomes 0.
    """

    @abstractmethod
    def floats(self) -> NDArray[np.float64]:
        """What the 256 values of each channel become: (3, 256), growing with the value."""

    def table(self, image: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:  # noqa: ARG002 - one for all
        return _rounded(self, dtype)

    def is_distinct(self, dtype: Any = np.float32) -> bool:
        """Whether no two values of a channel become one float of this type, and none infinity."""
        table = _rounded(self, np.dtype(dtype)).astype(np.float64)
        return bool(np.isfinite(table).all() and (np.diff(table) > 0).all())

    def denormalise(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:
        table = _rounded(self, image.dtype).astype(np.float64)
        middles = (table[:, :-1] + table[:, 1:]) / 2
        made = np.empty(image.shape, np.uint8)
        for channel in range(3):
            made[..., channel] = np.searchsorted(middles[channel], image[..., channel].astype(np.float64))
        made[np.isnan(image)] = 0
        return made


class ByPicture(Normalization):
    """A method that looks at each picture first, so that its floats do not say what the picture was.

    ``denormalise`` stretches what is there for display: the least float of the picture becomes 0, the greatest 255, all
    between in proportion; a picture of one value becomes grey. NaN becomes 0.
    """

    @abstractmethod
    def floats(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What the 256 values of each channel become in this picture: (3, 256)."""

    def table(self, image: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
        return self.floats(image).astype(dtype)

    def denormalise(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:
        known = np.isfinite(image)
        floats = np.where(known, image, 0).astype(np.float64)
        low, high = floats.min(where=known, initial=np.inf), floats.max(where=known, initial=-np.inf)
        shown = np.full(image.shape, GREY, np.uint8)
        if low < high:
            shown = np.rint((floats - low) * (TOP / (high - low))).clip(0, TOP).astype(np.uint8)
        shown[~known] = 0
        return shown


@functools.lru_cache(maxsize=64)
def _rounded(method: ByValue, dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # infinity is found by `is_distinct`
        table: NDArray[Any] = method.floats().astype(dtype)
    table.setflags(write=False)
    return table
