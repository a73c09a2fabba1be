"""MixUp and CutMix of a finished batch: the ``mix`` of a stream, its document, random draws and pixels.

MixUp (Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018) blends two images;
CutMix (Yun, Han, Oh, Chun, Choe and Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with
Localizable Features", ICCV 2019) pastes a box of one into the other. Both mix the classes' weights with the pixels.

Chance comes from (stream id, epoch, index) alone, so a batch is mixed the same wherever it is rendered. It decides if
the batch is mixed, the method, and each row's partner, weight and box. The document is written like a step of a
pipeline: ``MixUp``, ``{CutMix: {alpha: 0.5}}`` or a ``OneOf``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from augment.address import digest_fields
from augment.errors import CallError, PipelineError, Problem
from augment.mixing import objects
from augment.pipelines.document import Document, Loc, from_value
from augment.pipelines.spec import BoxRules, KeypointRules
from augment.samples.sample import Batch, Mixed, Provenance
from augment.transforms import schema, step_list
from augment.transforms.schema import Schema
from augment.transforms.step_list import CHILDREN, Step
from augment.validation import JSON, abridged, did_you_mean, quoted

STEPS: Final = 256
"""MixUp's weights are multiples of 1/256: sums of weighted pixels fit 16 bits and are exact, and rounding the weight
changes no pixel by a whole level."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Random draw for one batch.

    partners: int64 (N,), for each row the row that is mixed into it.
    weights:  float64 (N,), the share of each row's own image.
    boxes:    int64 (N, 4), x_min, y_min, x_max, y_max of the pixels that come from the partner; None for MixUp.
    """

    partners: NDArray[np.int64]
    weights: NDArray[np.float64]
    boxes: NDArray[np.int64] | None = None

    def box(self, row: int) -> tuple[int, int, int, int] | None:
        """Return one row's box as Python integers, or None for MixUp."""
        if self.boxes is None:
            return None
        x_min, y_min, x_max, y_max = self.boxes[row].tolist()
        return x_min, y_min, x_max, y_max


def generator(stream_id: str, epoch: int, index: int) -> np.random.Generator:
    """Make a new random generator for one batch."""
    digest = digest_fields((stream_id, epoch, index), person=b"augment.mix")
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype="<u8").astype(np.uint64)))


def partners(chance: np.random.Generator, num_rows: int) -> NDArray[np.int64]:
    """Draw one random cycle through all rows: int64 (N,). No row is its own partner, and each is a partner once.

    Every cycle is equally likely (Sattolo, "An algorithm to generate a random cyclic permutation", 1986).
    """
    order = chance.permutation(num_rows)
    cycle = np.empty(num_rows, np.int64)
    cycle[order] = np.roll(order, -1)
    return cycle


def shares(chance: np.random.Generator, alpha: float, num_rows: int, *, by_row: bool) -> NDArray[np.float64]:
    """Draw from Beta(alpha, alpha), once for each row or once for all: float64 (N,)."""
    return np.broadcast_to(chance.beta(alpha, alpha, size=num_rows if by_row else 1), (num_rows,))


def mixup(chance: np.random.Generator, alpha: float, num_rows: int, *, by_row: bool) -> Draw:
    """Draw weights from Beta(alpha, alpha), rounded to multiples of 1/``STEPS``."""
    chosen = partners(chance, num_rows)
    return Draw(chosen, np.rint(shares(chance, alpha, num_rows, by_row=by_row) * STEPS) / STEPS)


def cutmix(chance: np.random.Generator, alpha: float, num_rows: int, height: int, width: int, *, by_row: bool) -> Draw:
    """Draw boxes whose share is 1 - Beta(alpha, alpha), cut at the frame; a weight is the share outside the box.

    As in the paper's code, sides are sqrt(share) of the image's, cut to an even number, about a random pixel.
    """
    chosen = partners(chance, num_rows)
    sides = np.sqrt(1.0 - shares(chance, alpha, num_rows, by_row=by_row))
    num_boxes = num_rows if by_row else 1
    boxes = np.empty((num_rows, 4), np.int64)
    for axis, size in enumerate((width, height)):
        half = (size * sides).astype(np.int64) // 2
        middle = chance.integers(0, size, size=num_boxes)
        boxes[:, axis] = np.maximum(middle - half, 0)
        boxes[:, axis + 2] = np.minimum(middle + half, size)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Draw(chosen, 1.0 - area / (height * width), boxes)


