"""Work of a run: plain data, sent as JSON to its process."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

CROP_FLIP = "crop-flip"
"""Random area of 8-100 %, aspect 3/4-4/3, to 224 x 224, bilinear; mirrored half the time."""

RESIZE_CROP_FLIP = "resize-crop-flip"
"""Shorter side to 256, bilinear; a random 224 x 224 of it; mirrored half the time."""

SIZE, SHORT_SIDE, SCALE, RATIO = 224, 256, (0.08, 1.0), (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True)
class Work:
    """A folder of photographs (class folders), the pipeline, and the amount that is measured.

    The first ``num_warm`` batches are not measured. The source continues after the last measured batch, so that batches
    fetched ahead at the end balance those fetched ahead at the beginning. ``home`` is the service's, kept between runs.
    """

    folder: str
    home: str
    pipeline: str = CROP_FLIP
    batch_size: int = 64
    num_warm: int = 8
    num_batches: int = 40
    num_workers: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_images(self) -> int:
        """Number of images in the folder, such that all measured batches are in one epoch."""
        return (self.num_warm + self.num_batches + 12) * self.batch_size

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Work":
        return cls(**json.loads(text))


def spec(pipeline: str) -> dict[str, Any]:
    """Return one of the pipelines as ours."""
    firsts: dict[str, list[dict[str, Any]]] = {
        CROP_FLIP: [{"RandomResizedCrop": {"size": [SIZE, SIZE], "scale": list(SCALE), "ratio": list(RATIO)}}],
        RESIZE_CROP_FLIP: [
            {"SmallestMaxSize": {"max_size": SHORT_SIDE}},
            {"RandomCrop": {"height": SIZE, "width": SIZE}},
        ],
    }
    return {"transforms": [*firsts[pipeline], {"HorizontalFlip": {"p": 0.5}}]}
