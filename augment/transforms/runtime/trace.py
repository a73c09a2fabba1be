"""Trace of one call of a pipeline: the applied transforms, their drawn parameters as small JSON, their matrices."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.address import digest_fields
from augment.samples.sample import Applied
from augment.transforms import keypoint_motion, limits
from augment.transforms.entry import TransformEntry, Unfit

INLINE_MAX: Final = 64
"""Arrays and lists of more values are replaced by shape or length and digest; provenance must fit a header."""

_AS_IT_IS: Final = frozenset({type(None), bool, int, str})

_NOT_DRAWN: Final = frozenset(
    {"shape", "interpolation", "fill", "fill_mask", "bbox_matrix", "matrix_bbox", "reference_image", "pieces"}
)
"""Parameters that Albumentations adds to each call: its size, copies of the pipeline's parameters, an unused matrix for
boxes, and pixels of references, whose keys are recorded."""


def drawn(params: Mapping[str, Any]) -> dict[str, object]:
    """Return the parameters of one call as JSON: arrays in full, long ones as shape, dtype and digest, long lists too.

    All numbers are exact: a float of 32 bits is written as the equal float of 64 bits.
    """
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
    raise TypeError(f"a drawn parameter is a {type(value).__name__}, which provenance cannot hold")


def _array(array: NDArray[Any]) -> object:
    if array.size <= INLINE_MAX:
        return array.tolist() if array.dtype.kind in "biu" or np.isfinite(array).all() else _plain(array.tolist())
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


_PASSED_AS: Final = {"mask": ("mask", "masks"), "boxes": ("bboxes",), "keypoints": ("keypoints",)}
"""Targets and their names in Albumentations."""


class Trace:
    """Record of the transforms that a call applies, with their parameters, also inside containers.

    ``mirrored`` is True if the call mirrored the image an odd number of times. ``matrix`` (3, 3) maps the middles of
    pixels, or is None if no matrix can. Each is kept only if ``start`` requests it.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[str, Mapping[str, Any]]] = []
        self.current = ""
        self.mirrored = False
        self.matrix: NDArray[np.float64] | None = None
        self._counts_mirrors = False
        self._follows_points = False

    def start(self, *, mirrors: bool, points: bool) -> None:
        """Forget the last call."""
        self._noted.clear()
        self.current = ""
        self.mirrored = False
        self.matrix = np.eye(3) if points else None
        self._counts_mirrors = mirrors
        self._follows_points = points

    def watch(self, transform: Any, info: TransformEntry, *, moves_pixels: bool) -> None:
        """Make a built transform report each of its calls to this trace."""
        name = info.name
        may_mirror = moves_pixels and "keypoints" in info.targets
        left_behind = _PASSED_AS.keys() - info.targets if moves_pixels else frozenset()
        should_apply: Callable[..., bool] = transform.should_apply
        apply_with_params: Callable[..., dict[str, Any]] = transform.apply_with_params

        def note_choice(*, force_apply: bool = False) -> bool:
            applies = should_apply(force_apply=force_apply)
            if applies:
                self.current = name
            return applies

        def note_params(params: dict[str, Any], *args: Any, **data: Any) -> dict[str, Any]:
            self.note(info, params)
            for target in sorted(left_behind):
                if any(data.get(passed) is not None for passed in _PASSED_AS[target]):
                    raise Unfit(f"it moves pixels but cannot move {target}; {info.remedy}")
            if may_mirror and self._counts_mirrors:
                self.mirrored ^= keypoint_motion.is_mirrored(transform, params)
            if moves_pixels and self._follows_points and self.matrix is not None:
                step = keypoint_motion.matrix_of(transform, params) if may_mirror else None
                self.matrix = None if step is None else step @ self.matrix
            return apply_with_params(params, *args, **data)

        transform.should_apply = note_choice
        transform.apply_with_params = note_params

    def note(self, info: TransformEntry, params: Mapping[str, Any]) -> None:
        """Record a transform that is about to be applied. Raises Unfit if it would make too many pixels."""
        _check_output(info, params)
        self._noted.append((info.name, params))

    def applied(self, *, provenance: bool) -> tuple[Applied, ...]:
        """Return the applied transforms, in order; without ``provenance`` only their names."""
        return tuple(Applied(name, drawn(params) if provenance else {}) for name, params in self._noted)


def _check_output(info: TransformEntry, params: Mapping[str, Any]) -> None:
    """Raise Unfit if a transform is about to make more than ``OUTPUT_PIXELS``.

    ``params`` are those of one call of Albumentations, since the size of a result can depend on the image and chance.
    """
    height, width = params["shape"][:2]
    if info.scales:
        height, width = height * params["scale"], width * params["scale"]
    elif "pad_top" in params:
        height += params["pad_top"] + params["pad_bottom"]
        width += params["pad_left"] + params["pad_right"]
    elif "result_shape" in params:
        height, width = params["result_shape"]
    elif "output_shape" in params:
        height, width = params["output_shape"]
    elif "max_height" in params:
        height, width = params["max_height"], params["max_width"]
    if height * width > limits.OUTPUT_PIXELS:
        raise Unfit(
            f"the result would have {height:.0f} x {width:.0f} pixels; the limit is {limits.OUTPUT_PIXELS} "
            "(OUTPUT_PIXELS): resize first, or scale or pad less"
        )
