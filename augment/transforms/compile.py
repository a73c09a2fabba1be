"""A pipeline as a function of samples and addresses."""

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from augment.chance import Chance
from augment.errors import PipelineError, Problem, Reason, RecordError
from augment.pipeline import Node, PipelineSpec
from augment.sample import Applied, Sample, as_image, as_sample
from augment.transforms import catalogue, following, limits, mended
from augment.transforms.carried import Carrier, has_targets
from augment.transforms.drawn import drawn
from augment.transforms.library import A, cpu_problem, cv2, disable_ipp, versions

__all__ = ["Compiled", "Made", "compile_pipeline", "cpu_problem", "versions"]

_EXPECTED_WARNINGS: Final = ("This augmenter is very slow", "ShiftScaleRotate is a special case of Affine")
"""What two transforms say whenever they are built; any other warning while building is an error."""

_PASSED_AS: Final = {"mask": ("mask", "masks"), "boxes": ("bboxes",), "keypoints": ("keypoints",)}
"""Targets, and what Albumentations calls them."""

_BUILDING: Final = threading.Lock()
"""``warnings.catch_warnings`` changes the whole process, so only one thread builds at a time."""


class Made(NamedTuple):
    """What a pipeline makes of a sample: the new one, what was done to it, in order, and what it lost.

    ``dropped`` has ``boxes`` and ``keypoints`` where any were, as ``Provenance`` describes it.
    """

    sample: Sample
    applied: tuple[Applied, ...]
    dropped: dict[str, int]


def compile_pipeline(spec: PipelineSpec, *, keypoint_names: Sequence[str] = (), provenance: bool = True) -> "Compiled":
    """Build what ``spec`` describes; PipelineError where a transform or container refuses its parameters or children.

    ``keypoint_names`` are those that the samples' keypoint labels are indices into; which of them differ by left and
    right decides what changes places in a mirror. Without ``provenance`` the parameters that chance drew are not
    described, which saves hashing drawn arrays.
    """
    return Compiled(spec, keypoint_names=keypoint_names, provenance=provenance)


