"""RandAugment, TrivialAugment, 3-Augment, AutoAugment, AugMix, and containers of children that the user wrote.

- **RandAugment**: a few operations drawn at random, all at one strength.
- **TrivialAugment**: one operation at one strength, both drawn at random.
- **3-Augment**: grey, solarised or blurred, one of the three.
- **AutoAugment**: one of 25 pairs of operations found by a search for a data set, each with a probability, and a
  magnitude from 0 to 9. Source: Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data" (2019),
  appendix, tables 7 (CIFAR-10), 8 (SVHN) and 9 (ImageNet). If an operation has no magnitude, the papers' number is
  meaningless and left out.
- **AugMix**: the image mixed with others that chains of operations made of it.
- **Containers**: their rules choose and order their children. NoOp is the child that does nothing.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms import limits, schema
from augment.transforms.albumentations_import import TARGETS, A, cv2
from augment.transforms.entry import ALL_TARGETS, TransformEntry, fill, fill_mask, moving_entry
from augment.transforms.policies.operations import (
    AUTO,
    GEOMETRIC,
    MIX,
    MIX_ALL,
    RAND,
    TRIVIAL_WIDE,
    Shape,
    luma,
    solarize,
)
from augment.transforms.policies.policy import Policy, Step, applied, draw_magnitude
from augment.transforms.schema import Schema


class RandAugment(Policy):
    """Policy of ``num_ops`` operations, drawn with replacement, at ``magnitude`` of ``num_magnitude_bins`` steps.

    Source: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space" (2020). The
    paper's magnitudes are 0 to 30, hence 31 steps; 9 with two operations is its setting for ResNet-50 on ImageNet.
    """

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


class TrivialAugmentWide(Policy):
    """Policy that applies one operation of the wide space at one of ``num_magnitude_bins`` strengths, equally likely.

    Source: Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation" (2021).
    """

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


_Image = NDArray[Any]

_THRESHOLD = 128.0
_SIGMA_PX = (0.1, 2.0)


class ThreeAugment(A.ImageOnlyTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Transform that makes the image grey, inverts its values from 128 on, or blurs it, all equally likely.

    The standard deviation of the blur is drawn uniformly between 0.1 and 2 pixels. Source: Touvron et al., "DeiT III:
    Revenge of the ViT" (2022), section 3, and its authors' code, which uses Pillow's defaults. The flip before and
    the colour jitter of 0.3 after it are separate nodes, as in the preset ``deit3``.
    """

    def __init__(self, p: float = 1.0) -> None:
        super().__init__(p=p)

    def get_params(self) -> dict[str, Any]:
        sigma = self.py_random.uniform(*_SIGMA_PX)
        steps: tuple[Step, ...] = ("Grayscale", None), ("Solarize", _THRESHOLD), ("GaussianBlur", sigma)
        return {"operations": [self.py_random.choice(steps)]}

    def apply(self, img: _Image, *_: Any, operations: list[Step], **params: Any) -> _Image:  # noqa: ARG002
        ((name, magnitude),) = operations
        if magnitude is None:
            return np.repeat(luma(img)[..., np.newaxis], 3, axis=2)
        if name == "Solarize":
            return solarize(img, magnitude)
        return cv2.GaussianBlur(img, (0, 0), magnitude, borderType=cv2.BORDER_REPLICATE)


Choice = tuple[str, float, int]
"""Operation, probability that it is applied, magnitude."""


_IMAGENET: Final = """
Posterize 0.4 8 + Rotate 0.6 9
Solarize 0.6 5 + AutoContrast 0.6
Equalize 0.8 + Equalize 0.6
Posterize 0.6 7 + Posterize 0.6 6
Equalize 0.4 + Solarize 0.2 4
Equalize 0.4 + Rotate 0.8 8
Solarize 0.6 3 + Equalize 0.6
Posterize 0.8 5 + Equalize 1.0
Rotate 0.2 3 + Solarize 0.6 8
Equalize 0.6 + Posterize 0.4 6
Rotate 0.8 8 + Color 0.4 0
Rotate 0.4 9 + Equalize 0.6
Equalize 0.0 + Equalize 0.8
Invert 0.6 + Equalize 1.0
Color 0.6 4 + Contrast 1.0 8
Rotate 0.8 8 + Color 1.0 2
Color 0.8 8 + Solarize 0.8 7
Sharpness 0.4 7 + Invert 0.6
ShearX 0.6 5 + Equalize 1.0
Color 0.4 0 + Equalize 0.6
Equalize 0.4 + Solarize 0.2 4
Solarize 0.6 5 + AutoContrast 0.6
Invert 0.6 + Equalize 1.0
Color 0.6 4 + Contrast 1.0 8
Equalize 0.8 + Equalize 0.6
"""

