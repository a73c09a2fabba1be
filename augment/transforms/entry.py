"""TransformEntry: a transform of the catalogue, with parameters that many share; Extent: a range of image sizes."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NamedTuple, TypeVar

from pydantic import AfterValidator

from augment.transforms import limits, schema
from augment.transforms.schema import Schema

IMAGE: Final = frozenset({"image"})
ALL_TARGETS: Final = frozenset({"image", "mask", "boxes", "keypoints"})

_Pair = TypeVar("_Pair", tuple[int, int], tuple[float, float])


def _ordered(value: _Pair) -> _Pair:
    if value[0] > value[1]:
        raise ValueError("the first number must not be larger than the second")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""A parameter's range in a class of ours: its ends stand in order, whoever builds it."""
WholeRange = Annotated[tuple[int, int], AfterValidator(_ordered)]

UNBOUNDED: Final = 1_000_000_000
"""Stands for a side of which nothing is known; larger than any image."""

Params = Mapping[str, Any]


class Unfit(Exception):  # noqa: N818 - not an error yet: whoever knows the place makes it one
    """A transform cannot take what reaches it; the message says what it needs and the remedy."""


class MissingTargetError(Exception):
    """A transform needs ``target``, and the sample has none."""

    def __init__(self, target: str) -> None:
        self.target = target
        super().__init__(f"it needs {target}")


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
    def surest(self) -> tuple[int, int]:
        """The least height and width that do occur, or if nothing is sure the largest: less than these cannot pass."""
        return (self.min_height, self.min_width) if self.firm else (self.max_height, self.max_width)

    @property
    def part(self) -> "Extent":
        """The sizes of any part of it."""
        return Extent(1, self.max_height, 1, self.max_width, firm=False)

    def each(self, height: Callable[[int], int], width: Callable[[int], int]) -> "Extent":
        """The sizes that functions, which keep the order of sides, make of heights and widths."""
        low, high = (height(self.min_height), width(self.min_width)), (height(self.max_height), width(self.max_width))
        return Extent(low[0], high[0], low[1], high[1], self.firm)

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
"""Any image at all."""


def point(height: int, width: int) -> Extent:
    return Extent(height, height, width, width)


Change = Callable[[Params, Extent], Iterable[Extent]]
"""What a transform makes of the sizes that reach it, given its parameters; raises Unfit where it cannot take them."""


def named_size(params: Params, before: Extent) -> Iterable[Extent]:
    """The one size that the parameters name, whatever comes in."""
    del before
    return (point(*(params["size"] if "size" in params else (params["height"], params["width"]))),)


def needs(sides: Callable[[Params], tuple[int, int]], why: str) -> Change:
    """Keep the size and refuse images with less than these sides (height, width); ``why`` follows "because"."""

    def change(params: Params, before: Extent) -> Iterable[Extent]:
        height, width = sides(params)
        if before.surest[0] < height or before.surest[1] < width:
            raise Unfit(
                f"it needs an image of at least {height} x {width} pixels (height x width), not {before}, because "
                f"{why}; put `SmallestMaxSize` before it"
            )
        return (before,)

    return change


Rule = Callable[[Params], str | None]
"""A rule between parameters, which a schema of single values cannot state: None, or what is wrong."""


