"""Left and right in the names of keypoints: what a mirrored picture calls the other way round."""

import functools
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORDS = re.compile(r"left|right", re.IGNORECASE)
_LETTERS = re.compile(r"(?<![a-z0-9])[lr](?![a-z0-9])", re.IGNORECASE)  # eye_l, L-eye
_CAPITALS = re.compile(r"^[LR](?=[A-Z])")  # LShoulder


@functools.lru_cache(maxsize=64)
def partners(names: tuple[str, ...]) -> NDArray[np.int64]:
    """For each name the place of the one that differs from it by left and right alone, else its own; never written to.

    Sides are the words left and right anywhere in a name, the letters l and r standing alone (``eye_l``), or a capital
    L or R before another capital (``RWrist``), in any case.
    """
    places = {name: i for i, name in enumerate(names)}
    found = np.arange(len(names), dtype=np.int64)
    for i, name in enumerate(names):
        for pattern in (_WORDS, _LETTERS, _CAPITALS):
            other = pattern.sub(_opposite, name)
            if other != name and other in places and pattern.sub(_opposite, other) == name:
                found[i] = places[other]
                break
    found.flags.writeable = False
    return found


def exchange(
    labels: NDArray[np.int64], objects: NDArray[np.int64] | None, partner: Sequence[int] | NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows in their new order and the labels beside them, (K,) each, of keypoints seen in a mirror.

    Where an object has a keypoint of either side, the two rows change places and the labels stay, so that the order
    of an object's labels is what it was (as with YOLO's ``flip_idx``); where it has one alone, that one changes its
    label. ``objects`` says which object each keypoint belongs to; None is one object.
    """
    order, renamed = np.arange(len(labels)), labels.copy()
    places: dict[tuple[int, int], list[int]] = {}
    owners = np.zeros(len(labels), np.int64) if objects is None else objects
    for row, place in enumerate(zip(owners.tolist(), labels.tolist(), strict=True)):
        places.setdefault(place, []).append(row)
    for (owner, label), rows in places.items():
        other = int(partner[label]) if 0 <= label < len(partner) else label
        if other == label:
            continue
        others = places.get((owner, other), [])
        for nth, row in enumerate(rows):
            if nth < len(others):
                order[row] = others[nth]
            else:
                renamed[row] = other
    return order, renamed


def _opposite(match: re.Match[str]) -> str:
    side = match.group()
    other = {"left": "right", "right": "left", "l": "r", "r": "l"}[side.lower()]
    if side.isupper():
        return other.upper()
    return other.capitalize() if side[0].isupper() else other
