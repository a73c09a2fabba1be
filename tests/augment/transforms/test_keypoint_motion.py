"""Unused annotations are kept only if they are still true of the augmented image."""

import numpy as np
import pytest

from augment.datasets.targets import MAX_MASK_BYTES, Vocabulary, annotations_of, fill
from augment.errors import RecordError
from augment.samples.annotations import Annotations
from augment.samples.sample import Sample


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


def test_names_that_only_sound_like_places_are_carried_along() -> None:
    said = Annotations(extra={"mailbox": "red", "market_segment": "b", "index": 1, "max": 2, "visible_box": [1, 2]})
    told = annotations_of(Sample(np.zeros((8, 8, 3), np.uint8)), said, Vocabulary((), (), frozenset()))
    assert told.extra == {"mailbox": "red", "market_segment": "b", "index": 1, "max": 2}


def test_more_masks_of_objects_than_memory_should_hold_are_refused_before_they_are_drawn() -> None:
    num_boxes = MAX_MASK_BYTES // (1000 * 1000) + 1
    said = Annotations(boxes=((0.0, 0.0, 9.0, 9.0),) * num_boxes, instance_masks=(None,) * num_boxes)
    sample = Sample(np.zeros((1000, 1000, 3), np.uint8))
    with pytest.raises(RecordError, match="MAX_MASK_BYTES"):
        fill(sample, said, Vocabulary((), (), frozenset({"boxes", "instance_masks"})))
