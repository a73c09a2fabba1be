"""Annotations of an image: one form for every format, the manifest, the wire and the API.

As JSON it is one object; each member is optional, and an empty list means "none in this image":

    labels               {"cat": 1.0, "outdoor": 1.0}: several classes, or one class's share of each (soft labels)
    boxes                [[x_min, y_min, x_max, y_max], …]
    box_labels           ["car", …], one for each box
    box_attributes       [{"difficult": true}, …], one for each box: carried along, never interpreted
    instance_masks       one for each box: polygons [[x, y, x, y, …], …], {"size": [H, W], "counts": "…"} or null
    keypoints            [[x, y], …]
    keypoint_labels      ["nose", …], one for each keypoint; so are all of the following
    keypoint_visibility  0 not annotated (its coordinates mean nothing), 1 hidden, 2 visible, as in COCO
    keypoint_angles      radians, counted from the x axis towards the y axis (clockwise on the screen), in [0, 2 pi)
    keypoint_scales      pixels
    keypoint_boxes       the index in ``boxes`` of the object that it belongs to, -1 for none
    extra                {"caption": "…"}: carried along, never interpreted

Coordinates are pixels of the upright image. Boxes and polygons are measured at the edges of pixels: the whole image is
[0, 0, W, H]. Keypoints are measured at their centres: (0, 0) is the centre of the top left pixel, as in OpenCV and
Albumentations. An image's single class is its record's ``label``, its mask is a file. A mirror exchanges the keypoints
that ``partners`` finds by left and right in their names.

``counts`` are COCO's run lengths of a binary mask, column by column: how many 0, then 1, then 0 … The text is that of
pycocotools (``rleToString`` and ``rleFrString`` in its maskApi.c): numbers of five bits a character and a flag for
"more", each from the third on as its difference to the one before the last. It is read here because pycocotools trusts
its input: it writes past the end of the memory if the text has more pixels than the mask, and leaves uninitialised
memory in the mask if the text has fewer.
"""

import functools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.validation import quoted_json

_FIRST = 48
_MORE = 0x20
_SIGN = 0x10
_MOST_GROUPS = 13
"""Most characters of one number: 64 bits."""


def read(counts: str, *, height: int, width: int) -> list[int]:
    """Read the run lengths in this text.

    Raises ValueError if one is negative or their sum is not ``height * width``.
    """
    runs: list[int] = []
    number, shift = 0, 0
    for char in counts:
        group = ord(char) - _FIRST
        if not 0 <= group < 2 * _MORE or shift >= 5 * _MOST_GROUPS:
            raise ValueError(f"run lengths cannot contain {char!r} there")
        number |= (group & (_MORE - 1)) << shift
        shift += 5
        if group & _MORE:
            continue
        if group & _SIGN:
            number -= 1 << shift
        if len(runs) > 2:
            number += runs[-2]
        if number < 0:
            raise ValueError(f"run {len(runs)} is {number} pixels long")
        runs.append(number)
        number, shift = 0, 0
    if shift:
        raise ValueError("run lengths end inside a number")
    if sum(runs) != height * width:
        raise ValueError(f"run lengths make {sum(runs)} pixels, not {width} x {height}")
    return runs


EDGE_TOLERANCE = 1.0
"""Pixels by which a box may leave the image, because tools of the field round. The excess is cut; more is an error."""

Point = tuple[float, float]
Corners = tuple[float, float, float, float]
Polygons = tuple[tuple[float, ...], ...]

_BY_BOX = ("box_labels", "box_attributes", "instance_masks")
BY_KEYPOINT = ("keypoint_labels", "keypoint_visibility", "keypoint_angles", "keypoint_scales", "keypoint_boxes")
_FREE = ("labels", "box_labels", "box_attributes", "keypoint_labels", "extra")
"""Members that hold text or any JSON."""
_VISIBILITIES = frozenset({0, 1, 2})


