"""A pipeline that a dataset's targets cannot pass is refused before any image is read."""

import pytest

from augment.errors import PipelineError
from augment.transforms import sizes
from tests.augment.transforms.test_sizes import spec_of


@pytest.mark.parametrize(
    "text",
    [
        "[Morphological]",
        "[HorizontalFlip, OneOf: {transforms: [ColorJitter, Morphological]}]",
        "[SomeOf: {n: 1, transforms: [Sequential: {transforms: [OneOrOther: {transforms: [NoOp, Morphological]}]}]}]",
        "[RandomOrder: {n: 1, transforms: [Morphological, NoOp]}]",
    ],
)
def test_targets_that_would_stay_behind_are_refused_wherever_the_transform_stands(text: str) -> None:
    spec = spec_of(text)
    sizes.check_fits(spec, 30, 50)
    sizes.check_fits(spec, 30, 50, frozenset({"keypoints"}))
    for target in ("mask", "boxes"):
        with pytest.raises(PipelineError) as caught:
            sizes.check_fits(spec, 30, 50, frozenset({target, "keypoints"}))
        (problem,) = caught.value.problems
        assert problem.loc[-1] == "Morphological"
        assert (
            problem.msg == f"`Morphological` moves pixels but cannot move {target}, which the dataset has; leave it out"
        )


@pytest.mark.parametrize("text", ["[Morphological: {p: 0}]", "[OneOf: {p: 0, transforms: [Morphological]}]"])
def test_a_transform_that_is_never_applied_leaves_no_target_behind(text: str) -> None:
    sizes.check_fits(spec_of(text), 30, 50, frozenset({"mask", "boxes", "keypoints"}))


def test_targets_that_a_transform_needs_must_be_there() -> None:
    spec = spec_of("[CropNonEmptyMaskIfExists: {height: 8, width: 8}]")
    sizes.check_fits(spec, 30, 50, frozenset({"mask"}))
    with pytest.raises(PipelineError, match="needs mask with each image, and the dataset has none"):
        sizes.check_fits(spec, 30, 50, frozenset({"boxes"}))


@pytest.mark.parametrize(("params", "needed"), [("mask_indices: [3]", "mask"), ("bbox_labels: [0]", "boxes")])
def test_target_that_a_parameter_names_must_be_there(params: str, needed: str) -> None:
    spec = spec_of(f"[OneOf: {{transforms: [NoOp, ConstrainedCoarseDropout: {{{params}}}]}}]")
    sizes.check_fits(spec, 30, 50, frozenset({needed}))
    with pytest.raises(PipelineError, match=f"needs {needed} with each image, and the dataset has none"):
        sizes.check_fits(spec, 30, 50, frozenset({"mask", "boxes", "keypoints"} - {needed}))


ALL = frozenset({"label", "mask", "boxes", "box_labels", "instance_masks", "keypoints"})


def test_copy_paste_needs_the_masks_of_objects() -> None:
    spec = spec_of("[CopyPaste]")
    sizes.check_fits(spec, 30, 50, ALL)
    with pytest.raises(PipelineError, match="`CopyPaste` needs instance masks with each image, and the dataset has"):
        sizes.check_fits(spec, 30, 50, ALL - {"instance_masks"})
    with pytest.raises(PipelineError, match="`CopyPaste` needs boxes with each image, and the dataset has none"):
        sizes.check_fits(spec, 30, 50, ALL - {"boxes"})


@pytest.mark.parametrize("targets", [ALL, {"boxes"}, {"label", "mask"}, {"labels"}, {"label", "labels"}, set()])
def test_mosaic_takes_whatever_can_be_told_apart(targets: set[str]) -> None:
    sizes.check_fits(spec_of("[Mosaic: {size: [8, 8]}]"), 30, 50, frozenset(targets))


def test_mosaic_of_images_with_one_class_each_is_refused() -> None:
    with pytest.raises(
        PipelineError, match="one class for each and nothing else; leave it out, and mix rows"
    ) as caught:
        sizes.check_fits(spec_of("[HorizontalFlip, Mosaic: {size: [8, 8]}]"), 30, 50, frozenset({"label"}))
    assert caught.value.problems[0].loc == ("transforms", 1, "Mosaic")