_CIFAR10: Final = """
Invert 0.1 + Contrast 0.2 6
Rotate 0.7 2 + TranslateX 0.3 9
Sharpness 0.8 1 + Sharpness 0.9 3
ShearY 0.5 8 + TranslateY 0.7 9
AutoContrast 0.5 + Equalize 0.9
ShearY 0.2 7 + Posterize 0.3 7
Color 0.4 3 + Brightness 0.6 7
Sharpness 0.3 9 + Brightness 0.7 9
Equalize 0.6 + Equalize 0.5
Contrast 0.6 7 + Sharpness 0.6 5
Color 0.7 7 + TranslateX 0.5 8
Equalize 0.3 + AutoContrast 0.4
TranslateY 0.4 3 + Sharpness 0.2 6
Brightness 0.9 6 + Color 0.2 8
Solarize 0.5 2 + Invert 0.0
Equalize 0.2 + AutoContrast 0.6
Equalize 0.2 + Equalize 0.6
Color 0.9 9 + Equalize 0.6
AutoContrast 0.8 + Solarize 0.2 8
Brightness 0.1 3 + Color 0.7 0
Solarize 0.4 5 + AutoContrast 0.9
TranslateY 0.9 9 + TranslateY 0.7 9
AutoContrast 0.9 + Solarize 0.8 3
Equalize 0.8 + Invert 0.1
TranslateY 0.7 9 + AutoContrast 0.9
"""

_SVHN: Final = """
ShearX 0.9 4 + Invert 0.2
ShearY 0.9 8 + Invert 0.7
Equalize 0.6 + Solarize 0.6 6
Invert 0.9 + Equalize 0.6
Equalize 0.6 + Rotate 0.9 3
ShearX 0.9 4 + AutoContrast 0.8
ShearY 0.9 8 + Invert 0.4
ShearY 0.9 5 + Solarize 0.2 6
Invert 0.9 + AutoContrast 0.8
Equalize 0.6 + Rotate 0.9 3
ShearX 0.9 4 + Solarize 0.3 3
ShearY 0.8 8 + Invert 0.7
Equalize 0.9 + TranslateY 0.6 6
Invert 0.9 + Equalize 0.6
Contrast 0.3 3 + Rotate 0.8 4
Invert 0.8 + TranslateY 0.0 2
ShearY 0.7 6 + Solarize 0.4 8
Invert 0.6 + Rotate 0.8 4
ShearY 0.3 7 + TranslateX 0.9 3
ShearX 0.1 6 + Invert 0.6
Solarize 0.7 2 + TranslateY 0.6 7
ShearY 0.8 4 + Invert 0.8
ShearX 0.7 9 + TranslateY 0.8 3
ShearY 0.8 5 + AutoContrast 0.7
ShearX 0.7 2 + Invert 0.1
"""


def _read(table: str) -> tuple[tuple[Choice, Choice], ...]:
    pairs = []
    for line in table.split("\n")[1:-1]:
        first, second = (_choice(*words.split()) for words in line.split("+"))
        pairs.append((first, second))
    return tuple(pairs)


def _choice(name: str, chance: str, level: str = "0") -> Choice:
    return name, float(chance), int(level)


SUB_POLICIES: Final[Mapping[str, tuple[tuple[Choice, Choice], ...]]] = MappingProxyType(
    {"imagenet": _read(_IMAGENET), "cifar10": _read(_CIFAR10), "svhn": _read(_SVHN)}
)


_STRONGEST = 9


class AutoAugment(Policy):
    """Policy that applies one of the 25 sub-policies of ``policy``: two operations, with probabilities and magnitudes.

    Source: Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data" (2019), the tables of its appendix.
    """

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
        for name, chance, level in self.py_random.choice(SUB_POLICIES[self.policy]):
            if self.py_random.random() < chance:
                share = level / _STRONGEST
                drawn.append((name, draw_magnitude(AUTO[name], share, params["shape"][:2], self.py_random)))
        return {"operations": drawn}


_LEVELS = 10
"""Strongest severity."""

_WEAKEST_LEVEL = 0.1
_DEPTHS = (1, 2, 3)
"""Lengths from which the authors draw a chain's length."""


class AugMix(A.DualTransform):  # type: ignore[misc]  # Albumentations' metaclass is untyped
    """Transform that mixes the image with ``mixture_width`` variants, each made by a chain of operations.

    The variants are mixed by weights from Dirichlet(alpha, …), their mix with the image by one from Beta(alpha, alpha).
    Operations are drawn with replacement, levels uniformly between 0.1 and ``severity`` of 10. With ``geometric`` the
    chains turn, shear and shift too. The variants have then moved differently, so masks, boxes and keypoints have no
    common place. Without it no pixel moves.

    Source: Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty" (2020),
    algorithm 1, and its authors' code. Their loss, which compares three such views, is left to training.
    """

    _targets = TARGETS

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
        """Draw the weights, that of the image first, and a chain for each variant, by its number."""
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


