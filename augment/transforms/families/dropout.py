"""Dropout: transforms that erase parts of the image.

Dropped or painted pixels are written through a mask, not selected from two whole images.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import A, corrected, cv2
from augment.transforms.entry import (
    ALL_TARGETS,
    MissingTargetError,
    Params,
    TransformEntry,
    cells,
    fill,
    indices,
    needs,
)
from augment.transforms.schema import Schema

_FILL = schema.either(
    "content of the holes",
    *fill("")["anyOf"],
    schema.choice(
        {
            "random": "random pixels",
            "random_uniform": "one random colour for each hole",
            "inpaint_telea": "inpainted by Telea's method",
            "inpaint_ns": "inpainted by the Navier-Stokes method",
        },
        "filling method",
    )
    | {"title": "filling method"},
)
_FILL_MASK = schema.optional(schema.integer(0, 255, "class index of the mask in the holes"), "the mask is kept")
_FILLS = {"fill": _FILL, "fill_mask": _FILL_MASK}
_NUM_HOLES = schema.pair(schema.integer(1, limits.HOLES, "number of holes"))


def _hole(side: str) -> Schema:
    span = {"type": "array", "minItems": 2, "maxItems": 2, "x-ordered": True}
    return schema.either(
        f"{side} of a hole: a share of the image's, below 1, or whole pixels, from 1",
        span | {"items": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "maximum": 1}, "title": "share"},
        span | {"items": {"type": "integer", "minimum": 1, "maximum": limits.OUTPUT_SIDE_PX}, "title": "pixels"},
    )


def _same_unit(params: Mapping[str, Any]) -> str | None:
    if (params["hole_height_range"][1] >= 1) == (params["hole_width_range"][1] >= 1):
        return None
    return "hole_height_range and hole_width_range must both be shares (below 1) or both be pixels"


def _units(params: Mapping[str, Any]) -> str | None:
    sides = params["unit_size_range"]
    return None if sides is None or sides[0] < sides[1] else "unit_size_range excludes its end; raise it by 1"


def _lengths(params: Mapping[str, Any]) -> str | None:
    longest = max(
        value if isinstance(value, int | float) else value[1]
        for value in (params["mask_x_length"], params["mask_y_length"])
    )
    return None if longest > 0 else "mask_x_length or mask_y_length must be more than 0"


def _some_target(params: Mapping[str, Any]) -> str | None:
    if params["mask_indices"] is None and params["bbox_labels"] is None:
        return "give mask_indices or bbox_labels, for the objects to cut holes into"
    return None


def _named_target(params: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({"boxes" if params["mask_indices"] is None else "mask"})


def _least_hole(params: Params) -> tuple[int, int]:
    height, width = params["hole_height_range"], params["hole_width_range"]
    return (height[0], width[0]) if height[1] >= 1 else (1, 1)


def _grid_cell(params: Params) -> tuple[int, int]:
    if params["holes_number_xy"] is not None:
        rows, columns = params["holes_number_xy"]  # in this order, despite its name
        return rows, columns
    side = 2 if params["unit_size_range"] is None else params["unit_size_range"][1]
    return side, side


def _longest_strip(params: Params) -> tuple[int, int]:
    return params["mask_y_length"][1], params["mask_x_length"][1]


_Array = NDArray[Any]
_pixel = A.augmentations.pixel.functional


class _Erased:
    """Mixin that keeps boxes, except those whose every pixel is erased.

    The original shrinks each box to its remaining pixels and rounds untouched boxes to whole pixels, while masks and
    keypoints stay, so that they contradict each other.
    """

    def apply_to_bboxes(self, bboxes: _Array, *, holes: _Array, **params: Any) -> _Array:
        height, width = params["shape"][:2]
        if not len(holes) or not len(bboxes):
            return bboxes
        left = np.ones((height, width), bool)
        for x_min, y_min, x_max, y_max in np.asarray(holes)[:, :4].astype(int):
            left[max(y_min, 0) : max(y_max, 0), max(x_min, 0) : max(x_max, 0)] = False
        return boxes_seen(bboxes, left)


def boxes_seen(bboxes: _Array, left: NDArray[np.bool_]) -> _Array:
    """Return the boxes, in shares of the frame, that still have a pixel."""
    height, width = left.shape
    totals = cv2.integral(left.astype(np.uint8), sdepth=cv2.CV_64F)
    x_min, y_min = (np.floor(bboxes[:, i] * side).astype(int) for i, side in ((0, width), (1, height)))
    x_max, y_max = (np.ceil(bboxes[:, i] * side - 1e-3).astype(int) for i, side in ((2, width), (3, height)))
    x_min, x_max = np.clip(x_min, 0, width), np.clip(x_max, 0, width)
    y_min, y_max = np.clip(y_min, 0, height), np.clip(y_max, 0, height)
    seen = totals[y_max, x_max] - totals[y_min, x_max] - totals[y_max, x_min] + totals[y_min, x_min]
    left_over: _Array = bboxes[seen > 0]
    return left_over


class Erasing(_Erased, A.Erasing):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Erasing that keeps an image if no rectangle of the range fits it; the original fails because it has no seed."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        return {"seed": 0, **super().get_params_dependent_on_data(params, data)}


class ConstrainedCoarseDropout(_Erased, A.ConstrainedCoarseDropout):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """ConstrainedCoarseDropout that refuses a sample without the target that names objects; the original only warns."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        key, target = ("mask", "mask") if self.mask_indices is not None else ("bboxes", "boxes")
        if key not in data:
            raise MissingTargetError(target)
        return super().get_params_dependent_on_data(params, data)  # type: ignore[no-any-return]  # untyped


