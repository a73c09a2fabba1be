"""3-Augment: grey, solarised or blurred, one of the three."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import A, cv2
from augment.transforms.policies import colours
from augment.transforms.policies.policy import Step

_Image = NDArray[Any]

_THRESHOLD = 128.0
_SIGMA_PX = (0.1, 2.0)


class ThreeAugment(A.ImageOnlyTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Makes the picture grey, inverts its values from 128 on, or blurs it, each as likely as the others.

    The standard deviation of the blur is drawn uniformly between 0.1 and 2 pixels. Source: Touvron et al., "DeiT III:
    Revenge of the ViT" (2022), section 3, and its authors' code, which takes Pillow's defaults. The flip before and
    the colour jitter of 0.3 after it are nodes of their own, as in the preset ``deit3``.
    """

    class InitSchema(A.core.transforms_interface.BaseTransformInitSchema):  # type: ignore[misc]  # untyped
        pass

    def __init__(self, p: float = 1.0) -> None:
        super().__init__(p=p)

    def get_params(self) -> dict[str, Any]:
        sigma = self.py_random.uniform(*_SIGMA_PX)
        steps: tuple[Step, ...] = ("Grayscale", None), ("Solarize", _THRESHOLD), ("GaussianBlur", sigma)
        return {"operations": [self.py_random.choice(steps)]}

    def apply(self, img: _Image, *_: Any, operations: list[Step], **params: Any) -> _Image:  # noqa: ARG002
        ((name, magnitude),) = operations
        if magnitude is None:
            return np.repeat(colours.luma(img)[..., np.newaxis], 3, axis=2)
        if name == "Solarize":
            return colours.solarize(img, magnitude)
        return cv2.GaussianBlur(img, (0, 0), magnitude, borderType=cv2.BORDER_REPLICATE)
