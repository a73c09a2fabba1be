"""Which section counts for the pictures of each view, and the numbers of a dataset put in where one asks for them."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from augment import arguments
from augment.document import JSON
from augment.errors import CallError, PipelineError, Problem
from augment.normalize import section
from augment.normalize.min_max import MinMax
from augment.normalize.pixel_format import PixelFormat
from augment.normalize.statistics import Channels

Sections: TypeAlias = tuple[Mapping[str, JSON] | None, ...]
"""The canonical section of each view; None where its pictures are uint8 and nobody said how to normalise them."""


def choose(own: Sequence[Mapping[str, JSON] | None], given: object, form: PixelFormat) -> Sections:
    """What is given counts (one section for all views, or a list with one for each), else the pipelines' own.

    Floats without any lie in [0, 1]. Raises PipelineError with the place below ``normalize``, CallError.
    """
    chosen: list[Mapping[str, JSON] | None] = list(own)
    if isinstance(given, Mapping):
        chosen = [section.parse(given).canonical()] * len(own)
    elif isinstance(given, list | tuple):
        if len(given) != len(own):
            raise CallError(f"normalize has {len(given)} sections for {len(own)} views; give one, or one for each")
        chosen = [_of_view(each, view) for view, each in enumerate(given)]
    elif given is not None:
        like = "{'method': 'standard', 'statistics': 'imagenet'}"
        raise CallError(f"normalize is {arguments.shown(given)}; give a section such as {like}")
    if form.is_float:
        chosen = [each or MinMax().canonical() for each in chosen]
    for each in chosen:
        if each is not None and form.is_float:
            section.check_dtype(section.parse(each), form.dtype)
    return tuple(chosen)


def needs_dataset(sections: Sections) -> bool:
    """Whether the numbers of the dataset are wanted somewhere."""
    return any(map(section.needs_dataset, sections))


def resolve(sections: Sections, mean: Channels, std: Channels) -> Sections:
    """The same with these numbers where those of the dataset are wanted."""
    return tuple(None if each is None else section.resolve(each, mean, std) for each in sections)


def _of_view(given: object, view: int) -> Mapping[str, JSON] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise CallError(f"normalize.{view} is {arguments.shown(given)}; give a section or None")
    try:
        return section.parse(given).canonical()
    except PipelineError as error:
        raise PipelineError(
            [Problem(("normalize", view, *problem.loc[1:]), problem.msg) for problem in error.problems]
        ) from error
