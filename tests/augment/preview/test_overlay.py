"""Targets drawn on images: their places and colours, at any size of the image."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from augment.errors import CallError
from augment.preview.contact_sheet import contact_sheet
from augment.preview.overlay import Overlay
from augment.samples import colours
from augment.samples.sample import Sample

GREY = 100


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def painted(sample: Sample, classes: tuple[str, ...] = (), size: tuple[int, int] | None = None) -> np.ndarray:
    """Return the image with its targets, shown at this height and width."""
    height, width = size or sample.image.shape[:2]
    return np.array(Overlay(sample, classes).paint(Image.fromarray(grey(height, width))))


def where(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Return rows and columns of exactly this colour."""
    return np.argwhere((image == colour).all(axis=-1))


def test_nothing_is_drawn_where_there_is_nothing() -> None:
    empty = Sample(grey(30, 40), boxes=np.zeros((0, 4), np.float32), keypoints=np.full((2, 2), np.nan, np.float32))
    assert np.array_equal(painted(empty), grey(30, 40))


@pytest.mark.parametrize("factor", [1, 3])
def test_box_is_drawn_along_its_inner_edge(factor: int) -> None:
    sample = Sample(grey(60, 80), boxes=np.array([[10, 20, 50, 45]], np.float32), box_labels=np.array([1]))
    found = where(painted(sample, size=(60 * factor, 80 * factor)), colours.bright(1))
    assert found.min(axis=0).tolist() == [20 * factor, 10 * factor]
    assert found.max(axis=0).tolist() == [45 * factor - 1, 50 * factor - 1]
    middle = painted(sample, size=(60 * factor, 80 * factor))[32 * factor, 30 * factor]
    assert middle.tolist() == [GREY] * 3


@pytest.mark.parametrize("box", [[10, 40, 60, 80], [0, 0, 30, 30], [70, 0, 80, 60], [75, 55, 80, 60], [0, 0, 80, 60]])
def test_name_of_a_box_is_written_within_the_image(box: list[int]) -> None:
    sample = Sample(grey(60, 80), boxes=np.array([box], np.float32), box_labels=np.array([0]))
    plain, named = painted(sample, size=(240, 320)), painted(sample, ("car",), size=(240, 320))
    differs = np.argwhere((plain != named).any(axis=-1))
    assert len(differs) > 40
    height, width = np.ptp(differs, axis=0) + 1
    assert 8 <= height <= 24
    assert 15 <= width <= 50


def test_label_without_a_name_draws_its_box_alone() -> None:
    sample = Sample(grey(60, 80), boxes=np.array([[10, 20, 50, 45]], np.float32), box_labels=np.array([-1]))
    assert np.array_equal(painted(sample, ("car",)), painted(sample))


def test_mask_is_tinted_with_the_palette_of_voc_and_keeps_its_edges() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10, 10:20] = 1
    mask[15:, 25:] = 255
    image = painted(Sample(grey(20, 30), mask=mask), size=(40, 60))
    assert image[0, 0].tolist() == [50, 50, 50]  # black
    assert np.array_equal(where(image, (114, 50, 50)), np.argwhere(np.kron(mask == 1, np.ones((2, 2)))))
    assert image[-1, -1].tolist() == [162, 162, 146]
    assert [colours.class_colour(value) for value in (0, 1, 2, 15, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (192, 128, 128),
        (224, 224, 192),
    ]


def test_objects_are_tinted_each_in_the_colour_of_its_row() -> None:
    masks = np.zeros((2, 20, 30), np.uint8)
    masks[0, 2:6, 2:6] = 1
    masks[1, 10:14, 20:24] = 1
    sample = Sample(
        grey(20, 30),
        boxes=np.array([[2, 2, 6, 6], [20, 10, 24, 14]], np.float32),
        box_rows=np.array([4, 9]),
        instance_masks=masks,
    )
    image = painted(sample)
    for row, inner in ((4, (3, 3)), (9, (11, 21))):
        tint = np.rint((np.array(colours.bright(row)) + GREY) / 2)
        assert np.abs(image[inner] - tint).max() <= 1


def test_keypoint_is_drawn_at_the_middle_of_its_pixel() -> None:
    sample = Sample(
        grey(50, 50), keypoints=np.array([[10, 30], [np.nan, 3]], np.float32), keypoint_labels=np.array([2, 0])
    )
    found = where(painted(sample, size=(500, 500)), colours.bright(2))
    np.testing.assert_allclose(found.mean(axis=0), [305, 105], atol=0.6)


def test_hidden_keypoint_is_a_ring_and_its_angle_a_line() -> None:
    given = Sample(grey(50, 50), keypoints=np.array([[25, 25]], np.float32), keypoint_labels=np.array([0]))
    visible = painted(replace(given, keypoint_visibility=np.array([2], np.int8)), size=(500, 500))
    hidden = painted(replace(given, keypoint_visibility=np.array([1], np.int8)), size=(500, 500))
    colour = list(colours.bright(0))
    assert visible[255, 255].tolist() == colour
    assert hidden[255, 255].tolist() == [GREY] * 3
    assert len(where(hidden, colours.bright(0)))
    turned = replace(
        given,
        keypoint_angles=np.array([np.pi / 2], np.float32),
        keypoint_scales=np.array([12], np.float32),
    )
    assert where(painted(turned, size=(500, 500)), colours.bright(0))[:, 0].max() == pytest.approx(375, abs=2)


def test_sheet_draws_overlays_at_the_size_shown() -> None:
    sample = Sample(grey(400, 400), boxes=np.array([[100, 100, 300, 200]], np.float32), box_labels=np.array([3]))
    grid = contact_sheet([sample.image], cell_px=100, overlays=[Overlay(sample)])
    found = where(grid, colours.bright(3))
    assert (np.ptp(found, axis=0) + 1).tolist() == [25, 50]
    with pytest.raises(CallError, match="2 overlays for 1 images"):
        contact_sheet([sample.image], overlays=[Overlay(sample)] * 2)