class Compiled:
    """A pipeline that is ready to be applied; not safe between threads (each has its own).

    All transforms and containers share one pair of generators, which is set to the sample's address before each
    call. (Albumentations' own seeding gives each a copy of the same generator, and so the same draws.)
    """

    def __init__(self, spec: PipelineSpec, *, keypoint_names: Sequence[str] = (), provenance: bool = True) -> None:
        self._chance = Chance()
        self._provenance = provenance
        self._trace = _Trace()
        self._carrier = Carrier.of(spec, tuple(keypoint_names))
        self._moves_targets = False
        with _BUILDING, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            built = [self._build(node, ("transforms", i, node.name)) for i, node in enumerate(spec.transforms)]
            targets = {}
            if self._moves_targets:
                targets = {
                    "bbox_params": A.BboxParams("pascal_voc", clip=True, filter_invalid_bboxes=True),
                    "keypoint_params": A.KeypointParams("xy", remove_invisible=False),
                }
            self._compose = A.Compose(built, **targets)
        unexpected = [str(one.message) for one in caught if not str(one.message).startswith(_EXPECTED_WARNINGS)]
        if unexpected:
            raise PipelineError([Problem(("transforms",), message) for message in unexpected])
        self._compose.set_random_state(self._chance.generator, self._chance.py_random)

    def __call__(self, sample: Sample, *, seed: int, draw: int, view: int, key: str) -> Made:
        """The sample at this address and what was done to it, in order; the given sample is left as it is.

        Every array of the result is new, the image is C-contiguous. Boxes are cut at the frame, and those outside it
        or refused by the pipeline's ``boxes:`` are left out with all that is said of them; a border that mirrors the
        picture mirrors boxes with it. Keypoints keep number and order, unless ``keypoints:`` drops those outside the
        frame: one that left the frame lies outside it, one that a distortion folded away is NaN.

        RecordError (not renderable) where a transform cannot be applied to this picture or lacks a target;
        MemoryError and OSError pass.
        """
        sample = as_sample(sample)
        disable_ipp()
        self._chance.reset(seed, draw, view, key)
        carries = has_targets(sample)
        self._trace.start(mirrors=carries and self._carrier.swaps_sides(sample))
        data: dict[str, Any] = {"image": sample.image.copy()}
        targets = self._carrier.take_in(sample) if carries else {}
        if self._moves_targets:
            data |= targets
        try:
            with np.errstate(all="ignore"):
                result = targets | self._compose(**data)
                result["image"] = np.ascontiguousarray(result["image"])
                as_image(result["image"])
                out, dropped = replace(sample, image=result["image"]), dict[str, int]()
                if carries:
                    out, dropped = self._carrier.take_out(sample, result, mirrored=self._trace.mirrored)
            return Made(out, self._trace.applied(provenance=self._provenance), dropped)
        except (MemoryError, OSError):
            raise
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError(str(error)) from error
            raise self._refusal(sample, key, error) from error
        except Exception as error:  # whatever a transform raises means that this record cannot be rendered
            raise self._refusal(sample, key, error) from error

    def _build(self, node: Node, loc: tuple[str | int, ...]) -> Any:
        try:
            params = catalogue.fill(node.name, node.params)
        except catalogue.ParamsError as error:
            raise PipelineError([Problem((*loc, *place), message) for place, message in error.problems]) from error
        info = catalogue.catalogue()[node.name]
        cls = catalogue.transform_class(node.name)
        try:
            if info.container:
                children = [
                    self._build(child, (*loc, "transforms", i, child.name)) for i, child in enumerate(node.children)
                ]
                problem = catalogue.children_problem(node.name, params, [child.p for child in children])
                if problem is not None:
                    raise PipelineError([Problem(loc, problem)])
                return cls(transforms=children, **params)
            if node.children:
                raise PipelineError([Problem(loc, f"{node.name} is no container; it has no transforms of its own")])
            transform = cls(**params)
        except PipelineError:
            raise
        except Exception as error:
            raise PipelineError([Problem(loc, f"{node.name} refuses these parameters: {error}")]) from error
        self._moves_targets |= info.targets > {"image"}
        if info.targets > {"image"}:
            following.follow(transform)
        self._trace.watch(transform, info, moves_pixels=catalogue.moves_pixels(node.name, params))
        return transform

    def _refusal(self, sample: Sample, key: str, error: Exception) -> RecordError:
        name = self._trace.current
        height, width = sample.image.shape[:2]
        missing = (catalogue.catalogue()[name].requires - sample.target_names()) if name else frozenset()
        if isinstance(error, mended.MissingTargetError):
            missing = frozenset({error.target})
        if missing:
            words = f"{name} needs {' and '.join(sorted(missing))}, which this record does not have"
            return RecordError(key, Reason.NOT_RENDERABLE, words)
        if isinstance(error, cv2.error):
            words = f"OpenCV's {error.func} says: {error.err}"
        else:
            words = " ".join(str(error).split()) or type(error).__name__
        place = f"{name} on {height} x {width} pixels: " if name else ""
        return RecordError(key, Reason.NOT_RENDERABLE, place + words)


class _Trace:
    """Notes which transforms a call applies, and with what, whichever container they stand in."""

    def __init__(self) -> None:
        self._noted: list[tuple[str, Mapping[str, Any]]] = []
        self.current = ""
        self.mirrored = False
        self._counts_mirrors = False

    def start(self, *, mirrors: bool) -> None:
        """Forget the last call; with ``mirrors``, ``mirrored`` says whether this one mirrors an odd number of times."""
        self._noted.clear()
        self.current = ""
        self.mirrored = False
        self._counts_mirrors = mirrors

    def watch(self, transform: Any, info: catalogue.TransformInfo, *, moves_pixels: bool) -> None:
        name = info.name
        may_mirror = moves_pixels and "keypoints" in info.targets
        left_behind = _PASSED_AS.keys() - info.targets if moves_pixels else frozenset()
        should_apply: Callable[..., bool] = transform.should_apply
        apply_with_params: Callable[..., dict[str, Any]] = transform.apply_with_params

        def note_choice(*, force_apply: bool = False) -> bool:
            applies = should_apply(force_apply=force_apply)
            if applies:
                self.current = name
            return applies

        def note_params(params: dict[str, Any], *args: Any, **data: Any) -> dict[str, Any]:
            limits.check_output(name, params)
            for target in sorted(left_behind):
                if any(data.get(passed) is not None for passed in _PASSED_AS[target]):
                    raise ValueError(f"it moves pixels but cannot move {target}; leave it out")
            if may_mirror and self._counts_mirrors:
                self.mirrored ^= following.is_mirrored(transform, params)
            self._noted.append((name, params))
            return apply_with_params(params, *args, **data)

        transform.should_apply = note_choice
        transform.apply_with_params = note_params

    def applied(self, *, provenance: bool) -> tuple[Applied, ...]:
        return tuple(Applied(name, drawn(params) if provenance else {}) for name, params in self._noted)
