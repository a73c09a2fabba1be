"""What people have said about a picture: one form for every format, the manifest, the wire and the API.

As JSON it is one object; each member is optional, and a list that is there but empty says "none in this picture":

    labels               {"cat": 1.0, "outdoor": 1.0}: several classes, or one class's share of each (soft labels)
    boxes                [[x_min, y_min, x_max, y_max], …]
    box_labels           ["car", …], one for each box
    box_attributes       [{"difficult": true}, …], one for each box: carried along, never looked at
    instance_masks       one for each box: polygons [[x, y, x, y, …], …], {"size": [H, W], "counts": "…"} or null
    keypoints            [[x, y], …]
    keypoint_labels      ["nose", …], one for each keypoint; so are all of the following
    keypoint_visibility  0 not annotated (its place means nothing), 1 hidden, 2 visible, as COCO has it
    keypoint_angles      radians, counted from the x axis towards the y axis (clockwise on the screen), in [0, 2 pi)
    keypoint_scales      pixels
    keypoint_boxes       the place in ``boxes`` of the object that it belongs to, -1 for none
    extra                {"caption": "…"}: carried along, never looked at

Coordinates are pixels of the upright picture. Boxes and polygons are measured at the edges of pixels: the whole picture
is [0, 0, W, H]. Keypoints are measured at their centres: (0, 0) is the centre of the top left pixel, as OpenCV and
Albumentations have it. A picture's single class is not here but in its record's ``label``, its mask is a file.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

EDGE_TOLERANCE = 1.0
"""Pixels by which a box may leave the picture: what rounding in the tools of the field leaves. It is cut; more is an
error."""

Point = tuple[float, float]
Corners = tuple[float, float, float, float]
Polygons = tuple[tuple[float, ...], ...]

_BY_BOX = ("box_labels", "box_attributes", "instance_masks")
_BY_KEYPOINT = ("keypoint_labels", "keypoint_visibility", "keypoint_angles", "keypoint_scales", "keypoint_boxes")


@dataclass(frozen=True, slots=True)
class Rle:
    """A binary mask as COCO's compressed run lengths (column by column), for a picture of this height and width."""

    height: int
    width: int
    counts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """The annotations of one picture; None is "the dataset does not say", empty is "none in this picture"."""

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
        """One text for equal annotations: members sorted, nothing between them, numbers as Python writes floats.

        Raises ValueError where a number is not finite.
        """
        return json.dumps(self.members(), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def members(self) -> dict[str, Any]:
        """The members that are there, as JSON has them."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        members = {name: value for name, value in found.items() if value is not None}
        if self.instance_masks is not None:
            members["instance_masks"] = [_mask_members(mask) for mask in self.instance_masks]
        return members

    @classmethod
    def from_json(cls, text: str | bytes) -> "Annotations":
        """Read what ``to_json`` wrote; of anything else ``parse`` says what is wrong."""
        return parse(json.loads(text))

    def problems(self, height: int, width: int) -> list[str]:
        """What is wrong with these annotations on an upright picture of this size, each in one line; empty if nothing.

        Each line begins with its kind and a colon, so that they can be counted: ``box outside``, ``box without area``,
        ``not a number``, ``lengths differ``, ``mask of another size``, ``unknown box``.
        """
        return list(_problems(self, height, width))

    def within(self, height: int, width: int) -> "Annotations":
        """The same with boxes cut at the picture's edges."""
        if not self.boxes or not any(_leaves(box, height, width, 0.0) for box in self.boxes):
            return self
        cut = tuple(
            (max(x_min, 0.0), max(y_min, 0.0), min(x_max, float(width)), min(y_max, float(height)))
            for x_min, y_min, x_max, y_max in self.boxes
        )
        return Annotations(**{field.name: getattr(self, field.name) for field in fields(self)} | {"boxes": cut})


NOTHING = Annotations()


def parse(members: object) -> Annotations:
    """Read JSON as this module's text describes it; ValueError names the first member that is something else."""
    if not isinstance(members, Mapping):
        raise ValueError(f"annotations are an object, not {_shown(members)}")
    known = {field.name: field for field in fields(Annotations)}
    for name in members:
        if name not in known:
            raise ValueError(f"annotations have no member {name!r}; there are {', '.join(known)}")
    return Annotations(**{name: _READ[name](value, name) for name, value in members.items() if value is not None})


def _problems(annotations: Annotations, height: int, width: int) -> "Any":
    boxes, points = annotations.boxes, annotations.keypoints
    for owner, values, names in (("boxes", boxes, _BY_BOX), ("keypoints", points, _BY_KEYPOINT)):
        for name in names:
            others = getattr(annotations, name)
            if others is not None and len(others) != len(values or ()):
                yield f"lengths differ: {name} has {len(others)} for {len(values or ())} {owner}"
    for i, box in enumerate(boxes or ()):
        if not all(map(math.isfinite, box)):
            yield f"not a number: box {i} is {_shown(box)}"
        elif _leaves(box, height, width, EDGE_TOLERANCE):
            yield f"box outside: box {i} is {_shown(box)} on a picture of {width} x {height} (width x height)"
        elif not (min(box[2], width) > max(box[0], 0) and min(box[3], height) > max(box[1], 0)):
            yield f"box without area: box {i} is {_shown(box)}"
    visibility = annotations.keypoint_visibility or ()
    for i, point in enumerate(points or ()):
        annotated = i >= len(visibility) or visibility[i] != 0
        if annotated and not all(map(math.isfinite, point)):
            yield f"not a number: keypoint {i} is {_shown(point)}"
    for i, box_index in enumerate(annotations.keypoint_boxes or ()):
        if not -1 <= box_index < len(boxes or ()):
            yield f"unknown box: keypoint {i} belongs to box {box_index} of {len(boxes or ())}"
    for i, mask in enumerate(annotations.instance_masks or ()):
        if isinstance(mask, Rle) and (mask.height, mask.width) != (height, width):
            yield f"mask of another size: mask {i} has {mask.width} x {mask.height}, the picture {width} x {height}"


def _leaves(box: Corners, height: int, width: int, tolerance: float) -> bool:
    x_min, y_min, x_max, y_max = box
    return min(x_min, y_min) < -tolerance or x_max > width + tolerance or y_max > height + tolerance


def _mask_members(mask: Polygons | Rle | None) -> object:
    if isinstance(mask, Rle):
        return {"size": [mask.height, mask.width], "counts": mask.counts}
    return mask


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _sequence(value: object, name: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is a list, not {_shown(value)}")
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} holds numbers, not {_shown(value)}")
    return float(value)


def _integer(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} holds integers, not {_shown(value)}")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} holds names, not {_shown(value)}")
    return value


