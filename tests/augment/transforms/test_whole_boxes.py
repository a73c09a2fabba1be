"""Boxes pass Albumentations as shares in float32, and come out as the same pixels."""

import numpy as np

from augment.pipelines.document import parse
from augment.samples.sample import Sample
from augment.transforms.resolve import resolve
from augment.transforms.runtime.compiler import Compiled


def test_mirrored_boxes_of_whole_pixels_stay_whole() -> None:
    corners = np.array([[x, 3, x + 7, 20] for x in range(173)], np.float32)
    given = Sample(np.zeros((40, 180, 3), np.uint8), boxes=corners)
    out = Compiled(resolve(parse("transforms: [{HorizontalFlip: {p: 1}}]")))(
        given, seed=0, draw=0, view=0, key="k"
    ).sample
    assert out.boxes is not None
    assert np.array_equal(
        out.boxes, np.stack([173 - corners[:, 0], corners[:, 1], 180 - corners[:, 0], corners[:, 3]], 1)
    )
