"""Losses of quality from codecs, lenses and small sensors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import A, cv2
from augment.transforms.entry import UNBOUNDED, TransformEntry, interpolation

_pixel = A.augmentations.pixel.functional


class Downscale(A.Downscale):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Downscale that keeps at least one pixel of a side; the original may round to none, and fails."""

    def apply(self, img: NDArray[np.uint8], scale: float, **_: Any) -> NDArray[np.uint8]:
        """Make ``img``, uint8 (H, W, 3), smaller and larger again, in a new array."""
        height, width = img.shape[:2]
        ways = self.interpolation_pair
        least = min(round(height * scale), round(width * scale)) < 1
        size = (max(1, round(width * scale)), max(1, round(height * scale))) if least else None
        factor = 0.0 if least else scale
        smaller = cv2.resize(img, size, fx=factor, fy=factor, interpolation=ways["downscale"])
        return np.asarray(cv2.resize(smaller, (width, height), interpolation=ways["upscale"]), np.uint8)


class Superpixels(A.Superpixels):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Superpixels for any size: a small image is unchanged, a thin one keeps a pixel; the original fails."""

    def apply(self, img: NDArray[np.uint8], replace_samples: Any, n_segments: int, **params: Any) -> NDArray[np.uint8]:
        """Segment ``img``, uint8 (H, W, 3): a new array, or the given one."""
        height, width = img.shape[:2]
        scale = min(1.0, (self.max_size or UNBOUNDED) / max(height, width))
        inner = max(1, int(height * scale)), max(1, int(width * scale))
        if inner[0] * inner[1] < n_segments or not np.any(replace_samples):
            return img
        if min(height * scale, width * scale) >= 1:
            return np.asarray(super().apply(img, replace_samples, n_segments, **params), np.uint8)
        thin = cv2.resize(img, inner[::-1], interpolation=self.interpolation)
        segmented = _pixel.superpixels(thin, n_segments, replace_samples, None, self.interpolation)
        return np.asarray(cv2.resize(segmented, (width, height), interpolation=self.interpolation), np.uint8)


ENTRIES = (
    TransformEntry(
        "ImageCompression",
        "Compresses the image and decodes it again.",
        {
            "quality_range": schema.pair(schema.integer(1, 100, "quality of the codec")),
            "compression_type": schema.choice({"jpeg": "JPEG", "webp": "WebP"}, "the codec"),
        },
    ),
    TransformEntry(
        "Downscale",
        "Makes the image smaller and then larger again.",
        {
            "scale_range": schema.pair(schema.number(0.01, 1, "smaller size, as a share of the side")),
            "interpolation_pair": schema.record(
                {"downscale": interpolation("filter for shrinking"), "upscale": interpolation("filter for enlarging")},
                "filters that compute pixels between pixels",
                required=("downscale", "upscale"),
            ),
        },
        implementation=Downscale,
    ),
    TransformEntry(
        "Superpixels",
        "Paints random segments of like colour with their mean.",
        {
            "p_replace": schema.pair(schema.number(0, 1, "share of the segments that is painted"), scalar="from-zero"),
            "n_segments": schema.pair(schema.integer(1, limits.SEGMENTS, "number of segments"), scalar="from-one"),
            "max_size": schema.integer(
                8,
                limits.SEGMENTED_SIDE_PX,
                "longer side of the image that is segmented, in pixels; larger images become blurred",
            ),
            "interpolation": interpolation(),
        },
        implementation=Superpixels,
    ),
    TransformEntry(
        "ChromaticAberration",
        "Shifts red and blue against green towards the edges, like a cheap lens.",
        {
            "primary_distortion_limit": schema.pair(
                schema.number(-1, 1, "strength near the centre"), scalar="symmetric"
            ),
            "secondary_distortion_limit": schema.pair(
                schema.number(-1, 1, "strength near the edge"), scalar="symmetric"
            ),
            "mode": schema.choice(
                {"green_purple": "green and purple", "red_blue": "red and blue", "random": "either"}, "fringes"
            ),
            "interpolation": interpolation(warps=True),
        },
    ),
)
