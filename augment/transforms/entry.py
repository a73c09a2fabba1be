"""Entry: a transform of the catalogue, with parameters that many share; Extent: a range of image sizes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from augment.transforms import schema
from augment.transforms.schema import Schema

IMAGE: Final = frozenset({"image"})
ALL_TARGETS: Final = frozenset({"image", "mask", "boxes", "keypoints"})

Rule = Callable[[Mapping[str, Any]], str | None]
"""A rule between parameters, which a schema of single values cannot state: None, or what is wrong."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A transform: its name in Albumentations (or ours), what it does in our words, and its parameters without ``p``.

    ``moves_pixels``: pixels change places, so that masks, boxes and keypoints must follow. ``requires``: targets (and
    ``instance_masks``) without which it cannot work, ``requires_by`` those that follow from its parameters.
    ``still_where`` tells from the parameters that one which may move pixels does not. ``rules`` are sentences (shown in
    the schema as ``x-rules``) with their check. ``donors``: it takes other records of the same split. ``references``:
    its parameter of that name is a dataset that pictures are taken from. ``remedy``: what a user can do who has targets
    that it cannot move.
    """

    name: str
    help: str
    params: Mapping[str, Schema] = field(default_factory=dict)
    targets: frozenset[str] = IMAGE
    moves_pixels: bool = False
    requires: frozenset[str] = frozenset()
    requires_by: Callable[[Mapping[str, Any]], frozenset[str]] = lambda _: frozenset()
    still_where: Callable[[Mapping[str, Any]], bool] = lambda _: False
    rules: Sequence[tuple[str, Rule]] = ()
    container: bool = False
    donors: bool = False
    references: bool = False
    remedy: str = "leave it out"


P: Final = schema.number(0, 1, "probability that it is applied to a sample")


def interpolation(description: str = "how pixels between pixels are computed", *, warps: bool = False) -> Schema:
    """The resampling filter; ``warps``: OpenCV's remapping knows only the first five."""
    options = {value: title for value, title in schema.INTERPOLATIONS.items() if not warps or value <= 4}
    return schema.choice(options, description)


def mask_interpolation(*, warps: bool = False) -> Schema:
    """Nearest neighbour only: a mask holds class indices, and a mean of two classes is a third."""
    options = {0: "nearest"} if warps else {0: "nearest", 6: "nearest, exact"}
    return schema.choice(options, "the same for the mask, whose class indices are never mixed")


def border_mode() -> Schema:
    return schema.choice(schema.BORDER_MODES, "what lies outside the picture")


def colour(description: str, *, whole: bool = False) -> Schema:
    """One value for all channels, or red, green and blue."""
    channel: Schema = {"type": "integer" if whole else "number", "minimum": 0, "maximum": 255}
    rgb = {"type": "array", "items": channel, "minItems": 3, "maxItems": 3, "title": "red, green, blue"}
    return schema.either(description, channel | {"title": "all channels"}, rgb)


def fill(description: str = "colour outside the picture, where the border is constant") -> Schema:
    return colour(description)


def fill_mask(description: str = "class index outside the mask, where the border is constant") -> Schema:
    return schema.integer(0, 255, description)


def border() -> dict[str, Schema]:
    return {"border_mode": border_mode(), "fill": fill(), "fill_mask": fill_mask()}


def warp() -> dict[str, Schema]:
    return {"interpolation": interpolation(warps=True), "mask_interpolation": mask_interpolation(warps=True)} | border()


def resample() -> dict[str, Schema]:
    return {"interpolation": interpolation(), "mask_interpolation": mask_interpolation()}


def area_for_downscale() -> Schema:
    return schema.choice(
        {None: "never", "image": "for the picture"},
        "whether the area filter replaces the chosen one where the picture becomes smaller, against moiré",
    )


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


def needs(sides: Callable[[Params], tuple[int, int]], why: str) -> Change:
    """Keep the size and refuse images with less than these sides (height, width); ``why`` follows "because"."""

    def change(params: Params, before: Extent) -> Iterable[Extent]:
        height, width = sides(params)
        found = (before.min_height, before.min_width) if before.firm else (before.max_height, before.max_width)
        if found[0] < height or found[1] < width:
            raise Unfit(
                f"it needs an image of at least {height} x {width} pixels (height x width), not {before}, because "
                f"{why}; put `SmallestMaxSize` before it"
            )
        return (before,)

    return change