_Integer = TypeVar("_Integer", bound=np.integer)


def blend(images: NDArray[np.uint8], draw: Draw) -> NDArray[np.uint8]:
    """Blend each row as weight * own + (1 - weight) * partner's, rounded half to even: uint8 (N, H, W, 3), a new array.

    Exact, because weights are multiples of 1/256: sums of products are whole 256ths and fit uint16.
    """
    out = np.empty_like(images, order="C")
    total, odd = (np.empty(images.shape[1:], np.uint16) for _ in range(2))
    for row, (partner, weight) in enumerate(zip(draw.partners, draw.weights, strict=True)):
        own = np.uint16(weight * STEPS)
        np.multiply(images[row], own, out=total, dtype=np.uint16)
        np.multiply(images[partner], np.uint16(STEPS) - own, out=odd, dtype=np.uint16)
        total += odd
        # half to even: adding 127 rounds a half down, and 128, for an odd whole part, up
        np.right_shift(total, 8, out=odd)
        odd &= 1
        odd += 127
        total += odd
        np.right_shift(total, 8, out=out[row], casting="unsafe")
    return out


def paste(arrays: NDArray[_Integer], draw: Draw) -> NDArray[_Integer]:
    """Replace each row's box by its partner's pixels: (N, H, W) or (N, H, W, 3), a new array."""
    out = arrays.copy()
    for row, partner in enumerate(draw.partners):
        if (box := draw.box(row)) is not None:
            x_min, y_min, x_max, y_max = box
            out[row, y_min:y_max, x_min:x_max] = arrays[partner, y_min:y_max, x_min:x_max]
    return out


ROOM: Final = "mix"
"""Option of a stream that holds the document; locations of problems begin with it."""

MIXUP: Final = "MixUp"
CUTMIX: Final = "CutMix"


@dataclass(frozen=True, slots=True)
class Method:
    """One way to mix. Weights are from Beta(alpha, alpha): one for a ``batch`` or each ``row``, as ``per`` says."""

    name: str
    alpha: float
    per: str
    p: float

    def canonical(self) -> dict[str, JSON]:
        return {self.name: {"alpha": self.alpha, "per": self.per, "p": self.p}}

    def draw(self, chance: np.random.Generator, num_rows: int, height: int, width: int) -> Draw:
        """Draw the weights and boxes for a batch of this size."""
        by_row = self.per == "row"
        if self.name == MIXUP:
            return mixup(chance, self.alpha, num_rows, by_row=by_row)
        return cutmix(chance, self.alpha, num_rows, height, width, by_row=by_row)


