"""Nodes of a pipeline that join a sample with donors: other records of the same split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from augment.sample import Sample


@dataclass(frozen=True, slots=True)
class Piece:
    """A sample on its way.

    ``visible`` is float64 (N,), the share of each of its boxes' areas that is left so far; (0,) where it has no boxes.
    Its ``box_rows`` and ``keypoint_rows`` are set where it meets others, and unique among them.
    """

    sample: Sample
    visible: NDArray[np.float64]


class Joining(Protocol):
    """One node, with its parameters. Not safe between threads."""

    num_donors: int

    def join(
        self, base: Piece, donors: Sequence[Piece], generator: np.random.Generator
    ) -> tuple[Piece, dict[str, Any]]:
        """The joined piece, all arrays of it new, and the parameters that were drawn.

        Boxes are cut at what is seen of them, ``visible`` is multiplied by that share, and boxes of which nothing is
        left are left out.
        """
        ...


def joining(name: str, params: Mapping[str, Any]) -> Joining:
    """The node of a name, with canonical parameters."""
    raise NotImplementedError(name, params)
