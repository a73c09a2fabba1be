"""Means and deviations that have a name: of red, green and blue, of values in [0, 1], over all pixels of a dataset.

Their sources are read, not derived: who trains from published weights needs the numbers that these were trained with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

Channels: TypeAlias = tuple[float, float, float]

DATASET: Final = "dataset"
"""Of the split that is trained on: numbers that are known once a stream is declared."""
PICTURE: Final = "picture"
"""Of each picture, all channels together."""
PICTURE_CHANNELS: Final = "picture_channels"
"""Of each channel of each picture."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """The numbers and where they stand."""

    mean: Channels
    std: Channels
    source: str


NAMED: Final[Mapping[str, Statistics]] = MappingProxyType(
    {
        "imagenet": Statistics(
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
            "torchvision, what its models expect; huggingface/pytorch-image-models, timm/data/constants.py",
        ),
        "inception": Statistics(
            (0.5, 0.5, 0.5),
            (0.5, 0.5, 0.5),
            "huggingface/pytorch-image-models, timm/data/constants.py: IMAGENET_INCEPTION_MEAN, _STD",
        ),
        "clip": Statistics(
            (0.48145466, 0.4578275, 0.40821073),
            (0.26862954, 0.26130258, 0.27577711),
            "huggingface/pytorch-image-models, timm/data/constants.py: OPENAI_CLIP_MEAN, _STD",
        ),
        "cifar10": Statistics(
            (0.4914, 0.4822, 0.4465),
            (0.2470, 0.2435, 0.2616),
            "KellerJordan/cifar10-airbench, airbench94.py: over all pixels of the training pictures. The 0.2023, "
            "0.1994, 0.2010 of many scripts is a mean of the pictures' own deviations, another quantity",
        ),
        "cifar100": Statistics(
            (0.5071, 0.4865, 0.4409),
            (0.2673, 0.2564, 0.2762),
            "weiaicunzai/pytorch-cifar100, conf/global_settings.py, rounded to four digits",
        ),
        "svhn": Statistics(
            (0.4377, 0.4438, 0.4728),
            (0.1980, 0.2010, 0.1970),
            "VICO-UoE/DatasetCondensation, utils.py",
        ),
        "mnist": Statistics(
            (0.1307, 0.1307, 0.1307),
            (0.3081, 0.3081, 0.3081),
            "pytorch/examples, mnist/main.py; grey, so the same three times",
        ),
    }
)
