"""Output sizes of a pipeline, computed before any image is read, and their check against a dataset.

A stream needs to know if its batches have one shape. A pipeline that cannot work for a dataset should be refused when
it is declared, not after an hour. Possible sizes are followed through every node and every branch of a container.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from augment.datasets.dataset import Dataset
from augment.datasets.targets import moved_targets
from augment.errors import PipelineError, Problem
from augment.pipelines.spec import Node, PipelineSpec
from augment.transforms import entry, limits
from augment.transforms.catalogue import catalogue, moves_pixels, required
from augment.transforms.entry import Extent

MAX_EXTENTS: Final = 128
"""Sizes that are followed one by one; more are merged to one range. A list of ``max_size`` has at most 64, and an
image may be landscape or portrait."""

Path = tuple[int, ...]
"""Path of a node: its position in the pipeline, then in each container."""


def fixed_output(spec: PipelineSpec) -> tuple[int, int] | None:
    """Return height and width of the pipeline's output if they are the same for any input, else None."""
    return _only(follow(spec, entry.ANY).outputs)


def output_size(spec: PipelineSpec, height: int, width: int) -> tuple[int, int] | None:
    """Return height and width of the output for an image of this size, or None if they depend on chance.

    Raises PipelineError if such an image cannot pass the pipeline.
    """
    walk = follow(spec, entry.point(height, width))
    _refuse(spec, walk.findings, f"an image of {height} x {width}")
    return _only(walk.outputs)


def check_fits(
    spec: PipelineSpec, height: int, width: int, targets: frozenset[str] = frozenset(), *, key: str = ""
) -> None:
    """Raise PipelineError if an image of this size or its targets cannot pass every draw of the pipeline.

    ``key`` is the image's name for the message; ``targets`` are those it has, by the names of ``Sample``'s fields.
    """
    walk = follow(spec, entry.point(height, width))
    size = f"{height} x {width}"
    _refuse(spec, walk.findings, f"`{key}` ({size})" if key else f"an image of {size}")
    _check_targets(spec, walk, targets)


def check_dataset(spec: PipelineSpec, dataset: Dataset) -> tuple[str, ...]:
    """Return a notice of the images that are too small for the pipeline, or none; each is refused when it is rendered.

    Raises PipelineError if no image fits, naming the smallest, or if the pipeline cannot move the dataset's targets.
    """
    least = dataset.min_size()
    walk = follow(spec, Extent(least.height, entry.UNBOUNDED, least.width, entry.UNBOUNDED))
    if walk.firm and not walk.findings and misfit(spec, entry.UNBOUNDED, entry.UNBOUNDED) is None:
        _check_targets(spec, walk, dataset.targets)
        return ()  # decided without reading millions of records
    given = dataset.sizes()
    places = np.flatnonzero(misfits(spec, given))
    if not len(places):
        _check_targets(spec, follow(spec, entry.point(*map(int, given.max(axis=0)))), dataset.targets)
        return ()
    sides = np.sort(given[places], axis=1)
    smallest = int(places[np.lexsort((sides[:, 1], sides[:, 0]))[0]])
    (key,), (height, width) = dataset.keys([smallest]), map(int, given[smallest])
    if len(places) == len(given):
        check_fits(spec, height, width, dataset.targets, key=key)
    fitting = int(np.flatnonzero(~np.isin(np.arange(len(given)), places))[0])
    _check_targets(spec, follow(spec, entry.point(*map(int, given[fitting]))), dataset.targets)
    are = "is" if len(places) == 1 else "are"
    notice = f"{len(places):,} of {len(given):,} images {are} too small for the pipeline and refused (not_renderable)"
    return (f"{notice}; the smallest is `{key}`: {misfit(spec, height, width)}",)


def misfit(spec: PipelineSpec, height: int, width: int) -> str | None:
    """Return why an image of this size cannot pass every draw, or None if it can; the answer is never random."""
    findings = follow(spec, entry.point(height, width)).findings
    return "; ".join(f"{each.name} on {height} x {width} pixels: {each.msg}" for each in findings) or None


