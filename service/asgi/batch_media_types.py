"""The formats of batches: their names, their media types, and which one a request means."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from augment.normalize.pixel_format import PLAIN, PixelFormat
from augment.streams.tasks import BatchFormat, PartFormat
from augment.validation import quoted
from augment.wire import tar
from service.errors import MediaTypeError

_Kind = TypeVar("_Kind")

MEDIA_TYPES: Mapping[BatchFormat, str] = MappingProxyType(
    {
        BatchFormat.ARROW: "application/vnd.apache.arrow.stream",
        BatchFormat.TAR: "application/x-tar",
        BatchFormat.NPZ: "application/x-npz",
    }
)


STREAMED = (BatchFormat.ARROW, BatchFormat.TAR)
"""The formats in which one batch can follow another, the default first."""

SINGLE = tuple(BatchFormat)


def chosen(
    name: str | None,
    accept: str | None,
    *,
    among: Sequence[BatchFormat],
    image_format: str,
    quality: int,
    pixel_format: PixelFormat = PLAIN,
) -> PartFormat:
    """The format that a request means: ``?format=`` beats ``Accept``, and what accepts anything gets the first.

    MediaTypeError where it is not served, CallError where an option is refused.
    """
    media_types = {one: MEDIA_TYPES[one] for one in among}
    found = _by_name(name, among) if name else by_accept(accept, media_types, "what is served here is")
    if found is not BatchFormat.TAR:
        return PartFormat(found)
    tar.check_options(image_format, quality, pixel_format)
    return PartFormat(found, image_format, quality)


def _by_name(name: str, among: Sequence[BatchFormat]) -> BatchFormat:
    if name in list(among):
        return BatchFormat(name)
    only_single = name == BatchFormat.NPZ
    hint = "; ask for a single batch (…/batches/{epoch}/{index}) to get it" if only_single else ""
    if name in {*tar.IMAGE_FORMATS, "jpeg"}:
        hint = f"; it is how a tar holds images: format=tar&image_format={name}"
    raise MediaTypeError(f"the format {quoted(name)} is not served here; it is one of {', '.join(among)}{hint}")


def by_accept(accept: str | None, media_types: Mapping[_Kind, str], what: str) -> _Kind:
    """The kind whose media type ``Accept`` prefers; MediaTypeError where it takes none: ``what`` introduces them."""
    found = preferred(accept, list(media_types.values()))
    if found is None:
        raise MediaTypeError(f"Accept is {quoted(accept or '', 100)}; {what} {', '.join(media_types.values())}")
    return next(kind for kind, media_type in media_types.items() if media_type == found)


def preferred(accept: str | None, media_types: Sequence[str]) -> str | None:
    """Which of some media types an ``Accept`` header prefers (RFC 9110, section 12.5.1); None where it takes none.

    The most precise range that fits decides a type's weight, so that ``zip;q=0, */*`` takes anything but zip. Of equal
    weights the one whose range comes first wins, then the one that comes first in ``media_types``.
    """
    ranges = media_ranges(accept or "*/*")
    best: tuple[float, int] | None = None
    chosen = None
    for media_type in media_types:
        fits = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        place = next((i for wanted in fits for i, (one, _) in enumerate(ranges) if one == wanted), None)
        if place is None or ranges[place][1] <= 0:
            continue
        rank = (-ranges[place][1], place)
        if best is None or rank < best:
            best, chosen = rank, media_type
    return chosen


def media_ranges(accept: str) -> list[tuple[str, float]]:
    """Media ranges with their weights, the preferred first; a precise one before a general one of equal weight."""
    ranges = []
    for part in accept.split(","):
        media_range, *params = [piece.strip().lower() for piece in part.split(";")]
        weight = 1.0
        for param in params:
            name, _, value = param.partition("=")
            if name.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        ranges.append((media_range, weight))
    return sorted(ranges, key=lambda one: (-one[1], one[0].count("*")))
