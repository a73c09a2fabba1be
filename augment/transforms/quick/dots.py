"""Pixels that are dropped or painted over one by one: written where the mask says, not chosen from whole pictures."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms import mended
from augment.transforms.library import A, cv2

_Array = NDArray[Any]
_pixel = A.augmentations.pixel.functional


class PixelDropout(mended.PixelDropout):
    """The same bytes, of the same draws."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        image, mask = data["image"], _pixel.get_mask_array(data)
        drawn = {
            "drop_mask": self._drop_mask(image.shape),
            "drop_values": _pixel.prepare_drop_values(image, self.drop_value, self.random_generator),
            "mask_drop_mask": None,
            "mask_drop_values": None,
        }
        if self.mask_drop_value is not None and mask is not None:
            drawn["mask_drop_mask"] = self._drop_mask(mask.shape)
            drawn["mask_drop_values"] = _pixel.prepare_drop_values(mask, self.mask_drop_value, self.random_generator)
        return drawn

    def apply(self, img: _Array, drop_mask: _Array, drop_values: _Array, **_: Any) -> _Array:
        return painted(img, drop_values, drop_mask)

    def _drop_mask(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """What ``Generator.choice([True, False], p=[p, 1 - p])`` gives, without looking each number up in a list."""
        share = self.dropout_prob / (self.dropout_prob + (1 - self.dropout_prob))
        if self.per_channel or len(shape) == 2:
            everywhere: NDArray[np.bool_] = self.random_generator.random(shape) < share
            return everywhere
        return _for_channels(self.random_generator.random(shape[:2]) < share)


class SaltAndPepper(A.SaltAndPepper):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """The same bytes, of the same draws."""

    def apply(self, img: NDArray[np.uint8], salt_mask: _Array, pepper_mask: _Array, **_: Any) -> _Array:
        """``img`` is uint8 (H, W, 3); a new array."""
        return painted(painted(img, 0, _for_channels(pepper_mask)), 255, _for_channels(salt_mask))


def painted(image: _Array, values: _Array | int, mask: NDArray[np.bool_]) -> _Array:
    """The picture with these values where the mask is true, a new array; mask and values have the picture's shape."""
    out = image.copy()
    np.copyto(out, values, where=mask)
    return out


def _for_channels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (H, W) for three channels, (H, W, 3)."""
    wide: _Array = cv2.cvtColor(mask.view(np.uint8), cv2.COLOR_GRAY2RGB)
    return wide.view(np.bool_)
