"""Blur and sharpness: focus, motion, glass; stronger edges, or rings around them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import A
from augment.transforms.entry import TransformEntry
from augment.transforms.schema import Schema


def _kernel(high: int) -> Schema:
    return schema.pair(schema.integer(3, high, "side of the kernel in pixels, odd", odd=True), scalar="from-three")


def _sigma(axis: str) -> Schema:
    return schema.pair(schema.number(0, limits.SIGMA_PX, f"standard deviation {axis}, in pixels"), scalar="from-zero")


def _some_sigma(params: Mapping[str, Any]) -> str | None:
    lows = [limit[0] if isinstance(limit, list) else 0 for limit in (params["sigma_x_limit"], params["sigma_y_limit"])]
    return "sigma_x_limit and sigma_y_limit must both start above 0" if min(lows) < 0.05 else None


def _one_inside(params: Mapping[str, Any]) -> str | None:
    limit = params["beta_limit"] if isinstance(params["beta_limit"], list) else [0, params["beta_limit"]]
    return None if limit[0] < 1 < limit[1] else f"beta_limit is {limit}; 1 must be between its ends"


def _sigma_or_kernel(params: Mapping[str, Any]) -> str | None:
    def ends(limit: Any) -> tuple[float, float]:
        return (limit[0], limit[1]) if isinstance(limit, list) else (0, limit)

    if ends(params["sigma_limit"])[0] <= 0 and ends(params["blur_limit"])[0] <= 0:
        return "sigma_limit must start above 0 if blur_limit starts at 0, or there is no kernel"
    return None


class GlassBlur(A.GlassBlur):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """GlassBlur that leaves an image unblurred if no pixel has neighbours on all sides; the original fails."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        if min(params["shape"][:2]) <= 2 * self.max_delta:
            return {"dxy": np.zeros((0, self.iterations, 2), np.int64)}
        drawn: dict[str, Any] = super().get_params_dependent_on_data(params, data)
        return drawn


ENTRIES = (
    TransformEntry("Blur", "Averages over a random square.", {"blur_limit": _kernel(limits.MEDIAN_KERNEL_PX)}),
    TransformEntry(
        "MedianBlur", "Takes the median over a random square.", {"blur_limit": _kernel(limits.MEDIAN_KERNEL_PX)}
    ),
    TransformEntry(
        "GaussianBlur",
        "Blurs with a Gaussian.",
        {
            "blur_limit": schema.pair(
                schema.integer(0, limits.KERNEL_PX, "side of the kernel in pixels; 0: it follows from sigma"),
                scalar="from-zero",
            ),
            "sigma_limit": _sigma("of the Gaussian"),
        },
        rules=(("sigma_limit or blur_limit starts above 0", _sigma_or_kernel),),
    ),
    TransformEntry(
        "MotionBlur",
        "Blurs along a line, as a moving camera does.",
        {
            "blur_limit": _kernel(limits.KERNEL_PX),
            "allow_shifted": schema.flag("allow a line off the centre"),
            "angle_range": schema.pair(schema.number(0, 360, "direction in degrees")),
            "direction_range": schema.pair(schema.number(-1, 1, "-1 blurs backwards, 1 forwards, 0 both ways")),
        },
    ),
    TransformEntry(
        "AdvancedBlur",
        "Blurs with a generalised Gaussian of random shape and direction, with noise in the kernel.",
        {
            "blur_limit": _kernel(limits.KERNEL_PX),
            "sigma_x_limit": _sigma("along the first axis"),
            "sigma_y_limit": _sigma("along the second axis"),
            "rotate_limit": schema.pair(schema.number(-180, 180, "angle of the axes in degrees"), scalar="symmetric"),
            "beta_limit": schema.pair(
                schema.number(0, 100, "shape: 1 is a Gaussian, less is peaked, more is flat"), scalar="from-zero"
            ),
            "noise_limit": schema.pair(schema.number(0.01, limits.FACTOR, "factor of each kernel value")),
        },
        rules=(
            ("sigma_x_limit and sigma_y_limit start at 0.05 or above", _some_sigma),
            ("1 is between the ends of beta_limit", _one_inside),
        ),
    ),
    TransformEntry(
        "Defocus",
        "Blurs like a lens out of focus: each point becomes a disc.",
        {
            "radius": schema.pair(schema.integer(1, limits.NEIGHBOURHOOD_PX, "radius of the disc"), scalar="from-one"),
            "alias_blur": schema.pair(
                schema.number(0, limits.FACTOR, "softness of the disc's edge"), scalar="from-zero"
            ),
        },
    ),
    TransformEntry(
        "GlassBlur",
        "Swaps pixels with near ones, like frosted glass; slow.",
        {
            "sigma": schema.number(0.05, limits.SIGMA_PX, "standard deviation of the Gaussian before and after"),
            "max_delta": schema.integer(1, limits.NEIGHBOURHOOD_PX, "distance over which pixels are swapped"),
            "iterations": schema.integer(1, limits.ITERATIONS, "number of passes"),
            "mode": schema.choice({"fast": "all at once", "exact": "one after another"}, "order of the swaps"),
        },
        implementation=GlassBlur,
    ),
    TransformEntry(
        "ZoomBlur",
        "Averages over zooms, like a lens that zooms while the shutter is open.",
        {
            "max_factor": schema.pair(schema.number(1, limits.ZOOM_FACTOR, "largest zoom"), scalar="from-one"),
            "step_factor": schema.pair(schema.number(limits.ZOOM_STEP, 1, "step between zooms")),
        },
    ),
)


SHARPNESS_ENTRIES = (
    TransformEntry(
        "Sharpen",
        "Sharpens, and mixes the result with the image.",
        {
            "alpha": schema.pair(schema.number(0, 1, "share of the sharpened image")),
            "lightness": schema.pair(
                schema.number(0, limits.FACTOR, "weight of the middle pixel; 1 keeps the brightness")
            ),
            "method": schema.choice(
                {"kernel": "a kernel of 3 x 3", "gaussian": "the difference to a Gaussian"}, "sharpening filter"
            ),
            "kernel_size": schema.integer(3, limits.KERNEL_PX, "side of the Gaussian in pixels, odd", odd=True),
            "sigma": schema.number(0, limits.SIGMA_PX, "standard deviation of the Gaussian", above=True),
        },
    ),
    TransformEntry(
        "UnsharpMask",
        "Sharpens pixels that differ from the blurred image by more than a threshold.",
        {
            "blur_limit": _kernel(limits.KERNEL_PX),
            "sigma_limit": schema.pair(
                schema.number(0, limits.SIGMA_PX, "standard deviation; 0: it follows from the kernel"),
                scalar="from-zero",
            ),
            "alpha": schema.pair(schema.number(0, 1, "share of the sharpened image"), scalar="from-zero"),
            "threshold": schema.integer(0, 255, "least difference that is sharpened"),
        },
    ),
    TransformEntry(
        "Emboss",
        "Gives edges the look of a relief, and mixes the result with the image.",
        {
            "alpha": schema.pair(schema.number(0, 1, "share of the relief")),
            "strength": schema.pair(schema.number(0, limits.FACTOR, "height of the relief")),
        },
    ),
    TransformEntry(
        "RingingOvershoot",
        "Adds rings around edges, like those of a codec, with a sinc filter.",
        {
            "blur_limit": _kernel(limits.KERNEL_PX),
            "cutoff": schema.pair(schema.number(0.01, math.pi, "cut-off frequency in radians")),
        },
    ),
)
