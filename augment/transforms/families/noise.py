"""Noise from sensors, transmission or film.

Noise is drawn as whole levels, several times faster than by a generator: random words index a table of quantiles. A
normal number is one of the 65,536 quantiles of the normal distribution at (k + 1/2) / 65,536, all equally likely. The
standard deviation is 0.99999 and no number is beyond 4.33; rounded to whole levels, the noise cannot be
told from exact normal noise. The words are those of SFC64 (by Chris Doty-Humphrey), whose stream NumPy keeps fixed.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import A, cv2
from augment.transforms.entry import TransformEntry
from augment.transforms.families.dropout import for_channels, painted
from augment.transforms.schema import Schema

_NOISE_PARAMS: Mapping[str, Mapping[str, Schema]] = {
    "uniform": {
        "ranges": schema.array(
            schema.pair(schema.number(-1, 1, "range of the noise as a share of 255")),
            1,
            3,
            "one range, or one for each channel",
        )
    },
    "gaussian": {
        "mean_range": schema.pair(schema.number(-1, 1, "mean as a share of 255")),
        "std_range": schema.pair(schema.number(0, 1, "standard deviation as a share of 255")),
    },
    "laplace": {
        "mean_range": schema.pair(schema.number(-1, 1, "mean as a share of 255")),
        "scale_range": schema.pair(schema.number(0, 1, "scale as a share of 255")),
    },
    "beta": {
        "alpha_range": schema.pair(schema.number(0.01, 100, "first shape parameter")),
        "beta_range": schema.pair(schema.number(0.01, 100, "second shape parameter")),
        "scale_range": schema.pair(schema.number(0, 1, "scale as a share of 255")),
    },
}


def _noise_branch(kind: str, properties: Mapping[str, Schema]) -> Schema:
    named = {"noise_type": schema.choice({kind: kind}, "the same as noise_type")} | dict(properties)
    return schema.record(named, f"parameters of {kind} noise", required=list(properties)) | {"title": kind}


def _params_fit_type(params: Mapping[str, Any]) -> str | None:
    kind, given = params["noise_type"], params["noise_params"]
    if given is None or (
        set(given) - {"noise_type"} == set(_NOISE_PARAMS[kind]) and given.get("noise_type", kind) == kind
    ):
        return None
    return f"noise_params of {kind} noise are {', '.join(_NOISE_PARAMS[kind])}"


def _ranges_fit_mode(params: Mapping[str, Any]) -> str | None:
    ranges = (params["noise_params"] or {}).get("ranges", [None])
    if len(ranges) == 1 or (len(ranges) == 3 and params["spatial_mode"] != "shared"):
        return None
    return f"noise_params.ranges has {len(ranges)} ranges; it needs one, or (unless spatial_mode is shared) three"


_NUM_QUANTILES: Final = 2**16
SEEDS: Final = 2**32
"""Number of seeds; a seed is in [0, SEEDS)."""
Seed = int | tuple[int, ...]
"""Seed of one transform, optionally followed by the number of one of its noises."""


@functools.cache
def quantiles() -> NDArray[np.float32]:
    """Return the quantiles, float32 (65536,), ascending; read-only."""
    values: NDArray[np.float32] = special.ndtri((np.arange(_NUM_QUANTILES) + 0.5) / _NUM_QUANTILES).astype(np.float32)
    values.flags.writeable = False
    return values


def normals(shape: tuple[int, ...], seed: Seed, *, mean: float, std: float) -> NDArray[np.float32]:
    """Draw normal numbers: float32, a new array."""
    picked = quantiles().take(_words(math.prod(shape), seed), mode="wrap").reshape(shape)
    return _scaled(picked, mean, std)


def whole_normals(shape: tuple[int, ...], seed: Seed, *, mean: float, std: float) -> NDArray[np.int16]:
    """Draw the same numbers rounded towards 0: int16, a new array. Mean and deviation are in levels and must fit."""
    words = _words(math.prod(shape), seed)
    if len(words) < _NUM_QUANTILES:
        return normals(shape, seed, mean=mean, std=std).astype(np.int16)
    return _scaled(quantiles(), mean, std).astype(np.int16).take(words, mode="wrap").reshape(shape)


def poissons(shape: tuple[int, ...], seed: Seed, *, rate: float) -> NDArray[np.float32]:
    """Draw Poisson numbers, to the precision of 65,536 words: float32, a new array."""
    counts = np.arange(math.ceil(rate + 12 * math.sqrt(rate) + 12))
    upto = np.rint(special.pdtr(counts, rate) * _NUM_QUANTILES).astype(np.int64)
    table = np.repeat(counts.astype(np.float32), np.diff(upto, prepend=0))
    return table.take(_words(math.prod(shape), seed), mode="wrap").reshape(shape)


def _scaled(numbers: NDArray[np.float32], mean: float, std: float) -> NDArray[np.float32]:
    scaled = numbers * np.float32(std)
    scaled += np.float32(mean)
    return scaled


def _words(count: int, seed: Seed) -> NDArray[np.uint16]:
    longs: NDArray[np.uint64] = np.random.SFC64(seed).random_raw(-(-count // 4))
    return longs.astype("<u8", copy=False).view("<u2")[:count]


_LEVELS = 255.0


def added(image: NDArray[np.uint8], levels: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Add levels to the image, each sum clipped at 0 and 255: a new array."""
    total = image + levels
    return np.clip(total, 0, 255, out=total).astype(np.uint8)


