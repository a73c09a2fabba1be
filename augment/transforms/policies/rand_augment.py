"""RandAugment: a few operations drawn at random, all at one strength."""

from typing import Any, Literal

from augment.transforms.library import A, cv2
from augment.transforms.policies.operations import RAND
from augment.transforms.policies.policy import Policy


class RandAugment(Policy):
    """Applies ``num_ops`` operations, drawn with replacement, at ``magnitude`` of ``num_magnitude_bins`` steps.

    Source: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space" (2020). The
    paper's magnitudes are 0 to 30, hence 31 steps; 9 with two operations is its setting for ResNet-50 on ImageNet.
    """

    class InitSchema(A.core.transforms_interface.BaseTransformInitSchema):  # type: ignore[misc]  # untyped
        num_ops: int
        magnitude: int
        num_magnitude_bins: int
        interpolation: Literal[0, 1, 2]
        fill: tuple[float, float, float] | float
        fill_mask: float

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: int = cv2.INTER_NEAREST,
        fill: tuple[float, float, float] | float = 0,
        fill_mask: float = 0,
        p: float = 1.0,
    ) -> None:
        super().__init__(interpolation, fill, fill_mask, p)
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.num_magnitude_bins = num_magnitude_bins

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        shape = params["shape"][:2]
        share = self.magnitude / (self.num_magnitude_bins - 1)
        return {"operations": [self.draw(RAND, share, shape) for _ in range(self.num_ops)]}
