"""Sizes that a picture may have somewhere in a pipeline, before any picture is known."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

UNBOUNDED: Final = 1_000_000_000
"""Stands for a side of which nothing is known; larger than any picture."""

Params = Mapping[str, Any]


class Unfit(Exception):  # noqa: N818 - not an error yet: whoever knows the place makes it one
    """A transform cannot take what reaches it; the message says what it needs and the remedy."""


class Extent(NamedTuple):
    """Sizes that may occur: every height and width within these bounds, in pixels, both ends included.

    ``firm``: the lower bounds do occur, so that a crop larger than them fails for certain in some draw.
    """

    min_height: int
    max_height: int
    min_width: int
    max_width: int
    firm: bool = True

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width where there is only one size."""
        if self.min_height == self.max_height and self.min_width == self.max_width:
            return self.min_height, self.min_width
        return None

    @property
    def swapped(self) -> "Extent":
        return Extent(self.min_width, self.max_width, self.min_height, self.max_height, self.firm)

    def __str__(self) -> str:
        if self.size is not None:
            return f"{self.min_height} x {self.min_width}"
        return f"{_span(self.min_height, self.max_height)} x {_span(self.min_width, self.max_width)}"


def _span(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"{low} or more" if high >= UNBOUNDED else f"{low}-{high}"


ANY: Final = Extent(1, UNBOUNDED, 1, UNBOUNDED, firm=False)
"""Any picture at all."""


def point(height: int, width: int) -> Extent:
    return Extent(height, height, width, width)


Change = Callable[[Params, Extent], Iterable[Extent]]
"""What a transform makes of the sizes that reach it, given its parameters; raises Unfit where it cannot take them."""