@dataclass(frozen=True, slots=True)
class Rle:
    """A binary mask as COCO's compressed run lengths (column by column), for an image of this height and width."""

    height: int
    width: int
    counts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """Annotations of one image; None is "the dataset does not say", empty is "none in this image"."""

    labels: Mapping[str, float] | None = None
    boxes: tuple[Corners, ...] | None = None
    box_labels: tuple[str, ...] | None = None
    box_attributes: tuple[Mapping[str, Any], ...] | None = None
    instance_masks: tuple[Polygons | Rle | None, ...] | None = None
    keypoints: tuple[Point, ...] | None = None
    keypoint_labels: tuple[str, ...] | None = None
    keypoint_visibility: tuple[int, ...] | None = None
    keypoint_angles: tuple[float, ...] | None = None
    keypoint_scales: tuple[float, ...] | None = None
    keypoint_boxes: tuple[int, ...] | None = None
    extra: Mapping[str, Any] | None = None

    def to_json(self) -> str:
        """Return the canonical text: members sorted, no spaces, numbers as Python writes floats.

        Equal annotations have equal text. Raises ValueError if a number is not finite.
        """
        return _dumped(self.members())

    def members(self) -> dict[str, Any]:
        """Return the members that are not None, as JSON."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        there = {name: value for name, value in found.items() if value is not None}
        return {name: _WRITE[name](value) if name in _WRITE else value for name, value in there.items()}

    @classmethod
    def from_json(cls, text: str | bytes) -> "Annotations":
        """Read the text that ``to_json`` wrote. Raises ValueError as ``parse`` does for anything else."""
        return parse(json.loads(text))

    def problems(self, height: int, width: int) -> list[str]:
        """Return the problems of these annotations on an upright image of this size, one line each.

        Each line begins with its kind and a colon, so that they can be counted: ``box outside``, ``box without area``,
        ``polygon outside``, ``not a polygon``, ``mask of another size``, ``not run lengths``, ``unknown box``,
        ``unknown visibility``, ``not a number``, ``not text``, ``lengths differ``. Without problems, ``within(height,
        width).to_json()`` is UTF-8 and the annotations can be drawn.
        """
        lengths = list(_wrong_lengths(self))
        if lengths:
            return lengths
        return [
            *_wrong_boxes(self.boxes or (), height, width),
            *_wrong_masks(self.instance_masks or (), height, width),
            *_wrong_keypoints(self),
            *_wrong_texts(self),
        ]

    def within(self, height: int, width: int) -> "Annotations":
        """Return the annotations with boxes cut at the image's edges, and 0 for coordinates of unplaced keypoints."""
        changed: dict[str, Any] = {}
        if self.boxes and any(_leaves(box, height, width, 0.0) for box in self.boxes):
            changed["boxes"] = tuple(
                (max(x_min, 0.0), max(y_min, 0.0), min(x_max, float(width)), min(y_max, float(height)))
                for x_min, y_min, x_max, y_max in self.boxes
            )
        if self.keypoints and not all(map(_is_finite, self.keypoints)):
            changed["keypoints"] = tuple(point if _is_finite(point) else (0.0, 0.0) for point in self.keypoints)
        return replace(self, **changed) if changed else self


NOTHING = Annotations()


def parse(members: object) -> Annotations:
    """Read JSON as this module's docstring describes it.

    Raises ValueError for the first member that is something else.
    """
    if not isinstance(members, Mapping):
        raise _other("annotations must be an object", members)
    known = {field.name: field for field in fields(Annotations)}
    for name in members:
        if name not in known:
            raise ValueError(f"annotations have no member {name!r}; the members are {', '.join(known)}")
    return Annotations(**{name: _READ[name](value, name) for name, value in members.items() if value is not None})


def _wrong_lengths(annotations: Annotations) -> Iterator[str]:
    for owner, names in (("boxes", _BY_BOX), ("keypoints", BY_KEYPOINT)):
        number = len(getattr(annotations, owner) or ())
        for name in names:
            others = getattr(annotations, name)
            if others is not None and len(others) != number:
                yield f"lengths differ: {name} has {len(others)} for {number} {owner}"


def _wrong_boxes(boxes: Sequence[Corners], height: int, width: int) -> Iterator[str]:
    for i, box in enumerate(boxes):
        if not _is_finite(box):
            yield f"not a number: box {i} is {quoted_json(box)}"
        elif _leaves(box, height, width, EDGE_TOLERANCE):
            yield f"box outside: box {i} is {quoted_json(box)} on an image of {width} x {height} (width x height)"
        elif not (min(box[2], width) > max(box[0], 0) and min(box[3], height) > max(box[1], 0)):
            yield f"box without area: box {i} is {quoted_json(box)}"


