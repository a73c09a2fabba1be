"""Sharpness: edges made stronger, or rings about them."""

import math

from augment.transforms import limits, schema
from augment.transforms.entry import Entry

FAMILY = "sharpness"

_KERNEL = schema.pair(
    schema.integer(3, limits.KERNEL_PX, "side of the kernel in pixels, odd", odd=True), scalar="from-three"
)

ENTRIES = (
    Entry(
        "Sharpen",
        "Sharpens, and mixes the result with the picture.",
        {
            "alpha": schema.pair(schema.number(0, 1, "share of the sharpened picture")),
            "lightness": schema.pair(
                schema.number(0, limits.FACTOR, "weight of the middle pixel; 1 keeps the brightness")
            ),
            "method": schema.choice({"kernel": "a kernel of 3 x 3", "gaussian": "the difference to a Gaussian"}, "how"),
            "kernel_size": schema.integer(3, limits.KERNEL_PX, "side of the Gaussian in pixels, odd", odd=True),
            "sigma": schema.number(0, limits.SIGMA_PX, "standard deviation of the Gaussian", above=True),
        },
    ),
    Entry(
        "UnsharpMask",
        "Sharpens where the picture differs from its blur by more than a threshold.",
        {
            "blur_limit": _KERNEL,
            "sigma_limit": schema.pair(
                schema.number(0, limits.SIGMA_PX, "standard deviation; 0 follows from the kernel"), scalar="from-zero"
            ),
            "alpha": schema.pair(schema.number(0, 1, "share of the sharpened picture"), scalar="from-zero"),
            "threshold": schema.integer(0, 255, "difference from which on it acts"),
        },
    ),
    Entry(
        "Emboss",
        "Gives edges the look of a relief, and mixes the result with the picture.",
        {
            "alpha": schema.pair(schema.number(0, 1, "share of the relief")),
            "strength": schema.pair(schema.number(0, limits.FACTOR, "height of the relief")),
        },
    ),
    Entry(
        "RingingOvershoot",
        "Rings about edges, as a codec leaves them: a sinc filter.",
        {
            "blur_limit": _KERNEL,
            "cutoff": schema.pair(schema.number(0.01, math.pi, "cut-off frequency in radians")),
        },
    ),
)