@dataclass(frozen=True, slots=True)
class TransformEntry:
    """A transform: its name in Albumentations (or ours), what it does in our words, and its parameters without ``p``.

    ``implementation``: its class, ours or Albumentations' corrected; None where Albumentations' own is right as it is.
    ``moves_pixels``: pixels change places, so that masks, boxes and keypoints must follow. ``requires``: targets (and
    ``instance_masks``) without which it cannot work, ``requires_by`` those that follow from its parameters.
    ``still_where`` tells from the parameters that one which may move pixels does not. ``rules`` are sentences (shown in
    the schema as ``x-rules``) with their check. ``donors``: it takes other records of the same split. ``references``:
    its parameter of that name is a dataset that images are taken from. ``remedy``: what a user can do who has targets
    that it cannot move.

    ``output_size``: the sizes that leave it, if it changes an image's size or needs a least one. ``scales``: in each
    call the parameter ``scale`` is the factor of height and width. ``reads_only``: it never writes into the image that
    it is given (its result may be a view of it); before any other the image is copied. ``reduces_decode``: true if no
    region that it takes from an image decoded at the second size, in place of the first, is smaller than what it makes
    of it; None where an image must be decoded in full.
    ``unstable``: parameters that Albumentations' validation changes each time it runs; ours are canonical.

    The catalogue adds ``family`` and ``schema``, the JSON Schema (2020-12) of its parameters with a default for each
    that has one.
    """

    name: str
    help: str
    params: Mapping[str, Schema] = field(default_factory=dict)
    targets: frozenset[str] = IMAGE
    implementation: Any = None
    moves_pixels: bool = False
    requires: frozenset[str] = frozenset()
    requires_by: Callable[[Params], frozenset[str]] = lambda _: frozenset()
    still_where: Callable[[Params], bool] = lambda _: False
    rules: Sequence[tuple[str, Rule]] = ()
    container: bool = False
    donors: bool = False
    references: bool = False
    remedy: str = "leave it out"
    output_size: Change | None = None
    scales: bool = False
    reads_only: bool = False
    reduces_decode: Callable[[Params, tuple[int, int], tuple[int, int]], bool] | None = None
    unstable: frozenset[str] = frozenset()
    family: str = ""
    schema: Schema = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what the command and the service tell of it; targets are sorted."""
        names = ("name", "family", "targets", "requires", "container", "donors", "references", "help", "schema")
        values = {name: getattr(self, name) for name in names}
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}


moving_entry: Final = functools.partial(TransformEntry, targets=ALL_TARGETS, moves_pixels=True)
"""Entry of a transform that moves pixels, and every target with them."""


P: Final = schema.number(0, 1, "probability that it is applied to a sample")


def side(description: str) -> Schema:
    """A height or width that a pipeline names."""
    return schema.integer(1, limits.OUTPUT_SIDE_PX, description)


def size(*, title: str | None = None) -> Schema:
    bare: Schema = {"type": "integer", "minimum": 1, "maximum": limits.OUTPUT_SIDE_PX}
    return schema.array(bare, 2, 2, "height and width of the result in pixels", title=title)


def position(description: str) -> Schema:
    options = {
        "center": "in the middle",
        "top_left": "top left",
        "top_right": "top right",
        "bottom_left": "bottom left",
        "bottom_right": "bottom right",
        "random": "at random",
    }
    return schema.choice(options, description)


def cells(high: int, description: str) -> Schema:
    """Numbers of cells along both axes, at most ``high`` of them."""
    return schema.array({"type": "integer", "minimum": 1, "maximum": high}, 2, 2, description)


def indices(low: int, high: int, description: str) -> Schema:
    """Some class indices."""
    return schema.array({"type": "integer", "minimum": low, "maximum": high}, 1, limits.CHOICES, description)


def scale_limit() -> Schema:
    factor = schema.number(-0.99, limits.SCALE_FACTOR - 1, "the factor minus 1: 0.5 is half as large again")
    return schema.pair(factor, scalar="symmetric")


def rotate_method() -> Schema:
    return schema.choice(
        {"largest_box": "the rotated box's bounding box", "ellipse": "the bounding box of the ellipse in the box"},
        "how a box that no longer stands upright becomes one that does",
    )


def interpolation(description: str = "how pixels between pixels are computed", *, warps: bool = False) -> Schema:
    """The resampling filter; ``warps``: OpenCV's remapping knows only the first five."""
    options = {value: title for value, title in schema.INTERPOLATIONS.items() if not warps or value <= 4}
    return schema.choice(options, description)


def mask_interpolation(*, warps: bool = False) -> Schema:
    """Nearest neighbour only: a mask holds class indices, and a mean of two classes is a third."""
    options = {0: "nearest"} if warps else {0: "nearest", 6: "nearest, exact"}
    return schema.choice(options, "the same for the mask, whose class indices are never mixed")


def border_mode() -> Schema:
    return schema.choice(schema.BORDER_MODES, "what lies outside the image")


def fill(description: str = "colour outside the image, where the border is constant") -> Schema:
    """One value for all channels, or red, green and blue."""
    channel: Schema = {"type": "number", "minimum": 0, "maximum": 255}
    rgb = {"type": "array", "items": channel, "minItems": 3, "maxItems": 3, "title": "red, green, blue"}
    return schema.either(description, channel | {"title": "all channels"}, rgb)


def fill_mask(description: str = "class index outside the mask, where the border is constant") -> Schema:
    return schema.integer(0, 255, description)


def border() -> dict[str, Schema]:
    return {"border_mode": border_mode(), "fill": fill(), "fill_mask": fill_mask()}


def warp() -> dict[str, Schema]:
    return {"interpolation": interpolation(warps=True), "mask_interpolation": mask_interpolation(warps=True)} | border()


def resample(*, area: bool = False) -> dict[str, Schema]:
    """The filters of a resize; ``area``: it can choose the area filter by itself."""
    filters = {"interpolation": interpolation(), "mask_interpolation": mask_interpolation()}
    return filters | ({"area_for_downscale": area_for_downscale()} if area else {})


def area_for_downscale() -> Schema:
    return schema.choice(
        {None: "never", "image": "for the image"},
        "whether the area filter replaces the chosen one where the image becomes smaller, against moiré",
    )
