"""Light: brightness, contrast, tone curves, histograms.

``Equalize`` works channel by channel, without strided copies of channels.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import A, cv2
from augment.transforms.entry import Extent, Params, TransformEntry, Unfit, cells

_ROUGHNESS = schema.number(0, limits.ROUGHNESS, "roughness of the pattern: clouds below 1, grain above", above=True)


def _plasma(params: Params, before: Extent) -> Iterable[Extent]:
    del params
    if max(before.surest) < 2:
        raise Unfit("its pattern needs an image of at least 2 pixels, not 1 x 1; put `SmallestMaxSize` before it")
    return (before,)


class Equalize(A.Equalize):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Equalize with the same bytes, channel by channel."""

    def apply(self, img: NDArray[np.uint8], mask: None, **params: Any) -> NDArray[np.uint8]:
        """Equalise ``img``, uint8 (H, W, 3), into a new array."""
        if self.mode != "cv" or not self.by_channels or mask is not None:
            slow: NDArray[np.uint8] = super().apply(img, mask, **params)
            return slow
        out: NDArray[Any] = cv2.merge([cv2.equalizeHist(plane) for plane in cv2.split(img)])
        return out


ENTRIES = (
    TransformEntry(
        "RandomBrightnessContrast",
        "Changes brightness and contrast.",
        {
            "brightness_limit": schema.pair(
                schema.number(-limits.FACTOR, limits.FACTOR, "added brightness as a share of 255 (or of the mean)"),
                scalar="symmetric",
            ),
            "contrast_limit": schema.pair(
                schema.number(-1, limits.FACTOR, "factor of the contrast minus 1"), scalar="symmetric"
            ),
            "brightness_by_max": schema.flag("measure brightness in shares of 255, else of the image's mean"),
            "ensure_safe_range": schema.flag("reduce both until no value is clipped"),
        },
    ),
    TransformEntry(
        "RandomGamma",
        "Raises every value to a power: dark parts change more than bright ones.",
        {
            "gamma_limit": schema.pair(
                schema.number(1, 1_000, "power in percent; 100 changes nothing"), scalar="from-one"
            )
        },
    ),
    TransformEntry(
        "RandomToneCurve",
        "Bends the tone curve by moving two points of it at random (Mnih et al.).",
        {
            "scale": schema.number(0, 1, "standard deviation of a point's move"),
            "per_channel": schema.flag("use one curve for each channel"),
        },
    ),
    TransformEntry(
        "CLAHE",
        "Equalises the histogram of each tile, with limited contrast.",
        {
            "clip_limit": schema.pair(schema.number(1, 100, "limit of the contrast"), scalar="from-one"),
            "tile_grid_size": cells(limits.TILES, "tiles, across and down"),
        },
    ),
    TransformEntry(
        "Equalize",
        "Equalises the histogram of the image.",
        {
            "mode": schema.choice({"cv": "as in OpenCV", "pil": "as in Pillow"}, "algorithm"),
            "by_channels": schema.flag("equalise each channel separately, else only the brightness"),
        },
        implementation=Equalize,
    ),
    TransformEntry(
        "AutoContrast",
        "Spreads the values of every channel from black to white.",
        {
            "cutoff": schema.number(0, 100, "percent of the values that are cut off at both ends"),
            "ignore": schema.choice({None: "none"}, "ignored value; Albumentations' implementation is broken"),
            "method": schema.choice({"cdf": "equalise the histogram", "pil": "stretch it, as Pillow does"}, "method"),
        },
    ),
    TransformEntry(
        "Illumination",
        "Lights or darkens the image from one side, one corner or a spot.",
        {
            "mode": schema.choice(
                {"linear": "from one side", "corner": "from a corner", "gaussian": "a spot"}, "shape of the light"
            ),
            "intensity_range": schema.pair(schema.number(0.01, 0.2, "strength")),
            "effect_type": schema.choice({"brighten": "brighter", "darken": "darker", "both": "either"}, "which way"),
            "angle_range": schema.pair(schema.number(0, 360, "direction in degrees, from one side")),
            "center_range": schema.pair(schema.number(0, 1, "place of the spot as a share of width and height")),
            "sigma_range": schema.pair(schema.number(0.2, 1, "size of the spot as a share of the image")),
        },
    ),
    TransformEntry(
        "PlasmaBrightnessContrast",
        "Changes brightness and contrast by a random pattern of clouds or grain.",
        {
            "brightness_range": schema.pair(schema.number(-1, 1, "added brightness as a share of 255")),
            "contrast_range": schema.pair(schema.number(-1, 1, "factor of the contrast minus 1")),
            "plasma_size": schema.integer(1, limits.OUTPUT_SIDE_PX, "accepted for old files, without effect"),
            "roughness": _ROUGHNESS,
        },
        output_size=_plasma,
    ),
    TransformEntry(
        "PlasmaShadow",
        "Darkens the image by a random pattern of clouds or grain.",
        {
            "shadow_intensity_range": schema.pair(schema.number(0, 1, "strength; 0 is none")),
            "roughness": _ROUGHNESS,
        },
        output_size=_plasma,
    ),
)