@dataclass(frozen=True, slots=True)
class Mix:
    """Mixing of a stream's batches: by one method, or by one of several (``one_of``) with weights ``p``.

    ``p`` is the probability that a batch is mixed. Picklable; made by ``parse_mix``.
    """

    methods: tuple[Method, ...]
    p: float
    one_of: bool = False

    def canonical(self) -> dict[str, JSON]:
        """Return the document with everything filled in; ``parse_mix`` reads it back to an equal value."""
        if not self.one_of:
            return self.methods[0].canonical()
        return {"OneOf": {"p": self.p, "transforms": [method.canonical() for method in self.methods]}}

    def check(self, targets: frozenset[str], image_shapes: Sequence[tuple[int, int, int] | None]) -> None:
        """Raise PipelineError if a stream with these targets, and these shapes of its views, cannot be mixed."""
        problem = self.problem(targets, image_shapes[0])
        if len(image_shapes) > 1:
            problem = "a stream of several views cannot be mixed; leave out `mix`, or take one view"
        if problem is not None:
            raise PipelineError([Problem((ROOM,), problem)])

    def problem(self, targets: frozenset[str], image_shape: tuple[int, int, int] | None) -> str | None:
        """Return why samples with these targets (``Sample``'s fields) and shape cannot be mixed, or None."""
        names = " and ".join(dict.fromkeys(method.name for method in self.methods))
        if image_shape is None:
            return (
                f"{names} mixes images of one size, and the images of this pipeline differ in size; "
                "end it with Resize, RandomCrop or RandomResizedCrop"
            )
        if "mask" in targets and any(method.name == MIXUP for method in self.methods):
            return (
                "MixUp blends two images, and a pixel of a mask cannot be of two classes; use CutMix, which pastes "
                "the mask with its pixels"
            )
        return None

    def targets(self, targets: frozenset[str]) -> frozenset[str]:
        """Return the targets of mixed rows, given the dataset's: ``labels`` is added if there are classes."""
        return targets | ({"labels"} if "label" in targets else frozenset())

    def apply(
        self,
        batch: Batch,
        *,
        stream_id: str,
        epoch: int,
        index: int,
        num_classes: int,
        boxes: BoxRules,
        keypoints: KeypointRules,
    ) -> Batch:
        """Mix a whole batch (never a rank's slice of it) into a new one.

        If the batch has classes, the result has ``label_weights``, mixed or not. ``boxes`` and ``keypoints`` are the
        pipeline's rules. Raises CallError if the images differ in size.
        """
        images = batch.images
        if not isinstance(images, np.ndarray):
            raise CallError(f"{self.problem(frozenset(), None)}")
        weights = _label_weights(batch, num_classes)
        batch = replace(batch, label_weights=weights)
        num_rows, height, width = images.shape[:3]
        chance = generator(stream_id, epoch, index)
        if chance.random() >= self.p or num_rows < 2:
            return batch
        method = self._choose(chance)
        draw = method.draw(chance, num_rows, height, width)
        changed: dict[str, Any] = {
            "images": blend(images, draw) if draw.boxes is None else paste(images, draw),
            "provenance": _provenance(batch, method.name, draw),
        }
        if weights is not None:
            own = draw.weights[:, np.newaxis]
            changed["label_weights"] = (own * weights + (1 - own) * weights[draw.partners]).astype(np.float32)
        if isinstance(batch.masks, np.ndarray):
            if draw.boxes is None:
                raise CallError(f"{self.problem(frozenset({'mask'}), (height, width, 3))}")
            changed["masks"] = paste(batch.masks, draw)
        rows = objects.of_rows(batch)
        if rows[0]:
            mixed = [_objects(rows, row, draw, boxes, keypoints) for row in range(num_rows)]
            changed |= objects.by_field(mixed)
        return replace(batch, **changed)

    def _choose(self, chance: np.random.Generator) -> Method:
        if not self.one_of:
            return self.methods[0]
        bounds = np.cumsum([method.p for method in self.methods])
        return self.methods[int(np.searchsorted(bounds, chance.random() * bounds[-1], side="right"))]


def _label_weights(batch: Batch, num_classes: int) -> NDArray[np.float32] | None:
    """Return a weight for each class: 1 for the class of a row, and all 0 for a row without one."""
    if batch.label_weights is not None or batch.labels is None:
        return batch.label_weights
    weights = np.zeros((len(batch), num_classes), np.float32)
    labelled = np.flatnonzero(batch.labels >= 0)
    weights[labelled, batch.labels[labelled]] = 1
    return weights


def _objects(
    rows: Sequence[objects.Objects], row: int, draw: Draw, boxes: BoxRules, keypoints: KeypointRules
) -> objects.Objects:
    """Join one row's objects with its partner's. An image of weight 0 adds none."""
    own, other, weight = rows[row], rows[int(draw.partners[row])], float(draw.weights[row])
    box = draw.box(row)
    if weight == 1:
        return own
    if weight == 0:
        return other
    if box is None:
        return objects.union(own, other)
    return objects.union(objects.cover(own, box, boxes, keypoints), objects.cut(other, box, boxes, keypoints))


def _provenance(batch: Batch, name: str, draw: Draw) -> Sequence[Provenance]:
    updated: list[Provenance] = []
    for row, provenance in enumerate(batch.provenance):
        weight, partner = float(draw.weights[row]), int(draw.partners[row])
        mixed = Mixed(name, weight, batch.keys[partner], int(batch.positions[partner]), draw.box(row))
        updated.append(replace(provenance, mixed=None if weight == 1 else mixed))
    return updated


