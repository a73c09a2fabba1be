"""A stream's ``mix``: rows of a finished batch with each other, keyed by (stream id, epoch, index).

MixUp (Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018) blends two pictures;
CutMix (Yun, Han, Oh, Chun, Choe and Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with
Localizable Features", ICCV 2019) pastes a box of one into the other. Both mix the classes' weights with the pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.document import JSON
from augment.errors import CallError
from augment.mixing import draws, objects, pixels
from augment.mixing.draws import Draw
from augment.sample import Batch, Mixed, Provenance
from augment.target_rules import BoxRules, KeypointRules

MIXUP: Final = "MixUp"
CUTMIX: Final = "CutMix"


@dataclass(frozen=True, slots=True)
class Method:
    """One way to mix. Weights are draws of Beta(alpha, alpha): one for a ``batch`` or each ``row``, as ``per`` says."""

    name: str
    alpha: float
    per: str
    p: float

    def canonical(self) -> dict[str, JSON]:
        return {self.name: {"alpha": self.alpha, "per": self.per, "p": self.p}}

    def draw(self, chance: np.random.Generator, num_rows: int, height: int, width: int) -> Draw:
        """What chance gives a batch of this size."""
        by_row = self.per == "row"
        if self.name == MIXUP:
            return draws.mixup(chance, self.alpha, num_rows, by_row=by_row)
        return draws.cutmix(chance, self.alpha, num_rows, height, width, by_row=by_row)


@dataclass(frozen=True, slots=True)
class Mix:
    """How the batches of a stream are mixed: by one method, or by one of several (``one_of``) with weights ``p``.

    ``p`` is the probability that a batch is mixed. Picklable; ``parse.parse`` makes it.
    """

    methods: tuple[Method, ...]
    p: float
    one_of: bool = False

    def canonical(self) -> dict[str, JSON]:
        """Return the document with everything filled in; ``parse.parse`` reads it back to an equal value."""
        if not self.one_of:
            return self.methods[0].canonical()
        return {"OneOf": {"p": self.p, "transforms": [method.canonical() for method in self.methods]}}

    def problem(self, targets: frozenset[str], image_shape: tuple[int, int, int] | None) -> str | None:
        """Why this cannot hold for samples with these targets (``Sample``'s fields) and shape; None where it can."""
        names = " and ".join(dict.fromkeys(method.name for method in self.methods))
        if image_shape is None:
            return (
                f"{names} mixes pictures of one size, and this pipeline leaves them sizes of their own; "
                "end it with Resize, RandomCrop or RandomResizedCrop"
            )
        if "mask" in targets and any(method.name == MIXUP for method in self.methods):
            return (
                "MixUp blends two pictures, and a pixel of a mask cannot be of two classes; use CutMix, which pastes "
                "the mask with its pixels"
            )
        return None

    def targets(self, targets: frozenset[str]) -> frozenset[str]:
        """Which targets the mixed rows of a dataset with these have: ``labels`` where there are classes."""
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
        """Mix a whole batch (never a rank's slice of it): a new one, the given one is left as it is.

        ``label_weights`` are there where the batch has classes, mixed or not. ``boxes`` and ``keypoints`` are the
        pipeline's rules. CallError where pictures have sizes of their own.
        """
        images = batch.images
        if not isinstance(images, np.ndarray):
            raise CallError(f"{self.problem(frozenset(), None)}")
        weights = _label_weights(batch, num_classes)
        batch = replace(batch, label_weights=weights)
        num_rows, height, width = images.shape[:3]
        chance = draws.generator(stream_id, epoch, index)
        if chance.random() >= self.p or num_rows < 2:
            return batch
        method = self._choose(chance)
        draw = method.draw(chance, num_rows, height, width)
        changed: dict[str, Any] = {
            "images": pixels.blend(images, draw) if draw.boxes is None else pixels.paste(images, draw),
            "provenance": _provenance(batch, method.name, draw),
        }
        if weights is not None:
            own = draw.weights[:, np.newaxis]
            changed["label_weights"] = (own * weights + (1 - own) * weights[draw.partners]).astype(np.float32)
        if isinstance(batch.masks, np.ndarray):
            if draw.boxes is None:
                raise CallError(f"{self.problem(frozenset({'mask'}), (height, width, 3))}")
            changed["masks"] = pixels.paste(batch.masks, draw)
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
    """A weight for each class; where rows have one class, 1 for it, and of a row without a class nothing."""
    if batch.label_weights is not None or batch.labels is None:
        return batch.label_weights
    weights = np.zeros((len(batch), num_classes), np.float32)
    labelled = np.flatnonzero(batch.labels >= 0)
    weights[labelled, batch.labels[labelled]] = 1
    return weights


def _objects(
    rows: Sequence[objects.Objects], row: int, draw: Draw, boxes: BoxRules, keypoints: KeypointRules
) -> objects.Objects:
    """One row's objects after mixing. A picture of which nothing is seen brings none."""
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
    found: list[Provenance] = []
    for row, provenance in enumerate(batch.provenance):
        weight, partner = float(draw.weights[row]), int(draw.partners[row])
        mixed = Mixed(name, weight, batch.keys[partner], int(batch.positions[partner]), draw.box(row))
        found.append(replace(provenance, mixed=None if weight == 1 else mixed))
    return found
