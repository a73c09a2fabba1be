"""A document to a ``Mix``: written as a step of a pipeline is, ``MixUp``, ``{CutMix: {alpha: 0.5}}`` or a ``OneOf``."""

from collections.abc import Mapping
from typing import Any, Final

from augment.document import JSON, Document, Loc, from_value, shown
from augment.errors import PipelineError, Problem
from augment.mixing.mix import CUTMIX, MIXUP, ROOM, Method, Mix
from augment.spelling import did_you_mean
from augment.transforms import outline, schema
from augment.transforms.outline import CHILDREN, Step
from augment.transforms.schema import Schema

ONE_OF: Final = "OneOf"
_P: Final = schema.number(0, 1, "probability that a batch is mixed; among others its weight")
_PARAMS: Final[Mapping[str, Schema]] = {
    "alpha": schema.number(0, 1000, "weights are draws of Beta(alpha, alpha): below 1 mostly near 0 or 1", above=True),
    "per": schema.choice({"batch": "one weight for all rows", "row": "each row its own"}, "what a weight is drawn for"),
    "p": _P,
}
_HELP: Final = {
    MIXUP: "blends each picture with another row's, and their classes with the same weight",
    CUTMIX: "pastes a box of another row's picture, and weighs the classes by its area",
    ONE_OF: "one of several for each batch",
}
MAX_METHODS: Final = 16
"""Of one ``OneOf``; recipes have two."""

_DEFAULTS: Final[Mapping[str, Mapping[str, JSON]]] = {
    MIXUP: {"alpha": 0.8, "per": "batch", "p": 1.0},
    CUTMIX: {"alpha": 1.0, "per": "batch", "p": 1.0},
    ONE_OF: {"p": 1.0},
}


def json_schema() -> Schema:
    """The JSON Schema (2020-12) of what ``parse`` reads."""
    params = {name: _described(name) for name in (MIXUP, CUTMIX)}
    methods = [{"enum": list(params), "title": "with all defaults"}, *(_named(name, params[name]) for name in params)]
    children = schema.array({"anyOf": methods}, 1, MAX_METHODS, "the ways of which one is taken; their p are weights")
    one_of = _described(ONE_OF)
    one_of["properties"] |= {CHILDREN: children}
    one_of["required"] = [CHILDREN]
    return {"anyOf": [*methods, _named(ONE_OF, one_of)]}


def _named(name: str, params: Schema) -> Schema:
    return {
        "type": "object",
        "title": name,
        "properties": {name: params},
        "required": [name],
        "additionalProperties": False,
    }


def _described(name: str) -> Schema:
    return schema.record(
        {key: _PARAMS[key] | {"default": value} for key, value in _DEFAULTS[name].items()}, _HELP[name]
    )


def parse(value: object) -> Mix:
    """Read a document or its plain values; raises PipelineError with every problem in it, placed below ``mix``."""
    document = value if isinstance(value, Document) else from_value(value, lenient=True)
    if not document.problems and not isinstance(document.root, str | Mapping):
        msg = f"`{ROOM}` is a name or a mapping like {{{MIXUP}: {{alpha: 0.8}}}}, not {outline.kind(document.root)}"
        raise PipelineError([Problem((ROOM,), msg)])
    drawn = outline.read(Document([document.root], lines={(0, *loc): line for loc, line in document.lines.items()}))
    problems = [Problem((ROOM, *one.loc), one.msg, one.line) for one in document.problems]
    problems += [Problem((ROOM, *one.loc[1:]), one.msg, one.line) for one in drawn.problems]
    unread = {one.loc for one in problems}
    reader = _Reader(document)
    mix = reader.mix(drawn.steps[0]) if drawn.steps else None
    problems += [one for one in reader.problems if one.loc not in unread]
    if problems or mix is None:
        raise PipelineError(problems)
    return mix


class _Reader:
    """Turns steps into methods and collects what is wrong with them; places of steps begin with the 0 of a list."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self._document = document

    def mix(self, step: Step) -> Mix | None:
        if step.name != ONE_OF:
            method = self._method(step, f"there are {MIXUP}, {CUTMIX} and {ONE_OF}, which chooses among them")
            return None if method is None else Mix((method,), method.p)
        params = self._params(step)
        if not step.children:
            msg = f"give it `{CHILDREN}:` and a list of {MIXUP} and {CUTMIX}"
            self._note((*step.params_loc, CHILDREN), msg)
            return None
        if len(step.children) > MAX_METHODS:
            msg = f"there are {len(step.children)}, the limit is {MAX_METHODS} (MAX_METHODS); leave some out"
            self._note((*step.params_loc, CHILDREN), msg)
            return None
        found = [self._method(child, f"in a {ONE_OF} there may be {MIXUP} and {CUTMIX}") for child in step.children]
        methods = tuple(method for method in found if method is not None)
        if params is None or len(methods) < len(step.children):
            return None
        if not any(method.p for method in methods):
            self._note((*step.params_loc, CHILDREN), "all weights are 0: the `p` of each is its weight; raise one")
            return None
        return Mix(methods, params["p"], one_of=True)

    def _method(self, step: Step, remedy: str) -> Method | None:
        if step.name not in {MIXUP, CUTMIX}:
            if not (hint := did_you_mean(step.name, {MIXUP, CUTMIX, ONE_OF} - {step.name})):
                hint = f"; {remedy}; what is done to single pictures belongs to the pipeline"
            self._note(step.loc, f"`{shown(step.name)}` does not mix the rows of a batch{hint}")
            return None
        if step.children is not None:
            self._note((*step.params_loc, CHILDREN), f"`{step.name}` has no `{CHILDREN}`; only {ONE_OF} has")
        params = self._params(step)
        return None if params is None else Method(step.name, float(params["alpha"]), params["per"], params["p"])

    def _params(self, step: Step) -> dict[str, Any] | None:
        defaults = _DEFAULTS[step.name]
        values: dict[str, Any] = {}
        num_problems = len(self.problems)
        for key in step.params:
            if key not in defaults:
                hint = did_you_mean(key, defaults) or f"; it has {', '.join(defaults)}"
                self._note((*step.params_loc, key), f"{step.name} has no parameter {shown(key)!r}{hint}")
        for key, default in defaults.items():
            given = step.params.get(key, default)
            values[key], problems = schema.check(given, _PARAMS[key], (key,))
            for place, msg in problems:
                self._note((*step.params_loc, *place), msg)
        values["p"] = float(values["p"] or 0)
        return values if len(self.problems) == num_problems else None

    def _note(self, loc: Loc, msg: str) -> None:
        line = self._document.problem(loc[1:], msg).line
        self.problems.append(Problem((ROOM, *loc[1:]), msg, line))