def _wrong_masks(instance_masks: Sequence[Polygons | Rle | None], height: int, width: int) -> Iterator[str]:
    for i, mask in enumerate(instance_masks):
        if isinstance(mask, Rle):
            if (mask.height, mask.width) != (height, width):
                yield f"mask of another size: mask {i} has {mask.width} x {mask.height}, the image {width} x {height}"
                continue
            try:
                read(mask.counts, height=height, width=width)
            except ValueError as error:
                yield f"not run lengths: mask {i}: {error}"
        for polygon in mask if isinstance(mask, tuple) else ():
            if len(polygon) < 6 or len(polygon) % 2:
                shown = quoted_json(polygon)
                yield f"not a polygon: of mask {i}, {shown} is not three or more points [x, y, x, y, x, y]"
            elif not _is_finite(polygon):
                yield f"not a number: a polygon of mask {i} is {quoted_json(polygon)}"
            else:
                xs, ys = polygon[::2], polygon[1::2]
                if _leaves((min(xs), min(ys), max(xs), max(ys)), height, width, EDGE_TOLERANCE):
                    yield f"polygon outside: of mask {i}, {quoted_json(polygon)} on an image of {width} x {height}"


def _wrong_keypoints(annotations: Annotations) -> Iterator[str]:
    points, num_boxes = annotations.keypoints or (), len(annotations.boxes or ())
    visibility = annotations.keypoint_visibility or (2,) * len(points)
    for i, (point, seen) in enumerate(zip(points, visibility, strict=True)):
        if seen not in _VISIBILITIES:
            yield f"unknown visibility: of keypoint {i} it is {seen}; it must be 0, 1 or 2"
        elif seen and not _is_finite(point):
            yield f"not a number: keypoint {i} is {quoted_json(point)}"
    for name in ("keypoint_angles", "keypoint_scales"):
        values = getattr(annotations, name) or ()
        if not _is_finite(values):
            yield f"not a number: {name} are {quoted_json(values)}"
    for i, box in enumerate(annotations.keypoint_boxes or ()):
        if not -1 <= box < num_boxes:
            yield f"unknown box: keypoint {i} belongs to box {box} of {num_boxes}"


def _wrong_texts(annotations: Annotations) -> Iterator[str]:
    for name in _FREE:
        try:
            _dumped(getattr(annotations, name)).encode()
        except UnicodeEncodeError:
            yield f"not text: {name} holds half of a character"
        except (TypeError, ValueError, RecursionError) as error:
            yield f"not a number: {name} holds a value outside JSON ({error})"


def _is_finite(numbers: Sequence[float]) -> bool:
    return all(map(math.isfinite, numbers))