class PixelDropout(A.PixelDropout):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """PixelDropout with the same bytes from the same draws. Boxes stay.

    The original paints each box into a mask of the image's size and cuts it to its remaining pixels.
    """

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        image, mask = data["image"], _pixel.get_mask_array(data)
        drawn = {
            "drop_mask": self._drop_mask(image.shape),
            "drop_values": _pixel.prepare_drop_values(image, self.drop_value, self.random_generator),
            "mask_drop_mask": None,
            "mask_drop_values": None,
        }
        if self.mask_drop_value is not None and mask is not None:
            drawn["mask_drop_mask"] = self._drop_mask(mask.shape)
            drawn["mask_drop_values"] = _pixel.prepare_drop_values(mask, self.mask_drop_value, self.random_generator)
        return drawn

    def apply_to_bboxes(self, bboxes: _Array, *_: Any, **__: Any) -> _Array:
        return bboxes

    def apply(self, img: _Array, drop_mask: _Array, drop_values: _Array, **_: Any) -> _Array:
        return painted(img, drop_values, drop_mask)

    def _drop_mask(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Draw as ``Generator.choice([True, False], p=[p, 1 - p])`` does, without a look-up for each number."""
        share = self.dropout_prob / (self.dropout_prob + (1 - self.dropout_prob))
        if self.per_channel or len(shape) == 2:
            everywhere: NDArray[np.bool_] = self.random_generator.random(shape) < share
            return everywhere
        return for_channels(self.random_generator.random(shape[:2]) < share)


def painted(image: _Array, values: _Array | int, mask: NDArray[np.bool_]) -> _Array:
    """Return a new image with these values where the mask is True; mask and values have the image's shape."""
    out = image.copy()
    np.copyto(out, values, where=mask)
    return out


def for_channels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Repeat a mask (H, W) for three channels, (H, W, 3)."""
    wide: _Array = cv2.cvtColor(mask.view(np.uint8), cv2.COLOR_GRAY2RGB)
    return wide.view(np.bool_)


ENTRIES = (
    TransformEntry(
        "CoarseDropout",
        "Cuts random rectangles out of the image (DeVries and Taylor, 2017).",
        {
            "num_holes_range": _NUM_HOLES,
            "hole_height_range": _hole("height"),
            "hole_width_range": _hole("width"),
        }
        | _FILLS,
        targets=ALL_TARGETS,
        rules=(("both ranges are shares, or both are pixels", _same_unit),),
        implementation=corrected(_Erased, A.CoarseDropout),
        output_size=needs(_least_hole, "its smallest hole must fit inside"),
    ),
    TransformEntry(
        "ConstrainedCoarseDropout",
        "Cuts random rectangles out of chosen objects.",
        {
            "num_holes_range": schema.pair(schema.integer(1, limits.GRID_CELLS, "number of holes for each object")),
            "hole_height_range": schema.pair(schema.number(0, 1, "height of a hole as a share of the object's")),
            "hole_width_range": schema.pair(schema.number(0, 1, "width of a hole as a share of the object's")),
            "mask_indices": schema.optional(indices(1, 65_535, "classes of the mask"), "boxes are used"),
            "bbox_labels": schema.optional(indices(0, 16_777_216, "class indices of boxes"), "the mask is used"),
        }
        | _FILLS,
        targets=ALL_TARGETS,
        rules=(("mask_indices or bbox_labels is given", _some_target),),
        requires_by=_named_target,
        implementation=ConstrainedCoarseDropout,
    ),
    TransformEntry(
        "Erasing",
        "Erases one random rectangle of random area and shape (Zhong et al., 2020).",
        {
            "scale": schema.pair(schema.number(0.0001, 1, "area of the rectangle as a share of the image's")),
            "ratio": schema.pair(schema.number(0.01, 100, "width of the rectangle divided by its height")),
        }
        | _FILLS,
        targets=ALL_TARGETS,
        implementation=Erasing,
    ),
    TransformEntry(
        "GridDropout",
        "Erases the same part of each cell of a grid (Chen et al., 2020).",
        {
            "ratio": schema.number(0, 1, "side of the hole as a share of the cell's", above=True),
            "random_offset": schema.flag("shift the holes at random"),
            "unit_size_range": schema.optional(
                schema.pair(schema.integer(2, limits.OUTPUT_SIDE_PX, "side of a cell in pixels")),
                "from holes_number_xy, or a tenth of the image",
            ),
            "holes_number_xy": schema.optional(
                cells(limits.GRID_CELLS, "cells across and down"), "from unit_size_range"
            ),
            "shift_xy": schema.array(
                {"type": "integer", "minimum": 0, "maximum": limits.OUTPUT_SIDE_PX}, 2, 2, "shift in pixels, not random"
            ),
        }
        | _FILLS,
        targets=ALL_TARGETS,
        rules=(("unit_size_range excludes its end", _units),),
        implementation=corrected(_Erased, A.GridDropout),
        output_size=needs(_grid_cell, "a cell of its grid must fit inside"),
    ),
    TransformEntry(
        "XYMasking",
        "Erases whole columns and rows of random width.",
        {
            "num_masks_x": schema.pair(schema.integer(0, limits.HOLES, "number of columns"), scalar="from-zero"),
            "num_masks_y": schema.pair(schema.integer(0, limits.HOLES, "number of rows"), scalar="from-zero"),
            "mask_x_length": schema.pair(
                schema.integer(0, limits.OUTPUT_SIDE_PX, "width of a column in pixels"), scalar="from-zero"
            ),
            "mask_y_length": schema.pair(
                schema.integer(0, limits.OUTPUT_SIDE_PX, "height of a row in pixels"), scalar="from-zero"
            ),
        }
        | _FILLS,
        targets=ALL_TARGETS,
        rules=(("mask_x_length or mask_y_length is more than 0", _lengths),),
        implementation=corrected(_Erased, A.XYMasking),
        output_size=needs(_longest_strip, "its longest strip must fit inside"),
    ),
    TransformEntry(
        "PixelDropout",
        "Erases single pixels.",
        {
            "dropout_prob": schema.number(0, 1, "share of the pixels"),
            "per_channel": schema.flag("draw each channel separately"),
            "drop_value": schema.either(
                "value of the erased pixels",
                *schema.optional(fill(""), "a random value for each channel")["anyOf"],
            ),
            "mask_drop_value": schema.optional(
                schema.integer(0, 255, "class index of the mask there"), "the mask is kept"
            ),
        },
        targets=ALL_TARGETS,
        implementation=PixelDropout,
    ),
    TransformEntry(
        "ChannelDropout",
        "Fills one or two channels with one value.",
        {
            "channel_drop_range": schema.pair(schema.integer(1, 2, "number of channels")),
            "fill": schema.number(0, 255, "the value"),
        },
    ),
)
