"""Annotations: their JSON, the problems of invalid ones, and their conversion to a sample and back."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.datasets import targets
from augment.datasets.targets import Vocabulary
from augment.samples import annotations
from augment.samples.annotations import NOTHING, Annotations, Rle
from augment.samples.sample import Sample

HEIGHT, WIDTH = 20, 30
NAMES = ("cat", "dog", "bird")
POINTS = ("nose", "tail")

names = st.sampled_from(NAMES)
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
# A lone "w" would be taken for a width, which is not carried along.
free_names = st.text(st.characters(exclude_categories=["Cs"])).map(lambda name: f"{name} as said")
free = st.dictionaries(free_names, plain | st.text("aé\n", max_size=5), max_size=2)
pixels = st.integers(0, 80).map(lambda quarters: quarters / 4)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    left, top = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    return (
        float(left),
        float(top),
        draw(st.integers(left + 1, WIDTH)) - draw(st.sampled_from([0, 0.25, 0.5])),
        float(draw(st.integers(top + 1, HEIGHT))),
    )


@st.composite
def said(draw: st.DrawFn) -> Annotations:
    """Draw annotations that are true of an image of HEIGHT x WIDTH."""
    members: dict[str, Any] = {}
    num_boxes, num_points = draw(st.integers(0, 3)), draw(st.integers(0, 3))

    def several(values: st.SearchStrategy[Any], number: int) -> tuple[Any, ...]:
        return tuple(draw(st.lists(values, min_size=number, max_size=number)))

    if draw(st.booleans()):
        members["labels"] = draw(st.dictionaries(names, st.sampled_from([0.25, 0.5, 1.0]), max_size=3))
    if draw(st.booleans()):
        members |= {"boxes": several(boxes(), num_boxes), "box_labels": several(names, num_boxes)}
        if draw(st.booleans()):
            members["box_attributes"] = several(free, num_boxes)
    if draw(st.booleans()):
        members["keypoints"] = several(st.tuples(pixels, pixels.map(lambda y: min(y, HEIGHT - 1.0))), num_points)
        members["keypoint_labels"] = several(st.sampled_from(POINTS), num_points)
        if draw(st.booleans()):
            members["keypoint_visibility"] = several(st.sampled_from([1, 2]), num_points)
        if draw(st.booleans()):
            members["keypoint_angles"] = several(st.sampled_from([0.0, 1.5, 3.0]), num_points)
            members["keypoint_scales"] = several(st.sampled_from([0.5, 2.0]), num_points)
        if "boxes" in members:
            members["keypoint_boxes"] = several(st.integers(-1, num_boxes - 1), num_points)
    if draw(st.booleans()):
        members["extra"] = draw(free)
    return Annotations(**members)


# ----------------------------------------------------------------------------------------------------------- JSON


@given(said())
def test_annotations_come_back_from_their_json(given: Annotations) -> None:
    text = given.to_json()
    back = Annotations.from_json(text)
    assert back == given
    assert back.to_json() == text
    assert given.problems(HEIGHT, WIDTH) == []
    assert given.within(HEIGHT, WIDTH) == given


def test_masks_come_back_from_their_json() -> None:
    given = Annotations(
        boxes=((0.0, 0.0, 4.0, 4.0),) * 3,
        instance_masks=(((1.0, 1.0, 3.0, 1.0, 3.0, 3.0),), Rle(20, 30, "PPo0"), None),
    )
    assert Annotations.from_json(given.to_json()) == given
    assert json.loads(given.to_json())["instance_masks"][1] == {"size": [20, 30], "counts": "PPo0"}


def test_equal_annotations_have_one_text() -> None:
    one = annotations.parse({"labels": {"b": 1, "a": 0.5}, "boxes": [[0, 1, 2, 3]]})
    other = annotations.parse({"boxes": [(0.0, 1.0, 2.0, 3.0)], "labels": {"a": 0.5, "b": 1.0}})
    third = Annotations(labels={"b": 1, "a": 0.5}, boxes=((-0.0, 1, 2, 3),))
    assert (
        one.to_json()
        == other.to_json()
        == third.to_json()
        == '{"boxes":[[0.0,1.0,2.0,3.0]],"labels":{"a":0.5,"b":1.0}}'
    )


def test_nothing_and_an_empty_list_are_two_things() -> None:
    assert NOTHING.to_json() == "{}"
    assert Annotations(boxes=()).to_json() == '{"boxes":[]}'
    assert annotations.parse({"boxes": None}) == NOTHING
    assert annotations.parse({"labels": ["a", "b"]}).labels == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "annotations must be an object, not "),
        ({"box": []}, "no member 'box'; the members are labels, boxes, "),
        ({"boxes": 3}, "boxes is a list, not 3"),
        ({"boxes": [[1, 2, 3]]}, r"boxes must be lists of 4 numbers, not \[1"),
        ({"boxes": [[1, 2, 3, "4"]]}, 'boxes holds numbers, not "4"'),
        ({"boxes": [[1, 2, 3, True]]}, "boxes holds numbers, not true"),
        ({"boxes": [[1, 2, 3, 10**400]]}, "boxes has a number of 401 digits"),
        ({"keypoints": [[1, 2, 3]]}, "keypoints must be lists of 2 numbers"),
        ({"box_labels": [1]}, "box_labels holds names, not 1"),
        ({"box_attributes": [[]]}, r"box_attributes holds objects, not \[\]"),
        ({"labels": {"a": None}}, "labels holds numbers, not null"),
        ({"labels": "cat"}, 'labels holds objects, not "cat"'),
        ({"keypoint_visibility": [1.5]}, "keypoint_visibility holds integers, not 1.5"),
        ({"keypoint_boxes": [2**63]}, "keypoint_boxes holds integers, not 9223372036854775808"),
        ({"instance_masks": [[[1, 2, 3, 4]]]}, "a polygon needs at least three points"),
        ({"instance_masks": [[[1, 2, 3, 4, 5, 6, 7]]]}, "a polygon needs at least three points"),
        ({"instance_masks": [{"size": [1], "counts": ""}]}, '"size": \\[H, W\\]'),
        ({"instance_masks": [{"size": [1, 2], "counts": [3]}]}, '"counts": "…"'),
        ({"extra": [1]}, "extra holds objects"),
    ],
)
def test_what_is_no_annotation_is_named(members: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        annotations.parse(members)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["size", "counts", "a"]), inner),
    max_leaves=8,
)
members_of_strangers = st.dictionaries(
    st.sampled_from([*Annotations.__dataclass_fields__, "other"]), anything, max_size=4
)


@given(members_of_strangers)
def test_any_json_is_read_or_refused_by_a_value_error(members: dict[str, Any]) -> None:
    try:
        given = annotations.parse(members)
    except ValueError:
        return
    if not given.problems(HEIGHT, WIDTH):
        text = given.within(HEIGHT, WIDTH).to_json()
        text.encode()
        assert Annotations.from_json(text).problems(HEIGHT, WIDTH) == []


# ------------------------------------------------------------------------------------------------------- problems

BOX = (1.0, 2.0, 10.0, 12.0)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (Annotations(boxes=((1, 2, 31.5, 12),)), "box outside: box 0 is [1, 2, 31.5, 12] on an image of 30 x 20"),
        (Annotations(boxes=(BOX, (-1.5, 2, 10, 12))), "box outside: box 1 is [-1.5"),
        (Annotations(boxes=((5, 5, 5, 9),)), "box without area: box 0 is [5"),
        (Annotations(boxes=((9, 5, 5, 9),)), "box without area"),
        (Annotations(boxes=((30, 5, 30.5, 9),)), "box without area"),
        (Annotations(boxes=((-0.5, 5, 0, 9),)), "box without area"),
        (Annotations(boxes=((math.nan, 0, 1, 1),)), "not a number: box 0"),
        (Annotations(boxes=((0, 0, math.inf, 1),)), "not a number: box 0"),
        (Annotations(boxes=(BOX,), box_labels=()), "lengths differ: box_labels has 0 for 1 boxes"),
        (Annotations(box_labels=("cat",)), "lengths differ: box_labels has 1 for 0 boxes"),
        (Annotations(keypoints=((1, 1),), keypoint_angles=()), "lengths differ: keypoint_angles has 0 for 1 keypoints"),
        (Annotations(keypoints=((math.nan, 1),)), "not a number: keypoint 0"),
        (Annotations(keypoints=((1, 1),), keypoint_visibility=(3,)), "unknown visibility: of keypoint 0 it is 3"),
        (Annotations(keypoints=((1, 1),), keypoint_boxes=(0,)), "unknown box: keypoint 0 belongs to box 0 of 0"),
        (Annotations(keypoints=((1, 1),), keypoint_boxes=(-2,)), "unknown box: keypoint 0"),
        (Annotations(keypoints=((1, 1),), keypoint_scales=(math.inf,)), "not a number: keypoint_scales"),
        (Annotations(boxes=(BOX,), instance_masks=(Rle(20, 31, ""),)), "mask of another size: mask 0 has 31 x 20"),
        (Annotations(boxes=(BOX,), instance_masks=(Rle(20, 30, "zz"),)), "not run lengths: mask 0"),
        (Annotations(boxes=(BOX,), instance_masks=(((1, 1, 2, 2),),)), "not a polygon: of mask 0"),
        (Annotations(boxes=(BOX,), instance_masks=(((1, 1, 2, 2, 1e9, 3),),)), "polygon outside: of mask 0"),
        (Annotations(boxes=(BOX,), instance_masks=(((1, 1, 2, 2, math.nan, 3),),)), "not a number: a polygon"),
        (Annotations(labels={"cat": math.nan}), "not a number: labels"),
        (Annotations(extra={"deep": [{"a": math.inf}]}), "not a number: extra"),
        (Annotations(extra={"half": "\ud800"}), "not text: extra"),
        (Annotations(boxes=(BOX,), box_labels=("\udfff",)), "not text: box_labels"),
    ],
)
def test_annotations_that_cannot_be_true_are_named(given: Annotations, problem: str) -> None:
    (found,) = given.problems(HEIGHT, WIDTH)
    assert found.startswith(problem)


def test_box_over_the_edge_by_a_pixel_is_cut() -> None:
    given = Annotations(boxes=((-1.0, -0.5, 31.0, 20.25), BOX), box_labels=("cat", "dog"))
    assert given.problems(HEIGHT, WIDTH) == []
    assert given.within(HEIGHT, WIDTH) == Annotations(boxes=((0, 0, 30, 20), BOX), box_labels=("cat", "dog"))


def test_place_of_a_keypoint_that_is_not_annotated_means_nothing() -> None:
    given = Annotations(keypoints=((math.nan, 1.0), (2.0, 3.0)), keypoint_visibility=(0, 2))
    assert given.problems(HEIGHT, WIDTH) == []
    assert given.within(HEIGHT, WIDTH).keypoints == ((0.0, 0.0), (2.0, 3.0))
    given.within(HEIGHT, WIDTH).to_json()


def test_nesting_without_end_is_a_problem_and_no_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    (problem,) = Annotations(extra={"deep": deep}).problems(HEIGHT, WIDTH)
    assert problem.startswith("not a number: extra")
    while deep:  # taken apart by hand: freeing it would recurse as well
        deep = deep.pop()


# -------------------------------------------------------------------------------------------- to a sample and back


def vocabulary_of(given: Annotations) -> Vocabulary:
    """Return the targets that are present, by the names of a sample's fields, including those of keypoints."""
    return Vocabulary(NAMES, POINTS, frozenset(given.members()))


