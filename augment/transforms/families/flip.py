"""Mirrors and the symmetries of the square: exact, no pixel is computed."""

from augment.transforms.entry import ALL_TARGETS, Entry

FAMILY = "flip"

ENTRIES = (
    Entry("HorizontalFlip", "Mirrors the picture left to right.", {}, ALL_TARGETS, moves_pixels=True),
    Entry("VerticalFlip", "Mirrors the picture top to bottom.", {}, ALL_TARGETS, moves_pixels=True),
    Entry("Transpose", "Swaps rows and columns, which mirrors at the diagonal.", {}, ALL_TARGETS, moves_pixels=True),
    Entry(
        "D4",
        "One of the eight symmetries of the square at random: no change, three rotations, four mirrors.",
        {},
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry("SquareSymmetry", "The same as D4, under the name of newer documents.", {}, ALL_TARGETS, moves_pixels=True),
)
