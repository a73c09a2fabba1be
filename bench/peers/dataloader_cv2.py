"""PyTorch's DataLoader with cv2.imread and Albumentations, as Albumentations' own examples have it."""

from typing import Any

import numpy as np

from bench.peers import loader
from bench.trainer import Trainer
from bench.work import CROP_FLIP, RATIO, SCALE, SHORT_SIDE, SIZE

TITLE = "DataLoader, cv2.imread, Albumentations"
NEEDS = {"torch": "torch", "cv2": "opencv-python-headless", "albumentations": "albumentations"}


def run(trainer: Trainer) -> None:
    loader.run(trainer, Photographs(loader.files_in(trainer.work.folder), transforms(trainer.work.pipeline)))


def transforms(pipeline: str) -> Any:
    import albumentations as A  # noqa: N812 - as its users write it

    if pipeline == CROP_FLIP:
        return A.Compose([A.RandomResizedCrop((SIZE, SIZE), scale=SCALE, ratio=RATIO), A.HorizontalFlip(p=0.5)])
    return A.Compose([A.SmallestMaxSize(SHORT_SIDE), A.RandomCrop(SIZE, SIZE), A.HorizontalFlip(p=0.5)])


class Photographs:
    """A map-style dataset of PyTorch: an index to an augmented image."""

    def __init__(self, files: list[str], transform: Any) -> None:
        self._files = files
        self._transform = transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray[Any, Any]:
        import cv2

        image = cv2.imread(self._files[index], cv2.IMREAD_COLOR_RGB)
        augmented: np.ndarray[Any, Any] = self._transform(image=image)["image"]
        return augmented
