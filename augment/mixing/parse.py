"""A document to a ``Mix``: written as a step of a pipeline is, ``MixUp``, ``{CutMix: {alpha: 0.5}}`` or a ``OneOf``."""

from collections.abc import Mapping
from typing import Any, Final

from augment import document as documents
from augment.document import JSON, Document, Loc
from augment.errors import PipelineError, Problem
from augment.mixing.mix import CUTMIX, MIXUP, Method, Mix
from augment.spelling import did_you_mean
from augment.transforms import outline, schema
from augment.transforms.outline import CHILDREN, Step
from augment.transforms.schema import Schema

ROOM: Final = "mix"
"""What problems are placed below: the field of a stream that holds the document."""

ONE_OF: Final = "OneOf"
_P: Final = schema.number(0, 1, "probability that a batch is mixed; among others its weight")
_PARAMS: Final[Mapping[str, Schema]] = {
    "alpha": schema.number(0, 1000, "weights are draws of Beta(alpha, alpha): below 1 mostly near 0 or 1", above=True),
    "per": schema.choice({"batch": "one weight for all rows", "row": "each row its own"}, "what a weight is drawn for"),
    "p": _P,
}
_DEFAULTS: Final[Mapping[str, Mapping[str, JSON]]] = {
    MIXUP: {"alpha": 0.8, "per": "batch", "p": 1.0},
    CUTMIX: {"alpha": 1.0, "per": "batch", "p": 1.0},
    ONE_OF: {"p": 1.0},
}


def parse(value: object) -> Mix:
    """Read a document or its plain values; raises PipelineError with every problem in it, placed below ``mix``."""
    document = value if isinstance(value, Document) else documents.from_value(value, lenient=True)
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
            self._note(step.loc, f"`{documents.shown(step.name)}` does not mix the rows of a batch{hint}")
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
                self._note((*step.params_loc, key), f"{step.name} has no parameter {documents.shown(key)!r}{hint}")
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
