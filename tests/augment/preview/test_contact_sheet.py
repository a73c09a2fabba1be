"""Contact sheets: whole images, labels that fit, any number of both."""

import numpy as np
import pytest

from augment.errors import CallError
from augment.preview.contact_sheet import contact_sheet
from tests.augment.images import hostile

BLUE = (10, 20, 250)


def blue(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), BLUE, dtype=np.uint8)


def bounds(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of the blue pixels."""
    rows, columns = np.nonzero(np.all(np.abs(image.astype(int) - BLUE) < 8, axis=-1))
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


@pytest.mark.parametrize("num_images", [1, 2, 3, 5, 17, 100])
@pytest.mark.parametrize("title", ["", "flip-rotate-crop · seed 7"])
def test_sheet_holds_any_number_of_images(num_images: int, title: str) -> None:
    images = [hostile.pattern(20 + i, 90 - i // 2) for i in range(num_images)]
    grid = contact_sheet(images, [f"draw {i}" for i in range(num_images)], cell_px=48, title=title)
    assert grid.dtype == np.uint8
    assert grid.shape[2] == 3
    assert grid.flags.writeable
    assert max(grid.shape[:2]) / min(grid.shape[:2]) < 5


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((50, 100), (48, 96)),  # shrunk until it fits
        ((960, 480), (96, 48)),
        ((96, 96), (96, 96)),
        ((30, 20), (90, 60)),  # enlarged by whole pixels alone
        ((50, 60), (50, 60)),
        ((1, 1), (8, 8)),
        ((1, 5000), (1, 96)),
    ],
)
def test_sheet_shows_an_image_whole_and_in_proportion(size: tuple[int, int], shown: tuple[int, int]) -> None:
    top, bottom, left, right = bounds(contact_sheet([blue(*size)], cell_px=96))
    assert (bottom - top + 1, right - left + 1) == shown
    gap = 6
    assert top - gap + (bottom + 1 - gap) in (95, 96, 97)  # in the middle of its cell
    assert left - gap + (right + 1 - gap) in (95, 96, 97)


def test_sheet_enlarges_small_images_pixel_by_pixel() -> None:
    checks = (np.indices((4, 4)).sum(axis=0) % 2 * 255).astype(np.uint8)
    grid = contact_sheet([np.repeat(checks[..., None], 3, axis=2)], cell_px=32)
    gap = 4
    cell = grid[gap : gap + 32, gap : gap + 32, 0]
    assert np.array_equal(cell, np.kron(checks, np.ones((8, 8), dtype=np.uint8)))


def test_sheet_keeps_even_gaps() -> None:
    grid = contact_sheet([blue(64, 64)] * 6, columns=3, cell_px=64)
    filled = np.all(grid == BLUE, axis=-1)
    starts = np.flatnonzero(np.diff(filled.any(axis=0).astype(int), prepend=0) == 1)
    assert np.diff(starts).tolist() == [68, 68]
    assert starts[0] == grid.shape[1] - (starts[-1] + 64)
    starts = np.flatnonzero(np.diff(filled.any(axis=1).astype(int), prepend=0) == 1)
    assert starts.tolist() == [4, 72]


@pytest.mark.parametrize(
    "label",
    [
        "",
        "x" * 5000,
        "HorizontalFlip " * 200,
        "n01440764_tench.JPEG",
        "two\nlines\tand  spaces",
        "猫 кот ネコ 🐈",
        "\0\x1b[31m",
    ],
)
def test_sheet_keeps_labels_in_their_cells(label: str) -> None:
    grid = contact_sheet([blue(64, 64)] * 2, [label, "original"], columns=2, cell_px=64, title=label)
    assert grid.shape[1] == 2 * 64 + 3 * 4
    background = grid[-1, 0]
    for edge in (grid[:, :2], grid[:, -2:], grid[-1:], grid[:2]):
        assert np.all(edge == background)
    middle = grid[-30:, 4 + 64 + 1 : 4 + 64 + 3]
    assert np.all(middle == background)


def test_sheet_draws_its_labels() -> None:
    without = contact_sheet([blue(64, 64)], ["   "], cell_px=64)
    one = contact_sheet([blue(64, 64)], ["flip"], cell_px=64)
    two = contact_sheet([blue(64, 64)], ["HorizontalFlip, RandomCrop"], cell_px=64)
    assert without.shape[0] < one.shape[0] < two.shape[0]
    name = contact_sheet([blue(64, 64)], ["n01440764_tench.JPEG"], cell_px=64)
    assert name.shape == two.shape
    assert one[64 + 4 :].min() < 120  # dark on light
    assert contact_sheet([blue(64, 64)], cell_px=64).shape == without.shape


def test_sheet_leaves_its_images_alone() -> None:
    image = hostile.pattern()
    image.flags.writeable = False
    contact_sheet([image[:, ::-1], image], cell_px=32)
    assert np.array_equal(image, hostile.pattern())


def test_sheet_refuses_what_makes_none() -> None:
    image = hostile.pattern()
    with pytest.raises(CallError, match="at least one"):
        contact_sheet([])
    with pytest.raises(CallError, match="2 labels for 1 images"):
        contact_sheet([image], ["a", "b"])
    with pytest.raises(CallError, match="columns is 0"):
        contact_sheet([image], columns=0)
    with pytest.raises(CallError, match="cell_px is 8"):
        contact_sheet([image], cell_px=8)
    with pytest.raises(CallError, match="uint8"):
        contact_sheet([image[..., 0]])