class GaussNoise(A.GaussNoise):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """GaussNoise with the same distribution of pixels; the call's draws are the same, those of the noise are not.

    The original draws floats and rounds them towards 0 before it adds them; here whole levels are drawn. The original's
    noise has one of 65,536 seeds, ours one of 4,294,967,296. Provenance holds that seed with mean and deviation, in
    levels, instead of the digest of an image of noise.
    """

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        std, mean = self.py_random.uniform(*self.std_range), self.py_random.uniform(*self.mean_range)
        return {"std": std * _LEVELS, "mean": mean * _LEVELS, "seed": int(self.random_generator.integers(0, SEEDS))}

    def apply(self, img: NDArray[np.uint8], std: float, mean: float, seed: int, **_: Any) -> NDArray[np.uint8]:
        """Add noise to ``img``, uint8 (H, W, 3), in a new array."""
        height, width, channels = img.shape
        share = self.noise_scale_factor
        if share == 1:
            shape = (height, width, channels) if self.per_channel else (height, width)
            levels = whole_normals(shape, seed, mean=mean, std=std)
        else:
            small = (max(1, int(height * share)), max(1, int(width * share)))
            numbers = normals((*small, channels) if self.per_channel else small, seed, mean=mean, std=std)
            levels = cv2.resize(numbers, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.int16)
        if not self.per_channel:
            levels = cv2.cvtColor(levels.view(np.uint16), cv2.COLOR_GRAY2RGB).view(np.int16)
        return added(img, levels)


class ISONoise(A.ISONoise):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """ISONoise with the same distribution of pixels; the call's draws are the same, those of the noise are not."""

    def apply(
        self, img: NDArray[np.uint8], color_shift: float, intensity: float, random_seed: int, **_: Any
    ) -> NDArray[np.uint8]:
        """Add noise to ``img``, uint8 (H, W, 3), in a new array."""
        hls: NDArray[Any] = cv2.cvtColor(img.astype(np.float32) / np.float32(_LEVELS), cv2.COLOR_RGB2HLS)
        shape, seed = img.shape[:2], int(random_seed)
        rate = float(cv2.meanStdDev(hls)[1][1, 0]) * intensity
        hls[..., 0] += normals(shape, (seed, 0), mean=0, std=color_shift * intensity)
        brighter = poissons(shape, (seed, 1), rate=rate)
        brighter *= np.float32(intensity)
        brighter *= 1 - hls[..., 1]
        hls[..., 1] += brighter
        out: NDArray[Any] = cv2.convertScaleAbs(cv2.cvtColor(hls, cv2.COLOR_HLS2RGB), alpha=_LEVELS)  # all are >= 0
        return out


class SaltAndPepper(A.SaltAndPepper):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """SaltAndPepper with the same bytes from the same draws."""

    def apply(
        self, img: NDArray[np.uint8], salt_mask: NDArray[Any], pepper_mask: NDArray[Any], **_: Any
    ) -> NDArray[Any]:
        """Add white and black pixels to ``img``, uint8 (H, W, 3), in a new array."""
        return painted(painted(img, 0, for_channels(pepper_mask)), 255, for_channels(salt_mask))


ENTRIES = (
    TransformEntry(
        "GaussNoise",
        "Adds Gaussian noise.",
        {
            "std_range": schema.pair(schema.number(0, 1, "standard deviation as a share of 255")),
            "mean_range": schema.pair(schema.number(-1, 1, "mean as a share of 255")),
            "per_channel": schema.flag("draw each channel separately, else the same noise for all"),
            "noise_scale_factor": schema.number(0.05, 1, "draw the noise at this share of the size and enlarge it"),
        },
        implementation=GaussNoise,
    ),
    TransformEntry(
        "AdditiveNoise",
        "Adds noise of a chosen distribution: one value for all, for each pixel, or for each pixel in all channels.",
        {
            "noise_type": schema.choice(
                {"uniform": "uniform", "gaussian": "Gaussian", "laplace": "Laplace", "beta": "beta"}, "distribution"
            ),
            "spatial_mode": schema.choice(
                {
                    "constant": "one value for each channel",
                    "per_pixel": "each value separately",
                    "shared": "each pixel, the same in all channels",
                },
                "scope of a drawn value",
            ),
            "noise_params": schema.optional(
                schema.either(
                    "parameters of the distribution",
                    *(_noise_branch(kind, properties) for kind, properties in _NOISE_PARAMS.items()),
                ),
                "defaults for the distribution",
            ),
            "approximation": schema.number(0.05, 1, "draw the noise at this share of the size and enlarge it"),
        },
        rules=(
            ("noise_params must fit noise_type", _params_fit_type),
            ("one range, or three unless spatial_mode is shared", _ranges_fit_mode),
        ),
    ),
    TransformEntry(
        "ISONoise",
        "Adds the noise of a camera at high sensitivity, in colour and in brightness.",
        {
            "color_shift": schema.pair(schema.number(0, 1, "strength in colour, as a share of the colour circle")),
            "intensity": schema.pair(schema.number(0, limits.FACTOR, "strength in brightness")),
        },
        implementation=ISONoise,
    ),
    TransformEntry(
        "MultiplicativeNoise",
        "Multiplies values by a random factor.",
        {
            "multiplier": schema.pair(schema.number(0, limits.FACTOR, "factor; 1 changes nothing")),
            "per_channel": schema.flag("draw each channel separately"),
            "elementwise": schema.flag("draw each pixel separately"),
        },
    ),
    TransformEntry(
        "ShotNoise",
        "Adds the noise of single photons: brighter parts are noisier.",
        {"scale_range": schema.pair(schema.number(0.001, limits.FACTOR, "strength; more is less light"))},
    ),
    TransformEntry(
        "SaltAndPepper",
        "Turns single pixels white or black.",
        {
            "amount": schema.pair(schema.number(0, 1, "share of the pixels")),
            "salt_vs_pepper": schema.pair(schema.number(0, 1, "share of them that turns white")),
        },
        implementation=SaltAndPepper,
    ),
)
