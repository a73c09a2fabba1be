"""A crop resized in one call of OpenCV: Albumentations builds the function that calls it anew for each picture."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms import straight
from augment.transforms.library import cv2

_Array = NDArray[Any]


class RandomResizedCrop(straight.RandomResizedCrop):
    """The same bytes."""

    def apply(self, img: _Array, crop_coords: tuple[int, int, int, int], **params: Any) -> _Array:
        """The crop of a picture, (H, W) or (H, W, C), in the size of the transform; a view where it has that size."""
        if img.ndim != 3 or img.shape[2] != 3:  # OpenCV drops a dimension of length 1
            return np.asarray(super().apply(img, crop_coords, **params))
        left, top, right, bottom = crop_coords
        part: _Array = img[top:bottom, left:right]
        height, width = self.size
        if part.shape[:2] == (height, width):
            return part
        interpolation = self._get_interpolation_for_resize(part.shape[:2], "image")
        return cv2.resize(part, (width, height), interpolation=interpolation)
