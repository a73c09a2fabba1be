"""Straight lines stay straight: shifts, scales, shears, perspective.

Two classes are ours, because Albumentations lacks them: a crop, and a shift with scale, that keep the image's size.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from augment.transforms import limits, matrix_geometry, schema
from augment.transforms.albumentations_import import A, cv2
from augment.transforms.entry import ALL_TARGETS, Entry, border, interpolation, warp
from augment.transforms.matrix_geometry import Placed, Straight, resized, shifted
from augment.transforms.schema import Schema

_ROTATE_METHOD = schema.choice(
    {"largest_box": "the rotated box's bounding box", "ellipse": "the bounding box of the ellipse in the box"},
    "how a box that no longer stands upright becomes one that does",
)
_SHIFT = "shift as a share of the width or height"
_SCALE: Schema = {"type": "number", "minimum": 0.01, "maximum": limits.SCALE_FACTOR}
_SHARE: Schema = {"type": "number", "minimum": -2, "maximum": 2}
_PIXELS: Schema = {"type": "integer", "minimum": -limits.PAD_PX, "maximum": limits.PAD_PX}
_SHEAR: Schema = {"type": "number", "minimum": -89, "maximum": 89}


def _axes(item: Schema, description: str) -> Schema:
    """A number, a range, or both for x and y by themselves."""
    span = {"type": "array", "items": item, "minItems": 2, "maxItems": 2, "x-ordered": True, "title": "range"}
    one = item | {"title": "single value", "x-scalar": "repeat"}
    axis: Schema = {"anyOf": [span, one]}
    return schema.either(
        f"{description}; a range for each axis by itself, or {{x, y}}",
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


ENTRIES = (
    Entry(
        "RandomShiftScale",
        "Shifts the picture and scales it about its centre at random; the frame keeps its size.",
        {
            "shift_limit": schema.pair(schema.number(-1, 1, f"{_SHIFT}, drawn for each"), scalar="symmetric"),
            "scale_limit": schema.pair(
                schema.number(-0.99, limits.SCALE_FACTOR - 1, "the factor minus 1: 0.5 is half as large again"),
                scalar="symmetric",
            ),
            "interpolation": interpolation(warps=True),
        }
        | border(),
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "Affine",
        "Scales, shifts, turns and shears the picture about its centre, each at random; the defaults change nothing.",
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
            "keep_ratio": schema.flag("one factor for both axes"),
            "rotate_method": _ROTATE_METHOD,
            "balanced_scale": schema.flag("draw below and above 1 equally often where the range holds both"),
        },
        ALL_TARGETS,
        moves_pixels=True,
        rules=(
            ("translate_percent or translate_px, not both", _one_translation),
            ("keep_ratio needs the same scale for x and y", _same_ratio),
        ),
    ),
    Entry(
        "ShiftScaleRotate",
        "Shifts, scales and turns the picture at random; the frame keeps its size.",
        {
            "shift_limit": schema.pair(schema.number(-1, 1, _SHIFT), scalar="symmetric"),
            "scale_limit": schema.pair(
                schema.number(-0.99, limits.SCALE_FACTOR - 1, "the factor minus 1: 0.5 is half as large again"),
                scalar="symmetric",
            ),
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
            "rotate_method": _ROTATE_METHOD,
        },
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "Perspective",
        "Moves the four corners at random, as if the picture were seen from elsewhere.",
        {
            "scale": schema.pair(
                schema.number(0, 1, "standard deviation of a corner's move as a share of the side"), scalar="from-zero"
            ),
            "keep_size": schema.flag("resize the result to the size the picture had"),
            "fit_output": schema.flag("enlarge the frame until all of the result fits"),
        }
        | warp(),
        ALL_TARGETS,
        moves_pixels=True,
    ),
)


_Image = NDArray[Any]
_Range = tuple[float, float]


def _ordered(value: _Range) -> _Range:
    if value[0] > value[1]:
        raise ValueError("the first number must not be larger than the second")
    return value


_TARGETS = A.core.type_definitions.ALL_TARGETS[:4]  # the image, its mask, boxes and keypoints; no volumes
_OrderedRange = Annotated[_Range, AfterValidator(_ordered)]


class RandomCropKeepSize(Straight, A.DualTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Cuts out a random part of the picture and resizes it back to the size the picture had.

    ``scale`` is the range of the part's area as a share of the picture's, ``ratio`` that of its aspect ratio divided by
    the picture's own: at 1 nothing is distorted. The area is drawn uniformly, then the logarithm of the ratio from
    what still fits, so that no draw is ever thrown away (the Inception crop of Szegedy et al., "Going Deeper with
    Convolutions", 2015, draws ten times and then takes the middle). Where no ratio of the range fits an area, the
    nearest does and the area is as large as that allows.
    """

    _targets = _TARGETS

    class InitSchema(A.core.transforms_interface.BaseTransformInitSchema):  # type: ignore[misc]  # untyped
        scale: _OrderedRange
        ratio: _OrderedRange
        interpolation: Literal[0, 1, 2, 3, 4, 5, 6]

    def __init__(
        self,
        scale: _Range = (0.25, 1.0),
        ratio: _Range = (3 / 4, 4 / 3),
        interpolation: int = cv2.INTER_LINEAR,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        self.scale = scale
        self.ratio = ratio
        self.interpolation = interpolation

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw the part: its corner and size in whole pixels."""
        height, width = params["shape"][:2]
        area = self.py_random.uniform(*self.scale)
        low, high = max(self.ratio[0], area), min(self.ratio[1], 1 / area)
        if low > high:
            low = high = self.ratio[0] if self.ratio[0] > 1 / area else self.ratio[1]
        ratio = math.exp(self.py_random.uniform(math.log(low), math.log(high)))
        area = min(area, ratio, 1 / ratio)
        part_width = min(width, max(1, round(width * math.sqrt(area * ratio))))
        part_height = min(height, max(1, round(height * math.sqrt(area / ratio))))
        return {
            "x_min": self.py_random.randint(0, width - part_width),
            "y_min": self.py_random.randint(0, height - part_height),
            "part_width": part_width,
            "part_height": part_height,
        }

    def apply(self, img: _Image, *_: Any, **params: Any) -> _Image:
        return self._cut(img, params, self.interpolation)

    def apply_to_mask(self, mask: _Image, *_: Any, **params: Any) -> _Image:
        return self._cut(mask, params, cv2.INTER_NEAREST_EXACT)

    def placed(self, params: Mapping[str, Any]) -> Placed:
        height, width = params["shape"][:2]
        part = (params["part_height"], params["part_width"])
        return resized(part, (height, width)) @ shifted(-params["x_min"], -params["y_min"]), (height, width)

    @staticmethod
    def _cut(array: _Image, params: dict[str, Any], interpolation: int) -> _Image:
        height, width = params["shape"][:2]
        x_min, y_min = params["x_min"], params["y_min"]
        part = array[y_min : y_min + params["part_height"], x_min : x_min + params["part_width"]]
        if part.shape[:2] == (height, width):
            return array
        return cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=interpolation)


class RandomShiftScale(Straight, A.DualTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Scales the picture about its centre and shifts it, both at random; the frame keeps its size.

    ``shift_limit`` is the range of the shift as a share of width and height, drawn once for each; ``scale_limit`` that
    of the factor minus 1. A single number v stands for [-v, v]. What the picture leaves bare is filled by
    ``border_mode``, with ``fill`` and ``fill_mask`` where that is constant.
    """

    _targets = _TARGETS

    class InitSchema(A.core.transforms_interface.BaseTransformInitSchema):  # type: ignore[misc]  # untyped
        shift_limit: _OrderedRange
        scale_limit: _OrderedRange
        interpolation: Literal[0, 1, 2, 3, 4]
        border_mode: Literal[0, 1, 2, 3, 4]
        fill: tuple[float, float, float] | float
        fill_mask: float

    def __init__(
        self,
        shift_limit: _Range = (-0.0625, 0.0625),
        scale_limit: _Range = (-0.1, 0.1),
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
        return np.vstack([self._matrix(params), [0.0, 0.0, 1.0]]), params["shape"][:2]

    @staticmethod
    def _matrix(params: Mapping[str, Any]) -> NDArray[np.float64]:
        """Pixel to pixel, whole numbers being the middles of pixels."""
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


class Rotate(matrix_geometry.Rotate):
    """With ``crop_border`` a pixel is always left; in the original it may round to none, and fails."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        drawn: dict[str, Any] = super().get_params_dependent_on_data(params, data)
        for axis, side in (("y", params["shape"][0]), ("x", params["shape"][1])):
            if self.crop_border and drawn[f"{axis}_max"] <= drawn[f"{axis}_min"]:
                drawn[f"{axis}_min"] = min(drawn[f"{axis}_min"], side - 1)
                drawn[f"{axis}_max"] = drawn[f"{axis}_min"] + 1
        return drawn


class Perspective(matrix_geometry.Perspective):
    """An image stays if its result would be thinner than half a pixel; the original divides by zero."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        drawn: dict[str, Any] = super().get_params_dependent_on_data(params, data)
        if min(drawn["max_height"], drawn["max_width"]) >= 1 and np.linalg.matrix_rank(drawn["matrix"]) == 3:
            return drawn
        height, width = params["shape"][:2]
        return {"matrix": np.eye(3), "max_height": height, "max_width": width, "matrix_bbox": np.eye(3)}
