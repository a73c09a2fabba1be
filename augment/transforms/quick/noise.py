"""Noise that is added to pixels, drawn as whole levels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import A, cv2
from augment.transforms.quick.quantiles import SEEDS, normals, poissons, whole_normals

_LEVELS = 255.0


def added(image: NDArray[np.uint8], levels: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The picture with these levels added, each sum cut at 0 and 255: a new array."""
    total = image + levels
    return np.clip(total, 0, 255, out=total).astype(np.uint8)


class GaussNoise(A.GaussNoise):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """The same distribution of pixels; the draws of the call are the same, those of the noise are not.

    The original draws floats and rounds them towards 0 before it adds them; here whole levels are drawn. Its noise has
    one of 65,536 seeds, ours one of 4,294,967,296; and what was drawn is told as that seed with mean and deviation, in
    levels, instead of the digest of a picture of noise.
    """

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        std, mean = self.py_random.uniform(*self.std_range), self.py_random.uniform(*self.mean_range)
        return {"std": std * _LEVELS, "mean": mean * _LEVELS, "seed": int(self.random_generator.integers(0, SEEDS))}

    def apply(self, img: NDArray[np.uint8], std: float, mean: float, seed: int, **_: Any) -> NDArray[np.uint8]:
        """``img`` is uint8 (H, W, 3); a new array."""
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
    """The same distribution of pixels; the draws of the call are the same, those of the noise are not."""

    def apply(
        self, img: NDArray[np.uint8], color_shift: float, intensity: float, random_seed: int, **_: Any
    ) -> NDArray[np.uint8]:
        """``img`` is uint8 (H, W, 3); a new array."""
        hls: NDArray[Any] = cv2.cvtColor(img.astype(np.float32) / np.float32(_LEVELS), cv2.COLOR_RGB2HLS)
        shape, seed = img.shape[:2], int(random_seed)
        rate = float(cv2.meanStdDev(hls)[1][1, 0]) * intensity
        hls[..., 0] += normals(shape, (seed, 0), mean=0, std=color_shift * intensity)
        brighter = poissons(shape, (seed, 1), rate=rate)
        brighter *= np.float32(intensity)
        brighter *= 1 - hls[..., 1]
        hls[..., 1] += brighter
        out: NDArray[Any] = cv2.convertScaleAbs(cv2.cvtColor(hls, cv2.COLOR_HLS2RGB), alpha=_LEVELS)  # none is below 0
        return out
