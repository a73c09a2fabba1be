"""Compiled pipeline: a function of samples and addresses."""

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augment.chance import Chance
from augment.errors import PipelineError, Problem, Reason, RecordError
from augment.pipelines.spec import Node, PipelineSpec
from augment.samples.inputs import as_sample
from augment.samples.sample import Applied, Sample
from augment.transforms import sizes
from augment.transforms.albumentations_import import disable_ipp
from augment.transforms.catalogue import catalogue, is_joining, unknown_name
from augment.transforms.donors.partial_sample import Piece
from augment.transforms.donors.source import Source
from augment.transforms.runtime import donor_step, target_columns
from augment.transforms.runtime.donor_step import Donating, Numbers
from augment.transforms.runtime.segment import Segment
from augment.transforms.runtime.target_columns import Carrier
from augment.validation import did_you_mean

_SIZES_KNOWN: Final = 4096
"""Number of sizes whose check is cached; one check takes about a tenth of a millisecond."""

_NO_BOXES: Final = np.ones(0)
_UNNUMBERED: Final = Numbers(0, 0, set())
_GIVE_THEM: Final = "give it with references={{'{name}': DATASET}} or --references {name}=FOLDER"


class TransformedSample(NamedTuple):
    """Result of a pipeline for a sample: the new sample, the applied transforms in order, and the lost targets.

    ``dropped`` has ``boxes`` and ``keypoints`` if any were lost, as ``Provenance`` describes it. ``matrix`` is float64
    (3, 3) and maps the middles of the given image's pixels. It is None after a distortion or a donor, which have no
    such matrix, or if it was not requested.
    """

    sample: Sample
    applied: tuple[Applied, ...]
    dropped: dict[str, int]
    matrix: NDArray[np.float64] | None = None


def takes_donors(spec: PipelineSpec) -> bool:
    """Return True if a node joins samples with other records of their split."""
    return any(is_joining(node.name) for node in spec.transforms)


def references_of(spec: PipelineSpec) -> frozenset[str]:
    """Return the names of the datasets from which the pipeline's transforms take images."""
    known = catalogue()
    return frozenset(str(node.params["references"]) for node in spec.nodes() if known[node.name].references)


def check_references(spec: PipelineSpec, names: Collection[str], *, remedy: str = _GIVE_THEM) -> None:
    """Raise PipelineError for each transform whose references are not among these names.

    ``remedy`` is the advice if no name is similar; ``{name}`` in it is the missing one.
    """
    known = catalogue()
    problems = []
    for path, node in spec.places():
        if known[node.name].references and (name := str(node.params["references"])) not in names:
            ending = did_you_mean(name, names) or f"; {remedy.format(name=name)}"
            msg = f"`{node.name}` takes images of the dataset `{name}`, which is missing{ending}"
            problems.append(Problem((*path, "references"), msg))
    if problems:
        raise PipelineError(problems)


def _check_names(spec: PipelineSpec) -> None:
    known = catalogue()
    unknown = [(path, node.name) for path, node in spec.places() if node.name not in known]
    if unknown:
        raise PipelineError([Problem(path, unknown_name(name)) for path, name in unknown])


class Compiled:
    """Pipeline that is ready to be applied; not safe between threads (each has its own).

    ``keypoint_names`` are the names for the samples' keypoint labels; pairs of left and right are swapped in a mirror.
    Without ``provenance`` drawn parameters are not described, which saves hashing drawn arrays. ``donors`` is the split
    from which nodes such as ``Mosaic`` draw, ``references`` the datasets that transforms name. With ``points`` each
    call returns the matrix of its pixels.

    Raises PipelineError if a transform or container refuses its parameters or children.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        *,
        keypoint_names: Sequence[str] = (),
        provenance: bool = True,
        donors: Source | None = None,
        references: Mapping[str, Source] | None = None,
        points: bool = False,
    ) -> None:
        references = references or {}
        _check_names(spec)
        check_references(spec, references)
        self._chance = Chance()
        self.misfit = functools.lru_cache(maxsize=_SIZES_KNOWN)(functools.partial(sizes.misfit, spec))
        self._provenance = provenance
        self._points = points
        carrier = Carrier.of(spec, tuple(keypoint_names))
        self._steps: list[Segment | Donating] = []
        run: list[tuple[tuple[str | int, ...], Node]] = []
        for i, node in enumerate(spec.transforms):
            loc = ("transforms", i, node.name)
            if not is_joining(node.name):
                run.append((loc, node))
                continue
            if donors is None:
                raise PipelineError([Problem(loc, donor_step.without_donors(node.name))])
            if run:
                self._steps.append(Segment(run, carrier, self._chance, references))
                run = []
            self._steps.append(Donating(node, donors, self._chance))
        if run or not self._steps or isinstance(self._steps[-1], Donating):
            self._steps.append(Segment(run, carrier, self._chance, references))  # the last one applies the rules
        self._joins = any(isinstance(step, Donating) for step in self._steps)
        self._drops_keypoints = carrier.keypoints.outside == "drop" and len(self._steps) > 1

    def __call__(self, sample: Sample, *, seed: int, draw: int, view: int, key: str) -> TransformedSample:
        """Render the sample at this address and report the applied transforms; the given sample is not changed.

        Every array of the result is new, the image is C-contiguous. Boxes are cut at the frame. Those outside it or
        refused by the pipeline's ``boxes:`` are dropped with all their annotations; a border that mirrors the image
        mirrors boxes too. Keypoints keep number and order, unless ``keypoints:`` drops those outside the frame. A
        keypoint that left the frame keeps its place outside it; one that a distortion folded away is NaN. Boxes and
        keypoints of donors follow those of the record.

        Raises RecordError (not renderable) if a transform cannot be applied to this image or lacks a target. Only its
        size and the pipeline decide if an image is too small, never chance. MemoryError and OSError pass through.
        """
        return self.transformed(as_sample(sample), seed=seed, draw=draw, view=view, key=key)

    def transformed(self, sample: Sample, *, seed: int, draw: int, view: int, key: str) -> TransformedSample:
        """Render a sample of our own, which needs no check."""
        disable_ipp()
        if (words := self.misfit(*sample.image.shape[:2])) is not None:
            raise RecordError(key, Reason.NOT_RENDERABLE, words)
        self._chance.reset(seed, draw, view, key)
        piece = Piece(sample, _NO_BOXES if sample.boxes is None else np.ones(len(sample.boxes)))
        applied: tuple[Applied, ...] = ()
        matrix: NDArray[np.float64] | None = np.eye(3) if self._points else None
        numbers = Numbers.after(sample) if self._joins else _UNNUMBERED
        for step in self._steps:
            if isinstance(step, Donating):
                piece, noted = step(piece, key, numbers)
                matrix = None if noted else matrix
            else:
                last = step is self._steps[-1]
                piece, noted, moved = step(
                    piece, key, last=last, points=matrix is not None, provenance=self._provenance
                )
                matrix = None if matrix is None or moved is None else moved @ matrix
            applied += noted
        out = piece.sample
        if self._drops_keypoints:
            target_columns.drop_lost(out, numbers.placed)
        return TransformedSample(out, applied, target_columns.dropped(sample, out), matrix)
