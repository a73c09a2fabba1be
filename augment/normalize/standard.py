"""Standard score: how many deviations a value lies from the mean.

    y = (x / max_pixel_value - mean) / std        for each channel, with fixed numbers
    y = (x - mean) / (std + epsilon)              with each picture's own, or each channel's; cut to ±limit where given

The fixed form is torchvision's ``Normalize`` behind ``ToTensor``. A picture's own is TensorFlow's
``per_image_standardization`` (which keeps std above 1/sqrt(number of values): no picture of more than one value is
below that), and with ``epsilon: 0.0001, limit: 20`` Albumentations' ``image`` and ``image_per_channel``. Deviations are
those of all values, divided by their number.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from augment import levels
from augment.document import JSON
from augment.normalize.by_dataset import ByDataset
from augment.normalize.methods import TOP, ByPicture, ByValue, Normalization
from augment.normalize.reading import LARGEST, Reader
from augment.normalize.statistics import DATASET, NAMED, PICTURE, PICTURE_CHANNELS, Channels

METHOD: Final = "standard"
_IMAGENET: Final = NAMED["imagenet"]


@dataclass(frozen=True, slots=True)
class Standard(ByValue):
    """With fixed numbers; by default those of ImageNet."""

    mean: Channels = _IMAGENET.mean
    std: Channels = _IMAGENET.std
    max_pixel_value: float = float(TOP)

    def canonical(self) -> dict[str, JSON]:
        return {
            "method": METHOD,
            "mean": list(self.mean),
            "std": list(self.std),
            "max_pixel_value": self.max_pixel_value,
        }

    def floats(self) -> NDArray[np.float64]:
        values = np.arange(levels.LEVELS, dtype=np.float64) / self.max_pixel_value
        return np.stack([(values - mean) / std for mean, std in zip(self.mean, self.std, strict=True)])


@dataclass(frozen=True, slots=True)
class PictureStandard(ByPicture):
    """With each picture's own numbers, or each channel's. A picture, or channel, of one value becomes 0."""

    statistics: str
    epsilon: float = 0.0
    limit: float | None = None

    def canonical(self) -> dict[str, JSON]:
        return {"method": METHOD, "statistics": self.statistics, "epsilon": self.epsilon, "limit": self.limit}

    def floats(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        counts = levels.count(image)
        if self.statistics == PICTURE:
            counts = np.tile(counts.sum(axis=0), (3, 1))
        known = [levels.mean_and_std(each) for each in counts]
        values = np.arange(levels.LEVELS, dtype=np.float64)
        made = np.stack([(values - mean) / (std + self.epsilon or np.inf) for mean, std in known])
        return made if self.limit is None else made.clip(-self.limit, self.limit)


def read(params: Reader) -> Normalization:
    """The method of these parameters."""
    found = params.statistics(_IMAGENET.mean, _IMAGENET.std, (DATASET, PICTURE, PICTURE_CHANNELS))
    if isinstance(found, str):
        params.absent(("max_pixel_value",), f"statistics: {found}")
        if found == DATASET:
            return ByDataset({"method": METHOD})
        epsilon = params.number("epsilon", 0.0, 0.0, LARGEST)
        limit = params.number("limit", LARGEST, 0.0, LARGEST, above=True) if params.is_given("limit") else None
        params.allow("limit")
        return PictureStandard(found, epsilon, limit)
    if params.is_given("statistics"):  # they are of values in [0, 1]
        params.absent(("max_pixel_value",), "statistics")
    top = params.number("max_pixel_value", float(TOP), 0.0, LARGEST, above=True, hint="; 255 is usual")
    mean, std = found
    return Standard(mean, std, top)
