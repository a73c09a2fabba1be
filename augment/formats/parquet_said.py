"""One row of a Parquet file to annotations: boxes, several classes, and what is carried along."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from augment.annotations import NOTHING, Annotations
from augment.formats.class_values import ClassValues
from augment.formats.parquet_layout import Layout
from augment.formats.said import carrying, parsed

CARRIED_MAX_CHARS = 16_384
"""Of one value, as JSON."""


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads annotations off rows. ``labels`` and ``categories`` say what the values in these columns mean."""

    layout: Layout
    labels: ClassValues
    categories: ClassValues

    def annotations(self, row: Mapping[str, Any]) -> Annotations | None:
        """What a row says, None where that is nothing. Raises ValueError where it cannot be understood."""
        said = self._written(row)
        boxes = self._boxes(row)
        if boxes is not None:
            said = replace(boxes, **_members(said))
        if (labels := self._labels(row)) is not None:
            said = replace(said, labels=labels)
        others = {name: value for name in self.layout.carried if (value := row.get(name)) is not None}
        said = carrying(said, {name: self._carried(name, value) for name, value in others.items()})
        return None if said == NOTHING else said

    def _written(self, row: Mapping[str, Any]) -> Annotations:
        text = None if self.layout.annotations is None else row.get(self.layout.annotations)
        return NOTHING if text is None else parsed(text, "its annotations")

    def _labels(self, row: Mapping[str, Any]) -> dict[str, float] | None:
        values = None if self.layout.labels is None else row.get(self.layout.labels.column)
        if values is None:
            return None
        weights = None if self.layout.label_weights is None else row.get(self.layout.label_weights)
        if weights is None:
            weights = [1.0] * len(values)
        if not isinstance(weights, list) or len(weights) != len(values):
            raise ValueError(f"lengths differ: label_weights does not have {len(values)} for as many labels")
        found = {}
        for value, weight in zip(values, weights, strict=True):
            name = None if value is None else self.labels.name(value)
            if name is None or not _is_number(weight):
                raise ValueError(f"unknown class: among its labels are {value!r} and the share {weight!r}")
            found[name] = float(weight)
        return found

    def _boxes(self, row: Mapping[str, Any]) -> Annotations | None:
        if self.layout.objects is None:
            return None
        category = None if self.layout.category is None else self.layout.category.column
        found = _columns(row.get(self.layout.objects), ("bbox", category))
        members = {member: values for member, values in found.items() if values is not None}
        if "bbox" not in members:
            return None
        boxes = members.pop("bbox")
        for member, values in members.items():
            if not isinstance(values, list) or len(values) != len(boxes):
                raise ValueError(
                    f"lengths differ: {member} of its objects is not one value for {len(boxes)} boxes each"
                )
        names = members.pop(category, None) if category is not None else None
        attributes = tuple(
            {member: self._carried(member, values[i]) for member, values in members.items()} for i in range(len(boxes))
        )
        return Annotations(
            boxes=tuple(map(_corners, boxes)),
            box_labels=None if names is None else tuple(map(self._category, names)),
            box_attributes=attributes if members else None,
        )

    def _category(self, value: object) -> str:
        name = self.categories.name(value) if isinstance(value, int | str) else None
        if name is None:
            raise ValueError(f"unknown class: a box has the class {value!r}")
        return name

    def _carried(self, name: str, value: object) -> Any:
        finite = _finite(value)
        length = len(json.dumps(finite))
        if length > CARRIED_MAX_CHARS:
            raise ValueError(f"too long: its {name} has {length} characters, of {CARRIED_MAX_CHARS} that are carried")
        return finite


def _members(said: Annotations) -> dict[str, Any]:
    """The members that are there, as ``replace`` takes them."""
    return {name: getattr(said, name) for name in said.members()}


def _columns(objects: object, of_none: Sequence[str | None]) -> dict[str, Any]:
    """The members of objects as lists, from a struct of lists or a list of structs; ``of_none`` an empty list has."""
    if isinstance(objects, Mapping):
        return dict(objects)
    if not isinstance(objects, list):
        return {}
    if any(each is None for each in objects):
        raise ValueError("not a box: one of its objects is null")
    names = objects[0] if objects else of_none
    return {name: [each[name] for each in objects] for name in names if name is not None}


def _corners(box: object) -> tuple[float, float, float, float]:
    if not isinstance(box, Sequence) or len(box) != 4 or not all(map(_is_number, box)):
        raise ValueError(f"not a box: {str(box)[:60]} is not [x_min, y_min, width, height]")
    x_min, y_min, width, height = map(float, box)
    return x_min, y_min, x_min + width, y_min + height


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: Any) -> Any:
    """The value with null for every number that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return value
