"""TrivialAugment: one operation at one strength, both drawn at random."""

from typing import Any, Literal

from augment.transforms.library import A, cv2
from augment.transforms.policies.operations import TRIVIAL_WIDE
from augment.transforms.policies.policy import Policy


class TrivialAugmentWide(Policy):
    """Applies one operation of the wide space at one of ``num_magnitude_bins`` strengths, all equally likely.

    Source: Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation" (2021).
    """

    class InitSchema(A.core.transforms_interface.BaseTransformInitSchema):  # type: ignore[misc]  # untyped
        num_magnitude_bins: int
        interpolation: Literal[0, 1, 2]
        fill: tuple[float, float, float] | float
        fill_mask: float

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: int = cv2.INTER_NEAREST,
        fill: tuple[float, float, float] | float = 0,
        fill_mask: float = 0,
        p: float = 1.0,
    ) -> None:
        super().__init__(interpolation, fill, fill_mask, p)
        self.num_magnitude_bins = num_magnitude_bins

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        share = self.py_random.randrange(self.num_magnitude_bins) / (self.num_magnitude_bins - 1)
        return {"operations": [self.draw(TRIVIAL_WIDE, share, params["shape"][:2])]}
