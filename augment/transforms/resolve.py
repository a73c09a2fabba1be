"""Resolution of a document to a pipeline: every name known, every argument in range, every default filled in.

A document is refused with all of its problems, not only the first. Each has its location, its line, the value
received, the limit and what to write instead.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from augment.errors import PipelineError, Problem
from augment.normalize import section
from augment.pipelines.document import Document, Loc, from_value
from augment.pipelines.spec import BoxRules, KeypointRules, Node, PipelineSpec, parse_boxes, parse_keypoints
from augment.transforms import albumentations_files, sizes, step_list
from augment.transforms.catalogue import ALIASES, ParamsError, catalogue, children_problem, fill, unknown_name
from augment.transforms.step_list import CHILDREN, Step
from augment.validation import JSON

_Section = TypeVar("_Section")

MAX_NODES: Final = 64
"""Limit of transforms and containers in one pipeline. The longest published policies have 25 sub-policies of two
operations (AutoAugment, Cubuk et al. 2019)."""

MAX_DEPTH: Final = 8
"""Limit of nested containers. Two are common, three are rare; Python's stack allows hundreds."""

MAX_APPLICATIONS: Final = 256
"""Limit of transforms applied to one sample: ``SomeOf`` with ``replace`` inside ``SomeOf`` multiplies them."""

MAX_PROBLEMS: Final = 100
"""Limit of problems that are listed one by one."""


def resolve(document: Document | Mapping[str, Any] | Sequence[Any]) -> PipelineSpec:
    """Resolve a document (or its plain values) to a spec. Raises PipelineError with every problem found.

    Albumentations' own files are recognised and imported; ``notices`` of the spec name what was dropped or moved.
    """
    if not isinstance(document, Document):
        document = from_value(document, lenient=True)
    drawn = (
        albumentations_files.read(document)
        if albumentations_files.recognises(document.root)
        else step_list.read(document)
    )
    count = sum(_num_steps(step) for step in drawn.steps)
    if count > MAX_NODES:
        msg = f"the pipeline has {count} transforms, it may have {MAX_NODES} (MAX_NODES); leave some out"
        raise PipelineError([*document.problems, document.problem((), msg)])
    resolver = _Resolver(document)
    nodes = [resolver.node(step, depth=1) for step in drawn.steps]
    normalization = resolver.section(
        lambda given: section.parse(given).canonical(), drawn.normalize, drawn.normalize_loc
    )
    boxes = resolver.section(parse_boxes, drawn.boxes, ("boxes",))
    keypoints = resolver.section(parse_keypoints, drawn.keypoints, ("keypoints",))
    problems = [*document.problems, *_apart_from_unread(document, drawn.problems + resolver.problems)]
    spec = PipelineSpec(
        transforms=tuple(node for node in nodes if node is not None),
        normalize=normalization,
        boxes=boxes or BoxRules(),
        keypoints=keypoints or KeypointRules(),
        name=drawn.name,
        description=drawn.description,
        notices=tuple(drawn.notices),
    )
    if not problems:
        problems = _whole(document, spec, drawn.steps)
    if problems:
        problems.sort(key=lambda problem: problem.line or 0)
        if (more := len(problems) - MAX_PROBLEMS) > 0:
            problems[MAX_PROBLEMS:] = [document.problem((), f"and {more} more problems; correct these first")]
        raise PipelineError(problems)
    return spec


def _whole(document: Document, spec: PipelineSpec, steps: Sequence[Step]) -> list[Problem]:
    """Return the problems of the pipeline as a whole, once every node is known."""
    applications = sum(num_applications(node) for node in spec.transforms)
    if applications > MAX_APPLICATIONS:
        msg = (
            f"one sample may pass {applications} transforms, the limit is {MAX_APPLICATIONS} (MAX_APPLICATIONS); "
            "lower `n` of a SomeOf or RandomOrder"
        )
        return [document.problem((), msg)]
    return [
        document.problem(_step_at(steps, finding.path).params_loc, f"`{finding.name}` can take no image: {finding.msg}")
        for finding in sizes.impossible(spec)
    ]


def _apart_from_unread(document: Document, problems: Sequence[Problem]) -> list[Problem]:
    """Leave out problems at locations where the document already has one: a value there was not read."""
    unread = [problem.loc for problem in document.problems if document.at(problem.loc) is None]
    return [one for one in problems if not any(_is_part_of(one.loc, loc) for loc in unread)]


def _is_part_of(loc: Loc, wrong: Loc) -> bool:
    """Return True if a location is below a wrong one, or is a list of values with it: ``limit`` for ``limit.0``."""
    if loc[: len(wrong)] == wrong:
        return True
    rest = wrong[len(loc) :]
    return wrong[: len(loc)] == loc and loc[-1:] != (CHILDREN,) and all(isinstance(part, int) for part in rest)


def _num_steps(step: Step) -> int:
    return 1 + sum(_num_steps(child) for child in step.children or ())


def _step_at(steps: Sequence[Step], path: sizes.Path) -> Step:
    step = steps[path[0]]
    return step if len(path) == 1 else _step_at(step.children or (), path[1:])


def num_applications(node: Node) -> int:
    """Return the most transforms that a sample can pass in this node."""
    if not node.children:
        return 1
    each = sorted((num_applications(child) for child in node.children), reverse=True)
    if node.name in {"OneOf", "OneOrOther"}:
        return each[0]
    if node.name in {"SomeOf", "RandomOrder"}:
        n = int(str(node.params["n"]))
        return each[0] * n if node.params["replace"] else sum(each[:n])
    return sum(each)


class _Resolver:
    """Conversion of steps to nodes that collects problems."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._catalogue = catalogue()

    def node(self, step: Step, *, depth: int) -> Node | None:
        """Resolve one step and its children, or return None if a problem was noted."""
        name = ALIASES.get(step.name, step.name)
        info = self._catalogue.get(name)
        if info is None:
            self._note(step.loc, unknown_name(name))
            return None
        try:
            params: dict[str, JSON] = fill(name, step.params)
        except ParamsError as error:
            for place, msg in error.problems:
                former = (
                    albumentations_files.hint(name, place)
                    if place and place[0] not in info.schema["properties"]
                    else ""
                )
                self._note((*step.params_loc, *place), msg + former)
            params = {}
        if depth > MAX_DEPTH:
            self._note(step.loc, f"containers nest more than {MAX_DEPTH} deep (MAX_DEPTH); flatten the pipeline")
            return None
        if step.children is None and not info.container:
            return Node(name, params)
        if not info.container:
            self._note((*step.params_loc, CHILDREN), f"`{name}` is not a container and has no `{CHILDREN}`")
            return None
        if not step.children:
            msg = f"`{name}` is a container; give it `{CHILDREN}:` and a list of at least one transform"
            self._note(step.params_loc, msg)
            return None
        children = tuple(self.node(child, depth=depth + 1) for child in step.children)
        known = tuple(child for child in children if child is not None)
        if params and len(known) == len(children) and (wrong := children_problem(name, params, known)):
            self._note(step.params_loc, wrong)
        return Node(name, params, known)

    def section(
        self, parse: Callable[[Mapping[str, Any]], _Section], section: Mapping[str, Any] | None, loc: Loc
    ) -> _Section | None:
        """Return the parsed section, or None if it is missing or a problem was noted."""
        if section is None:
            return None
        try:
            return parse(section)
        except PipelineError as error:
            for problem in error.problems:
                self._note((*loc, *problem.loc[1:]), problem.msg)
            return None

    def _note(self, loc: Loc, msg: str) -> None:
        self.problems.append(self._document.problem(loc, msg))