ONE_OF: Final = "OneOf"
_PARAMS: Final[Mapping[str, Schema]] = {
    "alpha": schema.number(0, 1000, "weights are draws of Beta(alpha, alpha): below 1 mostly near 0 or 1", above=True),
    "per": schema.choice({"batch": "one weight for all rows", "row": "one weight for each row"}, "scope of a weight"),
    "p": schema.number(0, 1, "probability that a batch is mixed; inside OneOf, the method's weight"),
}
_HELP: Final = {
    MIXUP: "blends each image with another row's, and their classes with the same weight",
    CUTMIX: "pastes a box of another row's image, and weighs the classes by its area",
    ONE_OF: "one of several for each batch",
}
MAX_METHODS: Final = 16
"""Limit of methods in one ``OneOf``; recipes have two."""

_DEFAULTS: Final[Mapping[str, Mapping[str, JSON]]] = {
    MIXUP: {"alpha": 0.8, "per": "batch", "p": 1.0},
    CUTMIX: {"alpha": 1.0, "per": "batch", "p": 1.0},
    ONE_OF: {"p": 1.0},
}


def json_schema() -> Schema:
    """Return the JSON Schema (2020-12) of documents for ``parse_mix``."""
    params = {name: _described(name) for name in (MIXUP, CUTMIX)}
    methods = [{"enum": list(params), "title": "with all defaults"}, *(_named(name, params[name]) for name in params)]
    children = schema.array({"anyOf": methods}, 1, MAX_METHODS, "methods to choose from; their p are weights")
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


def parse_mix(value: object) -> Mix:
    """Read a document or its plain values. Raises PipelineError with every problem in it, located below ``mix``."""
    document = value if isinstance(value, Document) else from_value(value, lenient=True)
    if not document.problems and not isinstance(document.root, str | Mapping):
        msg = f"`{ROOM}` is a name or a mapping like {{{MIXUP}: {{alpha: 0.8}}}}, not {step_list.kind(document.root)}"
        raise PipelineError([Problem((ROOM,), msg)])
    drawn = step_list.read(Document([document.root], lines={(0, *loc): line for loc, line in document.lines.items()}))
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
    """Parser of steps into methods that collects problems; locations of steps begin with the 0 of a list."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self._document = document

    def mix(self, step: Step) -> Mix | None:
        if step.name != ONE_OF:
            method = self._method(step, f"write {MIXUP}, {CUTMIX} or {ONE_OF}, which chooses among them")
            return None if method is None else Mix((method,), method.p)
        params = self._params(step)
        if not step.children:
            msg = f"give it `{CHILDREN}:` and a list of {MIXUP} and {CUTMIX}"
            self._note((*step.params_loc, CHILDREN), msg)
            return None
        if len(step.children) > MAX_METHODS:
            msg = f"it has {len(step.children)} methods, the limit is {MAX_METHODS} (MAX_METHODS); leave some out"
            self._note((*step.params_loc, CHILDREN), msg)
            return None
        parsed = [self._method(child, f"in a {ONE_OF} write {MIXUP} or {CUTMIX}") for child in step.children]
        methods = tuple(method for method in parsed if method is not None)
        if params is None or len(methods) < len(step.children):
            return None
        if not any(method.p for method in methods):
            self._note((*step.params_loc, CHILDREN), "all weights are 0: `p` is a method's weight; raise one")
            return None
        return Mix(methods, params["p"], one_of=True)

    def _method(self, step: Step, remedy: str) -> Method | None:
        if step.name not in {MIXUP, CUTMIX}:
            if not (hint := did_you_mean(step.name, {MIXUP, CUTMIX, ONE_OF} - {step.name})):
                hint = f"; {remedy}; transforms of single images belong in the pipeline"
            self._note(step.loc, f"`{abridged(step.name)}` does not mix the rows of a batch{hint}")
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
                self._note((*step.params_loc, key), f"{step.name} has no parameter {quoted(key)}{hint}")
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
