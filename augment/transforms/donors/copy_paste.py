"""CopyPaste: objects of donors, cut out by their masks and pasted onto the image."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from augment.samples.sample import Sample
from augment.transforms.albumentations_import import cv2
from augment.transforms.donors.mosaic import Rect, Tile
from augment.transforms.donors.partial_sample import (
    Piece,
    lose_keypoints,
    stack_of,
    together,
    with_boxes,
    with_keypoints,
    without_orphans,
)
from augment.transforms.entry import Unfit

_Range = tuple[float, float]


class CopyPaste:
    """Transform that pastes objects of donors, one donor after the other.

    A donor is mirrored with probability ``flip_p``, but never one with keypoints, because their left and right are
    unknown here. It is scaled by a factor of ``scale_range`` times the scale at which it fits the image, and put at a
    random place. A share from ``share_range`` of its objects is chosen, at least one and at most ``max_objects``.
    ``blend_sigma``: standard deviation in pixels of the Gaussian that softens the edges of pasted objects; targets
    ignore it.

    Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation" (2021).
    """

    def __init__(
        self,
        num_donors: int = 1,
        share_range: _Range = (0.0, 1.0),
        max_objects: int = 32,
        scale_range: _Range = (0.1, 2.0),
        flip_p: float = 0.5,
        blend_sigma: float = 0.0,
        interpolation: int = cv2.INTER_LINEAR,
        area_for_downscale: Literal["image"] | None = "image",
        p: float = 0.5,
    ) -> None:
        self.num_donors = num_donors
        self.share_range = share_range
        self.max_objects = max_objects
        self.scale_range = scale_range
        self.flip_p = flip_p
        self.blend_sigma = blend_sigma
        self.interpolation = interpolation
        self.area = area_for_downscale == "image"
        self.p = p

    def join(
        self, base: Piece, donors: Sequence[Piece], generator: np.random.Generator
    ) -> tuple[Piece, dict[str, Any]]:
        for piece in (base, *donors):
            if piece.sample.boxes is None or piece.sample.instance_masks is None:
                raise Unfit("it needs boxes with instance masks, which this record or a donor does not have")
        joined = copy.deepcopy(base)
        drawn = {}
        for nth, donor in enumerate(donors, 1):
            joined, drawn[f"image_{nth}"] = self._paste(joined, donor, generator)
        return without_orphans(joined, base), drawn

    def _paste(self, base: Piece, donor: Piece, generator: np.random.Generator) -> tuple[Piece, dict[str, Any]]:
        frame = base.sample.image.shape[:2]
        factor = generator.uniform(*self.scale_range)
        flips = bool(generator.random() < self.flip_p) and (
            donor.sample.keypoints is None or not len(donor.sample.keypoints)
        )
        if flips:
            donor = Piece(_mirrored(donor.sample), donor.visible)
        tile = self._tile(donor.sample.image.shape[:2], frame, factor, generator.random(2).tolist())
        masked = np.flatnonzero(_stack(donor.sample).any(axis=(1, 2)))
        count = min(self.max_objects, max(1, round(generator.uniform(*self.share_range) * len(masked))))
        rows = np.sort(generator.permutation(masked)[:count])
        pasted = tile.targets(_objects(donor, rows))
        drawn = {
            "factor": factor,
            "flipped": flips,
            **tile.as_json(),
            "objects": [int(row) for row in rows],
            "seen": len(pasted.visible),
        }
        return (self._covered(base, pasted, donor.sample, tile) if len(pasted.visible) else base), drawn

    def _tile(self, shape: tuple[int, int], frame: tuple[int, int], factor: float, at: list[float]) -> Tile:
        """Place the donor in the frame: the whole donor, or a part of it if it is larger than the frame."""
        scale = factor * min(frame[0] / shape[0], frame[1] / shape[1])
        spans = []
        for side, room, share in zip(shape, frame, at, strict=True):
            length = side if side * scale <= room else min(side, max(1, round(room / scale)))
            size = min(room, max(1, round(length * scale)))
            spans.append((int(share * (side - length + 1)), length, int(share * (room - size + 1)), size))
        (top, height, place_top, place_height), (left, width, place_left, place_width) = spans
        part = Rect(top, left, height, width)
        place = Rect(place_top, place_left, place_height, place_width)
        return Tile(part, place, place, self.interpolation, self.area)

    def _covered(self, base: Piece, pasted: Piece, donor: Sample, tile: Tile) -> Piece:
        """Return the base with the pasted objects on top."""
        sample = base.sample
        window = tile.seen.slices
        cover = np.zeros(sample.image.shape[:2], bool)
        cover[window] = _stack(pasted.sample).any(axis=0)
        image = sample.image.copy()
        image[window] = self._blend(image[window], tile.pixels(donor.image), cover, tile)
        mask = sample.mask
        if mask is not None and donor.mask is not None:
            mask = mask.astype(np.result_type(mask, donor.mask))
            mask[window] = np.where(cover[window], tile.nearest(donor.mask), mask[window])
        labels = sample.labels
        if labels is not None and donor.labels is not None and pasted.sample.box_labels is not None:
            labels, classes = labels.copy(), np.unique(pasted.sample.box_labels)
            classes = classes[classes >= 0]
            labels[classes] = np.maximum(labels[classes], donor.labels[classes])
        under = _hidden(Piece(replace(sample, image=image, mask=mask, labels=labels), base.visible), cover)
        return together([under, pasted], [(slice(None), slice(None)), window])

    def _blend(
        self, under: NDArray[np.uint8], over: NDArray[np.uint8], cover: NDArray[np.bool_], tile: Tile
    ) -> NDArray[np.uint8]:
        if not self.blend_sigma:
            hard: NDArray[np.uint8] = np.where(cover[tile.seen.slices][..., np.newaxis], over, under)
            return hard
        # integers throughout: OpenCV's blur of them is the same on every machine
        soft = cv2.GaussianBlur(cover.astype(np.uint8) * 255, (0, 0), self.blend_sigma)
        share = soft[tile.seen.slices][..., np.newaxis].astype(np.uint32)
        return ((under * (255 - share) + over * share + 127) // 255).astype(np.uint8)


def _hidden(piece: Piece, cover: NDArray[np.bool_]) -> Piece:
    """Return the objects that are still visible under a cover: masks are cut, boxes drawn anew, keypoints lost.

    An object without a mask loses the covered share of its box, and its box stays.
    """
    sample = piece.sample
    masks = _stack(sample)
    before = masks.sum(axis=(1, 2), dtype=np.int64)
    masks = masks * ~cover
    after = masks.sum(axis=(1, 2), dtype=np.int64)
    boxes = np.array(sample.boxes, np.float64).reshape(-1, 4)
    left = np.ones(len(boxes))
    for row in np.flatnonzero((before == 0) | (after < before)):
        if before[row] == 0:
            left[row] = _uncovered(boxes[row], cover)
        elif after[row]:
            left[row] = after[row] / before[row]
            boxes[row] = _around(masks[row], boxes[row])
        else:
            left[row] = 0.0
    points = sample.keypoints
    under = replace(sample, boxes=boxes.astype(np.float32), instance_masks=masks)
    if points is not None:
        lose_keypoints(under, _covers(cover, points))
    return with_boxes(Piece(under, piece.visible * left), left > 0)


def _around(mask: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the box around the pixels of a mask, cut at the previous box if possible."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    extent = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
    within = np.concatenate([np.maximum(extent[:2], box[:2]), np.minimum(extent[2:], box[2:])])
    return within if (within[2:] > within[:2]).all() else extent


def _uncovered(box: NDArray[np.float64], cover: NDArray[np.bool_]) -> float:
    (left, top), (right, bottom) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    part = cover[max(top, 0) : bottom, max(left, 0) : right]
    return 1.0 - float(part.mean()) if part.size else 1.0


def _covers(cover: NDArray[np.bool_], points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return True for each point on a covered pixel."""
    height, width = cover.shape
    x, y = np.floor(np.nan_to_num(points.astype(np.float64), nan=-1.0) + 0.5).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    on = np.zeros(len(points), bool)
    on[inside] = cover[y[inside].astype(int), x[inside].astype(int)]
    return on


def _objects(donor: Piece, rows: NDArray[np.int64]) -> Piece:
    """Select objects of a donor with their keypoints, by owner if it is known, else by place."""
    chosen = with_boxes(donor, rows)
    sample = donor.sample
    if sample.keypoints is None:
        return chosen
    if sample.keypoint_boxes is not None and chosen.sample.box_rows is not None:
        theirs = np.isin(sample.keypoint_boxes, chosen.sample.box_rows)
    else:
        theirs = _covers(np.asarray(_stack(chosen.sample).any(axis=0)), sample.keypoints)
    return with_keypoints(chosen, theirs)


def _mirrored(sample: Sample) -> Sample:
    """Mirror a sample without keypoints left to right."""
    width = sample.image.shape[1]
    boxes = np.array(sample.boxes, np.float32).reshape(-1, 4)
    boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    mask = None if sample.mask is None else sample.mask[:, ::-1]
    masks = _stack(sample)[..., ::-1]
    return replace(sample, image=sample.image[:, ::-1], mask=mask, boxes=boxes, instance_masks=masks)


def _stack(sample: Sample) -> NDArray[np.uint8]:
    masks = stack_of(sample)
    if masks is None:
        raise AssertionError("join has checked that they exist")
    return masks
