"""What flows through the engine: a record comes in, samples are rendered, a batch goes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augment import arguments
from augment.errors import CallError, Reason

UNLABELLED = -1
"""The label of a row without a class in a dataset that has classes."""


@dataclass(frozen=True, slots=True)
class Record:
    """One encoded picture of a dataset, as its manifest describes it.

    ``key`` is the path relative to the split, ``/`` between parts, without extension (with it where two would
    collide). ``height`` and ``width`` are those of the upright picture (EXIF orientation applied). ``digest`` is the
    hexadecimal digest of the encoded bytes and the annotations. ``label`` is an index into the dataset's classes.
    """

    key: str
    path: Path
    height: int
    width: int
    size_bytes: int
    mtime_ns: int
    digest: str
    label: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file or record that is left out, by name, and why."""

    key: str
    reason: Reason
    detail: str


@dataclass(slots=True)
class Sample:
    """A picture with its targets.

    image:      uint8 (H, W, 3) RGB.
    label:      index of the class, or None.
    mask:       integer (H, W), class indices; moves with the pixels and is never interpolated.
    boxes:      float32 (N, 4), x_min, y_min, x_max, y_max in pixels.
    box_labels: int64 (N,), one for each box.
    keypoints:  float32 (N, 2), x and y in pixels; NaN where a distortion folded the place away.
    """

    image: NDArray[np.uint8]
    label: int | None = None
    mask: NDArray[np.integer] | None = None
    boxes: NDArray[np.float32] | None = None
    box_labels: NDArray[np.int64] | None = None
    keypoints: NDArray[np.float32] | None = None

    def target_names(self) -> frozenset[str]:
        """Which targets that move with the pixels this sample has, beside the image."""
        names = ("mask", "boxes", "keypoints")
        return frozenset(name for name in names if getattr(self, name) is not None)


@dataclass(frozen=True, slots=True)
class Applied:
    """One transform that was applied to a sample, with the parameters that chance drew (arrays as shape and digest)."""

    name: str
    params: dict[str, object]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One augmented sample, the name of its address and what was done to it."""

    sample: Sample
    render_key: str
    applied: tuple[Applied, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a sample comes from: the name of its address, and each transform that was applied, in order."""

    render_key: str
    applied: tuple[Applied, ...] = ()

    def as_json(self) -> dict[str, object]:
        """What people and files are shown."""
        return {
            "render_key": self.render_key,
            "applied": [{"name": each.name, "params": each.params} for each in self.applied],
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> "Provenance":
        """Read what ``as_json`` gave."""
        applied = tuple(Applied(each["name"], each["params"]) for each in members["applied"])
        return cls(members["render_key"], applied)


@dataclass(slots=True)
class Batch:
    """Samples of one training step; rows in the order of the epoch.

    images:    uint8 (N, H, W, 3) where all rows have one size, else a list of uint8 (H, W, 3).
    keys:      the key of the record in each row.
    positions: int64 (N,), the place of each row in its epoch.
    labels:    int64 (N,), UNLABELLED where a record has no class; None where the dataset has no classes.
    replaces:  for each row None, or the key of the refused record whose place it takes.
    refusals:  the records that were refused while this batch was rendered.
    provenance: one for each row, or none at all where the batch was read from a wire that carries none.
    """

    epoch: int
    index: int
    images: NDArray[np.uint8] | list[NDArray[np.uint8]]
    keys: list[str]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None
    replaces: list[str | None] = field(default_factory=list)
    refusals: Sequence[Refusal] = ()
    provenance: Sequence[Provenance] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, start: int, stop: int) -> "Batch":
        """Rows ``start`` to ``stop`` as a batch of the same place; its arrays are views."""
        start, stop = (arguments.integer(name, row, -len(self)) for name, row in (("start", start), ("stop", stop)))
        return replace(
            self,
            images=self.images[start:stop],
            keys=self.keys[start:stop],
            positions=self.positions[start:stop],
            labels=None if self.labels is None else self.labels[start:stop],
            replaces=self.replaces[start:stop],
            provenance=self.provenance[start:stop],
        )


def as_image(image: ArrayLike) -> NDArray[np.uint8]:
    """The array itself if it is uint8 (H, W, 3) with at least one pixel; CallError says what it is instead."""
    try:
        array = np.asarray(image)
    except Exception as error:  # lists of unequal lengths, and whatever a stranger's __array__ raises
        raise CallError(f"an image is uint8 (H, W, 3) RGB, not {arguments.shown(image)}; give an array") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        what = f"{array.dtype} {array.shape}" if array.ndim else arguments.shown(image)
        raise CallError(f"an image is uint8 (H, W, 3) RGB, not {what}; {_remedy(array)}")
    return array


def _remedy(array: NDArray[Any]) -> str:
    """How an array of another kind becomes an image."""
    match array.dtype.kind, array.shape:
        case _, shape if not shape or 0 in shape:
            pass
        case "f", _:
            return "where its values lie in 0 to 1, give (image * 255).round().astype(numpy.uint8)"
        case "i" | "u", _ if array.dtype != np.uint8:
            return "where its values lie in 0 to 255, give image.astype(numpy.uint8)"
        case "u", (_, _):
            return "of grey make three channels: numpy.stack([image] * 3, axis=-1)"
        case "u", (_, _, 1):
            return "of grey make three channels: numpy.repeat(image, 3, axis=2)"
        case "u", (_, _, 4):
            return "leave out the alpha channel: image[:, :, :3]"
        case "u", (3, _, _):
            return "put the channels last: image.transpose(1, 2, 0)"
        case "u", (_, _, _, _):
            return "give one picture after another"
    return "augment.decode_image makes one of a file's bytes"


_KINDS = {"b": "booleans", "i": "integers", "u": "integers", "f": "floats"}
_TARGETS = {
    "mask": ("iub", (None, None), "integers (H, W)"),
    "boxes": ("iuf", (None, 4), "numbers (N, 4): x_min, y_min, x_max, y_max"),
    "box_labels": ("iu", (None,), "integers (N,), one for each box"),
    "keypoints": ("iuf", (None, 2), "numbers (N, 2): x, y"),
}


def as_sample(sample: Sample) -> Sample:
    """The sample itself, or a copy of it with arrays where there were lists.

    CallError says what of it is not as ``Sample`` says; arrays of no rows may have any shape.
    """
    arrays: dict[str, Any] = {"image": as_image(sample.image)}
    for name, (kinds, shape, what) in _TARGETS.items():
        value = getattr(sample, name)
        if value is None:
            continue
        try:
            array = np.asarray(value)
        except Exception as error:  # as for an image
            raise CallError(f"{name} is {arguments.shown(value)}; it must be {what}") from error
        fits = array.ndim == len(shape) and all(
            wanted in (None, there) for wanted, there in zip(shape, array.shape, strict=True)
        )
        if array.size and not (array.dtype.kind in kinds and fits):
            raise CallError(f"{name} is {_KINDS.get(array.dtype.kind, array.dtype)} {array.shape}; it must be {what}")
        arrays[name] = array
    if "box_labels" in arrays and len(arrays["box_labels"]) != len(arrays.get("boxes", ())):
        num_boxes = len(arrays.get("boxes", ()))
        raise CallError(f"box_labels has {len(arrays['box_labels'])} rows for {num_boxes} boxes; give one for each box")
    if sample.label is not None:
        arguments.integer("label", sample.label, UNLABELLED)
    if all(getattr(sample, name) is array for name, array in arrays.items()):
        return sample
    return replace(sample, **arrays)
