"""AugMix: the picture mixed with others that chains of operations made of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import A, cv2
from augment.transforms.policies.operations import GEOMETRIC, MIX, MIX_ALL, Shape
from augment.transforms.policies.policy import TARGETS, Step, applied, draw_magnitude

_Image = NDArray[Any]

_LEVELS = 10
"""The strongest severity."""

_WEAKEST_LEVEL = 0.1
_DEPTHS = (1, 2, 3)
"""What the authors draw a chain's length from."""


class AugMix(A.DualTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Mixes the picture with ``mixture_width`` of its variants, each made by a chain of operations.

    The variants are mixed by weights from Dirichlet(alpha, …), their mix with the picture by one from Beta(alpha,
    alpha). Operations are drawn with replacement, levels uniformly between 0.1 and ``severity`` of 10. With
    ``geometric`` the chains turn, shear and shift too: what is mixed has moved differently, so masks, boxes and
    keypoints have no one place to go to. Without it no pixel moves.

    Source: Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty" (2020),
    algorithm 1, and its authors' code. Their loss, which compares three such views, is the trainer's.
    """

    _targets = TARGETS

    class InitSchema(A.core.transforms_interface.BaseTransformInitSchema):  # type: ignore[misc]  # untyped
        severity: int
        mixture_width: int
        chain_depth: int
        alpha: float
        geometric: bool
        all_ops: bool
        interpolation: Literal[0, 1, 2]
        fill: tuple[float, float, float] | float

    def __init__(
        self,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        geometric: bool = True,  # noqa: FBT001, FBT002 - a pipeline gives it by name
        all_ops: bool = False,  # noqa: FBT001, FBT002 - as above
        interpolation: int = cv2.INTER_LINEAR,
        fill: tuple[float, float, float] | float = 0,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        self.severity = severity
        self.mixture_width = mixture_width
        self.chain_depth = chain_depth
        self.alpha = alpha
        self.geometric = geometric
        self.all_ops = all_ops
        self.interpolation = interpolation
        self.fill = fill

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw the weights, that of the picture first, and a chain for each of the others, by its number."""
        shape = params["shape"][:2]
        share = self.random_generator.beta(self.alpha, self.alpha)
        variants = self.random_generator.dirichlet([self.alpha] * self.mixture_width)
        return {
            "weights": [1 - share, *(share * variants).tolist()],
            "chains": {str(number): self._chain(shape) for number in range(1, self.mixture_width + 1)},
        }

    def apply(
        self,
        img: _Image,
        *_: Any,
        weights: Sequence[float],
        chains: Mapping[str, Sequence[Step]],
        **params: Any,  # noqa: ARG002
    ) -> _Image:
        mixed = img * np.float32(weights[0])
        for weight, chain in zip(weights[1:], chains.values(), strict=True):
            mixed += applied(img, chain, self.interpolation, self.fill) * np.float32(weight)
        return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)

    def apply_to_mask(self, mask: _Image, *_: Any, **__: Any) -> _Image:
        return mask

    def apply_to_bboxes(self, bboxes: _Image, *_: Any, **__: Any) -> _Image:
        return bboxes

    def apply_to_keypoints(self, keypoints: _Image, *_: Any, **__: Any) -> _Image:
        return keypoints

    def _chain(self, shape: Shape) -> list[Step]:
        space = MIX_ALL if self.all_ops else MIX
        names = [name for name in space if self.geometric or name not in GEOMETRIC]
        depth = self.chain_depth if self.chain_depth > 0 else self.py_random.choice(_DEPTHS)
        chain: list[Step] = []
        for _ in range(depth):
            name = self.py_random.choice(names)
            share = self.py_random.uniform(_WEAKEST_LEVEL, self.severity) / _LEVELS
            chain.append((name, draw_magnitude(space[name], share, shape, self.py_random)))
        return chain
