"""What one call of a pipeline does: which transforms are applied, with what, and where they take a point."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.sample import Applied
from augment.transforms import catalogue, following, limits
from augment.transforms.drawn import drawn

_PASSED_AS: Final = {"mask": ("mask", "masks"), "boxes": ("bboxes",), "keypoints": ("keypoints",)}
"""Targets, and what Albumentations calls them."""


class Trace:
    """Notes which transforms a call applies, and with what, whichever container they stand in.

    ``mirrored`` says whether the call mirrored the picture an odd number of times, ``matrix`` where it took the middles
    of pixels: (3, 3), or None where no matrix says it. Each is followed only where ``start`` was asked for it.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[str, Mapping[str, Any]]] = []
        self.current = ""
        self.mirrored = False
        self.matrix: NDArray[np.float64] | None = None
        self._counts_mirrors = False
        self._follows_points = False

    def start(self, *, mirrors: bool, points: bool) -> None:
        """Forget the last call."""
        self._noted.clear()
        self.current = ""
        self.mirrored = False
        self.matrix = np.eye(3) if points else None
        self._counts_mirrors = mirrors
        self._follows_points = points

    def watch(self, transform: Any, info: catalogue.TransformInfo, *, moves_pixels: bool) -> None:
        """Let a transform that was built tell this trace of each of its calls."""
        name = info.name
        may_mirror = moves_pixels and "keypoints" in info.targets
        left_behind = _PASSED_AS.keys() - info.targets if moves_pixels else frozenset()
        should_apply: Callable[..., bool] = transform.should_apply
        apply_with_params: Callable[..., dict[str, Any]] = transform.apply_with_params

        def note_choice(*, force_apply: bool = False) -> bool:
            applies = should_apply(force_apply=force_apply)
            if applies:
                self.current = name
            return applies

        def note_params(params: dict[str, Any], *args: Any, **data: Any) -> dict[str, Any]:
            self.note(name, params)
            for target in sorted(left_behind):
                if any(data.get(passed) is not None for passed in _PASSED_AS[target]):
                    raise ValueError(f"it moves pixels but cannot move {target}; {info.remedy}")
            if may_mirror and self._counts_mirrors:
                self.mirrored ^= following.is_mirrored(transform, params)
            if moves_pixels and self._follows_points and self.matrix is not None:
                step = following.matrix_of(transform, params) if may_mirror else None
                self.matrix = None if step is None else step @ self.matrix
            return apply_with_params(params, *args, **data)

        transform.should_apply = note_choice
        transform.apply_with_params = note_params

    def note(self, name: str, params: Mapping[str, Any]) -> None:
        """A transform is about to be applied with these parameters; ValueError where it would make too many pixels."""
        limits.check_output(name, params)
        self._noted.append((name, params))

    def applied(self, *, provenance: bool) -> tuple[Applied, ...]:
        """What was done, in order; without ``provenance`` the names alone."""
        return tuple(Applied(name, drawn(params) if provenance else {}) for name, params in self._noted)
