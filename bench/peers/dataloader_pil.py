"""PyTorch's DataLoader with torchvision's default reading (Pillow) and its transforms v2."""

from typing import Any

from bench.peers import loader
from bench.trainer import Trainer
from bench.work import CROP_FLIP, RATIO, SCALE, SHORT_SIDE, SIZE

TITLE = "DataLoader, Pillow, torchvision v2"
NEEDS = {"torch": "torch", "PIL": "pillow", "bench.peers.torchvision_here": "torchvision"}


def run(trainer: Trainer) -> None:
    loader.run(trainer, Photographs(loader.files_in(trainer.work.folder), transforms(trainer.work.pipeline)))


def transforms(pipeline: str) -> Any:
    """Return the transforms of a pipeline. Antialiasing cannot be turned off for images of Pillow."""
    from torchvision.transforms import v2

    if pipeline == CROP_FLIP:
        first = [v2.RandomResizedCrop(SIZE, scale=SCALE, ratio=RATIO)]
    else:
        first = [v2.Resize(SHORT_SIDE), v2.RandomCrop(SIZE)]
    return v2.Compose([*first, v2.RandomHorizontalFlip(), v2.PILToTensor()])


class Photographs:
    """A map-style dataset of PyTorch: an index to an augmented image."""

    def __init__(self, files: list[str], transform: Any) -> None:
        self._files = files
        self._transform = transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        with open(self._files[index], "rb") as file:  # noqa: PTH123 - torchvision's pil_loader, line by line
            return self._transform(Image.open(file).convert("RGB"))
