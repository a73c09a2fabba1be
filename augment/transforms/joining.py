"""Nodes of a pipeline that join a sample with others of its split: Mosaic and CopyPaste."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np

from augment.transforms.copy_paste import CopyPaste
from augment.transforms.mosaic import Mosaic
from augment.transforms.piece import Piece

__all__ = ["CopyPaste", "Joining", "Mosaic", "Piece", "joining"]

_CLASSES: Final = (Mosaic, CopyPaste)


class Joining(Protocol):
    """A sample and donors in, one sample out."""

    num_donors: int

    def join(
        self, base: Piece, donors: Sequence[Piece], generator: np.random.Generator
    ) -> tuple[Piece, dict[str, Any]]:
        """The joined piece, every array of it new, and the parameters that were drawn, small and JSON-like.

        ``donors`` has ``num_donors``; they and the base are left as they are. ``label`` stays the base's.

        Raises ValueError where the pictures cannot be joined.
        """
        ...


def joining(name: str, params: Mapping[str, Any]) -> Joining:
    """The node of this name in the catalogue, with canonical parameters (``p`` left out)."""
    cls = next(each for each in _CLASSES if each.__name__ == name)
    made: Joining = cls(**params)
    return made