def _dumped(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _leaves(box: Corners, height: int, width: int, tolerance: float) -> bool:
    x_min, y_min, x_max, y_max = box
    return min(x_min, y_min) < -tolerance or x_max > width + tolerance or y_max > height + tolerance


def _floats(values: Sequence[float]) -> list[float]:
    """Return the values as floats with -0.0 as 0.0, so that an integer, an equal float and both zeros have one text."""
    return [float(value) + 0.0 for value in values]


def _mask_members(mask: Polygons | Rle | None) -> object:
    if isinstance(mask, Rle):
        return {"size": [mask.height, mask.width], "counts": mask.counts}
    return None if mask is None else [_floats(polygon) for polygon in mask]


def _other(wanted: str, value: object) -> ValueError:
    return ValueError(f"{wanted}, not {quoted_json(value)}")


def _of(kind: type | tuple[type, ...], expected: str) -> Callable[[object, str], Any]:
    def read(value: object, name: str) -> Any:
        if not isinstance(value, kind):
            raise _other(f"{name} {expected}", value)
        return value

    return read


_sequence = _of((list, tuple), "is a list")
_text = _of(str, "holds names")
_object = _of(Mapping, "holds objects")


def number(value: object, name: str) -> float:
    """Return a number of JSON, finite or not. Raises ValueError, which calls it ``name``, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _other(f"{name} holds numbers", value)
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{name} has a number of {len(str(abs(value)))} digits") from error


def _integer(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value.bit_length() > 63:
        raise _other(f"{name} holds integers", value)
    return value


def _labels(value: object, name: str) -> Mapping[str, float]:
    if isinstance(value, list | tuple):
        return {_text(each, name): 1.0 for each in value}
    return {_text(key, name): number(share, name) for key, share in _object(value, name).items()}


def _rows(length: int) -> Callable[[object, str], tuple[tuple[float, ...], ...]]:
    def read(value: object, name: str) -> tuple[tuple[float, ...], ...]:
        rows = tuple(tuple(number(each, name) for each in _sequence(row, name)) for row in _sequence(value, name))
        for row in rows:
            if len(row) != length:
                raise _other(f"{name} must be lists of {length} numbers", row)
        return rows

    return read


def _mask(value: object, name: str) -> Polygons | Rle | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        size, counts = value.get("size"), value.get("counts")
        if not isinstance(size, list | tuple) or len(size) != 2 or not isinstance(counts, str):
            raise _other(f'{name} must be {{"size": [H, W], "counts": "…"}} or polygons', value)
        return Rle(_integer(size[0], name), _integer(size[1], name), counts)
    polygons = tuple(tuple(number(each, name) for each in _sequence(part, name)) for part in _sequence(value, name))
    for part in polygons:
        if len(part) < 6 or len(part) % 2:
            raise _other(f"{name}: a polygon needs at least three points [x, y, x, y, x, y]", part)
    return polygons


def _each(read: Callable[[object, str], Any]) -> Callable[[object, str], tuple[Any, ...]]:
    return lambda value, name: tuple(read(each, name) for each in _sequence(value, name))


_READ: Mapping[str, Callable[[object, str], Any]] = {
    "labels": _labels,
    "boxes": _rows(4),
    "box_labels": _each(_text),
    "box_attributes": _each(_object),
    "instance_masks": _each(_mask),
    "keypoints": _rows(2),
    "keypoint_labels": _each(_text),
    "keypoint_visibility": _each(_integer),
    "keypoint_angles": _each(number),
    "keypoint_scales": _each(number),
    "keypoint_boxes": _each(_integer),
    "extra": _object,
}

_WRITE: Mapping[str, Callable[[Any], Any]] = {
    "labels": lambda labels: {name: float(share) for name, share in labels.items()},
    "boxes": lambda boxes: [_floats(box) for box in boxes],
    "instance_masks": lambda given: [_mask_members(mask) for mask in given],
    "keypoints": lambda points: [_floats(point) for point in points],
    "keypoint_angles": _floats,
    "keypoint_scales": _floats,
}


_NAMES_SHOWN = 10
_WORDS = re.compile(r"left|right", re.IGNORECASE)
_LETTERS = re.compile(r"(?<![a-z0-9])[lr](?![a-z0-9])", re.IGNORECASE)  # eye_l, L-eye
_CAPITALS = re.compile(r"^[LR](?=[A-Z])|(?<=[a-z0-9])[LR](?![a-z])")  # LShoulder, kneeL, handLTip


@functools.lru_cache(maxsize=64)
def partners(names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return for each name the index of its left or right partner, else its own. The array is read-only.

    Sides are the words left and right anywhere in a name and the separate letters l and r (``eye_l``), both in any
    case; or a capital L or R that begins a name before another capital (``RWrist``), or follows a small letter or a
    digit and precedes none (``kneeL``, ``handLTip``).
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


def unpaired_notice(names: Sequence[str]) -> str | None:
    """Return the sentence that lists the names without a partner, which a mirror keeps, or None if all have one."""
    alone = [
        name for name, place, i in zip(names, partners(tuple(names)), range(len(names)), strict=True) if place == i
    ]
    if not alone:
        return None
    more = f" and {len(alone) - _NAMES_SHOWN:,} more" if len(alone) > _NAMES_SHOWN else ""
    return (
        "keypoint names without a left or right partner, which keep their place in a mirror: "
        f"{', '.join(json.dumps(name) for name in alone[:_NAMES_SHOWN])}{more}"
    )


def exchange(
    labels: NDArray[np.int64], objects: NDArray[np.int64] | None, partner: Sequence[int] | NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the new order of rows and the labels, (K,) each, of keypoints seen in a mirror.

    If an object has the keypoints of both sides, the two rows change places and the labels stay, so that the order of
    an object's labels is kept (as with YOLO's ``flip_idx``). If it has only one, that one changes its label.
    ``objects`` has the object of each keypoint; None is one object.
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
