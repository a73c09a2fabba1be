"""Outline of a mask as polygons along the edges of its pixels, and several polygons joined into one.

The polygons run through the corners of pixels. A mask drawn from them (by pycocotools, at the edges of pixels) is
therefore the mask they were traced from. Outlines through the centres of pixels (``cv2.findContours``) would shrink it
by half a pixel.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from augment.formats.shared.object_rules import polygon_area

Polygon = tuple[float, ...]


class _Run(NamedTuple):
    """A straight piece of an outline, as long as possible; the mask is on its right (y points down)."""

    start: tuple[int, int]
    stop: tuple[int, int]
    step: int  # +1 to the right or down, -1 to the left or up


def trace(mask: NDArray[np.integer] | NDArray[np.bool_]) -> list[Polygon]:
    """Return the closed outlines of the non-zero parts of (H, W), each as (x, y, x, y, …) with its corners only.

    Outlines of parts run clockwise on the screen, those of holes counterclockwise. Pixels that touch only at a corner
    belong to different parts. The largest comes first.
    """
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(ys):
        return []
    top, left = int(ys[0]), int(xs[0])
    padded = np.pad(mask[top : ys[-1] + 1, left : xs[-1] + 1] != 0, 1).astype(np.int8)
    rows = _runs(np.diff(padded, axis=0)[:, 1:-1])
    columns = _runs(-np.diff(padded, axis=1)[1:-1, :].T)
    across = [_Run((a + left, line + top), (b + left, line + top), step) for line, a, b, step in rows]
    along = [_Run((line + left, a + top), (line + left, b + top), step) for line, a, b, step in columns]
    leaving: tuple[dict[tuple[int, int], dict[int, _Run]], ...] = ({}, {})
    for kind, runs in enumerate((across, along)):
        for run in runs:
            leaving[kind].setdefault(run.start, {})[run.step] = run
    polygons: list[Polygon] = []
    while leaving[0]:
        corners: list[float] = []
        runs_there = next(iter(leaving[0].values()))
        run, kind = next(iter(runs_there.values())), 0
        while True:
            there = leaving[kind].get(run.start, {})
            if there.get(run.step) is not run:
                break  # the first one again
            del there[run.step]
            if not there:
                del leaving[kind][run.start]
            corners += run.start
            # if two pixels touch at a corner, two runs leave it: the right turn stays with its own pixel
            turn = run.step if kind == 0 else -run.step
            kind = 1 - kind
            following = leaving[kind].get(run.stop)
            if following is None:
                break
            run = following[turn] if turn in following else next(iter(following.values()))
        polygons.append(tuple(corners))
    return sorted(polygons, key=polygon_area, reverse=True)


def _runs(steps: NDArray[np.int8]) -> list[tuple[int, int, int, int]]:
    """Return the stretches of equal sign in each line, as (line, start, stop, sign); -1 runs against the line."""
    padded = np.pad(steps, ((0, 0), (1, 1)))
    changes = padded[:, 1:] != padded[:, :-1]
    lines, places = np.nonzero(changes)
    signs = padded[lines, places + 1]  # the sign of each stretch
    found = []
    for line, begin, end, sign in zip(
        lines[:-1].tolist(), places[:-1].tolist(), places[1:].tolist(), signs[:-1].tolist(), strict=True
    ):
        if sign:
            found.append((line, begin, end, sign) if sign > 0 else (line, end, begin, sign))
    return found


def joined(polygons: Sequence[Polygon]) -> Polygon:
    """Return one polygon with the same inside; the polygons are connected by lines that run there and back.

    The lines are short, but not the shortest possible. A point inside an even number of the polygons is outside: parts
    must not overlap, holes become holes.
    """
    loops = [np.array(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
    hanging: dict[tuple[int, int], list[tuple[int, int]]] = {}
    begin = 1
    while begin < len(loops):  # doubles the joined loops: the depth is logarithmic and a search tree pays
        corners = np.concatenate(loops[:begin])
        owners = np.repeat(np.arange(begin), [len(loop) for loop in loops[:begin]])
        places = np.concatenate([np.arange(len(loop)) for loop in loops[:begin]])
        nearest = cKDTree(corners)
        end = min(2 * begin, len(loops))
        for i in range(begin, end):
            distances, found = nearest.query(loops[i])
            own = int(distances.argmin())
            corner = int(found[own])
            hanging.setdefault((int(owners[corner]), int(places[corner])), []).append((i, own))
        begin = end
    path: list[float] = []
    _follow(loops, hanging, path, 0, 0)
    return tuple(path[:-2])


def _follow(
    loops: list[NDArray[np.float64]],
    hanging: dict[tuple[int, int], list[tuple[int, int]]],
    path: list[float],
    which: int,
    start: int,
) -> None:
    """Follow a loop once from one of its corners, and every loop attached to a corner on the way."""
    loop = loops[which].tolist()
    for k in range(len(loop)):
        place = (start + k) % len(loop)
        path += loop[place]
        for other, there in hanging.get((which, place), ()):
            _follow(loops, hanging, path, other, there)
            path += loop[place]
    path += loop[start]
