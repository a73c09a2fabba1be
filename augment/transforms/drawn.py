"""What chance drew for a transform, as JSON that is small whatever was drawn."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.address import digest_fields

INLINE_MAX: Final = 16
"""Lists of more values than these are shown as their length and digest; provenance has to fit a header."""

_AS_IT_IS: Final = frozenset({type(None), bool, int, str})

_NOT_DRAWN: Final = frozenset({"shape", "interpolation", "fill", "fill_mask", "reference_picture", "pieces"})
"""What Albumentations adds to the parameters of each call: its size, and what the pipeline says anyway; and pixels of
references, whose keys are told."""


def drawn(params: Mapping[str, Any]) -> dict[str, object]:
    """The parameters of one call as JSON: arrays as shape, dtype and digest, long lists as length and digest."""
    return {str(name): _plain(value) for name, value in params.items() if name not in _NOT_DRAWN}


def _plain(value: Any) -> object:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is tuple and len(value) <= INLINE_MAX and all(type(item) in _AS_IT_IS for item in value):
        return list(value)
    match value:
        case None | bool() | str() | int():
            return str(value) if isinstance(value, str) else value
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case np.generic():
            return _plain(value.item())
        case np.ndarray():
            return _array(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case Sequence():
            items = [_plain(item) for item in value]
            return items if _count(items) <= INLINE_MAX else _long_list(items)
    raise TypeError(f"a drawn parameter is a {type(value).__name__}, which has no place in provenance")


def _array(array: NDArray[Any]) -> dict[str, object]:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    shape = list(array.shape)
    digest = digest_fields((little.dtype.str, json.dumps(shape), little.tobytes()))
    return {"shape": shape, "dtype": array.dtype.name, "digest": digest.hex()}


def _long_list(items: list[object]) -> dict[str, object]:
    return {"length": len(items), "digest": digest_fields((json.dumps(items, sort_keys=True),)).hex()}


def _count(item: object) -> int:
    if isinstance(item, list):
        return sum(map(_count, item))
    return sum(map(_count, item.values())) if isinstance(item, dict) else 1
