"""What annotations carry along, and is never looked at, stays only where it is true of the augmented picture."""

import numpy as np

from augment.annotations import Annotations
from augment.sample import Sample
from augment.targets import Vocabulary, annotations_of, fill


def test_what_is_carried_along_never_tells_of_a_place_once_pixels_have_moved() -> None:
    said = Annotations(
        boxes=((1.0, 1.0, 5.0, 5.0),),
        box_attributes=({"difficult": True, "pose": "Left", "bbox_visible": [1, 1, 2, 2], "rotation": 3},),
        extra={"caption": "a cat", "x": 5, "w": 20, "eye_x": 5, "segmentation": [[1, 1, 2, 2, 3, 3]], "index": 4},
    )
    vocabulary = Vocabulary((), (), frozenset({"boxes"}))
    sample = Sample(np.zeros((8, 8, 3), np.uint8))
    fill(sample, said, vocabulary)
    told = annotations_of(sample, said, vocabulary)
    assert told.box_attributes == ({"difficult": True},)
    assert told.extra == {"caption": "a cat", "index": 4}
