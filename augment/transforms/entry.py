"""Entry of a transform in the catalogue, parameters shared by many, and ranges of image sizes."""

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
"""Range of a parameter in one of our classes; its ends are in order, however it is built."""
WholeRange = Annotated[tuple[int, int], AfterValidator(_ordered)]

UNBOUNDED: Final = 1_000_000_000
"""Side of unknown length; larger than any image."""

Params = Mapping[str, Any]


class Unfit(Exception):  # noqa: N818 - the caller that knows the location turns it into an error
    """A transform cannot take its input; the message says what it needs, with the remedy."""


class MissingTargetError(Exception):
    """A transform needs ``target``, but the sample does not have it."""

    def __init__(self, target: str) -> None:
        self.target = target
        super().__init__(f"it needs {target}")


class Extent(NamedTuple):
    """Range of possible sizes: every height and width within these bounds, in pixels, both ends included.

    ``firm``: the lower bounds do occur, so a crop larger than them is certain to fail in some draw.
    """

    min_height: int
    max_height: int
    min_width: int
    max_width: int
    firm: bool = True

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width if only one size is possible, else None."""
        if self.min_height == self.max_height and self.min_width == self.max_width:
            return self.min_height, self.min_width
        return None

    @property
    def surest(self) -> tuple[int, int]:
        """Least height and width that do occur, or the largest if ``firm`` is False; a crop of more cannot pass."""
        return (self.min_height, self.min_width) if self.firm else (self.max_height, self.max_width)

    @property
    def part(self) -> "Extent":
        """Sizes of any part of such an image."""
        return Extent(1, self.max_height, 1, self.max_width, firm=False)

    def each(self, height: Callable[[int], int], width: Callable[[int], int]) -> "Extent":
        """Apply functions, which keep the order of sides, to heights and widths."""
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
"""Any image size."""


def point(height: int, width: int) -> Extent:
    return Extent(height, height, width, width)


Change = Callable[[Params, Extent], Iterable[Extent]]
"""Function from parameters and input sizes to output sizes; raises Unfit if the transform cannot take them."""


def named_size(params: Params, before: Extent) -> Iterable[Extent]:
    """Return the one size that the parameters name, for any input."""
    del before
    return (point(*(params["size"] if "size" in params else (params["height"], params["width"]))),)


def needs(sides: Callable[[Params], tuple[int, int]], why: str) -> Change:
    """Keep the size and refuse images smaller than these sides (height, width); ``why`` follows "because"."""

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
"""Rule between parameters, which a schema of single values cannot state: returns None, or the problem."""


@dataclass(frozen=True, slots=True)
class TransformEntry:
    """Transform of the catalogue: its name in Albumentations (or ours), our description, its parameters without ``p``.

    ``implementation``: its class, if it is ours or a corrected one; None if Albumentations' own is right.
    ``moves_pixels``: pixels change places, so masks, boxes and keypoints must follow. ``requires``: targets (and
    ``instance_masks``) that it needs; ``requires_by`` gives those that depend on its parameters. ``still_where``
    returns True for parameters with which no pixel moves. ``rules`` are sentences (shown in the schema as ``x-rules``)
    with their check. ``donors``: it takes other records of the same split. ``references``: its parameter of that name
    is a dataset from which it takes images. ``remedy``: advice for users with targets that it cannot move.

    ``output_size``: the output sizes, if it changes an image's size or needs a minimum. ``scales``: in each call the
    parameter ``scale`` is the factor of height and width. ``reads_only``: it never writes into its input (its result
    may be a view of it); for other transforms the image is copied first. ``reduces_decode``: returns True if the second
    of two sizes is enough, that is, no region that it takes from an image decoded at that size is smaller than its
    result. None if an image must be decoded in full. ``unstable``: parameters that Albumentations' validation changes
    each time it runs; ours are canonical.

    The catalogue adds ``family`` and ``schema``, the JSON Schema (2020-12) of its parameters with their defaults.
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
        """Return what the command and the service show of it; targets are sorted."""
        names = ("name", "family", "targets", "requires", "container", "donors", "references", "help", "schema")
        values = {name: getattr(self, name) for name in names}
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}


moving_entry: Final = functools.partial(TransformEntry, targets=ALL_TARGETS, moves_pixels=True)
"""Entry of a transform that moves pixels and all targets with them."""


P: Final = schema.number(0, 1, "probability that it is applied to a sample")


def side(description: str) -> Schema:
    """Describe a height or width that a pipeline names."""
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
    """Describe numbers of cells along both axes, each at most ``high``."""
    return schema.array({"type": "integer", "minimum": 1, "maximum": high}, 2, 2, description)


def indices(low: int, high: int, description: str) -> Schema:
    """Describe a list of class indices."""
    return schema.array({"type": "integer", "minimum": low, "maximum": high}, 1, limits.CHOICES, description)


def scale_limit() -> Schema:
    factor = schema.number(-0.99, limits.SCALE_FACTOR - 1, "the factor minus 1: 0.5 is half as large again")
    return schema.pair(factor, scalar="symmetric")


def rotate_method() -> Schema:
    return schema.choice(
        {"largest_box": "the rotated box's bounding box", "ellipse": "the bounding box of the ellipse in the box"},
        "conversion of a box that is no longer upright",
    )


def interpolation(description: str = "filter that computes pixels between pixels", *, warps: bool = False) -> Schema:
    """Describe the resampling filter; ``warps``: OpenCV's remapping supports only the first five."""
    options = {value: title for value, title in schema.INTERPOLATIONS.items() if not warps or value <= 4}
    return schema.choice(options, description)


def mask_interpolation(*, warps: bool = False) -> Schema:
    """Describe the filter of masks: nearest neighbour only, because a mean of two class indices is a third class."""
    options = {0: "nearest"} if warps else {0: "nearest", 6: "nearest, exact"}
    return schema.choice(options, "resampling filter of the mask; class indices are never mixed")


def border_mode() -> Schema:
    return schema.choice(schema.BORDER_MODES, "pixels outside the image")


def fill(description: str = "colour outside the image, for a constant border") -> Schema:
    """Describe a colour: one value for all channels, or red, green and blue."""
    channel: Schema = {"type": "number", "minimum": 0, "maximum": 255}
    rgb = {"type": "array", "items": channel, "minItems": 3, "maxItems": 3, "title": "red, green, blue"}
    return schema.either(description, channel | {"title": "all channels"}, rgb)


def fill_mask(description: str = "class index outside the mask, for a constant border") -> Schema:
    return schema.integer(0, 255, description)


def border() -> dict[str, Schema]:
    return {"border_mode": border_mode(), "fill": fill(), "fill_mask": fill_mask()}


def warp() -> dict[str, Schema]:
    return {"interpolation": interpolation(warps=True), "mask_interpolation": mask_interpolation(warps=True)} | border()


def resample(*, area: bool = False) -> dict[str, Schema]:
    """Describe the filters of a resize; ``area``: it can choose the area filter by itself."""
    filters = {"interpolation": interpolation(), "mask_interpolation": mask_interpolation()}
    return filters | ({"area_for_downscale": area_for_downscale()} if area else {})


def area_for_downscale() -> Schema:
    return schema.choice(
        {None: "never", "image": "for the image"},
        "use of the area filter for an image that becomes smaller, against moiré",
    )
