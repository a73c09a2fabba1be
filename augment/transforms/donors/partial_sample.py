"""Sample that is about to be joined with others: its rows are numbered, and the visible share of boxes is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.datasets.targets import MAX_MASK_BYTES
from augment.samples.annotations import BY_KEYPOINT
from augment.samples.sample import Sample
from augment.transforms.entry import Unfit
from augment.transforms.matrix_geometry import joined_shapes, shapes_of

OF_BOXES: Final = ("boxes", "box_labels", "box_rows", "instance_masks")
OF_KEYPOINTS: Final = ("keypoints", *BY_KEYPOINT, "keypoint_rows")
"""Fields of a sample with a row for each box, or keypoint."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Sample whose ``box_rows`` and ``keypoint_rows`` are set and unique among all samples that are joined.

    ``visible`` is float64 (N,), the share of each box's area that is visible so far: ones for a fresh sample, (0,)
    without boxes. ``shapes`` are those of ``matrix_geometry`` in pixels, float64 (N, 2, K, 2); None if boxes are whole.
    """

    sample: Sample
    visible: NDArray[np.float64]
    shapes: NDArray[np.float64] | None = None

    @property
    def all_shapes(self) -> NDArray[np.float64]:
        return shapes_of(np.asarray(self.sample.boxes, np.float64)) if self.shapes is None else self.shapes


def with_boxes(piece: Piece, rows: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> Piece:
    """Select boxes of the piece, with all their annotations; the image and the other targets are shared."""
    taken = {name: values[rows] for name in OF_BOXES if (values := getattr(piece.sample, name)) is not None}
    return Piece(
        replace(piece.sample, **taken), piece.visible[rows], None if piece.shapes is None else piece.shapes[rows]
    )


def with_keypoints(piece: Piece, rows: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> Piece:
    """Select keypoints of the piece, with all their annotations; the rest is shared."""
    taken = {name: values[rows] for name in OF_KEYPOINTS if (values := getattr(piece.sample, name)) is not None}
    return replace(piece, sample=replace(piece.sample, **taken))


def lose_keypoints(sample: Sample, lost: NDArray[np.bool_]) -> None:
    """Mark these keypoints as lost, in place: NaN, visibility 0; angles and scales become 0."""
    if sample.keypoints is None:
        return
    sample.keypoints[lost] = np.nan
    for name in ("keypoint_visibility", "keypoint_angles", "keypoint_scales"):
        if (values := getattr(sample, name)) is not None:
            values[lost] = 0


def together(pieces: Sequence[Piece], windows: Sequence[tuple[slice, slice]]) -> Piece:
    """Join all boxes and keypoints in one piece, in their order, as new arrays; the rest is that of the first.

    Instance masks of each piece show the part of the first's image given by ``windows``, and are put there.

    Raises Unfit if one has a target that another lacks, or if the masks of all objects are too large.
    """
    first = pieces[0].sample
    rows: dict[str, Any] = {}
    for name in (*OF_BOXES, *OF_KEYPOINTS):
        values = [getattr(piece.sample, name) for piece in pieces]
        present = [value for value in values if value is not None]
        if len(present) not in (0, len(values)):
            raise Unfit(f"some of the images that are joined have {name} and others have none; give all or none")
        if present:
            masks = name == "instance_masks"
            rows[name] = _framed(present, windows, first.image.shape[:2]) if masks else np.concatenate(present)
    shapes = None if first.boxes is None else joined_shapes([piece.all_shapes for piece in pieces])
    return Piece(replace(first, **rows), np.concatenate([piece.visible for piece in pieces]), shapes)


def _framed(
    stacks: Sequence[NDArray[np.uint8]], windows: Sequence[tuple[slice, slice]], frame: tuple[int, int]
) -> NDArray[np.uint8]:
    count, (height, width) = sum(map(len, stacks)), frame
    if (num_bytes := count * height * width) > MAX_MASK_BYTES:
        raise Unfit(
            f"{count} masks of objects on {width} x {height} pixels are {num_bytes} bytes; the limit is "
            f"{MAX_MASK_BYTES} (MAX_MASK_BYTES): join fewer images or make the result smaller"
        )
    framed = np.zeros((count, *frame), np.uint8)
    row = 0
    for stack, window in zip(stacks, windows, strict=True):
        framed[row : row + len(stack), *window] = stack
        row += len(stack)
    return framed


def without_orphans(joined: Piece, base: Piece) -> Piece:
    """Drop donors' keypoints whose object is gone; those of the base keep number and order."""
    owners, rows, points = joined.sample.keypoint_boxes, joined.sample.box_rows, base.sample.keypoints
    if owners is None or rows is None or points is None:
        return joined
    own = np.arange(len(owners)) < len(points)
    return with_keypoints(joined, own | (owners < 0) | np.isin(owners, rows))


def stack_of(sample: Sample) -> NDArray[np.uint8] | None:
    """Return the instance masks as (N, H, W); in a sample without objects they may have any shape."""
    masks = sample.instance_masks
    return masks if masks is None or len(masks) else np.zeros((0, *sample.image.shape[:2]), np.uint8)
