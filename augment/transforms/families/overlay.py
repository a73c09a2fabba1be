"""Elements of other images, pasted onto an image: logos, stickers, dirt, or others from a dataset.

Albumentations' transform of this name takes elements and places from the caller for each sample; here both are drawn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.samples.sample import Sample
from augment.transforms.albumentations_import import TARGETS, A
from augment.transforms.donors.source import Referring, as_pixels, fitted
from augment.transforms.families.dropout import boxes_seen

_Array = NDArray[Any]
_Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class OverlayElement:
    """Element at its size and place: ``rows`` and ``columns`` of the image.

    ``image`` holds its values times their ``share``, float32 (h, w), or plain values if ``share`` is None: it is
    opaque.
    """

    rows: slice
    columns: slice
    image: _Array
    share: NDArray[np.float32] | None

    @property
    def covers(self) -> NDArray[np.bool_]:
        """Mask of its pixels that hide the image."""
        return np.ones(self.image.shape[:2], bool) if self.share is None else self.share >= 0.5

    def pasted(self, onto: _Image) -> _Image:
        """Return this part of the image with the element on it."""
        if self.share is None:
            return self.image
        return as_pixels(self.image + (1 - self.share[..., np.newaxis]) * onto)


class OverlayElements(Referring, A.DualTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Transform that pastes some elements of the references, each whole, at a random size and place.

    An element is the content of a reference's mask: one of its objects if it has instance masks, else all classes but 0
    (so an image without a mask, among others that have one, is shown whole). Without masks it is the whole image. A
    reference whose mask is empty has no element. The element is the largest that fits a share, from ``scale_range``, of
    the image's height and width. Later ones cover earlier ones.

    Masks keep their classes below an element, or get ``fill_mask``. If that is given, masks of objects lose their
    covered part. A box whose every pixel is covered is dropped; other boxes and keypoints do not change.
    """

    _targets = TARGETS

    def __init__(
        self,
        references: str,
        num_elements: tuple[int, int] = (1, 3),
        scale_range: tuple[float, float] = (0.1, 0.4),
        fill_mask: int | None = None,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.references = references
        self.num_elements = num_elements
        self.scale_range = scale_range
        self.fill_mask = fill_mask

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw the elements: ``places`` are x, y, width and height in pixels, 0 for a missing element."""
        height, width = params["shape"][:2]
        keys, places, pieces = [], [], []
        for _ in range(self.py_random.randint(*self.num_elements)):
            key, sample = self.reference()
            part = self._part(sample)
            scale = self.py_random.uniform(*self.scale_range)
            across, down = (0, 0) if part is None else _size(part[0], scale, height, width)
            x, y = self.py_random.randint(0, width - across), self.py_random.randint(0, height - down)
            if part is not None:
                pieces.append(_piece(*part, x, y, across, down))
            keys.append(key)
            places.append([x, y, across, down])
        return {"references": keys, "places": places, "pieces": pieces}

    def apply(self, img: _Image, *, pieces: list[OverlayElement], **_: Any) -> _Image:
        out = img.copy()
        for piece in pieces:
            out[piece.rows, piece.columns] = piece.pasted(out[piece.rows, piece.columns])
        return out

    def apply_to_mask(self, mask: _Array, *, pieces: list[OverlayElement], **_: Any) -> _Array:
        if self.fill_mask is None:
            return mask
        out = mask.copy()
        out[_covered(pieces, *mask.shape[:2])] = self.fill_mask
        return out

    def apply_to_bboxes(self, bboxes: _Array, *, pieces: list[OverlayElement], **params: Any) -> _Array:
        if not pieces or not len(bboxes):
            return bboxes
        return boxes_seen(bboxes, ~_covered(pieces, *params["shape"][:2]))

    def apply_to_keypoints(self, keypoints: _Array, *_: Any, **__: Any) -> _Array:
        return keypoints

    def _part(self, sample: Sample) -> tuple[_Image, NDArray[np.bool_] | None] | None:
        """Return the rectangle of one element with its mask, or None if the reference has no element."""
        if sample.instance_masks is not None:
            count = len(sample.instance_masks)
            shown = sample.instance_masks[self.py_random.randrange(count)] != 0 if count else np.zeros((0, 0), bool)
        elif sample.mask is not None:
            shown = sample.mask != 0
        else:
            return sample.image, None
        rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        if not len(rows):
            return None
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        return sample.image[box], shown[box]


def _size(image: _Image, scale: float, height: int, width: int) -> tuple[int, int]:
    """Return width and height of an element: the most that fits a share of the frame's, at least a pixel."""
    down, across = image.shape[:2]
    factor = scale * min(height / down, width / across)
    return min(width, max(1, round(across * factor))), min(height, max(1, round(down * factor)))


def _piece(image: _Image, shown: NDArray[np.bool_] | None, x: int, y: int, across: int, down: int) -> OverlayElement:
    """Resize an element; values are weighted by its mask first, so that no background bleeds into its edge."""
    rows, columns = slice(y, y + down), slice(x, x + across)
    if shown is None:
        return OverlayElement(rows, columns, fitted(image, down, across), None)
    share = shown.astype(np.float32)
    weighed = fitted(image * share[..., np.newaxis], down, across)
    return OverlayElement(rows, columns, weighed, fitted(share, down, across))


def _covered(pieces: list[OverlayElement], height: int, width: int) -> NDArray[np.bool_]:
    covered = np.zeros((height, width), bool)
    for piece in pieces:
        covered[piece.rows, piece.columns] |= piece.covers
    return covered
