"""Boxes, keypoints and masks through a compiled pipeline, and the transforms that were repaired for them."""

from typing import Any

import numpy as np
import pytest

from augment.samples.sample import Sample
from tests.augment.transforms.catalogue_cases import MOVING_ALL, compiled, node, noise_image, sample, some

ADDRESS: dict[str, Any] = {"seed": 0, "draw": 0, "view": 0, "key": "k"}


# ------------------------------------------------------------------------------------------------------------ targets


def test_boxes_outside_the_frame_are_cut_or_left_out_with_their_labels() -> None:
    given = Sample(
        noise_image(100, 100),
        boxes=np.array([[10, 10, 30, 30], [70, 70, 90, 90], [-20, 40, 20, 60], [50, 50, 50, 60]], np.float32),
        box_labels=np.array([7, 8, 9, 10]),
    )
    out, *_ = compiled(node("Crop", x_min=0, y_min=0, x_max=60, y_max=50))(given, **ADDRESS)
    np.testing.assert_allclose(some(out.boxes), [[10, 10, 30, 30], [0, 40, 20, 50]], atol=1e-4)
    assert out.box_labels is not None
    assert out.box_labels.tolist() == [7, 9]
    assert out.box_labels.dtype == np.int64


def test_labels_of_any_size_come_back_exactly() -> None:
    given = sample()
    given.box_labels = np.array([2**40 + 1, -5, 2**53 - 1])
    out, *_ = compiled(node("HorizontalFlip"))(given, **ADDRESS)
    assert out.box_labels is not None
    assert out.box_labels.tolist() == [2**40 + 1, -5, 2**53 - 1]


def test_boxes_without_labels_have_none() -> None:
    given = sample()
    given.box_labels = None
    out, *_ = compiled(node("HorizontalFlip"))(given, **ADDRESS)
    assert out.boxes is not None
    assert out.boxes.shape == (3, 4)
    assert out.box_labels is None


def test_holes_are_cut_into_the_boxes_that_were_named() -> None:
    given = Sample(
        np.full((100, 100, 3), 255, np.uint8),
        boxes=np.array([[10, 10, 40, 40], [60, 60, 90, 90]], np.float32),
        box_labels=np.array([3, 4]),
    )
    holes = {"hole_height_range": [0.5, 0.5], "hole_width_range": [0.5, 0.5]}
    transform = compiled(node("ConstrainedCoarseDropout", mask_indices=None, bbox_labels=[4], **holes))
    out, *_ = transform(given, **ADDRESS)
    y, x = np.nonzero(out.image[..., 0] == 0)
    assert len(y) > 0
    assert min(y.min(), x.min()) >= 60
    assert max(y.max(), x.max()) < 90


def test_keypoints_keep_number_and_order_though_the_border_mirrors() -> None:
    given = sample(60, 80)
    for name in ("Rotate", "Affine", "SafeRotate", "ShiftScaleRotate", "Pad", "PadIfNeeded", "RandomCrop"):
        more = {"padding": 30} if name == "Pad" else {}
        more |= {"height": 90, "width": 90, "pad_if_needed": True} if name == "RandomCrop" else {}
        one, *_ = compiled(node(name, border_mode=4, **more))(given, **ADDRESS)
        other, *_ = compiled(node(name, border_mode=0, **more))(given, **ADDRESS)
        assert one.keypoints is not None
        assert one.keypoints.shape == (3, 2)
        assert np.array_equal(some(one.keypoints), some(other.keypoints), equal_nan=True)


def test_keypoint_that_leaves_the_frame_is_kept_outside() -> None:
    given = Sample(noise_image(50, 50), keypoints=np.array([[5, 5], [40, 45]], np.float32))
    out, *_ = compiled(node("Crop", x_min=20, y_min=20, x_max=50, y_max=50))(given, **ADDRESS)
    assert out.keypoints is not None
    assert out.keypoints.tolist() == [[-15, -15], [20, 25]]
    assert out.keypoints.dtype == np.float32


@pytest.mark.parametrize("name", MOVING_ALL)
def test_masks_of_objects_are_the_pixels_of_their_class(name: str) -> None:
    """A class mask and equal masks of objects stay equal."""
    transform, seen = compiled(node(name)), 0
    for draw in range(6):
        given = sample(61, 83)
        mask = some(given.mask)
        given.instance_masks = np.stack([mask == label for label in (1, 2, 3)]).astype(np.uint8)
        out, *_ = transform(given, seed=1, draw=draw, view=0, key="k")
        for label in (1, 2, 3):
            of_it = some(out.box_labels) == label
            if of_it.any():
                together = some(out.instance_masks)[of_it].any(axis=0)
                assert np.array_equal(together, some(out.mask) == label), (draw, label)
                seen += 1
    assert seen >= 6


# -------------------------------------------------------------------------------------------------- mended transforms


def test_erasing_leaves_an_image_into_which_nothing_fits() -> None:
    given = Sample(noise_image(2, 400))
    out, *_ = compiled(node("Erasing", scale=[0.5, 0.5], ratio=[1, 1]))(given, **ADDRESS)
    assert np.array_equal(out.image, given.image)


def test_piecewise_affine_of_scale_zero_changes_nothing_and_bends_with_the_scale() -> None:
    given = Sample(np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3)).copy())
    moved = []
    for scale in (0.0, 0.03, 0.1):
        out, *_ = compiled(node("PiecewiseAffine", scale=[scale, scale]))(given, **ADDRESS)
        moved.append(np.abs(out.image.astype(float) - given.image).mean())
    assert moved[0] == 0
    assert 0.2 < moved[1] < moved[2] < 10
    assert moved[2] / moved[1] == pytest.approx(0.1 / 0.03, rel=0.2)
