"""The ``normalize:`` section: its parser, its canonical form, and its numbers for a view and a dataset.

In the canonical form all defaults are filled in and names of statistics are numbers. Two texts with the same meaning
therefore have one form, and the pipeline one digest.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from augment import validation
from augment.errors import CallError, PipelineError, Problem
from augment.normalize.methods import Arctan, ByDataset, ByValue, Gamma, Log, MinMax, Normalization, Standard, Tanh
from augment.normalize.parameters import Channels, Reader, listed, problem
from augment.normalize.pixel_format import PixelFormat
from augment.validation import JSON, did_you_mean, quoted

METHODS: Final[Mapping[str, Callable[[Reader], Normalization]]] = MappingProxyType(
    {each.METHOD: each.read for each in (Standard, MinMax, Log, Gamma, Tanh, Arctan)}
)


def parse(section: Mapping[str, Any]) -> Normalization:
    """Read a section. Raises PipelineError with every problem in it, located below ``normalize``."""
    method = section.get("method")
    if method is None:
        raise PipelineError([problem(f"`method` is missing; write one of {listed(METHODS)}")])
    if not isinstance(method, str) or method not in METHODS:
        hint = did_you_mean(method, METHODS) if isinstance(method, str) else ""
        msg = f"{quoted(method, 100)} is not a method; use {listed(METHODS)}{hint}"
        raise PipelineError([problem(msg, "method")])
    reader = Reader({key: value for key, value in section.items() if key != "method"})
    parsed = METHODS[method](reader)
    reader.close()
    if isinstance(parsed, ByValue) and not (isinstance(parsed, MinMax) and parsed.clip) and not parsed.is_distinct():
        msg = (
            "two of the 256 values of a channel become one float32, or one becomes infinite: the numbers are "
            "too far from the range of the pixels, or too close together; compare them with the defaults"
        )
        raise PipelineError([problem(msg)])
    return parsed


def parse_given(given: object) -> Normalization:
    """Read a caller's argument as ``parse`` does. Raises CallError if it is not a section."""
    if not isinstance(given, Mapping):
        like = "{'method': 'standard', 'statistics': 'imagenet'}"
        raise CallError(f"normalize is {validation.quoted(given)}; give a section such as {like}")
    return parse(given)


def needs_dataset(section: Mapping[str, Any] | None) -> bool:
    """Return True if the section needs the statistics of a dataset."""
    return section is not None and isinstance(parse(section), ByDataset)


def resolve(section: Mapping[str, Any], mean: Channels, std: Channels) -> dict[str, JSON]:
    """Return the canonical section, with these numbers instead of ``statistics: dataset``.

    Raises PipelineError if the numbers cannot be divided by, because a channel has one value in the whole dataset.
    """
    parsed = parse(section)
    if not isinstance(parsed, ByDataset):
        return parsed.canonical()
    return parse({**parsed.rest, "mean": list(mean), "std": list(std)}).canonical()


def check_dtype(method: Normalization, dtype: str) -> None:
    """Raise PipelineError if the method's results exceed the range of this float type."""
    if isinstance(method, ByValue):
        largest = float(np.abs(method.floats()).max())
        if largest > (most := float(np.finfo(dtype).max)):
            raise PipelineError([problem(f"its floats reach {largest:g}, {dtype} holds {most:g}; use dtype float32")])


Sections: TypeAlias = tuple[Mapping[str, JSON] | None, ...]
"""The canonical section of each view, or None for uint8 images without one."""


def choose(own: Sequence[Mapping[str, JSON] | None], given: object, form: PixelFormat) -> Sections:
    """Return the given section (one for all views, or a list with one for each), else the pipelines' own.

    Floats without a section are in [0, 1]. Raises PipelineError with locations below ``normalize``, or CallError.
    """
    chosen: list[Mapping[str, JSON] | None] = list(own)
    if isinstance(given, list | tuple):
        if len(given) != len(own):
            raise CallError(f"normalize has {len(given)} sections for {len(own)} views; give one, or one for each")
        chosen = [_of_view(each, view) for view, each in enumerate(given)]
    elif given is not None:
        chosen = [parse_given(given).canonical()] * len(own)
    if form.is_float:
        chosen = [each or MinMax().canonical() for each in chosen]
    for each in chosen:
        if each is not None and form.is_float:
            check_dtype(parse(each), form.dtype)
    return tuple(chosen)


def any_needs_dataset(sections: Sections) -> bool:
    """Return True if a section needs the statistics of the dataset."""
    return any(map(needs_dataset, sections))


def resolve_all(sections: Sections, mean: Channels, std: Channels) -> Sections:
    """Resolve each section with these statistics of the dataset."""
    return tuple(None if each is None else resolve(each, mean, std) for each in sections)


def _of_view(given: object, view: int) -> Mapping[str, JSON] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise CallError(f"normalize.{view} is {validation.quoted(given)}; give a section or None")
    try:
        return parse(given).canonical()
    except PipelineError as error:
        raise PipelineError(
            [Problem(("normalize", view, *problem.loc[1:]), problem.msg) for problem in error.problems]
        ) from error