def _object(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} holds objects, not {_shown(value)}")
    return value


def _labels(value: object, name: str) -> Mapping[str, float]:
    if isinstance(value, list | tuple):
        return {_text(each, name): 1.0 for each in value}
    return {_text(key, name): _number(share, name) for key, share in _object(value, name).items()}


def _rows(value: object, name: str, length: int) -> tuple[Any, ...]:
    rows = tuple(tuple(_number(each, name) for each in _sequence(row, name)) for row in _sequence(value, name))
    for row in rows:
        if len(row) != length:
            raise ValueError(f"{name} holds lists of {length} numbers, not {_shown(row)}")
    return rows


def _mask(value: object, name: str) -> Polygons | Rle | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        size, counts = value.get("size"), value.get("counts")
        if not isinstance(size, list | tuple) or len(size) != 2 or not isinstance(counts, str):
            raise ValueError(f'{name} holds {{"size": [H, W], "counts": "…"}} or polygons, not {_shown(value)}')
        return Rle(_integer(size[0], name), _integer(size[1], name), counts)
    polygons = tuple(tuple(_number(each, name) for each in _sequence(part, name)) for part in _sequence(value, name))
    for part in polygons:
        if len(part) < 6 or len(part) % 2:
            raise ValueError(f"{name}: a polygon is at least three points [x, y, x, y, x, y], not {_shown(part)}")
    return polygons


def _each(read: Any) -> Any:
    return lambda value, name: tuple(read(each, name) for each in _sequence(value, name))


_READ: Mapping[str, Any] = {
    "labels": _labels,
    "boxes": lambda value, name: _rows(value, name, 4),
    "box_labels": _each(_text),
    "box_attributes": _each(_object),
    "instance_masks": _each(_mask),
    "keypoints": lambda value, name: _rows(value, name, 2),
    "keypoint_labels": _each(_text),
    "keypoint_visibility": _each(_integer),
    "keypoint_angles": _each(_number),
    "keypoint_scales": _each(_number),
    "keypoint_boxes": _each(_integer),
    "extra": _object,
}
