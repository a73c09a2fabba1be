"""What chance draws for one batch: whether it is mixed, how, each row's partner, weight and box.

Chance comes from (stream id, epoch, index) alone, so that a batch is mixed alike wherever it is rendered.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from augment.address import digest_fields

STEPS: Final = 256
"""MixUp's weights are multiples of 1/256: sums of weighted pixels fit 16 bits and are exact, and a step moves no pixel
by a whole level."""


@dataclass(frozen=True, slots=True)
class Draw:
    """How the rows of one batch are mixed.

    partners: int64 (N,), for each row the row that is mixed into it.
    weights:  float64 (N,), the share of each row's own picture.
    boxes:    int64 (N, 4), x_min, y_min, x_max, y_max of the pixels that come from the partner; None in MixUp.
    """

    partners: NDArray[np.int64]
    weights: NDArray[np.float64]
    boxes: NDArray[np.int64] | None = None

    def box(self, row: int) -> tuple[int, int, int, int] | None:
        """One row's box as Python's integers."""
        if self.boxes is None:
            return None
        x_min, y_min, x_max, y_max = self.boxes[row].tolist()
        return x_min, y_min, x_max, y_max


def generator(stream_id: str, epoch: int, index: int) -> np.random.Generator:
    """The generator of one batch, a new one each time."""
    digest = digest_fields((stream_id, epoch, index), person=b"augment.mix")
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype="<u8").astype(np.uint64)))


def partners(chance: np.random.Generator, num_rows: int) -> NDArray[np.int64]:
    """One random cycle through all rows, so that no row is its own partner and each is a partner once: int64 (N,).

    Each cycle is as likely as any other (Sattolo, "An algorithm to generate a random cyclic permutation", 1986).
    """
    order = chance.permutation(num_rows)
    found = np.empty(num_rows, np.int64)
    found[order] = np.roll(order, -1)
    return found


def shares(chance: np.random.Generator, alpha: float, num_rows: int, *, by_row: bool) -> NDArray[np.float64]:
    """Draws of Beta(alpha, alpha), one for each row or one for all: float64 (N,)."""
    return np.broadcast_to(chance.beta(alpha, alpha, size=num_rows if by_row else 1), (num_rows,))


def mixup(chance: np.random.Generator, alpha: float, num_rows: int, *, by_row: bool) -> Draw:
    """Weights of Beta(alpha, alpha), rounded to ``STEPS``."""
    chosen = partners(chance, num_rows)
    return Draw(chosen, np.rint(shares(chance, alpha, num_rows, by_row=by_row) * STEPS) / STEPS)


def cutmix(chance: np.random.Generator, alpha: float, num_rows: int, height: int, width: int, *, by_row: bool) -> Draw:
    """Boxes of the share 1 - Beta(alpha, alpha), cut at the frame; weights are what is left outside them.

    As the paper's code: sides are sqrt(share) of the picture's, cut to an even number, about any pixel as the middle.
    """
    chosen = partners(chance, num_rows)
    sides = np.sqrt(1.0 - shares(chance, alpha, num_rows, by_row=by_row))
    num_boxes = num_rows if by_row else 1
    boxes = np.empty((num_rows, 4), np.int64)
    for axis, size in enumerate((width, height)):
        half = (size * sides).astype(np.int64) // 2
        middle = chance.integers(0, size, size=num_boxes)
        boxes[:, axis] = np.maximum(middle - half, 0)
        boxes[:, axis + 2] = np.minimum(middle + half, size)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Draw(chosen, 1.0 - area / (height * width), boxes)
