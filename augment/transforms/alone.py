"""Transforms applied to a picture alone: what Albumentations does of each call where there are no targets.

Its own calls look for volumes, masks and processors, check shapes and copy dictionaries, which takes longer than a
mirror. What is left here is what decides pixels: the chance, the parameters, ``apply``, in the same order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.transforms.library import A
from augment.transforms.trace import Trace

Image = NDArray[np.uint8]

READERS: Final = frozenset(
    {
        "CenterCrop",
        "D4",
        "HorizontalFlip",
        "LongestMaxSize",
        "RandomCrop",
        "RandomResizedCrop",
        "RandomRotate90",
        "Resize",
        "SmallestMaxSize",
        "Transpose",
        "VerticalFlip",
    }
)
"""Transforms that never write into the picture they are given (their result may be a view of it): what pipelines begin
with. Before any other the picture is copied."""


@dataclass(frozen=True, slots=True)
class Alone:
    """A transform, or a container, for pictures without targets; ``reads`` where it never writes into one."""

    apply: Callable[[Image], Image]
    reads: bool


def alone(transform: Any, name: str, trace: Trace) -> Alone:
    """How a transform that ``trace`` watches is applied to a picture alone."""
    base, cls = A.BasicTransform, type(transform)
    is_plain = (
        isinstance(transform, base)
        and cls.__call__ is base.__call__
        and cls.apply_with_params is base.apply_with_params
        and set(transform.targets_as_params) <= {"image"}
    )
    return Alone(_direct(transform, name, trace) if is_plain else _whole(transform), is_plain and name in READERS)


def applied(steps: Sequence[Alone], image: Image) -> Image:
    """The picture after all steps, C-contiguous and new; the given one, which may be read-only, stays as it is."""
    made, is_own = image, False
    for step in steps:
        if not is_own and not step.reads:
            made, is_own = made.copy(), True
        made = step.apply(made)
        is_own = is_own or not np.may_share_memory(made, image)
    return made if is_own else made.copy()


def _direct(transform: Any, name: str, trace: Trace) -> Callable[[Image], Image]:
    apply = transform._key2func["image"]  # noqa: SLF001 - there is no public way

    def call(image: Image) -> Image:
        if not transform.should_apply():
            return image
        data = {"image": image}
        params = transform.update_transform_params(transform.get_params(), data)
        params.update(transform.get_params_dependent_on_data(params, data))
        trace.note(name, params)
        return np.ascontiguousarray(apply(image, **params))

    return call


def _whole(transform: Any) -> Callable[[Image], Image]:
    def call(image: Image) -> Image:
        return np.ascontiguousarray(transform(image=image)["image"])

    return call
