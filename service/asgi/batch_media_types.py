"""Formats of batches: names, media types, and the choice by ``format`` or ``Accept``."""

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
"""Formats that can hold several batches one after another, the default first."""

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
    """Return the format of a request. ``?format=`` overrides ``Accept``; ``*/*`` gets the first of ``among``.

    Raises MediaTypeError if the format is not served, CallError if an option is invalid.
    """
    media_types = {each: MEDIA_TYPES[each] for each in among}
    batch_format = _by_name(name, among) if name else by_accept(accept, media_types, "served here are")
    if batch_format is not BatchFormat.TAR:
        return PartFormat(batch_format)
    tar.check_options(image_format, quality, pixel_format)
    return PartFormat(batch_format, image_format, quality)


def _by_name(name: str, among: Sequence[BatchFormat]) -> BatchFormat:
    if name in list(among):
        return BatchFormat(name)
    only_single = name == BatchFormat.NPZ
    hint = "; request a single batch (…/batches/{epoch}/{index}) to get it" if only_single else ""
    if name in {*tar.IMAGE_FORMATS, "jpeg"}:
        hint = f"; a tar can hold images in it: format=tar&image_format={name}"
    raise MediaTypeError(f"the format {quoted(name)} is not served here; it is one of {', '.join(among)}{hint}")


def by_accept(accept: str | None, media_types: Mapping[_Kind, str], what: str) -> _Kind:
    """Return the kind whose media type ``Accept`` prefers.

    Raises MediaTypeError if it accepts none. In the message, ``what`` introduces the media types.
    """
    best = preferred(accept, list(media_types.values()))
    if best is None:
        raise MediaTypeError(f"Accept is {quoted(accept or '', 100)}; {what} {', '.join(media_types.values())}")
    return next(kind for kind, media_type in media_types.items() if media_type == best)


def preferred(accept: str | None, media_types: Sequence[str]) -> str | None:
    """Return the media type that an ``Accept`` header prefers (RFC 9110, section 12.5.1), or None if it accepts none.

    The most precise range that matches decides a type's weight: ``zip;q=0, */*`` accepts anything but zip. Equal
    weights are ordered by the position of the range, then by the order of ``media_types``.
    """
    ranges = media_ranges(accept or "*/*")
    best: tuple[float, int] | None = None
    chosen = None
    for media_type in media_types:
        fits = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        place = next((i for fit in fits for i, (each, _) in enumerate(ranges) if each == fit), None)
        if place is None or ranges[place][1] <= 0:
            continue
        rank = (-ranges[place][1], place)
        if best is None or rank < best:
            best, chosen = rank, media_type
    return chosen


def media_ranges(accept: str) -> list[tuple[str, float]]:
    """Return the media ranges of an ``Accept`` header with their weights, sorted by weight, then by precision."""
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
