"""The ``normalize:`` section: read with every problem found, written canonically, resolved for a dataset.

The section is canonical: whatever was left out is filled in and names of statistics become numbers, so that two texts
that mean the same have one form and a pipeline one digest.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from augment.document import JSON
from augment.errors import PipelineError
from augment.normalize import curve, min_max, squash, standard
from augment.normalize.by_dataset import ByDataset
from augment.normalize.methods import ByValue, Normalization
from augment.normalize.min_max import MinMax
from augment.normalize.reading import Reader, listed, problem
from augment.normalize.statistics import Channels
from augment.spelling import did_you_mean

METHODS: Final[Mapping[str, Callable[[Reader], Normalization]]] = MappingProxyType(
    {
        standard.METHOD: standard.read,
        min_max.METHOD: min_max.read,
        curve.LOG: curve.read_log,
        curve.GAMMA: curve.read_gamma,
        squash.TANH: squash.read_tanh,
        squash.ARCTAN: squash.read_arctan,
    }
)


def parse(section: Mapping[str, Any]) -> Normalization:
    """Read a section; raises PipelineError with every problem in it, placed below ``normalize``."""
    method = section.get("method")
    if method is None:
        raise PipelineError([problem(f"`method` is missing; write one of {listed(METHODS)}")])
    if not isinstance(method, str) or method not in METHODS:
        hint = did_you_mean(method, METHODS) if isinstance(method, str) else ""
        msg = f"{str(method)[:100]!r} is not a method; there are {listed(METHODS)}{hint}"
        raise PipelineError([problem(msg, "method")])
    reader = Reader({key: value for key, value in section.items() if key != "method"})
    found = METHODS[method](reader)
    reader.close()
    if isinstance(found, ByValue) and not (isinstance(found, MinMax) and found.clip):
        _check_distinct(found)
    return found


def needs_dataset(section: Mapping[str, Any] | None) -> bool:
    """Whether numbers of a dataset are missing in it."""
    return section is not None and isinstance(parse(section), ByDataset)


def resolve(section: Mapping[str, Any], mean: Channels, std: Channels) -> dict[str, JSON]:
    """The canonical section with these numbers in the place of ``statistics: dataset``; any other stays as it is.

    Raises PipelineError where the numbers cannot be divided by: a channel has one value in the whole dataset.
    """
    found = parse(section)
    if not isinstance(found, ByDataset):
        return found.canonical()
    return parse({**found.rest, "mean": list(mean), "std": list(std)}).canonical()


def check_dtype(method: Normalization, dtype: str) -> None:
    """Raise PipelineError where a float of this type cannot be as large as the method's results."""
    if isinstance(method, ByValue):
        largest = float(np.abs(method.floats()).max())
        if largest > (most := float(np.finfo(dtype).max)):
            raise PipelineError([problem(f"its floats reach {largest:g}, a {dtype} {most:g}; take dtype float32")])


def _check_distinct(method: ByValue) -> None:
    if not method.is_distinct():
        raise PipelineError(
            [
                problem(
                    "two of the 256 values of a channel become one float32, or one becomes infinite: the numbers lie "
                    "too far from the range of the pixels, or too close together; compare them with the defaults"
                )
            ]
        )