@given(said())
def test_annotations_come_back_from_a_sample(given: Annotations) -> None:
    sample = Sample(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    vocabulary = vocabulary_of(given)
    targets.fill(sample, given, vocabulary)
    back = targets.annotations_of(sample, given, vocabulary)
    assert back.to_json() == given.to_json()


def test_image_of_which_nothing_is_said_has_empty_targets() -> None:
    sample = Sample(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    targets.fill(
        sample, NOTHING, Vocabulary(NAMES, POINTS, frozenset({"labels", "boxes", "instance_masks", "keypoints"}))
    )
    assert sample.boxes is not None
    assert sample.labels is not None
    assert sample.instance_masks is not None
    assert sample.keypoints is not None
    shapes = (sample.labels.shape, sample.boxes.shape, sample.instance_masks.shape, sample.keypoints.shape)
    assert shapes == ((3,), (0, 4), (0, HEIGHT, WIDTH), (0, 2))
    assert not sample.labels.any()


@pytest.mark.parametrize("given", [Annotations(labels={"cow": 1.0}), Annotations(boxes=(BOX,), box_labels=("cow",))])
def test_class_that_the_vocabulary_lacks_is_an_error(given: Annotations) -> None:
    sample = Sample(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(ValueError, match="class 'cow' is unknown; there are cat, dog, bird"):
        targets.fill(sample, given, vocabulary_of(given))


def test_attributes_and_links_follow_the_boxes_that_are_left() -> None:
    given = Annotations(
        boxes=(BOX, (0.0, 0.0, 5.0, 5.0)),
        box_labels=("cat", "dog"),
        box_attributes=({"n": 0}, {"n": 1}),
        keypoints=((1.0, 1.0), (2.0, 2.0)),
        keypoint_labels=("nose", "nose"),
        keypoint_boxes=(0, 1),
    )
    sample = Sample(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    vocabulary = vocabulary_of(given)
    targets.fill(sample, given, vocabulary)
    assert sample.boxes is not None
    assert sample.box_labels is not None
    sample.boxes, sample.box_labels, sample.box_rows = sample.boxes[1:], sample.box_labels[1:], np.array([1])
    back = targets.annotations_of(sample, given, vocabulary)
    assert (back.box_labels, back.box_attributes) == (("dog",), ({"n": 1},))
    assert back.keypoint_boxes == (-1, 0)
