"""Segment: one run of Albumentations, for a pipeline or the part of it between two steps that take donors.

An image without targets takes a shortcut. Albumentations' own calls look for volumes, masks and processors, check
shapes and copy dictionaries, which takes longer than a mirror. The shortcut keeps what affects pixels, in the same
order: the chance, the parameters, ``apply``.
"""

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augment.chance import Chance
from augment.errors import PipelineError, Problem, Reason, RecordError
from augment.pipelines.document import Loc
from augment.pipelines.spec import Node
from augment.samples.inputs import as_image
from augment.samples.sample import Applied, Sample
from augment.transforms import catalogue, keypoint_motion, schema
from augment.transforms.albumentations_import import A, cv2
from augment.transforms.donors.partial_sample import Piece
from augment.transforms.donors.source import Source
from augment.transforms.entry import Change, MissingTargetError, Params, TransformEntry, Unfit, point
from augment.transforms.runtime.target_columns import Carrier, has_targets
from augment.transforms.runtime.trace import Trace

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Alone:
    """Transform or container for images without targets; ``reads`` is True if it never writes into its input."""

    apply: Callable[[Image], Image]
    reads: bool


def alone(transform: Any, info: TransformEntry, trace: Trace) -> Alone:
    """Return the function that applies a transform, watched by ``trace``, to an image without targets."""
    base, cls = A.BasicTransform, type(transform)
    is_plain = (
        isinstance(transform, base)
        and cls.__call__ is base.__call__
        and cls.apply_with_params is base.apply_with_params
        and set(transform.targets_as_params) <= {"image"}
    )
    return Alone(_direct(transform, info, trace) if is_plain else _whole(transform), is_plain and info.reads_only)


def applied(steps: Sequence[Alone], image: Image) -> Image:
    """Apply all steps: a new C-contiguous image; the given one, which may be read-only, is not changed."""
    out, is_own = image, False
    for step in steps:
        if not is_own and not step.reads:
            out, is_own = out.copy(), True
        out = step.apply(out)
        is_own = is_own or not np.may_share_memory(out, image)
    return out if is_own else out.copy()


def _direct(transform: Any, info: TransformEntry, trace: Trace) -> Callable[[Image], Image]:
    apply = transform._key2func["image"]  # noqa: SLF001 - there is no public way

    def call(image: Image) -> Image:
        if not transform.should_apply():
            return image
        data = {"image": image}
        params = transform.update_transform_params(transform.get_params(), data)
        params.update(transform.get_params_dependent_on_data(params, data))
        trace.note(info, params)
        return np.ascontiguousarray(apply(image, **params))

    return call


def _whole(transform: Any) -> Callable[[Image], Image]:
    def call(image: Image) -> Image:
        return np.ascontiguousarray(transform(image=image)["image"])

    return call


UNFORESEEN: Final = (
    "it fails inside the library that computes it, which is a bug here (please report the pipeline and the size); "
    "put `SmallestMaxSize` before it, or leave it out"
)
"""Message in place of an exception's own text. A test over the whole catalogue finds transforms that need a rule."""

_EXPECTED_WARNINGS: Final = ("This augmenter is very slow", "ShiftScaleRotate is a special case of Affine")
"""Warnings of two transforms whenever they are built; any other warning while building is an error."""

_EXACT: Final = {"const": cv2.INTER_NEAREST_EXACT, "title": schema.INTERPOLATIONS[cv2.INTER_NEAREST_EXACT]}
"""Choice that parameters of resizes offer for images and masks, but those of warps do not."""

_BUILDING: Final = threading.Lock()
"""``warnings.catch_warnings`` changes the whole process, so only one thread builds at a time."""


class Moved(NamedTuple):
    """Result of a segment for a piece; ``matrix`` maps the middles of pixels, or is None if no matrix can."""

    piece: Piece
    applied: tuple[Applied, ...]
    matrix: NDArray[np.float64] | None


