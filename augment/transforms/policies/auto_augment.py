"""AutoAugment: one of 25 pairs of operations that a search found for a data set."""

from typing import Any, Literal

from augment.transforms.library import A, cv2
from augment.transforms.policies import published_policies
from augment.transforms.policies.operations import AUTO
from augment.transforms.policies.policy import Policy, Step, draw_magnitude

_STRONGEST = 9


class AutoAugment(Policy):
    """Applies one sub-policy, drawn from the 25 of ``policy``: two operations, each with its chance and magnitude.

    Source: Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data" (2019), the tables of its appendix,
    which ``found.py`` holds.
    """

    class InitSchema(A.core.transforms_interface.BaseTransformInitSchema):  # type: ignore[misc]  # untyped
        policy: Literal["imagenet", "cifar10", "svhn"]
        interpolation: Literal[0, 1, 2]
        fill: tuple[float, float, float] | float
        fill_mask: float

    def __init__(
        self,
        policy: str = "imagenet",
        interpolation: int = cv2.INTER_NEAREST,
        fill: tuple[float, float, float] | float = 0,
        fill_mask: float = 0,
        p: float = 1.0,
    ) -> None:
        super().__init__(interpolation, fill, fill_mask, p)
        self.policy = policy

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        drawn: list[Step] = []
        for name, chance, level in self.py_random.choice(published_policies.POLICIES[self.policy]):
            if self.py_random.random() < chance:
                share = level / _STRONGEST
                drawn.append((name, draw_magnitude(AUTO[name], share, params["shape"][:2], self.py_random)))
        return {"operations": drawn}