_MAX_BINS = 256
_MAX_OPS = 8
"""Limit of operations in one call, so that provenance shows them one by one; papers use 1 to 3."""


def _geometric(*, with_mask: bool = True) -> dict[str, Schema]:
    options = {value: title for value, title in schema.INTERPOLATIONS.items() if value <= 2}
    shared = {
        "interpolation": schema.choice(options, "filter for turns, shears and shifts"),
        "fill": fill("colour of parts that a turn, shear or shift uncovers"),
    }
    return shared | ({"fill_mask": fill_mask("class index of those parts in the mask")} if with_mask else {})


def _magnitude_below_bins(params: Mapping[str, Any]) -> str | None:
    magnitude, bins = params["magnitude"], params["num_magnitude_bins"]
    return None if magnitude < bins else f"magnitude is {magnitude}; with {bins} bins it must be at most {bins - 1}"


_BINS = schema.integer(2, _MAX_BINS, "steps of the magnitude, from nothing to the strongest")


ENTRIES = (
    moving_entry(
        "AutoAugment",
        "Applies one of the 25 pairs of operations found by a search for a data set.",
        {
            "policy": schema.choice(
                {"imagenet": "ImageNet: mostly colours", "cifar10": "CIFAR-10", "svhn": "SVHN: mostly shears"},
                "data set of the search",
            )
        }
        | _geometric(),
        implementation=AutoAugment,
    ),
    moving_entry(
        "RandAugment",
        "Applies a few of fourteen operations, drawn at random, all at one strength.",
        {
            "num_ops": schema.integer(1, _MAX_OPS, "number of operations, one after another"),
            "magnitude": schema.integer(0, _MAX_BINS - 1, "strength, as a step of the magnitude; 0 is the weakest"),
            "num_magnitude_bins": _BINS,
        }
        | _geometric(),
        rules=(("magnitude is below num_magnitude_bins", _magnitude_below_bins),),
        implementation=RandAugment,
    ),
    moving_entry(
        "TrivialAugmentWide",
        "Applies one of fourteen operations at one strength, both drawn at random.",
        {"num_magnitude_bins": _BINS} | _geometric(),
        implementation=TrivialAugmentWide,
    ),
    TransformEntry(
        "AugMix",
        "Mixes the image with variants that chains of operations made of it; geometric ones move no targets.",
        {
            "severity": schema.integer(1, 10, "largest strength of operations, in tenths"),
            "mixture_width": schema.integer(1, 10, "number of variants"),
            "chain_depth": schema.either(
                "number of operations in a chain",
                schema.choice({-1: "1 to 3, drawn for each"}, ""),
                schema.integer(1, _MAX_OPS, "") | {"title": "so many"},
            ),
            "alpha": schema.number(0.01, 100, "evenness of the weights: below 1 one dominates, above they are similar"),
            "geometric": schema.flag("turn, shear and shift too; then only images without targets can pass"),
            "all_ops": schema.flag("use brightness, colour, contrast and sharpness too, which ImageNet-C tests"),
        }
        | _geometric(with_mask=False),
        moves_pixels=True,
        still_where=lambda params: not params["geometric"],
        remedy="set `geometric: false`",
        implementation=AugMix,
    ),
    TransformEntry(
        "ThreeAugment",
        "Makes the image grey, solarises it or blurs it: the 3-Augment of DeiT III.",
        implementation=ThreeAugment,
    ),
)

_CHOSEN_CHILDREN = {
    "n": schema.integer(1, limits.CHOICES, "number of chosen children, all equally likely"),
    "replace": schema.flag("allow a child to be chosen more than once"),
}

CONTAINER_ENTRIES = (
    TransformEntry(
        "OneOf", "Applies one child; the children's p are their weights.", targets=ALL_TARGETS, container=True
    ),
    TransformEntry(
        "SomeOf",
        "Chooses n children and applies each, in the order they are written, with its own p.",
        _CHOSEN_CHILDREN,
        targets=ALL_TARGETS,
        container=True,
    ),
    TransformEntry(
        "RandomOrder",
        "Chooses n children and applies each, in a random order, with its own p.",
        _CHOSEN_CHILDREN,
        targets=ALL_TARGETS,
        container=True,
    ),
    TransformEntry(
        "OneOrOther",
        "Applies the first of two children with probability p, else the second, regardless of their own p.",
        targets=ALL_TARGETS,
        container=True,
    ),
    TransformEntry(
        "Sequential", "Applies all children in their order, each with its own p.", targets=ALL_TARGETS, container=True
    ),
    TransformEntry("NoOp", "Does nothing; a choice for OneOf and SomeOf.", targets=ALL_TARGETS),
)