class Segment:
    """Transforms that are ready to be applied; not safe between threads.

    All transforms and containers share one pair of generators, which is set to the sample's address before each call of
    the pipeline. (Albumentations' own seeding gives each a copy of the same generator, and so the same draws.)
    """

    def __init__(
        self, nodes: Sequence[tuple[Loc, Node]], carrier: Carrier, chance: Chance, references: Mapping[str, Source]
    ) -> None:
        self._carrier = carrier
        self._chance = chance
        self._references = references
        self._trace = Trace()
        self._moves_targets = False
        with _BUILDING, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            built = [self._build(node, loc) for loc, node in nodes]
            targets = {}
            if self._moves_targets:
                targets = {
                    "bbox_params": A.BboxParams("pascal_voc", clip=True, filter_invalid_bboxes=True),
                    "keypoint_params": A.KeypointParams("xy", remove_invisible=False),
                }
            self._compose = A.Compose(built, **targets)
        self._alone: list[Alone] = [
            alone(transform, catalogue.catalogue()[node.name], self._trace)
            for transform, (_, node) in zip(built, nodes, strict=True)
        ]
        unexpected = [str(one.message) for one in caught if not str(one.message).startswith(_EXPECTED_WARNINGS)]
        if unexpected:
            raise PipelineError([Problem(("transforms",), message) for message in unexpected])
        self._compose.set_random_state(chance.generator, chance.py_random)

    def __call__(self, piece: Piece, key: str, *, last: bool, points: bool, provenance: bool) -> Moved:
        """Apply the transforms; the given piece is not changed.

        ``last``: apply the pipeline's rules now. ``points``: return a matrix. Raises RecordError (not renderable) if a
        transform cannot be applied to this image or lacks a target; MemoryError and OSError pass through.
        """
        sample = piece.sample
        carries = has_targets(sample)
        if not carries and not points:
            return Moved(self._image(piece, key), self._trace.applied(provenance=provenance), None)
        self._trace.start(mirrors=carries and self._carrier.swaps_sides(sample), points=points)
        data: dict[str, Any] = {"image": sample.image.copy()}
        targets = self._carrier.take_in(piece) if carries else {}
        if self._moves_targets:
            data |= targets
        with Refusing(lambda: self._trace.current, sample, key):
            result = targets | self._compose(**data)
            result["image"] = np.ascontiguousarray(result["image"])
            as_image(result["image"])
            out = replace(piece, sample=replace(sample, image=result["image"]))
            if carries:
                out = self._carrier.take_out(sample, result, mirrored=self._trace.mirrored, last=last)
        return Moved(out, self._trace.applied(provenance=provenance), self._trace.matrix)

    def _image(self, piece: Piece, key: str) -> Piece:
        """Apply the transforms to an image without targets, without a matrix."""
        self._trace.start(mirrors=False, points=False)
        sample = piece.sample
        with Refusing(lambda: self._trace.current, sample, key):
            self._chance.py_random.random()  # Albumentations draws here if the pipeline is applied at all
            image = as_image(applied(self._alone, sample.image))
        return Piece(Sample(image, label=sample.label), piece.visible)

    def _build(self, node: Node, loc: Loc) -> Any:
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
                problem = catalogue.children_problem(node.name, params, node.children)
                if problem is not None:
                    raise PipelineError([Problem(loc, problem)])
                return cls(transforms=children, **params)
            if node.children:
                raise PipelineError([Problem(loc, f"{node.name} is not a container; it has no children")])
            transform = cls(**catalogue.arguments(_at_middles(params, info.schema["properties"])))
        except PipelineError:
            raise
        except Exception as error:
            raise PipelineError([Problem(loc, f"{node.name} refuses these parameters: {error}")]) from error
        if info.references:
            transform.bind(self._references[str(node.params["references"])])
        if info.output_size is not None:
            _check_sizes(transform, info.output_size, params)
        moves_pixels = catalogue.moves_pixels(node.name, params)
        self._moves_targets |= moves_pixels or info.targets > {"image"}
        if info.targets > {"image"}:
            keypoint_motion.follow(transform)
        self._trace.watch(transform, info, moves_pixels=moves_pixels)
        return transform


def _at_middles(params: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Replace INTER_NEAREST by INTER_NEAREST_EXACT wherever a resize accepts both.

    OpenCV's first takes the pixel at a pixel's corner, the second the one at its middle, as every other filter does.
    Image and mask would differ by up to half a pixel of the smaller image. (Warps accept only the first, and round to
    the middle.)
    """
    mended = dict(params)
    for name, value in params.items():
        if isinstance(value, Mapping):
            mended[name] = _at_middles(value, known[name].get("properties", {}))
        elif value == cv2.INTER_NEAREST and _EXACT in known.get(name, {}).get("oneOf", ()):
            mended[name] = cv2.INTER_NEAREST_EXACT
    return mended


def _check_sizes(transform: Any, change: Change, params: Params) -> None:
    """Make a transform refuse, with our message, an image that is too small when it reaches it."""
    update: Callable[..., dict[str, Any]] = transform.update_transform_params

    def checked(*args: Any, **kwargs: Any) -> dict[str, Any]:
        updated = update(*args, **kwargs)
        change(params, point(*updated["shape"][:2]))
        return updated

    transform.update_transform_params = checked


def _refusal(name: str, sample: Sample, key: str, error: Exception) -> RecordError:
    """Make the error for a record that cannot be rendered, from the exception of a transform."""
    if isinstance(error, RecordError):
        return RecordError(key, error.reason, f"{name} takes `{error.key}`: {error.detail}")
    height, width = sample.image.shape[:2]
    present = sample.target_names() | ({"instance_masks"} if sample.instance_masks is not None else set())
    missing = (catalogue.catalogue()[name].requires - present) if name else frozenset()
    if isinstance(error, MissingTargetError):
        missing = frozenset({error.target})
    if missing:
        words = f"{name} needs {' and '.join(sorted(missing)).replace('_', ' ')}, which this record does not have"
        return RecordError(key, Reason.NOT_RENDERABLE, words)
    words = str(error) if isinstance(error, Unfit) else UNFORESEEN
    place = f"{name} on {height} x {width} pixels: " if name else ""
    return RecordError(key, Reason.NOT_RENDERABLE, place + words)


class Refusing:
    """Context in which any exception means that this record cannot be rendered; MemoryError and OSError pass through.

    ``name`` returns the transform at work. (A class, because a generator takes three times as long.)
    """

    __slots__ = ("_key", "_name", "_sample", "_silence")

    def __init__(self, name: Callable[[], str], sample: Sample, key: str) -> None:
        self._name, self._sample, self._key = name, sample, key
        self._silence = np.errstate(all="ignore")

    def __enter__(self) -> None:
        self._silence.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._silence.__exit__(kind, error, trace)
        if not isinstance(error, Exception) or isinstance(error, MemoryError | OSError):
            return
        if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from error
        raise _refusal(self._name(), self._sample, self._key, error) from error  # transforms raise anything
