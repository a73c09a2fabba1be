"""Transforms that keep straight lines straight: shifts, scales, shears, perspective.

``RandomShiftScale`` is ours, because Albumentations has no equivalent.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import TARGETS, A, corrected, cv2
from augment.transforms.entry import (
    UNBOUNDED,
    Extent,
    Params,
    Range,
    Unfit,
    border,
    interpolation,
    moving_entry,
    rotate_method,
    scale_limit,
    warp,
)
from augment.transforms.matrix_geometry import Placed, Straight, Warped, square
from augment.transforms.schema import Schema

_SHIFT = "shift as a share of the width or height"
_SCALE: Schema = {"type": "number", "minimum": 0.01, "maximum": limits.SCALE_FACTOR}
_SHARE: Schema = {"type": "number", "minimum": -2, "maximum": 2}
_PIXELS: Schema = {"type": "integer", "minimum": -limits.PAD_PX, "maximum": limits.PAD_PX}
_SHEAR: Schema = {"type": "number", "minimum": -89, "maximum": 89}


def _axes(item: Schema, description: str) -> Schema:
    """Describe a number, a range, or both for x and y separately."""
    span = {"type": "array", "items": item, "minItems": 2, "maxItems": 2, "x-ordered": True, "title": "range"}
    one = item | {"title": "single value", "x-scalar": "repeat"}
    axis: Schema = {"anyOf": [span, one]}
    return schema.either(
        f"{description}; a range for each axis, or {{x, y}}",
        span,
        one,
        {
            "type": "object",
            "properties": {"x": axis, "y": axis},
            "required": [],
            "additionalProperties": False,
            "minProperties": 1,
            "title": "x and y",
        },
    )


def _one_translation(params: Mapping[str, Any]) -> str | None:
    if params["translate_percent"] is not None and params["translate_px"] is not None:
        return "give translate_percent or translate_px, not both"
    return None


def _same_ratio(params: Mapping[str, Any]) -> str | None:
    scale = params["scale"]
    if params["keep_ratio"] and isinstance(scale, dict) and scale.get("x", 1) != scale.get("y", 1):
        return "with keep_ratio the scale of x and y must be the same range"
    return None


_Image = NDArray[Any]


class RandomShiftScale(Straight, A.DualTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Transform that scales the image about its centre and shifts it, both at random; the frame keeps its size.

    ``shift_limit`` is the range of the shift as a share of width and height, drawn once for each. ``scale_limit`` is
    the range of the factor minus 1. A single number v means [-v, v]. Uncovered parts are filled by ``border_mode``,
    with ``fill`` and ``fill_mask`` if it is constant.
    """

    _targets = TARGETS

    def __init__(
        self,
        shift_limit: Range = (-0.0625, 0.0625),
        scale_limit: Range = (-0.1, 0.1),
        interpolation: int = cv2.INTER_LINEAR,
        border_mode: int = cv2.BORDER_CONSTANT,
        fill: tuple[float, float, float] | float = 0,
        fill_mask: float = 0,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.shift_limit = shift_limit
        self.scale_limit = scale_limit
        self.interpolation = interpolation
        self.border_mode = border_mode
        self.fill = fill
        self.fill_mask = fill_mask

    def get_params(self) -> dict[str, Any]:
        return {
            "factor": 1 + self.py_random.uniform(*self.scale_limit),
            "shift_x": self.py_random.uniform(*self.shift_limit),
            "shift_y": self.py_random.uniform(*self.shift_limit),
        }

    def apply(self, img: _Image, *_: Any, **params: Any) -> _Image:
        fill = self.fill if isinstance(self.fill, tuple | list) else (self.fill,) * 3
        return self._warp(img, params, self.interpolation, tuple(fill))

    def apply_to_mask(self, mask: _Image, *_: Any, **params: Any) -> _Image:
        return self._warp(mask, params, cv2.INTER_NEAREST, (self.fill_mask,))

    def placed(self, params: Mapping[str, Any]) -> Placed:
        return square(self._matrix(params)), params["shape"][:2]

    @staticmethod
    def _matrix(params: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the matrix from pixel to pixel; whole numbers are the middles of pixels."""
        height, width = params["shape"][:2]
        factor = params["factor"]
        x = (1 - factor) * (width - 1) / 2 + params["shift_x"] * width
        y = (1 - factor) * (height - 1) / 2 + params["shift_y"] * height
        return np.array([[factor, 0.0, x], [0.0, factor, y]])

    def _warp(self, array: _Image, params: dict[str, Any], interpolation: int, fill: tuple[float, ...]) -> _Image:
        height, width = params["shape"][:2]
        return cv2.warpAffine(
            array,
            self._matrix(params),
            (width, height),
            flags=interpolation,
            borderMode=self.border_mode,
            borderValue=fill,
        )


def _affine(params: Params, before: Extent) -> Iterable[Extent]:
    """Return the sizes; with ``fit_output`` no side exceeds the scaled diagonal over cos(shear)."""
    if not params["fit_output"]:
        return (before,)

    def most(value: Any, axis: str) -> float:
        if isinstance(value, dict):
            value = value.get(axis, 1.0)
        return float(max(abs(end) for end in value) if isinstance(value, list) else abs(value))

    def shear(axis: str) -> float:
        value = params["shear"]
        return most(value.get(axis, 0.0) if isinstance(value, dict) else value, axis)

    # a balanced scale is drawn between the range's end and 1, for any range
    least = 1.0 if params["balanced_scale"] else 0.0
    scale_y, scale_x = (max(least, most(params["scale"], axis)) for axis in ("y", "x"))
    diagonal = math.hypot(before.max_height * scale_y, before.max_width * scale_x)
    height, width = (math.ceil(diagonal / math.cos(math.radians(shear(axis)))) + 2 for axis in ("y", "x"))
    return (Extent(1, min(height, UNBOUNDED), 1, min(width, UNBOUNDED), firm=False),)


def _perspective(params: Params, before: Extent) -> Iterable[Extent]:
    """Return the sizes: without ``keep_size`` those of the moved quadrilateral; ``fit_output`` is then refused."""
    if params["keep_size"]:
        return (before,)
    if params["fit_output"]:
        raise Unfit("with `fit_output` and without `keep_size` its size has no bound; set `keep_size: true`")
    diagonal = math.ceil(math.hypot(before.max_height, before.max_width)) + 2
    return (Extent(1, diagonal, 1, diagonal, firm=False),)


class Perspective(Straight, A.Perspective):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Perspective that keeps an image if its result is thinner than half a pixel; the original divides by zero."""

    def placed(self, params: Mapping[str, Any]) -> Placed:
        height, width = params["max_height"], params["max_width"]
        matrix = np.asarray(params["matrix"], dtype=np.float64)
        if not self.keep_size:
            return matrix, (height, width)
        shape = params["shape"][:2]
        return np.diag([shape[1] / width, shape[0] / height, 1.0]) @ matrix, shape

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        drawn: dict[str, Any] = super().get_params_dependent_on_data(params, data)
        if min(drawn["max_height"], drawn["max_width"]) >= 1 and np.linalg.matrix_rank(drawn["matrix"]) == 3:
            return drawn
        height, width = params["shape"][:2]
        return {"matrix": np.eye(3), "max_height": height, "max_width": width, "matrix_bbox": np.eye(3)}


ENTRIES = (
    moving_entry(
        "RandomShiftScale",
        "Shifts the image and scales it about its centre at random; the frame keeps its size.",
        {
            "shift_limit": schema.pair(schema.number(-1, 1, f"{_SHIFT}, drawn for each"), scalar="symmetric"),
            "scale_limit": scale_limit(),
            "interpolation": interpolation(warps=True),
        }
        | border(),
        implementation=RandomShiftScale,
    ),
    moving_entry(
        "Affine",
        "Scales, shifts, turns and shears the image about its centre, each at random; the defaults change nothing.",
        {
            "scale": _axes(_SCALE, "factor: 0.5 is half as large"),
            "translate_percent": schema.optional(
                _axes(_SHARE, "shift as a share of width and height"), "translate_px is used"
            ),
            "translate_px": schema.optional(_axes(_PIXELS, "shift in pixels"), "no shift, or translate_percent"),
            "rotate": schema.pair(schema.number(-360, 360, "angle in degrees"), scalar="repeat"),
            "shear": _axes(_SHEAR, "shear in degrees"),
        }
        | warp()
        | {
            "fit_output": schema.flag("enlarge the frame until all of the result fits; the size varies"),
            "keep_ratio": schema.flag("use one factor for both axes"),
            "rotate_method": rotate_method(),
            "balanced_scale": schema.flag("draw below and above 1 equally often if the range holds both"),
        },
        rules=(
            ("translate_percent or translate_px, not both", _one_translation),
            ("keep_ratio needs the same scale for x and y", _same_ratio),
        ),
        implementation=corrected(Warped, A.Affine),
        output_size=_affine,
    ),
    moving_entry(
        "ShiftScaleRotate",
        "Shifts, scales and turns the image at random; the frame keeps its size.",
        {
            "shift_limit": schema.pair(schema.number(-1, 1, _SHIFT), scalar="symmetric"),
            "scale_limit": scale_limit(),
            "rotate_limit": schema.pair(schema.number(-360, 360, "angle in degrees"), scalar="symmetric"),
        }
        | warp()
        | {
            "shift_limit_x": schema.optional(
                schema.pair(schema.number(-1, 1, "shift as a share of the width"), scalar="symmetric"), "shift_limit"
            ),
            "shift_limit_y": schema.optional(
                schema.pair(schema.number(-1, 1, "shift as a share of the height"), scalar="symmetric"), "shift_limit"
            ),
            "rotate_method": rotate_method(),
        },
        implementation=corrected(Warped, A.ShiftScaleRotate),
        unstable=frozenset({"scale_limit"}),
    ),
    moving_entry(
        "Perspective",
        "Moves the four corners at random, as if the image were seen from another point.",
        {
            "scale": schema.pair(
                schema.number(0, 1, "standard deviation of a corner's move as a share of the side"), scalar="from-zero"
            ),
            "keep_size": schema.flag("resize the result to the size of the image"),
            "fit_output": schema.flag("enlarge the frame until all of the result fits"),
        }
        | warp(),
        implementation=Perspective,
        output_size=_perspective,
    ),
)
