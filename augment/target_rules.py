"""What a pipeline says about targets once the pixels have moved: its ``boxes:`` and ``keypoints:`` sections.

Both are canonical: whatever was left out is filled in, so that a digest does not depend on how a section was written.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from augment.document import JSON, shown
from augment.errors import PipelineError, Problem
from augment.spelling import did_you_mean

LARGEST: Final = 1e9
"""The largest area or side that a rule may ask for; no picture has it."""

OUTSIDE: Final = ("keep", "drop", "mark")

_ROUNDING: Final = 1e-3
"""Pixels, and shares, by which a box may miss a limit: boxes pass Albumentations as float32 shares of the picture."""


@dataclass(frozen=True, slots=True)
class BoxRules:
    """Which boxes of an augmented sample stay. Sides and areas are pixels of the result, after a box was cut at it.

    ``min_visibility`` is the least share of a box that must be left: the product, over the transforms that were
    applied, of its area inside the frame divided by its whole area there.
    The defaults drop what is smaller than a pixel, as torchvision's ``SanitizeBoundingBoxes`` does.
    """

    min_area: float = 1.0
    min_width: float = 1.0
    min_height: float = 1.0
    min_visibility: float = 0.0

    def canonical(self) -> dict[str, JSON]:
        """Return the section with everything filled in; ``parse_boxes`` reads it back to an equal value."""
        return asdict(self)

    def keeps(self, boxes: NDArray[np.float64], visible: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which boxes (N, 4) stay, of which the shares ``visible`` (N,) are left; none without an area stays."""
        width, height = (boxes[:, 2:4] - boxes[:, :2]).T
        stays: NDArray[np.bool_] = (width >= self.min_width - _ROUNDING) & (height >= self.min_height - _ROUNDING)
        stays &= (width * height >= self.min_area - _ROUNDING) & (width > 0) & (height > 0)
        return stays & (visible >= self.min_visibility - _ROUNDING)


@dataclass(frozen=True, slots=True)
class KeypointRules:
    """What becomes of keypoints outside the frame, and of left and right in a mirrored picture.

    ``outside``: ``keep`` them where they lie, ``drop`` them with all that is said of them, or ``mark`` them as lost
    (NaN, visibility 0). ``swap_sides``: where a sample was mirrored an odd number of times, labels whose names differ
    by left and right change places.
    """

    outside: Literal["keep", "drop", "mark"] = "keep"
    swap_sides: bool = True

    def canonical(self) -> dict[str, JSON]:
        """Return the section with everything filled in; ``parse_keypoints`` reads it back to an equal value."""
        return asdict(self)


def parse_boxes(section: Mapping[str, Any]) -> BoxRules:
    """Read a section; raises PipelineError with every problem in it, placed below ``boxes``."""
    known = [field.name for field in fields(BoxRules)]
    problems = _unknown("boxes", section, known)
    values: dict[str, float] = {}
    for name in known:
        value = section.get(name, getattr(BoxRules(), name))
        most = 1.0 if name == "min_visibility" else LARGEST
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            limit = "a share, in [0, 1]" if name == "min_visibility" else f"a number of pixels in [0, {LARGEST:g}]"
            problems.append(Problem(("boxes", name), f"{_said(value)} is not {limit}; 0 keeps every box"))
        else:
            values[name] = float(value)
    if problems:
        raise PipelineError(problems)
    return BoxRules(**values)


def parse_keypoints(section: Mapping[str, Any]) -> KeypointRules:
    """Read a section; raises PipelineError with every problem in it, placed below ``keypoints``."""
    rules = KeypointRules()
    problems = _unknown("keypoints", section, [field.name for field in fields(KeypointRules)])
    outside = section.get("outside", rules.outside)
    if outside not in OUTSIDE:
        hint = did_you_mean(outside, OUTSIDE) if isinstance(outside, str) else ""
        msg = f"{_said(outside)} is not one of {', '.join(OUTSIDE)}{hint}"
        problems.append(Problem(("keypoints", "outside"), msg))
    swap_sides = section.get("swap_sides", rules.swap_sides)
    if not isinstance(swap_sides, bool):
        problems.append(Problem(("keypoints", "swap_sides"), f"{_said(swap_sides)} is not true or false"))
    if problems:
        raise PipelineError(problems)
    return KeypointRules(outside, swap_sides)


def _unknown(section: str, given: Mapping[str, Any], known: Sequence[str]) -> list[Problem]:
    return [
        Problem(
            (section, key), f"`{shown(key)}` is unknown here{did_you_mean(key, known)}; there are {', '.join(known)}"
        )
        for key in given
        if key not in known
    ]


def _said(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return f"`{shown(value)}`" if isinstance(value, str) else shown(value)
