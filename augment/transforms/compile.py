"""A pipeline as a function of samples and addresses."""

import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from augment.chance import Chance
from augment.errors import PipelineError, Problem, Reason, RecordError
from augment.pipeline import Node, PipelineSpec
from augment.sample import Applied, Sample, as_image, as_sample
from augment.transforms import catalogue, limits, mended
from augment.transforms.drawn import drawn
from augment.transforms.library import A, cpu_problem, cv2, disable_ipp, versions

__all__ = ["Compiled", "compile_pipeline", "cpu_problem", "versions"]

_EXPECTED_WARNINGS: Final = ("This augmenter is very slow", "ShiftScaleRotate is a special case of Affine")
"""What two transforms say whenever they are built; any other warning while building is an error."""

_BUILDING: Final = threading.Lock()
"""``warnings.catch_warnings`` changes the whole process, so only one thread builds at a time."""


def compile_pipeline(spec: PipelineSpec, *, provenance: bool = True) -> "Compiled":
    """Build what ``spec`` describes; PipelineError where a transform or container refuses its parameters or children.

    Without ``provenance`` the parameters that chance drew are not described, which saves hashing drawn arrays.
    """
    return Compiled(spec, provenance=provenance)


class Compiled:
    """A pipeline that is ready to be applied; not safe between threads (each has its own).

    All transforms and containers share one pair of generators, which is set to the sample's address before each
    call. (Albumentations' own seeding gives each a copy of the same generator, and so the same draws.)
    """

    def __init__(self, spec: PipelineSpec, *, provenance: bool = True) -> None:
        self._chance = Chance()
        self._provenance = provenance
        self._trace = _Trace()
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

    def __call__(
        self, sample: Sample, *, seed: int, draw: int, view: int, key: str
    ) -> tuple[Sample, tuple[Applied, ...]]:
        """The sample at this address and what was done to it, in order; the given sample is left as it is.

        Every array of the result is new, the image is C-contiguous. Boxes are cut at the frame, and those outside it
        are left out with their labels; a border that mirrors the picture mirrors boxes with it. Keypoints keep number
        and order: one that left the frame lies outside it, one that a distortion folded away is NaN.

        RecordError (not renderable) where a transform cannot be applied to this picture or lacks a target;
        MemoryError and OSError pass.
        """
        sample = as_sample(sample)
        disable_ipp()
        self._chance.reset(seed, draw, view, key)
        self._trace.clear()
        data: dict[str, Any] = {"image": sample.image.copy()}
        if self._moves_targets:
            data |= _targets_in(sample)
        try:
            with np.errstate(all="ignore"):
                result = self._compose(**data)
            return self._sample_out(sample, result), self._trace.applied(provenance=self._provenance)
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
            mended.keep_keypoints(transform, lambda other: cls(**{**params, **other}))
        except PipelineError:
            raise
        except Exception as error:
            raise PipelineError([Problem(loc, f"{node.name} refuses these parameters: {error}")]) from error
        self._moves_targets |= info.targets > {"image"}
        self._trace.watch(transform, node.name)
        return transform

    def _sample_out(self, sample: Sample, result: Mapping[str, Any]) -> Sample:
        image = np.ascontiguousarray(result["image"])
        as_image(image)
        if not self._moves_targets:
            return replace(
                sample,
                image=image,
                **{
                    name: value.copy()
                    for name in ("mask", "boxes", "box_labels", "keypoints")
                    if (value := getattr(sample, name)) is not None
                },
            )
        out = replace(sample, image=image)
        if sample.mask is not None:
            out.mask = np.ascontiguousarray(result["mask"]).astype(sample.mask.dtype)
        if sample.boxes is not None:
            boxes = np.asarray(result["bboxes"], dtype=np.float64).reshape(-1, 6)
            out.boxes = np.ascontiguousarray(boxes[:, :4], dtype=np.float32)
            if sample.box_labels is not None:
                out.box_labels = sample.box_labels[boxes[:, 5].astype(np.int64)]
        if sample.keypoints is not None:
            points = np.asarray(result["keypoints"], dtype=np.float64).reshape(-1, 3)
            out.keypoints = np.full((len(sample.keypoints), 2), np.nan, dtype=np.float32)
            out.keypoints[points[:, 2].astype(np.int64)] = points[:, :2]
        return out

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

    def clear(self) -> None:
        self._noted.clear()
        self.current = ""

    def watch(self, transform: Any, name: str) -> None:
        should_apply: Callable[..., bool] = transform.should_apply
        apply_with_params: Callable[..., dict[str, Any]] = transform.apply_with_params

        mirrors = mended.mirrors(transform)

        def note_choice(*, force_apply: bool = False) -> bool:
            applies = should_apply(force_apply=force_apply)
            if applies:
                self.current = name
            return applies

        def note_params(params: dict[str, Any], *args: Any, **data: Any) -> dict[str, Any]:
            limits.check_output(name, params)
            if mirrors and len(data.get("bboxes", ())):
                mended.check_mirror_images(params)
            self._noted.append((name, params))
            return apply_with_params(params, *args, **data)

        transform.should_apply = note_choice
        transform.apply_with_params = note_params

    def applied(self, *, provenance: bool) -> tuple[Applied, ...]:
        return tuple(Applied(name, drawn(params) if provenance else {}) for name, params in self._noted)


def _targets_in(sample: Sample) -> dict[str, Any]:
    """The targets as Albumentations takes them; boxes and keypoints carry their row, so that they are known again.

    A box's fifth column is its label, where transforms that choose objects look for it.
    """
    data: dict[str, Any] = {}
    if sample.mask is not None:
        data["mask"] = _small_mask(sample.mask)
    if sample.boxes is not None:
        boxes = np.asarray(sample.boxes, dtype=np.float64).reshape(-1, 4)
        labels = np.full(len(boxes), -1.0) if sample.box_labels is None else sample.box_labels
        data["bboxes"] = np.column_stack([boxes, labels, np.arange(len(boxes))])
    if sample.keypoints is not None:
        points = np.asarray(sample.keypoints, dtype=np.float64).reshape(-1, 2)
        data["keypoints"] = np.column_stack([points, np.arange(len(points))])
    return data


def _small_mask(mask: NDArray[Any]) -> NDArray[Any]:
    """A copy in the smallest type that holds its values: OpenCV takes 8 and 16 bits everywhere, others not."""
    low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    for dtype in (np.uint8, np.uint16, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return mask.astype(dtype)
    return mask.astype(np.int32)
