"""What JSON beside a picture says of it: members of ``annotations`` are the picture's, all others go into ``extra``."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from augment.annotations import Annotations, parse

HAS_NAMES = re.compile(r'"(labels|box_labels|keypoint_labels)"')
"""What a text holds that names a class or a keypoint."""

_OURS = frozenset(field.name for field in fields(Annotations))


def parsed(text: str, what: str) -> Annotations:
    """Read JSON; ``what`` is what messages call it. What is no object becomes ``extra`` too, as ``json``.

    Raises ValueError where it is no JSON or a member of ``annotations`` is something else.
    """
    try:
        members = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not annotations: {what} is no JSON ({error})") from error
    if not isinstance(members, dict):
        return Annotations(extra={"json": members})
    try:
        said = parse({name: value for name, value in members.items() if name in _OURS})
    except ValueError as error:
        raise ValueError(f"not annotations: of {what}, {error}") from error
    return carrying(said, {name: value for name, value in members.items() if name not in _OURS})


def carrying(said: Annotations, others: Mapping[str, Any]) -> Annotations:
    """Annotations that carry more along; what they carry already stays as it is."""
    return replace(said, extra={**others, **(said.extra or {})}) if others else said
