"""JSON Schemas (draft 2020-12) of parameters: functions that write them, and the check that interprets them.

The schema is the check: ``check`` interprets exactly the keywords that the functions here write. The form drawn from a
schema therefore always agrees with the check of a pipeline. Two annotations go beyond the draft: ``x-ordered`` (the
items of an array must not decrease) and ``x-scalar`` (the range that a single number means; its values are the keys of
``SCALARS``).
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from augment.validation import JSON, quoted_json

Schema = dict[str, Any]
Place = tuple[str | int, ...]

SCALARS: Final[Mapping[str, tuple[str, Callable[[float], tuple[float, float]]]]] = {
    "symmetric": ("[-v, v]", lambda v: (-v, v)),
    "from-zero": ("[0, v]", lambda v: (0, v)),
    "from-one": ("[1, v]", lambda v: (1, v)),
    "from-three": ("[3, v]", lambda v: (3, v)),
    "around-one": ("[max(0, 1 - v), 1 + v]", lambda v: (max(0, 1 - v), 1 + v)),
    "repeat": ("[v, v]", lambda v: (v, v)),
}
"""Meanings of a single number v, as text and as a range."""

INTERPOLATIONS: Final = {
    0: "nearest",
    1: "bilinear",
    2: "bicubic",
    3: "area",
    4: "Lanczos, 8 x 8",
    5: "bilinear, exact",
    6: "nearest, exact",
}
BORDER_MODES: Final = {
    0: "constant: the fill value",
    1: "replicate: the edge pixel again and again",
    2: "reflect: mirrored, with the edge pixel",
    3: "wrap: the opposite side",
    4: "reflect 101: mirrored, without the edge pixel",
}


def number(low: float, high: float, description: str, *, above: bool = False) -> Schema:
    """Describe a real number in [low, high], or in (low, high] with ``above``."""
    lower = "exclusiveMinimum" if above else "minimum"
    return {"type": "number", lower: low, "maximum": high, "description": description}


def integer(low: int, high: int, description: str, *, odd: bool = False) -> Schema:
    """Describe a whole number in [low, high]; JSON Schema allows both 5 and 5.0."""
    schema: Schema = {"type": "integer", "minimum": low, "maximum": high, "description": description}
    return schema | ({"not": {"multipleOf": 2}} if odd else {})


def flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def name(description: str) -> Schema:
    """Describe a name given by a user, such as a dataset's: never a path."""
    return {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", "description": description}


def choice(options: Mapping[Any, str], description: str) -> Schema:
    """Describe one of a few values, each with the title that a form shows."""
    return {
        "oneOf": [{"const": value, "title": title} for value, title in options.items()],
        "description": description,
    }


def pair(item: Schema, *, scalar: str | None = None) -> Schema:
    """Describe a range [low, high] of ``item``; with ``scalar`` a single number is accepted too."""
    inner = {key: value for key, value in item.items() if key != "description"}
    array = {"type": "array", "items": inner, "minItems": 2, "maxItems": 2, "x-ordered": True, "title": "range"}
    if scalar is None:
        return array | {"description": item["description"]}
    single = inner | {"title": "single value", "x-scalar": scalar}
    if scalar in {"symmetric", "around-one"}:
        single = {key: value for key, value in single.items() if key not in {"minimum", "exclusiveMinimum"}}
        single["minimum"] = 0
    if scalar == "symmetric":
        single["maximum"] = min(inner["maximum"], -inner["minimum"])
    if scalar == "around-one":
        single["maximum"] = inner["maximum"] - 1
    return {
        "anyOf": [array, single],
        "description": f"{item['description']} (a single number v means {SCALARS[scalar][0]})",
    }


def array(item: Schema, low: int, high: int, description: str, *, title: str | None = None) -> Schema:
    """Describe a list of ``low`` to ``high`` items, in any order."""
    schema: Schema = {"type": "array", "items": item, "minItems": low, "maxItems": high}
    return schema | ({"title": title} if title else {}) | {"description": description}


def either(description: str, *branches: Schema) -> Schema:
    return {"anyOf": list(branches), "description": description}


def optional(schema: Schema, meaning: str) -> Schema:
    """Allow null too, which means ``meaning``."""
    inner = {key: value for key, value in schema.items() if key != "description"}
    null = {"type": "null", "title": meaning}
    branches = [*inner["anyOf"], null] if set(inner) == {"anyOf"} else [inner, null]
    return {"anyOf": branches, "description": f"{schema['description']}; null: {meaning}"}


def record(properties: Mapping[str, Schema], description: str, *, required: Sequence[str] = ()) -> Schema:
    """Describe an object with these names and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
        "description": description,
    }


def check(value: object, schema: Schema, place: Place = ()) -> tuple[JSON, list[tuple[Place, str]]]:
    """Return the value as plain JSON (an integer if the schema wants one), and its problems by location."""
    if "anyOf" in schema:
        return _check_any(value, schema["anyOf"], place)
    if "oneOf" in schema:
        return _check_choice(value, schema["oneOf"], place)
    kind = schema["type"]
    if kind == "array":
        return _check_array(value, schema, place)
    if kind == "object":
        return _check_object(value, schema, place)
    if kind == "null":
        return None, [] if value is None else [(place, f"is {quoted_json(value)}; it must be null")]
    if kind == "string":
        return _check_name(value, schema, place)
    if kind == "boolean":
        return (
            (value, [])
            if isinstance(value, bool)
            else (None, [(place, f"is {quoted_json(value)}; it must be true or false")])
        )
    return _check_number(value, schema, place)


def _check_number(value: object, schema: Schema, place: Place) -> tuple[JSON, list[tuple[Place, str]]]:
    whole = schema["type"] == "integer"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, [(place, f"is {quoted_json(value)}; it must be {'a whole number' if whole else 'a number'}")]
    if not math.isfinite(value):
        return None, [(place, f"is {value}; it must be finite")]
    broken = next((words for holds, words in _bounds(value, schema) if not holds), None)
    if broken is not None:
        return None, [(place, f"is {value}; it must be {broken}")]
    return int(value) if whole else value, []


def _bounds(value: float, schema: Schema) -> Iterator[tuple[bool, str]]:
    """Yield True for each numeric keyword that holds, else False, with the text of its condition."""
    if schema["type"] == "integer":
        yield value == int(value), "a whole number"
    if "minimum" in schema:
        yield value >= schema["minimum"], f"at least {schema['minimum']}"
    if "exclusiveMinimum" in schema:
        yield value > schema["exclusiveMinimum"], f"more than {schema['exclusiveMinimum']}"
    if "exclusiveMaximum" in schema:
        yield value < schema["exclusiveMaximum"], f"less than {schema['exclusiveMaximum']}"
    if "maximum" in schema:
        yield value <= schema["maximum"], f"at most {schema['maximum']}"
    if "not" in schema:
        yield value % 2 == 1, "odd"


def _check_name(value: object, schema: Schema, place: Place) -> tuple[JSON, list[tuple[Place, str]]]:
    if isinstance(value, str) and re.fullmatch(schema["pattern"], value):
        return value, []
    limit = "a name of up to 100 letters, digits, dots, dashes and underscores"
    return None, [(place, f"is {quoted_json(value)}; it must be {limit}")]


def _check_choice(value: object, options: list[Schema], place: Place) -> tuple[JSON, list[tuple[Place, str]]]:
    number_like = isinstance(value, int | float) and not isinstance(value, bool)
    for option in options:
        const = option["const"]
        if value == const and (isinstance(const, str) or const is None or number_like or isinstance(const, bool)):
            return const, []
    named = [option["const"] for option in options if isinstance(value, str) and option["title"].startswith(value)]
    if len(named) == 1 and not isinstance(named[0], str):
        return None, [(place, f"is {quoted_json(value)}; did you mean {named[0]}, the value of that name?")]
    allowed = ", ".join(
        quoted_json(option["const"]) + ("" if isinstance(option["const"], str) else f" ({option['title']})")
        for option in options
    )
    return None, [(place, f"is {quoted_json(value)}; it must be one of: {allowed}")]


def _check_array(value: object, schema: Schema, place: Place) -> tuple[JSON, list[tuple[Place, str]]]:
    low, high = schema["minItems"], schema["maxItems"]
    if not isinstance(value, list | tuple):
        return None, [(place, f"is {quoted_json(value)}; it must be a list of {_count(low, high)}")]
    if not low <= len(value) <= high:
        return None, [(place, f"has {len(value)} items; it must have {_count(low, high)}")]
    results = [check(item, schema["items"], (*place, i)) for i, item in enumerate(value)]
    problems = [problem for _, item_problems in results for problem in item_problems]
    items = [item for item, _ in results]
    if not problems and schema.get("x-ordered") and _falls(items):
        problems.append((place, f"is {quoted_json(items)}; the first must not be larger than the second"))
    return items, problems


def _falls(items: list[JSON]) -> bool:
    numbers = [item for item in items if isinstance(item, int | float)]
    return any(first > second for first, second in itertools.pairwise(numbers))


def _check_object(value: object, schema: Schema, place: Place) -> tuple[JSON, list[tuple[Place, str]]]:
    properties: dict[str, Schema] = schema["properties"]
    if not isinstance(value, Mapping):
        return None, [(place, f"is {quoted_json(value)}; it must be an object with {', '.join(properties)}")]
    problems = [
        ((*place, name), f"is not known; use {', '.join(properties)}") for name in value if name not in properties
    ]
    problems += [(place, f"lacks {name}") for name in schema["required"] if name not in value]
    if len(value) < schema.get("minProperties", 0):
        problems.append((place, f"is empty; it must hold one of {', '.join(properties)}"))
    items = {}
    for name, inner in properties.items():
        if name in value:
            items[name], item_problems = check(value[name], inner, (*place, name))
            problems += item_problems
    return items, problems


def _check_any(value: object, branches: list[Schema], place: Place) -> tuple[JSON, list[tuple[Place, str]]]:
    failures = []
    for branch in branches:
        item, problems = check(value, branch, place)
        if not problems and "x-scalar" in branch:
            item, problems = check(_expand(item, branch["x-scalar"]), branches[0], place)
        if not problems:
            return item, []
        failures.append((branch, problems))
    shaped = [problems for branch, problems in failures if _same_shape(value, branch)]
    if shaped:
        return None, min(shaped, key=len)
    return None, [(place, f"is {quoted_json(value)}; it must be {' or '.join(dict.fromkeys(map(_name, branches)))}")]


def _expand(value: JSON, scalar: str) -> list[JSON]:
    """Return the range that a single number means."""
    assert isinstance(value, int | float)  # noqa: S101 - its schema said so
    low, high = SCALARS[scalar][1](value)
    return [low + 0, high]  # turns -0.0 into 0.0


def _same_shape(value: object, branch: Schema) -> bool:
    """Return True if the value was probably written for this branch, so that its problem is the useful one."""
    if "oneOf" in branch:
        return isinstance(value, str) and any(isinstance(option["const"], str) for option in branch["oneOf"])
    if "anyOf" in branch:
        return any(_same_shape(value, inner) for inner in branch["anyOf"])
    kind = branch["type"]
    if isinstance(value, list | tuple):
        return bool(kind == "array" and branch["minItems"] <= len(value) <= branch["maxItems"])
    if isinstance(value, Mapping):
        return bool(kind == "object")
    return isinstance(value, int | float) and not isinstance(value, bool) and kind in {"number", "integer"}


def _name(branch: Schema) -> str:
    if "oneOf" in branch:
        return " or ".join(quoted_json(option["const"]) for option in branch["oneOf"])
    if "anyOf" in branch:
        return " or ".join(dict.fromkeys(map(_name, branch["anyOf"])))
    match branch["type"]:
        case "array":
            return f"a list of {_count(branch['minItems'], branch['maxItems'])}"
        case "integer":
            return "a whole number"
        case "object":
            return f"an object with {', '.join(branch['properties'])}"
        case "boolean":
            return "true or false"
        case kind:
            return "null" if kind == "null" else f"a {kind}"


def _count(low: int, high: int) -> str:
    return f"{low} numbers" if low == high else f"{low} to {high} numbers"
