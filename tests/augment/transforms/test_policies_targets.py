"""Boxes through several steps: a part pushed out is gone, and a box does not grow with each rotation.

test_oracle.py tests for all transforms that boxes, masks and keypoints follow the pixels.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.pipelines.spec import BoxRules, PipelineSpec
from augment.samples.sample import Sample
from augment.transforms.matrix_geometry import (
    SHAPES,
    VISIBLE,
    WarpStep,
    areas,
    boxes_through,
    points_through,
    shapes_of,
    with_shapes,
    within,
)
from augment.transforms.policies.operations import GEOMETRIC
from augment.transforms.policies.policy import applied, matrices
from augment.transforms.runtime.compiler import Compiled
from tests.augment.transforms.catalogue_cases import node, noise_image, some

SHAPE = (60, 80)
BOX = np.array([[10.0, 20.0, 30.0, 40.0, 1.0]])
STEPS = st.lists(st.tuples(st.sampled_from(sorted(GEOMETRIC)), st.integers(-30, 30)), min_size=1, max_size=4)


def through(*steps: tuple[str, float]) -> np.ndarray:
    """Return the box and its visible share, (0 or 1, 5)."""
    size = np.array(SHAPE[::-1])
    rows = with_shapes(np.ones((1, SHAPES)), shapes_of(BOX) / size)
    moved = boxes_through(rows, [WarpStep(matrix, SHAPE) for matrix in matrices(steps, SHAPE)], shape=SHAPE)
    return np.hstack([moved[:, :4] * (*size, *size), moved[:, VISIBLE : VISIBLE + 1]])


def test_what_a_step_pushes_out_is_gone_though_the_next_comes_back() -> None:
    there_and_back = through(("TranslateX", -20.0), ("TranslateX", 20.0))
    np.testing.assert_allclose(there_and_back, [[20, 20, 30, 40, 0.5]])
    assert through(("TranslateY", 45.0), ("TranslateY", -45.0)).shape == (0, 5)
    np.testing.assert_allclose(through(("TranslateX", -20.0)), [[0, 20, 10, 40, 0.5]])


def test_box_does_not_grow_with_each_turn() -> None:
    np.testing.assert_allclose(through(("Rotate", 10.0), ("Rotate", -10.0)), BOX, atol=1e-9)
    np.testing.assert_allclose(through(), BOX)


@settings(max_examples=60, database=None, derandomize=True)
@given(STEPS)
def test_boxes_hold_the_pixels_that_are_left_and_no_more(steps: list[tuple[str, int]]) -> None:
    """Compares the box with a filled rectangle that is resampled step by step."""
    drawn = [(name, value / 60 if name.startswith("Shear") else float(value)) for name, value in steps]
    mask = np.zeros(SHAPE, np.uint8)
    mask[20:40, 10:30] = 1
    rows, columns = np.nonzero(applied(mask, drawn, 0, 0))
    boxes = through(*drawn)
    if not len(boxes):
        assert len(rows) <= 3  # slivers thinner than a pixel
        return
    low, high = np.clip(boxes[0, :2], 0, (80, 60)), np.clip(boxes[0, 2:4], 0, (80, 60))
    if not len(rows):
        assert (high - low).min() <= 2 or boxes[0, 4] < 0.05
        return
    held = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    slack = 1.5 * len(steps)  # each nearest neighbour moves an edge by up to a pixel, a sharp corner loses more
    assert (held[:2] >= low - slack).all()
    assert (held[2:] <= high + slack).all()


def test_visibility_counts_what_is_left_after_all_steps() -> None:
    """The pipeline's rule for boxes uses the share that a policy left of them."""
    draws = {}
    for visibility in (0.0, 0.9):
        rules = BoxRules(0, 0, 0, visibility)
        transform = Compiled(PipelineSpec((node("RandAugment", magnitude=30, num_ops=3),), boxes=rules))
        sample = Sample(noise_image(*SHAPE), boxes=BOX[:, :4].astype(np.float32), box_labels=np.array([0]))
        draws[visibility] = [
            len(some(transform(sample, seed=0, draw=i, view=0, key="k").sample.boxes)) for i in range(40)
        ]
    assert all(strict <= lenient for strict, lenient in zip(draws[0.9], draws[0.0], strict=True))
    assert 0 < sum(draws[0.9]) < sum(draws[0.0])


@pytest.mark.parametrize("name", ["AutoAugment", "RandAugment", "TrivialAugmentWide"])
def test_matrix_that_views_are_mapped_back_with_is_that_of_the_keypoints(name: str) -> None:
    points = np.array([[3, 5], [70, 8], [40, 50]], np.float32)
    transform = Compiled(PipelineSpec((node(name),)), points=True)
    moved = 0
    for draw in range(60):
        made = transform(Sample(noise_image(*SHAPE), keypoints=points), seed=0, draw=draw, view=0, key="k")
        assert made.matrix is not None
        np.testing.assert_allclose(some(made.sample.keypoints), points_through(points, made.matrix), atol=1e-4)
        moved += not np.array_equal(made.matrix, np.eye(3))
    assert moved >= 3


@pytest.mark.parametrize(
    ("outline", "left"),
    [
        ([[-5, -5], [5, -5], [5, 5], [-5, 5]], 25.0),
        ([[1, 1], [2, 1], [2, 2], [1, 2]], 1.0),
        ([[-5, -5], [-1, -5], [-1, -1], [-5, -1]], 0.0),
        ([[-10, 30], [90, 30], [90, 200], [-10, 200]], 80 * 30.0),
        ([[40, -20], [100, 30], [40, 80], [-20, 30]], 4800 - 4 * 16 * (40 / 3) / 2),
    ],
)
def test_outline_is_cut_at_the_frame(outline: list[list[float]], left: float) -> None:
    cut = within(np.array(outline, float), (0, 0, SHAPE[1], SHAPE[0]))
    assert areas(cut) == pytest.approx(left)
    assert (cut >= 0).all()
    assert (cut <= SHAPE[::-1]).all()