def misfits(spec: PipelineSpec, given: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return True for each of these sizes, int64 (N, 2) as height and width, that cannot pass every draw.

    Sizes are followed together as one range, which is halved if only some of them fit. If the output depends on chance
    or shape alone, each distinct size is followed: some 15 microseconds each.
    """
    packed, inverse = np.unique(given[:, 0] << 32 | given[:, 1], return_inverse=True)
    distinct = np.column_stack([packed >> 32, packed & 0xFFFFFFFF])
    refused = np.zeros(len(distinct), np.bool_)
    waiting = [np.arange(len(distinct))] if len(distinct) else []
    while waiting:
        places = waiting.pop()
        part = distinct[places]
        (low_height, low_width), (height, width) = part.min(axis=0).tolist(), part.max(axis=0).tolist()
        largest = misfit(spec, height, width)
        if len(places) == 1:
            refused[places] = largest is not None
            continue
        walk = follow(spec, Extent(low_height, height, low_width, width))
        if not walk.firm:
            refused[places] = [bool(follow(spec, entry.point(*size)).findings) for size in part.tolist()]
        elif follow(spec, Extent(low_height, height, low_width, width, firm=False)).findings:
            refused[places] = True
        elif walk.findings or largest is not None:
            axis = int(width - low_width > height - low_height)
            is_large = part[:, axis] > (part[:, axis].min() + part[:, axis].max()) // 2
            waiting += [places[is_large], places[~is_large]]
    return refused[inverse]


def _check_targets(spec: PipelineSpec, walk: "Walk", targets: frozenset[str]) -> None:
    problems = []
    known = catalogue()
    moved = moved_targets(targets)
    for path, node in walk.reached.items():
        info = known[node.name]
        loc = location(spec, path)
        if missing := sorted(required(node.name, node.params) - moved - targets):
            msg = f"`{node.name}` needs {_listed(missing)} with each image, and the dataset has none; leave it out"
            problems.append(Problem(loc, msg))
        if moves_pixels(node.name, node.params) and (left := sorted(moved - info.targets)):
            msg = f"`{node.name}` moves pixels but cannot move {_listed(left)}, which the dataset has; {info.remedy}"
            problems.append(Problem(loc, msg))
        if info.donors and targets == {"label"}:
            msg = (
                f"`{node.name}` joins images of several classes, and the dataset has one class for each and nothing "
                "else; leave it out, and mix rows with their classes by `mix: CutMix` of a stream"
            )
            problems.append(Problem(loc, msg))
    if problems:
        raise PipelineError(problems)


@dataclass(frozen=True, slots=True)
class SizeProblem:
    """Node that cannot take its input, with the reason."""

    path: Path
    name: str
    msg: str


def impossible(spec: PipelineSpec) -> list[SizeProblem]:
    """Return nodes that no image can pass: a crop larger than the resize before it, an output beyond the limit."""
    return follow(spec, entry.ANY).findings


def after(name: str, params: entry.Params, before: Extent) -> Iterable[Extent]:
    """Return the output sizes of a transform for an image of ``before``; raises entry.Unfit."""
    change = catalogue()[name].output_size
    return (before,) if change is None else change(params, before)


def location(spec: PipelineSpec, path: Path) -> tuple[str | int, ...]:
    """Return the location of a node in the canonical document, such as ``("transforms", 2, "OneOf", …)``."""
    loc: list[str | int] = []
    nodes = spec.transforms
    for i in path:
        loc += ["transforms", i, nodes[i].name]
        nodes = nodes[i].children
    return tuple(loc)


def _refuse(spec: PipelineSpec, findings: Sequence[SizeProblem], image: str) -> None:
    if findings:
        raise PipelineError(
            [
                Problem(
                    location(spec, finding.path),
                    f"`{finding.name}` cannot take {image}: {finding.msg}",
                )
                for finding in findings
            ]
        )


def _only(outputs: Iterable[Extent]) -> tuple[int, int] | None:
    sizes = {output.size for output in outputs}
    return sizes.pop() if len(sizes) == 1 else None


def _listed(names: Sequence[str]) -> str:
    return " and ".join(name.replace("_", " ") for name in names)


Extents = frozenset[Extent]


@dataclass(slots=True)
class Walk:
    """Walk of sizes through a pipeline: the possible outputs, and the nodes that cannot take their input.

    ``outputs`` leaves out sizes after a node with a finding.
    ``reached`` are the transforms that may be applied, without containers.
    ``firm``: every lower bound on the way does occur, so an image without findings passes every draw.
    """

    outputs: Extents = frozenset()
    findings: list[SizeProblem] = field(default_factory=list)
    firm: bool = True
    reached: dict[Path, Node] = field(default_factory=dict)
    _known: dict[tuple[Path, Extent], Extents] = field(default_factory=dict)

    def sequence(self, nodes: Sequence[Node], before: Extents, path: Path) -> Extents:
        for i, node in enumerate(nodes):
            before = self.node(node, before, (*path, i))
        return before

    def node(self, node: Node, before: Extents, path: Path, *, forced: bool = False) -> Extents:
        """Follow one node; ``forced``: a container has chosen it, so its own probability does not count."""
        p = float(str(node.params["p"]))
        if node.children:
            return self._container(node, before, path, p, forced=forced)
        if p <= 0:
            return before
        changed = self._transform(node, before, path)
        return changed if p >= 1 or forced else _merged(before | changed)

    def _transform(self, node: Node, before: Extents, path: Path) -> Extents:
        self.reached[path] = node
        outputs: list[Extents] = []
        for size in sorted(before):
            if (path, size) not in self._known:  # a container asks again and again
                self._known[path, size] = self._one_size(node, size, path)
            outputs.append(self._known[path, size])
        return _merged(frozenset().union(*outputs))

    def _one_size(self, node: Node, before: Extent, path: Path) -> Extents:
        try:
            outputs = frozenset(after(node.name, node.params, before))
        except entry.Unfit as unfit:
            return self._find(path, node, str(unfit))
        pixels = max((_certain_pixels(before, new) for new in outputs), default=0)
        if pixels > limits.OUTPUT_PIXELS and pixels > before.max_height * before.max_width:
            msg = f"it may give {pixels} pixels, the limit is {limits.OUTPUT_PIXELS} (OUTPUT_PIXELS); lower its size"
            return self._find(path, node, msg)
        self.firm &= all(new.firm for new in outputs)
        return outputs

    def _find(self, path: Path, node: Node, msg: str) -> Extents:
        if all(finding.path != path for finding in self.findings):  # one failing size is enough for a finding
            self.findings.append(SizeProblem(path, node.name, msg))
        return frozenset()

    def _container(self, node: Node, before: Extents, path: Path, p: float, *, forced: bool) -> Extents:
        if node.name == "OneOrOther":
            return self._any_of(node, [0] * (p > 0) + [1] * (p < 1), before, path, forced=True)
        forced = forced and node.name not in {"SomeOf", "RandomOrder"}  # the two that ignore it
        if p <= 0 and not forced:
            return before
        match node.name:
            case "OneOf":
                weighted = [i for i, child in enumerate(node.children) if child.params["p"]]
                changed = self._any_of(node, weighted, before, path, forced=True)
            case "SomeOf":
                changed = self._some_of(node, before, path)
            case "RandomOrder":
                changed = self._random_order(node, before, path)
            case _:
                changed = self.sequence(node.children, before, path)
        return changed if p >= 1 or forced else _merged(before | changed)

    def _any_of(self, node: Node, which: Sequence[int], before: Extents, path: Path, *, forced: bool) -> Extents:
        results = (self.node(node.children[i], before, (*path, i), forced=forced) for i in which)
        return _merged(frozenset().union(*results))

    def _some_of(self, node: Node, before: Extents, path: Path) -> Extents:
        """Follow ``n`` of the children in their order, each at most once or, with ``replace``, any number of times."""
        n = int(str(node.params["n"]))
        chosen: list[Extents] = [before, *([frozenset()] * n)]  # indexed by the number of children chosen so far
        for i, child in enumerate(node.children):
            counts = range(n) if node.params["replace"] else range(n - 1, -1, -1)
            for count in counts:
                if chosen[count]:
                    applied = self.node(child, chosen[count], (*path, i))
                    chosen[count + 1] = _merged(chosen[count + 1] | applied)
        return chosen[n]

    def _random_order(self, node: Node, before: Extents, path: Path) -> Extents:
        """Follow ``n`` of the children in any order, including sequences that repeat a child."""
        everything = range(len(node.children))
        for _ in range(int(str(node.params["n"]))):
            further = self._any_of(node, everything, before, path, forced=False)
            if further == before:
                break
            before = further
        return before


def _certain_pixels(before: Extent, new: Extent) -> int:
    """Return the largest number of pixels that certainly occurs: of one size the upper bound, of a range the lower."""
    if before.size is not None and new.firm:
        return new.max_height * new.max_width
    return new.min_height * new.min_width


def _merged(extents: Extents) -> Extents:
    """Return the extents, or one range around them if they are too many to follow."""
    if len(extents) <= MAX_EXTENTS:
        return extents
    hull = Extent(
        min(one.min_height for one in extents),
        max(one.max_height for one in extents),
        min(one.min_width for one in extents),
        max(one.max_width for one in extents),
        firm=False,
    )
    return frozenset({hull})


def follow(spec: PipelineSpec, start: Extent) -> Walk:
    """Follow images of these sizes through every node: possible outputs, and nodes that cannot take them."""
    walk = Walk()
    walk.outputs = walk.sequence(spec.transforms, frozenset({start}), ())
    return walk
